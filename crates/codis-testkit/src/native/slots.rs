//! The SLOTS* commands as a codis-server 2.8 executes them: at once, and nobody else is served meanwhile.
//!
//! Keys leave a server when the other one has taken them, and are deleted here only after that. A
//! target that does not answer in time may have taken them all the same.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codis_core::{SLOT_COUNT, hash_tag, slot_of_key};

use super::front::Turn;
use super::session::Session;
use super::target::{Batch, Target};
use crate::Reply;

/// An answer's bytes, or the error reply.
type Answer = Result<Vec<u8>, String>;

/// Target and patience of a SLOTSMGRT* command.
struct Order {
    host: String,
    port: u16,
    timeout: Duration,
}

impl Session {
    /// Executes one of them; the inner error is the reply.
    pub(super) fn slots(&mut self, turn: &mut Turn, name: &str, args: &[Vec<u8>]) -> io::Result<Answer> {
        let answer = match name {
            "slotshashkey" => {
                let slots = args[1..].iter().map(|key| format!(":{}\r\n", slot_of_key(key)));
                Ok(format!("*{}\r\n{}", args.len() - 1, slots.collect::<String>()).into_bytes())
            }
            "slotscheck" => Ok(b"+OK\r\n".to_vec()),
            "slotsinfo" => return self.slots_info(args),
            "slotsdel" => return self.slots_del(&args[1..]),
            "slotsrestore" => return self.slots_restore(&args[1..]),
            _ => {
                let order = match order(args) {
                    Ok(order) => order,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let tagged = name.contains("tag");
                return match name.ends_with("slot") {
                    true => self.migrate_of_slot(turn, &order, &args[4], tagged),
                    false => self.migrate_key(turn, &order, &args[4], tagged),
                };
            }
        };
        Ok(answer)
    }

    fn migrate_key(
        &mut self,
        turn: &mut Turn,
        order: &Order,
        key: &[u8],
        tagged: bool,
    ) -> io::Result<Answer> {
        let keys = if tagged { self.with_same_tag(key)? } else { vec![key.to_vec()] };
        let moved = self.migrate(turn, order, &keys)?;
        Ok(moved.map(|moved| format!(":{moved}\r\n").into_bytes()))
    }

    fn migrate_of_slot(
        &mut self,
        turn: &mut Turn,
        order: &Order,
        slot: &[u8],
        tagged: bool,
    ) -> io::Result<Answer> {
        let slot = match slot_number(slot) {
            Ok(slot) => slot,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let place = (self.me.db.load(Ordering::SeqCst), slot);
        let mut moved = 0;
        let mut searched = false;
        while moved == 0 {
            let found = turn.found.entry(place).or_default();
            let Some(key) = found.pop() else {
                if searched {
                    break;
                }
                searched = true;
                let keys = self.keys_of(slot)?;
                turn.found.insert(place, keys);
                continue;
            };
            let keys = if tagged { self.with_same_tag(&key)? } else { vec![key.clone()] };
            moved = match self.migrate(turn, order, &keys)? {
                Ok(moved) => moved,
                Err(refusal) => {
                    turn.found.remove(&place);
                    return Ok(Err(refusal));
                }
            };
            let found = turn.found.entry(place).or_default();
            found.retain(|other| !keys.contains(other));
        }
        if turn.found.get(&place).is_none_or(Vec::is_empty) {
            let keys = self.keys_of(slot)?;
            turn.found.insert(place, keys);
        }
        let left = turn.found.get(&place).map_or(0, Vec::len);
        Ok(Ok(format!("*2\r\n:{moved}\r\n:{left}\r\n").into_bytes()))
    }

    /// Hands keys over in one go: all that are here, or none.
    fn migrate(
        &mut self,
        turn: &mut Turn,
        order: &Order,
        keys: &[Vec<u8>],
    ) -> io::Result<Result<usize, String>> {
        let place = (order.host.clone(), order.port);
        let known = turn.targets.remove(&place).filter(Target::is_fresh);
        let mut target = match known.map_or_else(|| Target::open(&order.host, order.port, order.timeout), Ok)
        {
            Ok(target) => target,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A pop that was blocked may run in between: only the server behind sees its turn.
        loop {
            let watch: Vec<&[u8]> =
                std::iter::once(&b"WATCH"[..]).chain(keys.iter().map(|key| &key[..])).collect();
            self.ask(&watch)?;
            let mut restore = vec![b"SLOTSRESTORE".to_vec()];
            let mut delete = vec![b"DEL".to_vec()];
            for key in keys {
                let (dump, ttl) = (self.ask(&[b"DUMP", &key[..]])?, self.ask(&[b"PTTL", &key[..]])?);
                if let (Reply::Bulk(Some(payload)), Reply::Int(ttl @ (-1 | 0..))) = (dump, ttl) {
                    let ttl = if ttl < 0 { 0 } else { ttl.max(1) };
                    restore.extend([key.clone(), ttl.to_string().into_bytes(), payload]);
                    delete.push(key.clone());
                }
            }
            let count = delete.len() - 1;
            if count > 0 {
                let db = self.me.db.load(Ordering::SeqCst);
                let password = self.shared.password.clone();
                let batch = Batch { password: password.as_deref(), db, restore, timeout: order.timeout };
                if let Err(refusal) = target.send(&batch) {
                    self.ask(&["UNWATCH"])?;
                    return Ok(Err(refusal));
                }
                self.ask(&["MULTI"])?;
                self.ask(&delete)?;
                if self.ask(&["EXEC"])? == Reply::Array(None) {
                    continue;
                }
            } else {
                self.ask(&["UNWATCH"])?;
            }
            turn.targets.insert(place, target);
            return Ok(Ok(count));
        }
    }

    /// The keys that move together with this one.
    fn with_same_tag(&mut self, key: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let tag = hash_tag(key);
        // A tag is shorter than its key by its braces.
        if tag.len() == key.len() {
            return Ok(vec![key.to_vec()]);
        }
        let mut pattern = b"*{".to_vec();
        for byte in tag {
            if b"*?[]\\^-".contains(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        pattern.extend(b"}*");
        let keys = self.keys(&pattern)?;
        Ok(keys.into_iter().filter(|other| hash_tag(other) == tag && other.len() != tag.len()).collect())
    }

    fn keys(&mut self, pattern: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let Reply::Array(Some(items)) = self.ask(&[b"KEYS", pattern])? else { return Ok(Vec::new()) };
        Ok(items
            .into_iter()
            .filter_map(|item| if let Reply::Bulk(key) = item { key } else { None })
            .collect())
    }

    fn keys_of(&mut self, slot: u16) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.keys(b"*")?.into_iter().filter(|key| slot_of_key(key).get() == slot).collect())
    }

    fn slots_info(&mut self, args: &[Vec<u8>]) -> io::Result<Answer> {
        if args.len() > 3 {
            return Ok(Err("-ERR wrong number of arguments for 'slotsinfo' command\r\n".to_owned()));
        }
        let start = match args.get(1).map_or(Ok(0), |arg| slot_number(arg)) {
            Ok(start) => i64::from(start),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let count = match args.get(2).map_or(Ok(i64::from(SLOT_COUNT)), |arg| number(arg)) {
            Ok(count @ 0..) => count,
            Ok(count) => return Ok(Err(format!("-ERR invalid slot count = {count}\r\n"))),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut counts = vec![0; usize::from(SLOT_COUNT)];
        self.keys(b"*")?.iter().for_each(|key| counts[slot_of_key(key).index()] += 1);
        let rows: Vec<String> = (0_i64..)
            .zip(&counts)
            .filter(|(slot, keys)| **keys > 0 && *slot >= start && *slot < start.saturating_add(count))
            .map(|(slot, keys)| format!("*2\r\n:{slot}\r\n:{keys}\r\n"))
            .collect();
        Ok(Ok(format!("*{}\r\n{}", rows.len(), rows.concat()).into_bytes()))
    }

    fn slots_del(&mut self, slots: &[Vec<u8>]) -> io::Result<Answer> {
        let mut answer = format!("*{}\r\n", slots.len());
        for slot in slots {
            let slot = match slot_number(slot) {
                Ok(slot) => slot,
                Err(refusal) => return Ok(Err(refusal)),
            };
            for key in self.keys_of(slot)? {
                self.ask(&[b"DEL", &key[..]])?;
            }
            answer.push_str(&format!("*2\r\n:{slot}\r\n:0\r\n"));
        }
        Ok(Ok(answer.into_bytes()))
    }

    /// Takes keys over, always over what is here. All or none where the numbers are wrong; a payload that
    /// the server behind refuses stops it there.
    fn slots_restore(&mut self, args: &[Vec<u8>]) -> io::Result<Answer> {
        if !args.len().is_multiple_of(3) {
            return Ok(Err("-ERR wrong number of arguments for 'slotsrestore' command\r\n".to_owned()));
        }
        for entry in args.chunks_exact(3) {
            match number(&entry[1]) {
                Ok(0..) => {}
                Ok(_) => return Ok(Err("-ERR invalid ttl value, must be >= 0\r\n".to_owned())),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        for entry in args.chunks_exact(3) {
            let reply = self.ask(&[b"RESTORE", &entry[0][..], &entry[1], &entry[2], b"REPLACE"])?;
            if let Reply::Error(text) = reply {
                let known = if text.contains("checksum") {
                    "-ERR dump payload version or checksum are wrong\r\n".to_owned()
                } else if text.contains("Bad data format") {
                    "-ERR bad data format\r\n".to_owned()
                } else {
                    format!("-{text}\r\n")
                };
                return Ok(Err(known));
            }
        }
        Ok(Ok(b"+OK\r\n".to_vec()))
    }
}

/// Host, port and time-out of a SLOTSMGRT* command.
fn order(args: &[Vec<u8>]) -> Result<Order, String> {
    let host = String::from_utf8_lossy(&args[1]).into_owned();
    let port = number(&args[2])?;
    let port = u16::try_from(port).map_err(|_| format!("-ERR invalid port = {port}\r\n"))?;
    let timeout = match number(&args[3])? {
        0 => 100,
        ms @ 1.. => ms.unsigned_abs(),
        ms => return Err(format!("-ERR invalid timeout = {ms}\r\n")),
    };
    Ok(Order { host, port, timeout: Duration::from_millis(timeout) })
}

fn number(arg: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(arg).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| "-ERR value is not an integer or out of range\r\n".to_owned())
}

fn slot_number(arg: &[u8]) -> Result<u16, String> {
    let slot = number(arg)?;
    let valid = u16::try_from(slot).ok().filter(|slot| *slot < SLOT_COUNT);
    valid.ok_or_else(|| format!("-ERR invalid slot number = {slot}\r\n"))
}

//! SLOWLOG: requests that took long, of all workers.

use codis_admin::SlowOp;

use super::{Frame, Instead, Worker};
use crate::worker::{dispatch::printable, proto::Answer};

/// How many entries are told if nobody says how many.
const SHOWN: usize = 10;

impl Worker {
    /// SLOWLOG GET, LEN, RESET and HELP.
    pub(super) fn slowlog(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<(), Instead> {
        let sub = frame.arg(1).to_ascii_uppercase();
        match (sub.as_slice(), frame.args.len()) {
            (b"GET", 2) => self.slow_entries(SHOWN, answer),
            (b"GET", 3) => match std::str::from_utf8(frame.arg(2)).ok().and_then(|text| text.parse().ok()) {
                Some(-1_i64) => self.slow_entries(usize::MAX, answer),
                Some(count @ 0..) => self.slow_entries(usize::try_from(count).unwrap_or(usize::MAX), answer),
                Some(_) => return Err("ERR count should be greater than or equal to -1".into()),
                None => return Err("ERR value is not an integer or out of range".into()),
            },
            (b"LEN", 2) => answer.integer(self.journal.slow_len() as i64),
            (b"RESET", 2) => {
                self.journal.forget_slow();
                answer.ok();
            }
            (b"HELP", 2) => answer.lines(&[
                "SLOWLOG <subcommand> [<arg> ...]. Subcommands are:",
                "GET [<count>]",
                "    The newest slow requests of all clients of this proxy, 10 or as many as told; -1: all.",
                "    Each: id, Unix time, microseconds, command and key, client, its name, and the parts of the time.",
                "LEN",
                "    How many there are.",
                "RESET",
                "    Forget them.",
                "HELP",
                "    This text.",
            ]),
            (b"GET" | b"LEN" | b"RESET" | b"HELP", _) => {
                let sub = String::from_utf8_lossy(&sub).to_ascii_lowercase();
                return Err(format!("ERR wrong number of arguments for 'slowlog|{sub}' command").into());
            }
            _ => {
                let sub = printable(frame.arg(1));
                return Err(format!("ERR unknown subcommand '{sub}'. Try SLOWLOG HELP.").into());
            }
        }
        Ok(())
    }

    fn slow_entries(&self, count: usize, answer: &mut Answer) {
        let entries = self.journal.slow_newest(count);
        answer.array(entries.len());
        entries.iter().for_each(|entry| describe(entry, answer));
    }
}

/// As redis-server has it, with the parts of the time behind: clients pass over what they do not know.
fn describe(entry: &SlowOp, answer: &mut Answer) {
    answer.array(7);
    answer.integer(entry.id as i64);
    answer.integer((entry.ts_ms / 1000) as i64);
    answer.integer(entry.took_us as i64);
    let words = entry.command.split('|').chain(entry.key.as_deref());
    answer.array(words.clone().count());
    words.for_each(|word| answer.bulk(word.as_bytes()));
    answer.bulk(entry.client.as_deref().unwrap_or_default().as_bytes());
    answer.bulk(entry.name.as_deref().unwrap_or_default().as_bytes());
    let parts = [
        ("queue", entry.queue_us),
        ("migration_wait", entry.migration_wait_us),
        ("backend", entry.backend_us),
        ("flush", entry.flush_us),
    ];
    answer.map(parts.len());
    for (name, usecs) in parts {
        answer.bulk(name.as_bytes());
        answer.integer(usecs as i64);
    }
}

//! One hand-over: the keys of a request leave the source for the destination.
//!
//! The order of the steps is what makes it safe, whatever fails between two of them:
//!
//! 0. destination: `WATCH` the keys;
//! 1. source: `WATCH` the keys, `DUMP` and `PTTL` of each;
//! 2. destination: `MULTI`, `RESTORE` of each, `EXEC`, which fails if anyone touched a key since step 0: another hand-over
//!    may have brought it, and a client may have deleted it again. Never with `REPLACE`: the destination's copy is never the
//!    older one. Then `WAIT`, or a failover of the destination would lose the only copy;
//! 3. source: `MULTI`, `UNLINK`, `EXEC`, which fails if anyone touched a key since step 1;
//! 4. source: `WAIT`, or a slave promoted without the `UNLINK` would bring the keys back.
//!
//! A source that moves keys itself and cannot be treated like this is asked to: [`super::native`].
//!
//! No answer, a short `WAIT` and any unexpected reply mean *unknown*: the request is not forwarded.
//! Beginning again is always safe, because nobody uses the destination's copy while the source has one.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use codis_core::{Addr, Heat, SlotId};

use super::debts::Debts;
use super::link::LinkError;
use super::reply::{Commands, Reply};
use super::side::Side;
use super::{Settings, jittered};

/// How often a hand-over begins again because someone touched a key.
const ATTEMPTS: u32 = 10;
/// Pause before it begins again, times the number of attempts so far.
const TOUCHED_PAUSE: Duration = Duration::from_millis(1);
/// Payload that a server is sure to take in within a second, beyond the command time-out.
const BYTES_PER_SECOND: f64 = 20e6;

/// What a hand-over is about.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slot: SlotId,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) from_slaves: u32,
    pub(crate) to_slaves: u32,
}

/// Why the keys are not known to be settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cause {
    /// A server did not answer, or answered something unexpected.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The source could not move a key itself.
    #[error("{addr}: SLOTSMGRTTAGONE was answered with \"{reply}\"")]
    Native {
        /// The source.
        addr: Addr,
        /// Its reply.
        reply: String,
    },
    /// Fewer slaves than linked have the change. A failover now could undo it.
    #[error("{addr}: {got} of {wanted} slaves confirmed within {after:?}")]
    Short {
        /// Which master.
        addr: Addr,
        /// Slaves that were linked when the group was loaded.
        wanted: u32,
        /// Slaves that confirmed.
        got: i64,
        /// How long they were given.
        after: Duration,
    },
    /// Someone else touched a key each time.
    #[error("a key was being changed {attempts} times in a row")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// The two servers did not answer lately; not tried.
    #[error("the servers do not answer, next attempt in {retry_in:.0?}")]
    Paused {
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// Too many hand-overs wait for these two servers, or this one waited too long.
    #[error("too many keys are waiting to be moved")]
    Full,
    /// The worker is stopping.
    #[error("the proxy is stopping")]
    Stopping,
}

impl Cause {
    /// Whether the pair of servers is at fault, so that others should not run into it.
    pub(crate) fn breaks(&self) -> bool {
        match self {
            Self::Link(LinkError::Broken { .. } | LinkError::TimedOut { .. }) => true,
            // Each of them has held up the whole source for as long as the destination was waited for.
            Self::Native { .. } | Self::Short { .. } => true,
            _ => false,
        }
    }
}

/// A pair of connections that carries one hand-over at a time.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) source: Side,
    pub(super) dest: Side,
}

/// How one attempt ended.
pub(super) enum Attempt {
    Settled {
        found: usize,
        busy: usize,
    },
    /// These keys are still on the source; the others have left it for good.
    Touched(Vec<Bytes>),
}

/// What a finished hand-over did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Keys that were on the source.
    pub(crate) found: usize,
    /// Of these, how many the destination had already.
    pub(crate) busy: usize,
}

impl Lane {
    pub(crate) fn new(from: &Addr, to: &Addr, settings: &Rc<Settings>, debts: &Debts) -> Self {
        let side = |addr: &Addr| Side::new(addr, settings.clone(), debts.clone());
        Self { source: side(from), dest: side(to) }
    }

    /// Runs the hand-over until the keys are settled. Begun again, it is about those keys only that were still on the source:
    /// one that has arrived may be written all the time, and would be found touched each time.
    ///
    /// # Errors
    /// When it is unknown whether they are.
    pub(crate) async fn hand_over(&mut self, job: &Job) -> Result<Done, Cause> {
        let mut left = job.keys.clone();
        for attempt in 1..=ATTEMPTS {
            match self.attempt(job, &left).await? {
                Attempt::Settled { found, busy } => return Ok(Done { found, busy }),
                Attempt::Touched(keys) => left = keys,
            }
            tokio::time::sleep(jittered(TOUCHED_PAUSE * attempt)).await;
        }
        Err(Cause::Contended { attempts: ATTEMPTS })
    }

    async fn attempt(&mut self, job: &Job, keys: &[Bytes]) -> Result<Attempt, Cause> {
        tokio::try_join!(self.source.ready(), self.dest.ready())?;
        if self.source.server.traits().is_native() && self.dest.server.traits().is_native() {
            return self.migrate(job).await;
        }
        let heat = Heat::between(self.source.server.traits(), self.dest.server.traits());
        self.guard(job.slot, keys).await?;
        let found = self.read(job.slot, keys, heat).await?;
        if found.is_empty() {
            self.source.confirm(job.slot, job.from_slaves).await?;
            return Ok(Attempt::Settled { found: 0, busy: 0 });
        }
        if let Some(busy) = self.restore(job, &found, heat).await?
            && self.unlink(job, &found).await?
        {
            return Ok(Attempt::Settled { found: found.len(), busy });
        }
        Ok(Attempt::Touched(found.into_iter().map(|found| found.key).collect()))
    }

    /// Step 0: whatever happens to the keys on the destination from now on makes step 2 fail.
    async fn guard(&mut self, slot: SlotId, keys: &[Bytes]) -> Result<(), Cause> {
        let mut commands = Commands::default();
        push_watch(&mut commands, keys);
        let after = self.dest.settings.command_timeout;
        let replies = self.dest.call(slot, &commands, after, None).await?;
        match replies.iter().find(|reply| !matches!(reply, Reply::Simple(_))) {
            None => Ok(()),
            Some(reply) => Err(self.dest.odd("WATCH", reply)),
        }
    }

    /// Step 1: the keys that are there.
    async fn read(&mut self, slot: SlotId, keys: &[Bytes], heat: Heat) -> Result<Vec<Found>, Cause> {
        let mut commands = Commands::default();
        push_watch(&mut commands, keys);
        for key in keys {
            if let Some(word) = heat.word() {
                // Before DUMP, which counts as a use.
                commands.push(&[b"OBJECT", word.as_bytes(), key]);
            }
            commands.push(&[b"DUMP", key]);
            commands.push(&[b"PTTL", key]);
        }
        // A large value keeps the server busy for as long as it takes.
        let after = self.source.settings.command_timeout * 3;
        let replies = self.source.call(slot, &commands, after, None).await?;
        for reply in &replies[..2] {
            if !matches!(reply, Reply::Simple(_)) {
                return Err(self.source.odd("WATCH", reply));
            }
        }
        let mut found = Vec::with_capacity(keys.len());
        let each = if heat.word().is_some() { 3 } else { 2 };
        for (key, replies) in keys.iter().zip(replies[2..].chunks_exact(each)) {
            let (heat, pair) = replies.split_at(each - 2);
            let payload = match &pair[0] {
                Reply::Bulk(Some(payload)) => payload.clone(),
                Reply::Bulk(None) => continue,
                other => return Err(self.source.odd("DUMP", other)),
            };
            let ttl_ms = match pair[1] {
                Reply::Int(-1) => 0,
                // Expired between the two commands.
                Reply::Int(-2) => continue,
                // RESTORE takes 0 for "does not expire".
                Reply::Int(ms) if ms >= 0 => ms.max(1),
                ref other => return Err(self.source.odd("PTTL", other)),
            };
            // Left out where the server does not tell it: the key moves all the same.
            let heat = heat.first().and_then(|reply| if let Reply::Int(n) = reply { Some(*n) } else { None });
            found.push(Found { key: key.clone(), payload, ttl_ms, heat });
        }
        Ok(found)
    }

    /// Step 2: the destination has them, and so have its slaves. Returns how many it had before; nothing if someone touched one of
    /// them there.
    async fn restore(&mut self, job: &Job, found: &[Found], heat: Heat) -> Result<Option<usize>, Cause> {
        let mut commands = Commands::default();
        commands.push(&[b"MULTI"]);
        for Found { key, payload, ttl_ms, heat: degree } in found {
            let (ttl, degree) = (ttl_ms.to_string(), degree.map(|degree| degree.to_string()));
            let mut restore: Vec<&[u8]> = vec![b"RESTORE", key, ttl.as_bytes(), payload];
            if let (Some(word), Some(degree)) = (heat.word(), &degree) {
                restore.extend([word.as_bytes(), degree.as_bytes()]);
            }
            commands.push(&restore);
        }
        commands.push(&[b"EXEC"]);
        let size: usize = found.iter().map(|found| found.payload.len()).sum();
        let after =
            self.dest.settings.command_timeout + Duration::from_secs_f64(size as f64 / BYTES_PER_SECOND);
        codis_crash::point(|| format!("server {} RESTORE", self.dest.addr));
        let replies = self.dest.call_and_wait(job.slot, commands, job.to_slaves, after).await?;
        let (queued, rest) = replies.split_at(found.len() + 1);
        // Out of memory, or no longer a master: said when the command is queued.
        if let Some(refused) = queued.iter().find(|reply| matches!(reply, Reply::Error(_))) {
            return Err(self.dest.odd("RESTORE", refused));
        }
        let restored = match &rest[0] {
            Reply::Array(None) => return Ok(None),
            Reply::Array(Some(restored)) if restored.len() == found.len() => restored,
            other => return Err(self.dest.odd("EXEC", other)),
        };
        let mut busy = 0;
        for reply in restored {
            match reply {
                Reply::Simple(_) => {}
                // Another one's hand-over, or one of ours that was not answered.
                Reply::Error(text) if is_busy(text) => busy += 1,
                other => return Err(self.dest.odd("RESTORE", other)),
            }
        }
        self.dest.check_wait(&rest[1..], job.to_slaves)?;
        Ok(Some(busy))
    }

    /// Steps 3 and 4: the source and its slaves have them no more. False if someone touched one of them.
    async fn unlink(&mut self, job: &Job, found: &[Found]) -> Result<bool, Cause> {
        let mut commands = Commands::default();
        commands.push(&[b"MULTI"]);
        let word = self.source.server.traits().unlink().as_bytes();
        let unlink: Vec<&[u8]> = std::iter::once(word).chain(found.iter().map(|f| &f.key[..])).collect();
        commands.push(&unlink);
        commands.push(&[b"EXEC"]);
        let after = self.source.settings.command_timeout;
        codis_crash::point(|| format!("server {} UNLINK", self.source.addr));
        let replies = self.source.call_and_wait(job.slot, commands, job.from_slaves, after).await?;
        match &replies[2] {
            Reply::Array(None) => return Ok(false),
            reply if matches!(reply.first(), Some(Reply::Int(_))) => {}
            reply => return Err(self.source.odd("EXEC", reply.first().unwrap_or(reply))),
        }
        self.source.check_wait(&replies[3..], job.from_slaves)?;
        Ok(true)
    }
}

/// A key as the source had it.
#[derive(Debug)]
struct Found {
    key: Bytes,
    payload: Bytes,
    /// Milliseconds, 0 for none.
    ttl_ms: i64,
    /// Idle seconds or use frequency, where the destination evicts by it.
    heat: Option<i64>,
}

/// Watches the keys, and no more what an earlier hand-over has left watched.
fn push_watch(commands: &mut Commands, keys: &[Bytes]) {
    commands.push(&[b"UNWATCH"]);
    let watch: Vec<&[u8]> = std::iter::once(&b"WATCH"[..]).chain(keys.iter().map(|k| &k[..])).collect();
    commands.push(&watch);
}

/// Whether the destination has the key already; the second form is that of 2.8.
fn is_busy(error: &[u8]) -> bool {
    error.starts_with(b"BUSYKEY") || error == b"ERR Target key name is busy."
}

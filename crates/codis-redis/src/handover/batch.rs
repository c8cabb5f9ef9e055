//! One hand-over of a batch of keys, from DUMP to the second WAIT.
//!
//! The order of the steps is what keeps keys safe; each says what may be true if it is the last one
//! that ran:
//!
//! 0. destination: WATCH, and only when that is answered
//! 1. source: WATCH, DUMP, PTTL — nothing has happened;
//! 2. destination: MULTI, RESTORE without REPLACE, EXEC, WAIT — both have the key, and nobody uses the destination's
//!    copy while the source's is there. Refused if anybody touched a key there since step 0: a proxy may have handed it over,
//!    and a client deleted it again. REPLACE is never needed, since nobody writes the source's copy of a
//!    slot in `migrate`, and it would overwrite what a proxy handed over and a client then changed;
//! 3. source: MULTI, UNLINK, EXEC — refused if anybody touched a key since step 1;
//! 4. source: WAIT — a slave that missed the UNLINK could be promoted and bring the key back.

use std::time::Duration;

use redis::Pipeline;

use super::Pair;
use crate::{Found, RedisCause, RedisError, Reply};

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Keys that left the source in this hand-over.
    pub(crate) moved: u64,
    /// Keys that were no longer on the source: handed over by a proxy, deleted or expired.
    pub(crate) gone: u64,
    /// Keys of `moved` that the destination already had.
    pub(crate) busy: u64,
    /// Bytes of the payloads moved.
    pub(crate) bytes: u64,
    /// Keys to try again, and why they are still on the source.
    pub(crate) again: Vec<Found>,
    /// Why.
    pub(crate) why: Option<Again>,
    /// The longest time one server was busy with it.
    pub(crate) slowest: Duration,
}

/// Why keys stay on the source for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Again {
    /// Somebody touched one of them in between: try halves.
    Touched,
    /// Fewer of the destination's slaves than counted have the copies.
    DestinationShort,
    /// The destination refused a key: the server's words.
    Refused(String),
}

/// A key on its way.
struct Dumped<'a> {
    found: &'a Found,
    payload: Vec<u8>,
    /// Milliseconds left, 0 for no limit.
    ttl: u64,
    /// Idle seconds or use frequency, where the destination evicts by it.
    heat: Option<i64>,
}

impl Pair {
    /// Hands a batch over. `Err`: a connection died or a server answered nonsense; where the keys are is
    /// unknown, and [`Pair::kill`] must have succeeded before anybody tries again.
    pub(crate) async fn hand_over(&mut self, batch: &[Found]) -> Result<Outcome, RedisError> {
        let mut outcome = Outcome::default();
        let patience = patience_for(batch);
        self.guard(batch).await?;
        let (dumped, gone) = self.dump(batch, patience, &mut outcome).await?;
        outcome.gone = gone;
        if dumped.is_empty() {
            // Gone, but is it gone from the source's slaves, too?
            self.settle_source(true).await?;
            return Ok(outcome);
        }
        let kept = self.restore(dumped, patience, &mut outcome).await?;
        if kept.is_empty() {
            self.unwatch().await?;
            return Ok(outcome);
        }
        self.unlink(kept, &mut outcome).await?;
        Ok(outcome)
    }

    /// From now on whatever happens to these keys on the destination makes the RESTOREs fail. What an earlier batch has left watched is
    /// forgotten.
    async fn guard(&mut self, batch: &[Found]) -> Result<(), RedisError> {
        let mut pipe = Pipeline::with_capacity(2);
        pipe.cmd("UNWATCH");
        let watch = pipe.cmd("WATCH");
        for found in batch {
            watch.arg(&found.key);
        }
        let replies = self.destination.pipeline("WATCH", &pipe, Duration::ZERO).await?;
        match replies.into_iter().find(|reply| *reply != Reply::Status("OK".into())) {
            None => Ok(()),
            Some(other) => Err(self.destination.unexpected("WATCH", &other)),
        }
    }

    async fn dump<'a>(
        &mut self,
        batch: &'a [Found],
        patience: Duration,
        outcome: &mut Outcome,
    ) -> Result<(Vec<Dumped<'a>>, u64), RedisError> {
        let mut pipe = Pipeline::with_capacity(1 + batch.len() * 3);
        let watch = pipe.cmd("WATCH");
        for found in batch {
            watch.arg(&found.key);
        }
        let heat = self.heat.word();
        for found in batch {
            // Asked before DUMP, which counts as a use.
            if let Some(word) = heat {
                pipe.cmd("OBJECT").arg(word).arg(&found.key);
            }
            pipe.cmd("DUMP").arg(&found.key);
            pipe.cmd("PTTL").arg(&found.key);
        }
        let (replies, took) = self.source.timed("DUMP", &pipe, patience).await?;
        outcome.slowest = took;
        let mut replies = replies.into_iter();
        if let Some(watched) = replies.next()
            && watched != Reply::Status("OK".into())
        {
            return Err(self.source.unexpected("WATCH", &watched));
        }
        let mut dumped = Vec::with_capacity(batch.len());
        let mut gone = 0;
        for found in batch {
            let heat = heat.and_then(|_| replies.next()).and_then(|reply| reply.int());
            match (replies.next(), replies.next()) {
                (Some(Reply::Nil), _) => gone += 1,
                // It expired between the two commands.
                (Some(Reply::Bulk(_)), Some(Reply::Int(-2))) => gone += 1,
                (Some(Reply::Bulk(payload)), Some(Reply::Int(ms))) => {
                    // RESTORE takes 0 for "for ever", so a last fraction of a millisecond becomes one.
                    let ttl = if ms < 0 { 0 } else { (ms as u64).max(1) };
                    dumped.push(Dumped { found, payload, ttl, heat });
                }
                (Some(other), _) => return Err(self.source.unexpected("DUMP", &other)),
                (None, _) => return Err(self.source.unexpected("DUMP", &Reply::Nil)),
            }
        }
        Ok((dumped, gone))
    }

    /// Returns the keys that the destination has for sure now, its slaves included.
    async fn restore<'a>(
        &mut self,
        dumped: Vec<Dumped<'a>>,
        patience: Duration,
        outcome: &mut Outcome,
    ) -> Result<Vec<&'a Found>, RedisError> {
        let mut pipe = Pipeline::with_capacity(dumped.len() + 2);
        pipe.cmd("MULTI");
        for key in &dumped {
            let cmd = pipe.cmd("RESTORE").arg(&key.found.key).arg(key.ttl).arg(&key.payload);
            if let (Some(word), Some(value)) = (self.heat.word(), key.heat) {
                cmd.arg(word).arg(value);
            }
        }
        pipe.cmd("EXEC");
        let (mut replies, took) = self.destination.timed("RESTORE", &pipe, patience).await?;
        outcome.slowest = outcome.slowest.max(took);
        let restored = match replies.pop() {
            Some(Reply::Nil) => {
                outcome.why = Some(Again::Touched);
                outcome.again.extend(dumped.into_iter().map(|key| key.found.clone()));
                return Ok(Vec::new());
            }
            Some(Reply::Array(restored)) if restored.len() == dumped.len() => restored,
            // Out of memory, or no longer a master: said when the command is queued, and then none is carried out.
            Some(Reply::Error(why)) => {
                let refused = replies.into_iter().find_map(|reply| match reply {
                    Reply::Error(text) => Some(text),
                    _ => None,
                });
                vec![Reply::Error(refused.unwrap_or(why)); dumped.len()]
            }
            other => return Err(self.destination.unexpected("EXEC", &other.unwrap_or(Reply::Nil))),
        };
        let mut kept = Vec::with_capacity(dumped.len());
        for (key, reply) in dumped.into_iter().zip(restored) {
            match reply {
                Reply::Status(ok) if ok == "OK" => {}
                Reply::Error(text) if text.starts_with("BUSYKEY") => outcome.busy += 1,
                // No longer the master: whatever we sent it may be thrown away.
                Reply::Error(text) if text.starts_with("READONLY") => {
                    return Err(RedisError::new(&self.to.addr, "RESTORE", RedisCause::Refused(text)));
                }
                Reply::Error(text) => {
                    outcome.why = Some(Again::Refused(text));
                    outcome.again.push(key.found.clone());
                    continue;
                }
                other => return Err(self.destination.unexpected("RESTORE", &other)),
            }
            outcome.bytes += key.payload.len() as u64;
            kept.push(key.found);
        }
        if kept.is_empty() || self.settle_destination(outcome.busy > 0).await? {
            return Ok(kept);
        }
        outcome.why = Some(Again::DestinationShort);
        outcome.busy = 0;
        outcome.bytes = 0;
        outcome.again.extend(kept.drain(..).cloned());
        Ok(kept)
    }

    async fn unlink(&mut self, kept: Vec<&Found>, outcome: &mut Outcome) -> Result<(), RedisError> {
        let mut pipe = Pipeline::with_capacity(3);
        pipe.cmd("MULTI");
        let unlink = pipe.cmd(self.unlink_word);
        for found in &kept {
            unlink.arg(&found.key);
        }
        pipe.cmd("EXEC");
        let (replies, took) = self.source.timed("UNLINK", &pipe, Duration::ZERO).await?;
        outcome.slowest = outcome.slowest.max(took);
        match &replies[2] {
            Reply::Nil => {
                outcome.why = Some(Again::Touched);
                outcome.busy = 0;
                outcome.bytes = 0;
                outcome.again.extend(kept.into_iter().cloned());
                Ok(())
            }
            Reply::Array(results) if matches!(results[..], [Reply::Int(_)]) => {
                outcome.moved = kept.len() as u64;
                self.settle_source(false).await
            }
            other => Err(self.source.unexpected("UNLINK", other)),
        }
    }

    async fn unwatch(&mut self) -> Result<(), RedisError> {
        self.source.call(&redis::cmd("UNWATCH")).await.map(drop)
    }

    /// WAIT on the destination; false if it fell short. After a BUSYKEY nothing of ours was written
    /// for that key, so a write of our own comes first: WAIT covers everything before it.
    async fn settle_destination(&mut self, touch: bool) -> Result<bool, RedisError> {
        let (slaves, patience) = (self.to.slaves, self.wait_timeout);
        if slaves == 0 {
            return Ok(true);
        }
        let mut pipe = Pipeline::with_capacity(2);
        if touch {
            pipe.cmd("PUBLISH").arg("codis:settle").arg("1");
        }
        pipe.cmd("WAIT").arg(slaves).arg(patience.as_millis() as u64);
        let replies = self.destination.pipeline("WAIT", &pipe, patience).await?;
        match replies.last() {
            Some(Reply::Int(count)) => Ok(*count >= i64::from(slaves)),
            other => Err(self.destination.unexpected("WAIT", other.unwrap_or(&Reply::Nil))),
        }
    }

    /// WAIT on the source. The keys have left its master already, so short is an error: the slot must
    /// not be called finished before the source's slaves have caught up.
    async fn settle_source(&mut self, nothing_sent: bool) -> Result<(), RedisError> {
        let (slaves, patience) = (self.from.slaves, self.wait_timeout);
        let mut pipe = Pipeline::with_capacity(3);
        if nothing_sent {
            pipe.cmd("UNWATCH");
        }
        if slaves > 0 {
            if nothing_sent {
                pipe.cmd("PUBLISH").arg("codis:settle").arg("1");
            }
            pipe.cmd("WAIT").arg(slaves).arg(patience.as_millis() as u64);
        }
        if pipe.is_empty() {
            return Ok(());
        }
        let replies = self.source.pipeline("WAIT", &pipe, patience).await?;
        match replies.last() {
            _ if slaves == 0 => Ok(()),
            Some(Reply::Int(count)) if *count >= i64::from(slaves) => Ok(()),
            Some(Reply::Int(count)) => {
                let why = format!("{count} of {slaves} slaves confirmed within {} ms", patience.as_millis());
                Err(RedisError::new(&self.from.addr, "WAIT", RedisCause::Unexpected(why)))
            }
            other => Err(self.source.unexpected("WAIT", other.unwrap_or(&Reply::Nil))),
        }
    }
}

/// Large values take their time on both servers: 100 ms more for each MB.
fn patience_for(batch: &[Found]) -> Duration {
    let bytes: u64 = batch.iter().map(|found| found.bytes).sum();
    Duration::from_millis(bytes / 10_000)
}

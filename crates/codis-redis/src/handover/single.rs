//! A probe key that is really moved, before anything that matters is.

use std::time::Duration;

use codis_core::{SlotId, SlotSet, slot_of_key};
use rand::Rng as _;

use super::{Lease, Pair, Route};
use crate::{Found, RedisCause, RedisError, Reply};

/// What the names of probe keys begin with. They are ours: a scan for keys of clients passes them over.
pub(crate) const PROBE: &[u8] = codis_core::PROBE_KEYS;
/// What a leftover of a probe that was killed lives for.
const PROBE_LIFE: Duration = Duration::from_secs(10);

/// Moves one short-lived key of our own from the source to the destination: passwords, permissions,
/// dump versions and slaves are as a move needs them, or the error says what is not. The key is not of
/// one of `slots`, so that it cannot be taken for theirs.
///
/// # Errors
/// The command that failed, on which server, and its words.
pub async fn probe_move(route: &Route, slots: &SlotSet, lease: &dyn Lease) -> Result<(), RedisError> {
    let base = format!("{}{:08x}", String::from_utf8_lossy(PROBE), rand::rng().random::<u32>());
    let key = (0..u32::MAX).map(|n| format!("{base}:{n}")).find(|key| !is_of(slots, key)).unwrap_or(base);
    let mut pair = Pair::open(route, &format!("{}.probe.", route.connect.name)).await?;
    let no_lease = |why| RedisError::new(&route.from.addr, "probe", RedisCause::Unsafe(why));
    lease.prove().await.map_err(no_lease)?;
    let ms = PROBE_LIFE.as_millis() as u64;
    pair.source.call(redis::cmd("SET").arg(&key).arg(&key).arg("PX").arg(ms)).await?;
    let found = Found { key: key.clone().into_bytes(), bytes: 0 };
    let outcome = pair.hand_over(&[found]).await?;
    let to = &route.to.addr;
    if outcome.moved != 1 {
        let why = match outcome.why {
            Some(super::batch::Again::Refused(answer)) => RedisCause::Refused(answer),
            Some(super::batch::Again::DestinationShort) => RedisCause::Unexpected(format!(
                "fewer than {} slaves confirmed within {} ms",
                route.to.slaves,
                route.wait_timeout.as_millis()
            )),
            _ => RedisCause::Unexpected("somebody touched the probe key".into()),
        };
        return Err(RedisError::new(to, "RESTORE", why));
    }
    let there = pair.destination.call(redis::cmd("GET").arg(&key)).await?;
    pair.destination.call(redis::cmd("DEL").arg(&key)).await?;
    match there {
        Reply::Bulk(value) if value == key.as_bytes() => Ok(()),
        other => Err(pair.destination.unexpected("GET", &other)),
    }
}

fn is_of(slots: &SlotSet, key: &str) -> bool {
    // With all 1024 slots in the set there is no other slot: then the first name has to do.
    slots.len() < SlotId::all().len() && slots.contains(slot_of_key(key.as_bytes()))
}

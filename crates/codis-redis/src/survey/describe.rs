//! What a single key is: type, elements, how its values compress; and how fast the server dumps keys.

use std::{cmp::Ordering, time::Duration};

use codis_core::slot_of_key;

use super::{
    BigKey, Look,
    one_shot::{Kind, Shape, Speed},
};
use crate::{Redis, RedisError, Reply};

/// Values looked at to tell how well a key compresses, and bytes of a long string.
const VALUES: usize = 32;
const STRING_BYTES: usize = 16 << 10;
/// Hashes, sets and sorted sets with so many elements are never packed, unless somebody has set it so.
const LEAST_UNPACKED: u64 = 1000;
/// The dump format does not try to compress less.
const SHORTEST_PACKED: usize = 20;

impl Look {
    /// How fast the server dumps the samples, by its own count of the time; `None` if there is too little to measure.
    pub(super) async fn calibrate(&mut self, redis: &mut Redis) -> Result<Option<Speed>, RedisError> {
        let mut expected = Duration::ZERO;
        let before = dumps(redis).await?;
        let mut asked = 0;
        for (key, bytes) in std::mem::take(&mut self.samples) {
            let Some((shape, _)) = shape(redis, &key, bytes).await? else { continue };
            if is_packed(&shape) {
                continue;
            }
            expected += Speed::default().one_shot(&shape).dump;
            let mut pipe = redis::Pipeline::new();
            pipe.cmd("DUMP").arg(&key);
            let (_, took) = redis.conn().timed("DUMP", &pipe, Duration::ZERO).await?;
            asked += 1;
            self.pause(took).await;
        }
        let after = dumps(redis).await?;
        // Somebody else's dumps would be measured, too.
        let ours = after.0.checked_sub(before.0) == Some(asked) && expected > Duration::from_micros(200);
        let took = Duration::from_micros(after.1.saturating_sub(before.1));
        Ok(ours.then(|| Speed::measured(took, expected)).flatten())
    }

    /// The suspects that are big on a server of this speed.
    pub(super) async fn describe_big(
        &mut self,
        redis: &mut Redis,
        speed: Speed,
    ) -> Result<Vec<BigKey>, RedisError> {
        let mut big = Vec::new();
        for (key, bytes) in std::mem::take(&mut self.suspects) {
            big.extend(if_big(redis, key, bytes, speed, self.how.budget).await?);
        }
        big.sort_by(worst_first);
        Ok(big)
    }
}

/// By the stall, then by name.
pub(crate) fn worst_first(a: &BigKey, b: &BigKey) -> Ordering {
    b.one_shot.longest().cmp(&a.one_shot.longest()).then_with(|| a.key.cmp(&b.key))
}

/// The key, if moving it in one piece would hold a server of this speed up for longer than `budget`. Nothing is asked about one
/// that takes too little memory for that.
pub(crate) async fn if_big(
    redis: &mut Redis,
    key: Vec<u8>,
    bytes: u64,
    speed: Speed,
    budget: Duration,
) -> Result<Option<BigKey>, RedisError> {
    if bytes <= speed.harmless_bytes(budget) {
        return Ok(None);
    }
    let Some((shape, ttl)) = shape(redis, &key, bytes).await? else { return Ok(None) };
    let one_shot = speed.one_shot(&shape);
    let Shape { kind, elements, .. } = shape;
    let slot = slot_of_key(&key);
    Ok((one_shot.longest() > budget).then_some(BigKey { slot, key, kind, elements, bytes, ttl, one_shot }))
}

/// What a key is and how long it lives; `None` if it is gone.
async fn shape(
    redis: &mut Redis,
    key: &[u8],
    bytes: u64,
) -> Result<Option<(Shape, Option<Duration>)>, RedisError> {
    let mut pipe = redis::Pipeline::new();
    pipe.cmd("TYPE").arg(key).cmd("PTTL").arg(key);
    let replies = redis.conn().pipeline("TYPE", &pipe, Duration::ZERO).await?;
    let word = replies.first().and_then(Reply::text).unwrap_or_default();
    let left = replies.get(1).and_then(Reply::int).unwrap_or(-2);
    if word == "none" || left == -2 {
        return Ok(None);
    }
    let ttl = u64::try_from(left).ok().map(Duration::from_millis);
    let kind = Kind::of(&word);
    let mut pipe = redis::Pipeline::new();
    match kind {
        Kind::String => pipe.cmd("STRLEN").arg(key).cmd("GETRANGE").arg(key).arg(0).arg(STRING_BYTES - 1),
        Kind::Hash => pipe.cmd("HLEN").arg(key).cmd("HSCAN").arg(key).arg(0).arg("COUNT").arg(VALUES),
        Kind::List => pipe.cmd("LLEN").arg(key).cmd("LRANGE").arg(key).arg(0).arg(VALUES - 1),
        Kind::Set => pipe.cmd("SCARD").arg(key),
        Kind::Zset => pipe.cmd("ZCARD").arg(key),
        Kind::Stream => {
            pipe.cmd("XLEN").arg(key).cmd("XRANGE").arg(key).arg("-").arg("+").arg("COUNT").arg(VALUES)
        }
        Kind::Module => pipe.cmd("TYPE").arg(key),
    };
    let replies = redis.conn().pipeline("LEN", &pipe, Duration::ZERO).await?;
    let elements = match kind {
        Kind::Module => bytes,
        _ => replies.first().and_then(Reply::int).and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
    };
    let stubborn = replies.get(1).map_or(0.0, |values| stubborn(kind, values));
    Ok(Some((Shape { kind, elements, bytes, stubborn }, ttl)))
}

/// A small hash, set or sorted set is one string to the server: its elements cost nothing.
fn is_packed(shape: &Shape) -> bool {
    matches!(shape.kind, Kind::Hash | Kind::Set | Kind::Zset) && shape.elements < LEAST_UNPACKED
}

/// Share of the values in a reply that does not compress. Those of lists and streams lie together in blocks that are compressed
/// as one.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn stubborn(kind: Kind, reply: &Reply) -> f64 {
    let (mut plain, mut packed) = (0, 0);
    let mut add = |value: &[u8]| {
        if value.len() > SHORTEST_PACKED {
            plain += value.len();
            packed += lz4_flex::block::compress(value).len().min(value.len());
        }
    };
    if matches!(kind, Kind::List | Kind::Stream) {
        let mut block = Vec::new();
        each_value(reply, &mut |value| block.extend_from_slice(value));
        add(&block);
    } else {
        each_value(reply, &mut add);
    }
    if plain == 0 { 0.0 } else { packed as f64 / plain as f64 }
}

fn each_value(reply: &Reply, each: &mut impl FnMut(&[u8])) {
    match reply {
        Reply::Bulk(bytes) => each(bytes),
        Reply::Array(items) => items.iter().for_each(|item| each_value(item, each)),
        _ => {}
    }
}

/// How many DUMPs the server has carried out, and the microseconds that they took.
async fn dumps(redis: &mut Redis) -> Result<(u64, u64), RedisError> {
    let reply = redis.query(&["INFO", "commandstats"]).await?;
    let text = reply.text().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_dump:"));
    let field = |name: &str| {
        let fields = line?.split(',').filter_map(|field| field.split_once('='));
        fields.into_iter().find(|(key, _)| *key == name)?.1.trim().parse::<u64>().ok()
    };
    Ok((field("calls").unwrap_or_default(), field("usec").unwrap_or_default()))
}

//! What a single key is: type, elements, how its values compress; and how fast the server dumps keys.

use std::{
    cmp::{Ordering, Reverse},
    time::{Duration, Instant},
};

use codis_core::slot_of_key;

use super::{
    BigKey, Look,
    one_shot::{Kind, Shape, Speed},
};
use crate::{Redis, RedisError, Reply};

/// Values looked at to tell how well a key compresses, and bytes of a long string.
const VALUES: usize = 32;
const STRING_BYTES: usize = 16 << 10;
/// Encodings of hashes, sets and sorted sets that are one string to the server: its elements cost nothing.
const PACKED: [&str; 3] = ["listpack", "ziplist", "intset"];
/// Of less the server's clock, which counts microseconds, says too little; of fewer one says nothing.
const LEAST_SAMPLE: Duration = Duration::from_micros(15);
const FEWEST_SAMPLES: usize = 3;
/// Elements of a key of moderate size lie in the processor's caches more often than those of a big one: they take 0.3 to 0.7 of the
/// time.
const NEARBY: f64 = 0.45;
/// The dump format does not try to compress less.
const SHORTEST_PACKED: usize = 20;

impl Look<'_> {
    /// How fast the server dumps the samples, by its own count of the time; `None` if there is too little to measure.
    ///
    /// The middle one counts: a server that lost its core for a moment in one of them is no slow server.
    pub(super) async fn calibrate(&mut self, redis: &mut Redis) -> Result<Option<Speed>, RedisError> {
        let mut factors = Vec::new();
        let mut before = dumps(redis).await?;
        for (key, bytes) in std::mem::take(&mut self.samples) {
            let Some((shape, _)) = shape(redis, &key, bytes).await? else { continue };
            let expected = Speed::default().one_shot(&shape).dump;
            if expected < LEAST_SAMPLE {
                continue;
            }
            let mut pipe = redis::Pipeline::new();
            pipe.cmd("DUMP").arg(&key);
            let (_, took) = redis.conn().timed("DUMP", &pipe, Duration::ZERO).await?;
            let after = dumps(redis).await?;
            // Somebody else's dumps would be measured, too.
            if after.0.checked_sub(before.0) == Some(1) {
                let took = Duration::from_micros(after.1.saturating_sub(before.1));
                let nearby = if shape.has_elements() { NEARBY } else { 1.0 };
                factors.push(took.as_secs_f64() / (expected.as_secs_f64() * nearby));
            }
            before = after;
            self.pause(took).await;
        }
        factors.sort_by(f64::total_cmp);
        let middle = factors.get(factors.len() / 2).filter(|_| factors.len() >= FEWEST_SAMPLES);
        Ok(middle.and_then(|factor| Speed::measured(*factor)))
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

impl Look<'_> {
    /// The largest keys, those first. They are asked in steps like all the others.
    pub(super) async fn describe_largest(
        &mut self,
        redis: &mut Redis,
        speed: Speed,
    ) -> Result<Vec<BigKey>, RedisError> {
        let mut keys: Vec<(u64, Vec<u8>)> =
            std::mem::take(&mut self.largest).into_iter().map(|Reverse(key)| key).collect();
        keys.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        keys.dedup_by(|a, b| a.1 == b.1);
        let mut largest = Vec::with_capacity(keys.len());
        for (bytes, key) in keys {
            let begun = Instant::now();
            let Some((shape, ttl)) = shape(redis, &key, bytes).await? else { continue };
            let one_shot = speed.one_shot(&shape);
            let Shape { kind, elements, .. } = shape;
            largest.push(BigKey { slot: slot_of_key(&key), key, kind, elements, bytes, ttl, one_shot });
            self.pause(begun.elapsed()).await;
        }
        Ok(largest)
    }
}

/// What a key is and how long it lives; `None` if it is gone.
async fn shape(
    redis: &mut Redis,
    key: &[u8],
    bytes: u64,
) -> Result<Option<(Shape, Option<Duration>)>, RedisError> {
    let mut pipe = redis::Pipeline::new();
    pipe.cmd("TYPE").arg(key).cmd("PTTL").arg(key).cmd("OBJECT").arg("ENCODING").arg(key);
    let replies = redis.conn().pipeline("TYPE", &pipe, Duration::ZERO).await?;
    let word = replies.first().and_then(Reply::text).unwrap_or_default();
    let left = replies.get(1).and_then(Reply::int).unwrap_or(-2);
    if word == "none" || left == -2 {
        return Ok(None);
    }
    let ttl = u64::try_from(left).ok().map(Duration::from_millis);
    let kind = Kind::of(&word);
    let encoding = replies.get(2).and_then(Reply::text).unwrap_or_default();
    let packed = PACKED.contains(&encoding.as_str());
    let mut pipe = redis::Pipeline::new();
    match kind {
        Kind::String => pipe.cmd("STRLEN").arg(key).cmd("GETRANGE").arg(key).arg(0).arg(STRING_BYTES - 1),
        Kind::Hash => pipe.cmd("HLEN").arg(key).cmd("HSCAN").arg(key).arg(0).arg("COUNT").arg(VALUES),
        Kind::List => pipe.cmd("LLEN").arg(key).cmd("LRANGE").arg(key).arg(0).arg(VALUES - 1),
        Kind::Set => pipe.cmd("SCARD").arg(key).cmd("SRANDMEMBER").arg(key).arg(VALUES),
        Kind::Zset => pipe.cmd("ZCARD").arg(key).cmd("ZRANGE").arg(key).arg(0).arg(VALUES - 1),
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
    let stubborn = match (replies.get(1), &*encoding) {
        // Numbers of four bytes, of which a text tells nothing.
        (_, "intset") => 0.5,
        (Some(values), _) if packed || matches!(kind, Kind::String | Kind::List | Kind::Stream) => {
            stubborn_share(values)
        }
        (Some(values), _) => stubborn_elements(kind, values, elements, bytes),
        (None, _) => 0.0,
    };
    Ok(Some((Shape { kind, packed, elements, bytes, stubborn }, ttl)))
}

/// Share of the values in a reply that does not compress, as they lie together in one block.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn stubborn_share(reply: &Reply) -> f64 {
    let mut block = Vec::new();
    each_value(reply, &mut |value| block.extend_from_slice(value));
    if block.len() <= SHORTEST_PACKED {
        return 0.0;
    }
    packed_len(&block) as f64 / block.len() as f64
}

/// Share of a key's memory that does not compress, where each of its elements is compressed by itself: from some of them.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn stubborn_elements(kind: Kind, reply: &Reply, elements: u64, bytes: u64) -> f64 {
    let (mut values, mut stubborn) = (0usize, 0);
    each_value(reply, &mut |value| {
        values += 1;
        if value.len() > SHORTEST_PACKED {
            stubborn += packed_len(value);
        }
    });
    // A field and its value are one element.
    let seen = if kind == Kind::Hash { values / 2 } else { values };
    if seen == 0 || bytes == 0 {
        return 0.0;
    }
    stubborn as f64 / seen as f64 * elements as f64 / bytes as f64
}

fn packed_len(value: &[u8]) -> usize {
    lz4_flex::block::compress(value).len().min(value.len())
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

//! Looking through a whole server to say what moving its slots would take: keys and bytes of each slot, and the keys that are too
//! big to move in one piece. It only reads, in steps so small that nobody notices.

mod describe;
mod one_shot;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use codis_core::{Addr, PROBE_KEYS, SLOT_COUNT, SlotId, SlotSet, slot_of_key};

pub(crate) use describe::{if_big, worst_first};
pub use one_shot::{Kind, OneShot, Speed};

use crate::{ConnectOptions, Redis, RedisCause, RedisError, Reply, scan::scan_reply};

/// Keys looked at in one step: some tenths of a millisecond of the server's time; more where it need not be spared.
const STEP: usize = 100;
const LONG_STEP: usize = 500;
/// Keys that are described at most; of more, those that are found first.
const MOST_BIG: usize = 10_000;
/// Keys that are dumped to find out how fast the server is, and their sizes in memory.
const SAMPLES: usize = 32;
const SAMPLE_BYTES: std::ops::Range<u64> = 4 << 10..128 << 10;
/// Steps of which the quickest tells what one costs the server: the others waited for somebody, too.
const LATEST: usize = 32;
/// Longest pause between two steps.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct SurveyOptions<'a> {
    /// Keys of other slots are passed over; `None`: every key counts.
    pub only: Option<&'a SlotSet>,
    /// Share of one core of the server that may be used, above 0; `None`: as fast as it answers.
    pub duty: Option<f64>,
    /// Keys that would hold a server up for longer are described.
    pub budget: Duration,
    /// So many of the keys that take the most memory are described, too, whatever they would hold up.
    pub largest: usize,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotSize {
    /// Keys.
    pub keys: u64,
    /// Memory that they take, as the server estimates it; 0 if it does not know (before version 4).
    pub bytes: u64,
}

/// A key that is too big to move in one piece within the budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BigKey {
    /// Its slot.
    pub slot: SlotId,
    /// Its name.
    pub key: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its elements; bytes of a string.
    pub elements: u64,
    /// Memory that it takes.
    pub bytes: u64,
    /// What is left of its life; `None`: it stays.
    pub ttl: Option<Duration>,
    /// What moving it in one piece would take.
    pub one_shot: OneShot,
}

/// What a server holds.
#[derive(Debug, Clone)]
pub struct Survey {
    /// By slot.
    pub by_slot: Vec<SlotSize>,
    /// Keys above the budget, the longest stall first.
    pub big: Vec<BigKey>,
    /// The keys that take the most memory, those first; as many as were asked for.
    pub largest: Vec<BigKey>,
    /// The server can tell sizes; else there is nothing in `big`.
    pub sized: bool,
    /// The stalls are for this server, not only for one like ours.
    pub calibrated: bool,
    /// How fast the server is, for those who judge single keys later.
    pub speed: Speed,
    /// How long it took.
    pub took: Duration,
    /// Longest wait for an answer: what the server was busy with, for whomever, and the way there and back.
    pub slowest_answer: Duration,
}

/// Looks through the server; `looked_at` is told the number of keys now and then. A key may be counted twice where the server's
/// table is being resized. Reads only.
///
/// # Errors
/// With address and command; `Unsafe` if the server is still loading.
pub async fn survey(
    addr: &Addr,
    options: &ConnectOptions,
    how: &SurveyOptions<'_>,
    mut looked_at: impl FnMut(u64),
) -> Result<Survey, RedisError> {
    let mut redis = Redis::connect(addr, options).await?;
    let info = redis.info().await?;
    if info.loading {
        return Err(RedisError::new(addr, "SCAN", RedisCause::Unsafe("it is still loading".into())));
    }
    // MEMORY came with version 4.
    let sized = info.major() >= 4;
    let begun = Instant::now();
    let mut look = Look::new(sized, how);
    let mut cursor = Some("0".to_owned());
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut seen = 0;
    while cursor.is_some() || !keys.is_empty() {
        let (next, found, took) = look.step(&mut redis, cursor.as_deref(), keys).await?;
        cursor = next.filter(|cursor| cursor != "0");
        seen += found.len() as u64;
        keys = found;
        if let Some(only) = how.only {
            keys.retain(|key| only.contains(slot_of_key(key)));
        }
        looked_at(seen);
        look.pause(took).await;
    }
    let (speed, calibrated) = match look.calibrate(&mut redis).await? {
        Some(speed) => (speed, true),
        None => (Speed::default(), false),
    };
    let big = look.describe_big(&mut redis, speed).await?;
    let largest = look.describe_largest(&mut redis, speed).await?;
    Ok(Survey {
        by_slot: look.by_slot,
        big,
        largest,
        sized,
        calibrated,
        speed,
        took: begun.elapsed(),
        slowest_answer: look.slowest_answer,
    })
}

/// A survey under way.
struct Look<'a> {
    sized: bool,
    how: SurveyOptions<'a>,
    by_slot: Vec<SlotSize>,
    /// Keys that may be big, with their memory.
    suspects: Vec<(Vec<u8>, u64)>,
    known: HashSet<Vec<u8>>,
    /// The largest so far, the smallest of them on top.
    largest: BinaryHeap<Reverse<(u64, Vec<u8>)>>,
    /// Keys of moderate size.
    samples: Vec<(Vec<u8>, u64)>,
    slowest_answer: Duration,
    latest: VecDeque<Duration>,
}

impl<'a> Look<'a> {
    fn new(sized: bool, how: &SurveyOptions<'a>) -> Self {
        Self {
            sized,
            how: *how,
            by_slot: vec![SlotSize::default(); usize::from(SLOT_COUNT)],
            suspects: Vec::new(),
            known: HashSet::new(),
            largest: BinaryHeap::new(),
            samples: Vec::new(),
            slowest_answer: Duration::ZERO,
            latest: VecDeque::with_capacity(LATEST),
        }
    }

    /// Sizes of these keys, and the next page after `cursor`, in one go.
    async fn step(
        &mut self,
        redis: &mut Redis,
        cursor: Option<&str>,
        keys: Vec<Vec<u8>>,
    ) -> Result<(Option<String>, Vec<Vec<u8>>, Duration), RedisError> {
        let mut pipe = redis::Pipeline::with_capacity(keys.len() + 1);
        if self.sized {
            for key in &keys {
                pipe.cmd("MEMORY").arg("USAGE").arg(key);
            }
        }
        if let Some(cursor) = cursor {
            pipe.cmd("SCAN").arg(cursor).arg("COUNT").arg(if self.how.duty.is_some() {
                STEP
            } else {
                LONG_STEP
            });
        }
        if pipe.is_empty() {
            self.take(keys, &[]);
            return Ok((None, Vec::new(), Duration::ZERO));
        }
        let (mut replies, took) = redis.conn().timed("SCAN", &pipe, Duration::ZERO).await?;
        let page = match cursor {
            Some(_) => match replies.pop().map(scan_reply) {
                Some(Ok(page)) => Some(page),
                Some(Err(reply)) => return Err(redis.conn().unexpected("SCAN", &reply)),
                None => None,
            },
            None => None,
        };
        self.take(keys, &replies);
        let (next, found) = page.map_or((None, Vec::new()), |(next, found)| (Some(next), found));
        Ok((next, found, took))
    }

    /// Counts keys and their sizes. One that is gone meanwhile counts nothing.
    fn take(&mut self, keys: Vec<Vec<u8>>, sizes: &[Reply]) {
        let suspicious = Speed::default().harmless_bytes(self.how.budget) / 4;
        for (at, key) in keys.into_iter().enumerate() {
            let bytes = match sizes.get(at) {
                Some(Reply::Int(bytes)) => u64::try_from(*bytes).unwrap_or_default(),
                Some(_) => continue,
                None => 0,
            };
            if key.starts_with(PROBE_KEYS) {
                continue;
            }
            let slot = &mut self.by_slot[slot_of_key(&key).index()];
            slot.keys += 1;
            slot.bytes += bytes;
            // The server may turn out to be slower than most, so more are looked at again than will be called big.
            self.weigh(&key, bytes);
            if SAMPLE_BYTES.contains(&bytes) && self.samples.len() < SAMPLES {
                self.samples.push((key.clone(), bytes));
            }
            if bytes > suspicious && self.suspects.len() < MOST_BIG && self.known.insert(key.clone()) {
                self.suspects.push((key, bytes));
            }
        }
    }

    /// Keeps the key if it is one of the largest. It may come a second time where the server's table is being resized.
    fn weigh(&mut self, key: &[u8], bytes: u64) {
        let full = self.largest.len() == self.how.largest;
        let smallest = self.largest.peek().map_or(0, |Reverse((bytes, _))| *bytes);
        if self.how.largest == 0 || bytes == 0 || full && bytes <= smallest {
            return;
        }
        if full {
            self.largest.pop();
        }
        self.largest.push(Reverse((bytes, key.to_vec())));
    }

    /// Leaves the server to others for its share of the time.
    async fn pause(&mut self, took: Duration) {
        self.slowest_answer = self.slowest_answer.max(took);
        let Some(duty) = self.how.duty.filter(|duty| *duty > 0.0 && *duty < 1.0) else { return };
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(took);
        let cost = self.latest.iter().min().copied().unwrap_or(took);
        tokio::time::sleep(cost.mul_f64(1.0 / duty - 1.0).min(LONGEST_PAUSE)).await;
    }
}

//! Looking through a server for the keys of some slots.
//!
//! A SCAN from cursor 0 to cursor 0 returns every key that was there all the time. It proves
//! something only if one and the same data set answered all of it: a cursor means nothing on another
//! server, nor after a resynchronisation. So a [`Scan`] lives on one connection (which no restart
//! survives) and checks at the end that the server was a master throughout, with the same history.

use std::time::Duration;

use codis_core::{Addr, SLOT_COUNT, SlotId, SlotSet, slot_of_key};
use rand::Rng as _;

use crate::{
    BigKey, ConnectOptions, LiveRole, Redis, RedisCause, RedisError, Reply, Speed, handover::PROBE,
    survey::if_big,
};

/// Keys looked at per SCAN: a fraction of a millisecond of the server's time.
const PAGE: usize = 1000;
/// Keys named in a [`SlotKeys`].
const NAMED: usize = 10;

/// A key of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub key: Vec<u8>,
    /// Its size in memory as the server estimates it; 0 where it was not asked for.
    pub bytes: u64,
}

/// Slots as a table, for one look-up per scanned key.
#[derive(Clone)]
struct SlotTable([bool; SLOT_COUNT as usize]);

impl SlotTable {
    fn new(slots: &SlotSet) -> Self {
        let mut table = [false; SLOT_COUNT as usize];
        for slot in slots.iter() {
            table[slot.index()] = true;
        }
        Self(table)
    }

    fn has(&self, key: &[u8]) -> bool {
        self.0[slot_of_key(key).index()]
    }
}

/// A scan in progress.
pub struct Scan {
    redis: Redis,
    slots: SlotTable,
    cursor: String,
    done: bool,
    replid: String,
    sizes: bool,
}

impl Scan {
    /// Starts at cursor 0, on a connection of its own. With `sizes` each key found is sized, too.
    ///
    /// # Errors
    /// No connection, or a server that is not a master or still loads.
    pub async fn open(
        addr: &Addr,
        options: &ConnectOptions,
        slots: &SlotSet,
        sizes: bool,
    ) -> Result<Self, RedisError> {
        let mut redis = Redis::connect(addr, options).await?;
        let info = redis.info().await?;
        if info.role != LiveRole::Master || info.loading {
            let why = if info.loading { "it is still loading" } else { "it is a slave" };
            return Err(RedisError::new(addr, "SCAN", RedisCause::Unsafe(why.into())));
        }
        // MEMORY came with Redis 4.
        let sizes = sizes && info.major() >= 4;
        let slots = SlotTable::new(slots);
        Ok(Self { redis, slots, cursor: "0".into(), done: false, replid: info.replid, sizes })
    }

    /// The keys of the slots on the next page (often none), or `None` at the end. A key may be
    /// returned twice.
    ///
    /// # Errors
    /// With address and command. At the end: `Unexpected` if the data set was replaced meanwhile.
    pub async fn page(&mut self) -> Result<Option<Vec<Found>>, RedisError> {
        if self.done {
            self.same_data_set().await?;
            return Ok(None);
        }
        let (next, keys) = scan_once(&mut self.redis, &self.cursor, PAGE).await?;
        self.done = next == "0";
        self.cursor = next;
        let keys: Vec<Vec<u8>> = keys.into_iter().filter(|key| self.slots.has(key)).collect();
        Ok(Some(self.sized(keys).await?))
    }

    async fn sized(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<Found>, RedisError> {
        if !self.sizes || keys.is_empty() {
            return Ok(keys.into_iter().map(|key| Found { key, bytes: 0 }).collect());
        }
        let mut pipe = redis::Pipeline::with_capacity(keys.len());
        for key in &keys {
            pipe.cmd("MEMORY").arg("USAGE").arg(key);
        }
        let replies = self.redis.conn().pipeline("MEMORY USAGE", &pipe, Duration::ZERO).await?;
        let size = |reply: &Reply| reply.int().unwrap_or_default().max(0) as u64;
        Ok(keys.into_iter().zip(&replies).map(|(key, reply)| Found { key, bytes: size(reply) }).collect())
    }

    /// Whether moving this key in one piece would hold a server of this speed up for longer than `budget`.
    pub(crate) async fn if_big(
        &mut self,
        found: &Found,
        speed: Speed,
        budget: Duration,
    ) -> Result<Option<BigKey>, RedisError> {
        if_big(&mut self.redis, found.key.clone(), found.bytes, speed, budget).await
    }

    async fn same_data_set(&mut self) -> Result<(), RedisError> {
        let info = self.redis.info().await?;
        if info.role == LiveRole::Master && info.replid == self.replid {
            return Ok(());
        }
        let cause = RedisCause::Unexpected("its data set was replaced during the scan".into());
        Err(RedisError::new(self.redis.conn().addr(), "SCAN", cause))
    }
}

async fn scan_once(
    redis: &mut Redis,
    cursor: &str,
    count: usize,
) -> Result<(String, Vec<Vec<u8>>), RedisError> {
    let reply = redis.conn().call(redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(count)).await?;
    scan_reply(reply).map_err(|reply| redis.conn().unexpected("SCAN", &reply))
}

/// The next cursor and the keys of an answer to SCAN, or the answer if it is something else.
pub(crate) fn scan_reply(reply: Reply) -> Result<(String, Vec<Vec<u8>>), Reply> {
    if let Reply::Array(items) = &reply
        && let [next, Reply::Array(keys)] = &items[..]
        && let Some(next) = next.text()
    {
        let key = |reply: &Reply| match reply {
            Reply::Bulk(bytes) => Some(bytes.clone()),
            _ => None,
        };
        return Ok((next, keys.iter().filter_map(key).collect()));
    }
    Err(reply)
}

/// Keys of some slots on a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotKeys {
    /// How many were seen.
    pub count: u64,
    /// The first ten.
    pub some: Vec<Vec<u8>>,
}

impl SlotKeys {
    fn add(&mut self, key: Vec<u8>) {
        self.count += 1;
        if self.some.len() < NAMED {
            self.some.push(key);
        }
    }
}

/// All keys of the slots on a server, counted by a full scan. A probe key that a killed mover has left
/// behind is not one of them: it is nobody's data, and gone within seconds.
///
/// # Errors
/// As [`Scan`].
pub async fn scan_slots(
    addr: &Addr,
    options: &ConnectOptions,
    slots: &SlotSet,
) -> Result<SlotKeys, RedisError> {
    let mut scan = Scan::open(addr, options, slots, false).await?;
    let mut keys = SlotKeys::default();
    while let Some(page) = scan.page().await? {
        page.into_iter().filter(|found| !found.key.starts_with(PROBE)).for_each(|found| keys.add(found.key));
    }
    Ok(keys)
}

/// Looks for keys of the slots at `pages` random places of a server. Finding none proves nothing,
/// but after a complete move it would find what a whole class of faults leaves behind.
///
/// # Errors
/// With address and command.
pub async fn sample_slots(
    addr: &Addr,
    options: &ConnectOptions,
    slots: &SlotSet,
    pages: usize,
) -> Result<SlotKeys, RedisError> {
    let mut redis = Redis::connect(addr, options).await?;
    let table = SlotTable::new(slots);
    let mut keys = SlotKeys::default();
    for _ in 0..pages {
        let place = rand::rng().random_range(0..1u64 << 40).to_string();
        let (_, page) = scan_once(&mut redis, &place, PAGE / 10).await?;
        page.into_iter().filter(|key| table.has(key)).for_each(|key| keys.add(key));
    }
    Ok(keys)
}

/// How many keys of each slot a server holds, by a full scan.
///
/// # Errors
/// As [`Scan`].
pub async fn count_by_slot(addr: &Addr, options: &ConnectOptions) -> Result<Vec<u64>, RedisError> {
    let all: SlotSet = SlotId::all().collect();
    let mut scan = Scan::open(addr, options, &all, false).await?;
    let mut counts = vec![0; usize::from(SLOT_COUNT)];
    while let Some(page) = scan.page().await? {
        page.iter().for_each(|found| counts[slot_of_key(&found.key).index()] += 1);
    }
    Ok(counts)
}

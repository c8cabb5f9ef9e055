//! Looking at a few requests closely, to know which keys are hot, and at the biggest replies.
//!
//! How few depends on how many there are: when there is little to do every request is looked at, and never
//! many more than [`PER_TICK`] between two ticks. So it costs next to nothing at any load.

use codis_admin::BigReply;
use codis_core::{Addr, SlotId, slot_of_key};

use super::{
    Worker,
    backend::BackendId,
    dispatch::Frame,
    failures::command_of,
    pending::{Asker, Pending},
};
use crate::{
    hot::{HotReport, Sketch},
    journal::now_ms,
};

/// Requests that are looked at between two ticks.
const PER_TICK: u64 = 250;
/// By how much more are passed over when so many were looked at before the next tick.
const BURST: u64 = 4;
/// Most requests that are passed over for one that is looked at.
const MAX_GAP: u64 = 10_000;
/// Keys of one request that are looked at.
const KEYS: usize = 16;
/// How long a sketch gathers before it is put behind a new one, and big replies likewise; microseconds.
const SKETCH_TIME: u64 = 30_000_000;
const BIG_TIME: u64 = 600_000_000;
/// Big replies that are kept, and from which size on.
const BIG_KEPT: usize = 32;
const BIG_FROM: usize = 1024;

/// What has been seen lately.
#[derive(Debug)]
pub(super) struct Sampler {
    enabled: bool,
    /// Requests that one stands for which is looked at.
    gap: u64,
    /// Requests that were looked at since the last tick.
    looked: u64,
    /// Requests before the last tick.
    requests: u64,
    random: u32,
    sketch: Generations<Sketch>,
    big: Generations<Vec<Big>>,
}

/// Something of now, and the same of the time before.
#[derive(Debug, Default)]
struct Generations<T> {
    since: u64,
    now: T,
    before: Option<(u64, T)>,
}

impl<T: Default> Generations<T> {
    /// Begins anew if it is time; what was before is forgotten.
    fn rotate(&mut self, now: u64, after: u64) -> bool {
        let over = now.saturating_sub(self.since) >= after;
        if over {
            self.before = Some((self.since, std::mem::take(&mut self.now)));
            self.since = now;
        }
        over
    }
}

#[derive(Debug, Clone)]
struct Big {
    pending: Pending,
    slot: Option<SlotId>,
    backend: Addr,
    bytes: usize,
    ts_ms: u64,
    times: u64,
}

impl Sampler {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            gap: 1,
            looked: 0,
            requests: 0,
            random: rand::random::<u32>() | 1,
            sketch: Generations::default(),
            big: Generations::default(),
        }
    }

    /// In how many requests one is looked at again, and the size from which on a reply is.
    pub(super) fn thresholds(&self) -> (u32, usize) {
        if self.enabled { (1, BIG_FROM) } else { (u32::MAX, usize::MAX) }
    }

    /// A number below `below`; an xorshift generator, good enough to meet no pattern.
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        u64::from(self.random) % below.max(1)
    }
}

impl Worker {
    /// Looks at a request. Called for one in `gap`.
    #[cold]
    pub(super) fn sample(&mut self, frame: Frame<'_>) {
        if !self.sampler.enabled {
            return;
        }
        let gap = self.sampler.gap;
        self.sampler.looked += 1;
        if self.sampler.looked.is_multiple_of(PER_TICK) {
            // A burst does not wait for the tick.
            self.sampler.gap = (gap * BURST).min(MAX_GAP);
        }
        // The gap on average, so that a client which repeats itself is seen from all sides.
        self.sample_in = 1 + self.sampler.draw(2 * gap - 1) as u32;
        let Some(command) = command_of(frame) else { return };
        let row = command.command();
        if !row.takes(frame.args.len()) {
            return;
        }
        let mut keys: usize = 0;
        if row.each_key(frame.bytes, frame.args, |_| keys += 1).is_err() || keys == 0 {
            return;
        }
        let stride = keys.div_ceil(KEYS);
        let first = self.sampler.draw(stride as u64) as usize;
        let sketch = &mut self.sampler.sketch.now;
        sketch.looked();
        let mut place = 0;
        // The keys have been found once already, so they are found again.
        let _ = row.each_key(frame.bytes, frame.args, |at| {
            if place % stride == first {
                let key = frame.arg(at);
                sketch.add(command, slot_of_key(key), key, gap * stride as u64);
            }
            place += 1;
        });
    }

    /// Notes a reply that may be among the biggest.
    #[cold]
    pub(super) fn big_reply(&mut self, backend: BackendId, pending: &Pending, bytes: usize) {
        let slot = match pending.asker {
            Asker::Session { slot, .. } | Asker::Away { slot, .. } => Some(slot),
            Asker::Split { split, part } => self.part_of(split, part).and_then(|(_, slot)| slot),
            Asker::Pinned { .. } => self.backends[backend].pinned.as_ref().and_then(|pinned| pinned.slot()),
            Asker::Own { .. } | Asker::Proxy(_) => return,
        };
        let backend = self.backends[backend].addr.clone();
        let big = &mut self.sampler.big.now;
        let same = |one: &&mut Big| {
            one.pending.command == pending.command && one.pending.key == pending.key && one.slot == slot
        };
        if let Some(known) = big.iter_mut().find(same) {
            known.times += 1;
            known.bytes = known.bytes.max(bytes);
            known.ts_ms = now_ms();
            return;
        }
        let one = Big { pending: *pending, slot, backend, bytes, ts_ms: now_ms(), times: 1 };
        if big.len() < BIG_KEPT {
            big.push(one);
        } else if let Some(least) = big.iter_mut().min_by_key(|one| one.bytes) {
            *least = one;
        }
        if big.len() == BIG_KEPT {
            self.big_from = big.iter().map(|one| one.bytes).min().unwrap_or_default().max(BIG_FROM);
        }
    }

    /// Adapts to how much there is to do, and lets go of what is old.
    pub(super) fn tick_sampler(&mut self) {
        let sampler = &mut self.sampler;
        if !sampler.enabled {
            return;
        }
        // A request that is put back is not counted before it comes again, so there may be fewer.
        let before = std::mem::replace(&mut sampler.requests, self.totals.requests);
        let requests = self.totals.requests.saturating_sub(before);
        sampler.gap = (requests / PER_TICK).clamp(1, MAX_GAP);
        sampler.looked = 0;
        // After a burst it must not take long until the next one is looked at.
        self.sample_in = self.sample_in.min(2 * sampler.gap as u32);
        sampler.sketch.rotate(self.now, SKETCH_TIME);
        if sampler.big.rotate(self.now, BIG_TIME) {
            self.big_from = BIG_FROM;
        }
    }

    /// What this worker has seen lately.
    pub(super) fn hot_report(&self) -> HotReport {
        let sketches = &self.sampler.sketch;
        let since = sketches.before.as_ref().map_or(sketches.since, |(since, _)| *since);
        let before = sketches.before.as_ref().map(|(_, sketch)| sketch);
        let big = &self.sampler.big;
        let big_before = big.before.iter().flat_map(|(_, big)| big);
        let one = |big: &Big| BigReply {
            bytes: big.bytes as u64,
            ts_ms: big.ts_ms,
            command: big.pending.command.command().name.to_owned(),
            key: big.pending.key.text(),
            slot: big.slot.map(SlotId::get),
            backend: big.backend.to_string(),
            times: big.times,
        };
        HotReport {
            seconds: self.now.saturating_sub(since) as f64 / 1e6,
            sketches: before.into_iter().chain([&sketches.now]).cloned().collect(),
            big: big.now.iter().chain(big_before).map(one).collect(),
        }
    }
}

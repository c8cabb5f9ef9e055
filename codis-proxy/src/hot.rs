//! Which keys and slots are asked for most: a sketch of bounded size, and what those of several workers
//! come to together.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
};

use codis_admin::{BigReply, CommandCount, HotKey, HotPage, HotSlot};
use codis_core::{SLOT_COUNT, SlotId};
use codis_resp::CommandId;

/// Counters of a sketch. A key with more than its share of the requests is never missed.
const COUNTERS: usize = 512;
/// Bytes of a key that are kept.
const KEPT: usize = 64;
/// Rows of a list that is shown.
const SHOWN: usize = 100;

/// A command on a key.
#[derive(Debug, Clone)]
struct Counter {
    /// Tells keys apart that begin alike.
    hash: u64,
    command: CommandId,
    slot: SlotId,
    key: Vec<u8>,
    shortened: bool,
    /// What another one had counted when this took its place.
    error: u64,
}

/// Counts what is most frequent in bounded space: who is not counted yet takes the place of a rare one, with
/// its count (Space-Saving, by Metwally, Agrawal and El Abbadi).
#[derive(Debug, Clone, Default)]
pub(crate) struct Sketch {
    counters: Vec<Counter>,
    /// Their counts, side by side.
    counts: Vec<u64>,
    places: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    /// Up to this a counter is rare, and those before `next` are not.
    rare: u64,
    next: usize,
    slots: Vec<u64>,
    samples: u64,
    weight: u64,
}

impl Sketch {
    /// A request was looked at.
    pub(crate) fn looked(&mut self) {
        self.samples += 1;
    }

    /// A key of it, which stands for as many as `weight`.
    pub(crate) fn add(&mut self, command: CommandId, slot: SlotId, key: &[u8], weight: u64) {
        self.weight += weight;
        if self.slots.is_empty() {
            self.slots.resize(usize::from(SLOT_COUNT), 0);
        }
        self.slots[slot.index()] += weight;
        let hash = hash_of(command, key);
        if let Some(place) = self.places.get(&hash) {
            self.counts[*place] += weight;
            return;
        }
        let counted = Counter { hash, command, slot, shortened: key.len() > KEPT, error: 0, key: Vec::new() };
        let place = self.place_for(weight, counted);
        self.places.insert(hash, place);
        // The room of the one before is used again.
        self.counters[place].key.extend_from_slice(&key[..key.len().min(KEPT)]);
        self.counts[place] += weight;
    }

    /// Gives a counter to a key that has none: a free one, or a rare one's with what that has counted.
    fn place_for(&mut self, weight: u64, mut counted: Counter) -> usize {
        if self.counters.len() < COUNTERS {
            self.counters.push(counted);
            self.counts.push(0);
            return self.counters.len() - 1;
        }
        let place = self.rare(weight);
        let counter = &mut self.counters[place];
        counted.error = self.counts[place];
        counted.key = std::mem::take(&mut counter.key);
        counted.key.clear();
        self.places.remove(&counter.hash);
        *counter = counted;
        place
    }

    /// A counter that is among the rarest. To look at all of them for the very rarest one costs more than all
    /// the rest, so those that were as rare a moment ago are taken first.
    fn rare(&mut self, weight: u64) -> usize {
        let rest = &self.counts[self.next..];
        if let Some(found) = rest.iter().position(|count| *count <= self.rare) {
            self.next += found + 1;
            return self.next - 1;
        }
        let least = self.counts.iter().copied().min().unwrap_or_default();
        self.rare = least + weight;
        let found = self.counts.iter().position(|count| *count <= self.rare).unwrap_or_default();
        self.next = found + 1;
        found
    }
}

/// Passes on what is a hash already.
#[derive(Debug, Clone, Copy, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn hash_of(command: CommandId, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    command.hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}

/// What a worker has seen lately.
#[derive(Debug, Clone, Default)]
pub(crate) struct HotReport {
    /// Seconds that the sketches go back.
    pub(crate) seconds: f64,
    /// One after the other in time.
    pub(crate) sketches: Vec<Sketch>,
    /// The biggest replies.
    pub(crate) big: Vec<BigReply>,
}

/// A key in the making of the page.
#[derive(Default)]
struct Sum {
    slot: u16,
    requests: u64,
    error: u64,
    commands: HashMap<CommandId, u64>,
}

/// `/hotkeys`, from what all workers have seen.
pub(crate) fn page(reports: Vec<HotReport>) -> HotPage {
    let mut sums: HashMap<(Vec<u8>, bool, u64), Sum> = HashMap::new();
    let mut slots = vec![0; usize::from(SLOT_COUNT)];
    let mut page = HotPage { enabled: true, ..HotPage::default() };
    for report in reports {
        page.seconds = page.seconds.max(report.seconds);
        page.big_replies.extend(report.big);
        for sketch in report.sketches {
            page.sampled += sketch.samples;
            page.requests += sketch.weight;
            slots.iter_mut().zip(&sketch.slots).for_each(|(sum, more)| *sum += more);
            for (counter, count) in sketch.counters.into_iter().zip(sketch.counts) {
                let Counter { command, slot, key, shortened, error, .. } = counter;
                // Two long keys that begin alike are told apart by their slots at best.
                let sum = sums.entry((key, shortened, u64::from(slot.get()))).or_default();
                sum.slot = slot.get();
                sum.requests += count;
                sum.error += error;
                *sum.commands.entry(command).or_default() += count;
            }
        }
    }
    page.keys = sums.into_iter().map(|((key, shortened, _), sum)| hot_key(&key, shortened, sum)).collect();
    page.keys.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.key.cmp(&b.key)));
    page.keys.truncate(SHOWN);
    let one = |(slot, requests): (usize, &u64)| HotSlot { slot: slot as u16, requests: *requests };
    page.slots = slots.iter().enumerate().map(one).filter(|slot| slot.requests > 0).collect();
    page.slots.sort_by_key(|slot| std::cmp::Reverse(slot.requests));
    page.slots.truncate(SHOWN);
    page.big_replies = merged(page.big_replies);
    page
}

fn hot_key(key: &[u8], shortened: bool, sum: Sum) -> HotKey {
    let mut text = key.escape_ascii().to_string();
    if shortened {
        text.push('…');
    }
    let name = |command: CommandId| command.command().name.to_owned();
    let one = |(command, requests)| CommandCount { command: name(command), requests };
    let mut commands: Vec<CommandCount> = sum.commands.into_iter().map(one).collect();
    commands.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.command.cmp(&b.command)));
    HotKey { key: text, slot: sum.slot, requests: sum.requests, error: sum.error, commands }
}

/// The same reply met by several workers once, the biggest first.
fn merged(replies: Vec<BigReply>) -> Vec<BigReply> {
    let mut sums: Vec<BigReply> = Vec::new();
    for reply in replies {
        let same = |other: &&mut BigReply| {
            (&other.command, &other.key, &other.backend) == (&reply.command, &reply.key, &reply.backend)
        };
        match sums.iter_mut().find(same) {
            Some(sum) => {
                sum.bytes = sum.bytes.max(reply.bytes);
                sum.ts_ms = sum.ts_ms.max(reply.ts_ms);
                sum.times += reply.times;
            }
            None => sums.push(reply),
        }
    }
    sums.sort_by_key(|reply| std::cmp::Reverse(reply.bytes));
    sums.truncate(SHOWN);
    sums
}

#[cfg(test)]
mod tests {
    use codis_core::slot_of_key;
    use codis_resp::lookup;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn add(sketch: &mut Sketch, command: &str, key: &str, weight: u64) {
        sketch.looked();
        sketch.add(lookup(command.as_bytes()).unwrap(), slot_of_key(key.as_bytes()), key.as_bytes(), weight);
    }

    fn report(sketches: Vec<Sketch>) -> HotReport {
        HotReport { seconds: 1.0, sketches, big: Vec::new() }
    }

    #[test]
    fn the_ten_hottest_of_a_zipf_load_are_found_among_50_000_keys() {
        let keys = 50_000;
        let mut shares: Vec<f64> = (1..=keys).map(|rank| 1.0 / f64::from(rank)).collect();
        let mut sum = 0.0;
        shares.iter_mut().for_each(|share| {
            sum += *share;
            *share = sum;
        });
        let mut rng = StdRng::seed_from_u64(4);
        // Two workers with two sketches each.
        let mut sketches = vec![Sketch::default(); 4];
        let mut counts = vec![0_u64; keys as usize];
        for request in 0..250_000 {
            let at = rng.random_range(0.0..sum);
            let key = shares.partition_point(|share| *share < at);
            counts[key] += 1;
            add(&mut sketches[request % 4], "GET", &format!("key:{key}"), 1);
        }
        let page = page(sketches.chunks(2).map(|sketches| report(sketches.to_vec())).collect());
        let mut ranks: Vec<usize> = (0..keys as usize).collect();
        ranks.sort_by_key(|key| std::cmp::Reverse(counts[*key]));
        for (hot, key) in page.keys.iter().zip(&ranks[..10]) {
            assert_eq!(hot.key, format!("key:{key}"), "{:?}", &page.keys[..12]);
            assert!(hot.requests >= counts[*key] && hot.requests - hot.error <= counts[*key], "{hot:?}");
        }
        assert_eq!((page.requests, page.sampled, page.keys.len()), (250_000, 250_000, SHOWN));
    }

    #[test]
    fn a_key_is_told_with_its_slot_and_its_commands() {
        let mut sketch = Sketch::default();
        (0..3).for_each(|_| add(&mut sketch, "GET", "a", 2));
        add(&mut sketch, "SET", "a", 2);
        add(&mut sketch, "GET", "b\n", 1);
        add(&mut sketch, "GET", &"x".repeat(100), 1);
        let page = page(vec![report(vec![sketch])]);
        let count = |command: &str, requests| CommandCount { command: command.into(), requests };
        let a = &page.keys[0];
        assert_eq!((a.key.as_str(), a.slot, a.requests), ("a", slot_of_key(b"a").get(), 8));
        assert_eq!(a.commands, [count("GET", 6), count("SET", 2)]);
        let names: Vec<&str> = page.keys[1..].iter().map(|key| &key.key[..]).collect();
        assert_eq!(names, ["b\\n", &format!("{}…", "x".repeat(64))]);
        assert_eq!(page.slots[0], HotSlot { slot: slot_of_key(b"a").get(), requests: 8 });
    }

    #[test]
    fn a_reply_that_two_workers_met_is_told_once() {
        let reply = |bytes, key: &str| BigReply {
            bytes,
            command: "GET".into(),
            key: Some(key.into()),
            times: 1,
            ..BigReply::default()
        };
        let reports = [vec![reply(10, "a"), reply(5, "b")], vec![reply(20, "a")]];
        let reports = reports.map(|big| HotReport { big, ..HotReport::default() });
        let page = page(reports.into());
        let told: Vec<_> = page.big_replies.iter().map(|one| (one.bytes, one.times)).collect();
        assert_eq!(told, [(20, 2), (5, 1)]);
    }
}

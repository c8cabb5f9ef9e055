//! Which keys of migrating slots are known to have left the source.
//!
//! Exact, not a filter: taking a key for settled that is not would read past the copy that counts.
//! Forgetting one is harmless, it only costs another hand-over that finds nothing. So the memory is
//! bounded by forgetting.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;

use codis_core::SlotId;

/// Settled keys by slot, at most `limit` of them.
#[derive(Debug)]
pub(crate) struct Settled {
    slots: HashMap<SlotId, HashSet<u128>>,
    count: usize,
    limit: usize,
    hash: (RandomState, RandomState),
}

impl Settled {
    /// An empty set that holds at most `limit` keys (of about 20 bytes each).
    pub(crate) fn new(limit: usize) -> Self {
        Self { slots: HashMap::new(), count: 0, limit: limit.max(1), hash: Default::default() }
    }

    /// Whether the key is known to be settled.
    pub(crate) fn contains(&self, slot: SlotId, key: &[u8]) -> bool {
        self.slots.get(&slot).is_some_and(|keys| keys.contains(&self.digest(key)))
    }

    /// Notes that the key is settled. At the limit the slot with the most keys is forgotten.
    pub(crate) fn insert(&mut self, slot: SlotId, key: &[u8]) {
        let digest = self.digest(key);
        if self.slots.entry(slot).or_default().insert(digest) {
            self.count += 1;
        }
        if self.count > self.limit
            && let Some(&largest) = self.slots.iter().max_by_key(|(_, keys)| keys.len()).map(|(slot, _)| slot)
        {
            self.clear(largest);
        }
    }

    /// Forgets the slot's keys.
    pub(crate) fn clear(&mut self, slot: SlotId) {
        if let Some(keys) = self.slots.remove(&slot) {
            self.count -= keys.len();
        }
    }

    /// How many keys are held.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// 128 bits under two random keys, so that no client can construct a collision.
    fn digest(&self, key: &[u8]) -> u128 {
        u128::from(self.hash.0.hash_one(key)) << 64 | u128::from(self.hash.1.hash_one(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(n: u16) -> SlotId {
        SlotId::new(n).unwrap()
    }

    #[test]
    fn holds_by_slot_until_cleared() {
        let mut settled = Settled::new(100);
        settled.insert(slot(1), b"a");
        settled.insert(slot(1), b"a");
        settled.insert(slot(2), b"b");
        assert_eq!(settled.len(), 2);
        assert!(settled.contains(slot(1), b"a"));
        assert!(!settled.contains(slot(2), b"a"), "a slot knows its own keys only");
        settled.clear(slot(1));
        assert!(!settled.contains(slot(1), b"a"));
        assert!(settled.contains(slot(2), b"b"));
        assert_eq!(settled.len(), 1);
    }

    #[test]
    fn never_grows_past_the_limit() {
        let mut settled = Settled::new(50);
        for n in 0..1000u32 {
            settled.insert(slot((n % 7) as u16), &n.to_be_bytes());
            assert!(settled.len() <= 50);
        }
        assert!(settled.len() > 30, "forgets one slot at a time, not all");
    }
}

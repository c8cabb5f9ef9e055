//! The 1024 slots: numbers, sets of them, the hash of a key, and what a slot node says.

use std::{fmt, str::FromStr};

use memchr::memchr;

use crate::{Extra, GroupId, ParseError};

/// What the names of keys begin with that our programs put into a server for a moment, to see how it moves
/// them. Nobody who lists the keys of a product is shown them.
pub const PROBE_KEYS: &[u8] = b"codis:probe:";

/// How many slots a product has. Fixed by Codis.
pub const SLOT_COUNT: u16 = 1024;

/// Number of a slot, always below [`SLOT_COUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u16);

impl SlotId {
    /// The slot with this number, or `None` from 1024 on.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOT_COUNT).then_some(Self(number))
    }

    /// The number, 0 to 1023.
    pub fn get(self) -> u16 {
        self.0
    }

    /// The number as an index into a table of 1024.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All slots in ascending order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..SLOT_COUNT).map(Self)
    }
}

impl FromStr for SlotId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| ParseError::new(text, "a slot (0-1023)"))
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that decides its slot: what stands between the first `{` and the next `}`,
/// the empty string included, else the whole key. (Redis Cluster ignores an empty tag; Codis does not.)
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr(b'{', key) else { return key };
    match memchr(b'}', &key[open + 1..]) {
        Some(len) => &key[open + 1..open + 1 + len],
        None => key,
    }
}

/// The slot of a key: CRC-32 (IEEE) of its [`hash_tag`], modulo 1024.
pub fn slot_of_key(key: &[u8]) -> SlotId {
    let hash = crc32fast::hash(hash_tag(key));
    SlotId((hash % u32::from(SLOT_COUNT)) as u16)
}

/// A set of slots, written as ranges: `0-511,600`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotSet(Vec<SlotId>);

impl SlotSet {
    /// The slots in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = SlotId> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// How many slots are in the set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the slot is in the set.
    pub fn contains(&self, slot: SlotId) -> bool {
        self.0.binary_search(&slot).is_ok()
    }

    /// Runs of consecutive slots as (first, last), ascending.
    pub fn ranges(&self) -> Vec<(SlotId, SlotId)> {
        let mut ranges: Vec<(SlotId, SlotId)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if last.0 + 1 == slot.0 => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

impl FromIterator<SlotId> for SlotSet {
    fn from_iter<I: IntoIterator<Item = SlotId>>(slots: I) -> Self {
        let mut slots: Vec<SlotId> = slots.into_iter().collect();
        slots.sort_unstable();
        slots.dedup();
        Self(slots)
    }
}

impl FromStr for SlotSet {
    type Err = ParseError;

    /// Slots and ascending ranges, separated by commas. Overlaps are refused: a typing error in a
    /// range is more likely than a wish to name a slot twice.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |part: &str| ParseError::new(part, "a set of slots (e.g. 0-511,600; slots are 0-1023)");
        let mut slots = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: SlotId = first.trim().parse().map_err(|_| wrong(part))?;
            let last: SlotId = last.trim().parse().map_err(|_| wrong(part))?;
            if first > last {
                return Err(ParseError::new(part, "an ascending range of slots"));
            }
            slots.extend((first.0..=last.0).map(SlotId));
        }
        let set: Self = slots.iter().copied().collect();
        if set.len() != slots.len() {
            return Err(ParseError::new(text, "a set of slots without overlaps"));
        }
        Ok(set)
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.ranges().into_iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// State of a slot, in the words of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotStatus {
    /// Not served.
    Offline,
    /// Served by its group.
    Online,
    /// About to move: proxies hold its requests back until all of them have acknowledged.
    PreMigrate,
    /// Moving: served by its group (the destination), keys fetched from the source on demand.
    Migrate,
}

impl SlotStatus {
    /// The word in the node: `offline`, `online`, `pre_migrate` or `migrate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::PreMigrate => "pre_migrate",
            Self::Migrate => "migrate",
        }
    }
}

impl FromStr for SlotStatus {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Offline, Self::Online, Self::PreMigrate, Self::Migrate]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a slot status (offline, online, pre_migrate, migrate)"))
    }
}

impl fmt::Display for SlotStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a slot node says.
///
/// `from` and `to` mean something in [`SlotStatus::Migrate`] only (and in the pre_migrate of a
/// move that goes back); the Go tools leave stale ones behind, which is why they are kept as
/// stored and read through [`Slot::moving`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Which slot.
    pub id: SlotId,
    /// The group that serves it; the destination while it migrates. `None` is stored as -1.
    pub group: Option<GroupId>,
    /// Its state.
    pub status: SlotStatus,
    /// Group that keys are fetched from while it migrates.
    pub from: Option<GroupId>,
    /// Group that keys go to while it migrates.
    pub to: Option<GroupId>,
    /// Unknown fields.
    pub extra: Extra,
}

impl Slot {
    /// A slot as `slot init` writes it: offline, without a group.
    pub fn unassigned(id: SlotId) -> Self {
        Self { id, group: None, status: SlotStatus::Offline, from: None, to: None, extra: Extra::default() }
    }

    /// Source and destination if the slot is in `migrate`, or in the `pre_migrate` of a way back.
    pub fn moving(&self) -> Option<(GroupId, GroupId)> {
        match self.status {
            SlotStatus::Migrate | SlotStatus::PreMigrate => self.from.zip(self.to),
            SlotStatus::Offline | SlotStatus::Online => None,
        }
    }

    /// True if the group serves the slot or still holds keys of it.
    pub fn uses(&self, group: GroupId) -> bool {
        self.group == Some(group) || self.moving().is_some_and(|(from, to)| from == group || to == group)
    }

    /// The slot owned by `group` and online.
    pub fn online_at(&self, group: GroupId) -> Self {
        Self { group: Some(group), status: SlotStatus::Online, from: None, to: None, ..self.clone() }
    }

    /// The slot with requests held back, still owned by its group.
    pub fn pre_migrate(&self) -> Self {
        Self { status: SlotStatus::PreMigrate, ..self.clone() }
    }

    /// The slot moving `from` → `to`, served by `to`.
    pub fn migrate(&self, from: GroupId, to: GroupId) -> Self {
        Self { group: Some(to), status: SlotStatus::Migrate, from: Some(from), to: Some(to), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_hash_to_the_slots_that_codis_servers_compute() {
        for (key, slot) in [
            ("a", 579),
            ("b", 1017),
            ("c", 879),
            ("foo", 289),
            ("", 0),
            ("{tag}x", 899),
            ("x{}y", 0),
            ("{a}{b}", 579),
            ("a{b", 76),
            ("{tt}", 808),
        ] {
            assert_eq!(slot_of_key(key.as_bytes()).get(), slot, "slot of {key:?}");
        }
    }

    #[test]
    fn slot_1024_does_not_exist() {
        assert_eq!(SlotId::new(1024), None);
        assert_eq!("1024".parse::<SlotId>().unwrap_err().to_string(), "`1024` is not a slot (0-1023)");
        assert!("0-1024".parse::<SlotSet>().is_err());
    }

    #[test]
    fn sets_refuse_overlaps_and_descending_ranges() {
        assert!("0-5,5".parse::<SlotSet>().is_err());
        assert!("9-5".parse::<SlotSet>().is_err());
        assert!("".parse::<SlotSet>().is_err());
    }

    proptest! {
        #[test]
        fn a_set_reads_back_as_it_was_written(numbers in proptest::collection::vec(0u16..1024, 1..200)) {
            let set: SlotSet = numbers.into_iter().filter_map(SlotId::new).collect();
            prop_assert_eq!(set.to_string().parse::<SlotSet>().unwrap(), set);
        }

        #[test]
        fn a_tag_decides_alone(tag in "[a-z]{0,8}", before in "[a-z]{0,8}", after in "[a-z{}]{0,8}") {
            let key = format!("{before}{{{tag}}}{after}");
            prop_assert_eq!(slot_of_key(key.as_bytes()), slot_of_key(tag.as_bytes()));
        }
    }
}

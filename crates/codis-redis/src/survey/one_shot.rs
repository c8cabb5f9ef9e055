//! How long a key would hold servers up if it moved in one piece.
//!
//! A server does nothing else while it dumps a key, and nothing else while it restores one. What that takes was measured
//! on redis-server 7.0 (400 000 elements of each type, values of several sizes) and is a straight line in the number
//! of elements and bytes, if one knows how well its values compress: the dump format tries to. Other machines
//! are faster or slower by about the same factor for everything, which [`Speed`] finds out from keys of moderate size.

use std::time::Duration;

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    String,
    /// A hash.
    Hash,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A stream.
    Stream,
    /// Of a module.
    Module,
}

impl Kind {
    /// From the word that TYPE answers.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "string" => Self::String,
            "hash" => Self::Hash,
            "list" => Self::List,
            "set" => Self::Set,
            "zset" => Self::Zset,
            "stream" => Self::Stream,
            _ => Self::Module,
        }
    }

    /// The word for it; `module` for any of theirs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Stream => "stream",
            Self::Module => "module",
        }
    }

    /// What its elements are called.
    pub fn elements(self) -> &'static str {
        match self {
            Self::String | Self::Module => "bytes",
            Self::Hash => "fields",
            Self::List => "elements",
            Self::Set | Self::Zset => "members",
            Self::Stream => "entries",
        }
    }

    fn costs(self) -> Costs {
        match self {
            Self::String => Costs::new((0.0, 0.35, 4.6), (0.0, 0.8, 0.35)),
            Self::Hash => Costs::new((480.0, 1.1, 4.6), (270.0, 2.7, 0.0)),
            Self::Set => Costs::new((230.0, 1.5, 4.6), (300.0, 1.5, 0.0)),
            Self::Zset => Costs::new((350.0, 1.3, 3.0), (280.0, 1.3, 0.0)),
            Self::List => Costs::new((10.0, 0.42, 4.5), (9.0, 0.75, 0.35)),
            Self::Stream => Costs::new((17.0, 0.6, 4.5), (17.0, 0.6, 0.35)),
            // Nobody knows; as the dearest of the others.
            Self::Module => Costs::new((0.0, 9.5, 0.0), (0.0, 9.5, 0.0)),
        }
    }
}

/// Nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Costs {
    dump: Line,
    restore: Line,
}

/// For each element, for each byte, and more for each byte that does not compress.
#[derive(Debug, Clone, Copy)]
struct Line {
    element: f64,
    byte: f64,
    stubborn: f64,
}

impl Costs {
    const fn new(dump: (f64, f64, f64), restore: (f64, f64, f64)) -> Self {
        let (element, byte, stubborn) = dump;
        let dump = Line { element, byte, stubborn };
        let (element, byte, stubborn) = restore;
        Self { dump, restore: Line { element, byte, stubborn } }
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// A hash, set or sorted set that is one string to the server.
    pub(super) packed: bool,
    /// Elements; bytes of a string.
    pub(super) elements: u64,
    /// In memory, as the server estimates it.
    pub(super) bytes: u64,
    /// Share of its memory that does not compress, 0 to 1.
    pub(super) stubborn: f64,
}

/// What moving a key in one piece takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneShot {
    /// The source does nothing else for so long.
    pub dump: Duration,
    /// The destination does nothing else for so long.
    pub restore: Duration,
}

impl OneShot {
    /// The longest time that one server does nothing else.
    pub fn longest(&self) -> Duration {
        self.dump.max(self.restore)
    }

    /// How long the key is on its way, the network not counted.
    pub fn total(&self) -> Duration {
        self.dump + self.restore
    }
}

/// How much longer things take here than where they were measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl Default for Speed {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Speed {
    /// From how much longer dumping a key took than it should have. Beyond a factor of ten either way something else was
    /// measured.
    pub(super) fn measured(factor: f64) -> Option<Self> {
        (0.1..=10.0).contains(&factor).then_some(Self(factor))
    }

    /// What a key would take here.
    pub(super) fn one_shot(self, shape: &Shape) -> OneShot {
        let Costs { dump, restore } = if shape.packed { Kind::String.costs() } else { shape.kind.costs() };
        OneShot { dump: self.time(dump, shape), restore: self.time(restore, shape) }
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn time(self, line: Line, shape: &Shape) -> Duration {
        let per_byte = line.byte + line.stubborn * shape.stubborn.clamp(0.0, 1.0);
        let ns = shape.elements_that_count() * line.element + shape.bytes as f64 * per_byte;
        Duration::from_secs_f64(ns * self.0 / 1e9)
    }

    /// Memory below which no key of any type can hold a server up for longer than `budget`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number far below its limits"
    )]
    pub(crate) fn harmless_bytes(self, budget: Duration) -> u64 {
        (budget.as_secs_f64() * 1e9 / (DEAREST_BYTE * self.0)) as u64
    }
}

/// Nanoseconds for a byte in memory, all costs together, of the dearest keys there are: sets and hashes of tiny elements.
const DEAREST_BYTE: f64 = 16.0;

impl Shape {
    /// Each of its elements is a thing of its own to the server.
    pub(super) fn has_elements(&self) -> bool {
        !self.packed && matches!(self.kind, Kind::Hash | Kind::Set | Kind::Zset)
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn elements_that_count(&self) -> f64 {
        match self.kind {
            Kind::String | Kind::Module => 0.0,
            _ if self.packed => 0.0,
            _ => self.elements as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: Kind, elements: u64, bytes: u64, stubborn: f64) -> Shape {
        Shape { kind, packed: false, elements, bytes, stubborn }
    }

    /// What redis-server 7.0 took, milliseconds: dump and restore.
    const MEASURED: &[(Shape, f64, f64)] = &[
        (
            Shape { kind: Kind::Hash, packed: false, elements: 400_000, bytes: 33_000_000, stubborn: 0.0 },
            247.0,
            198.0,
        ),
        (
            Shape { kind: Kind::Hash, packed: false, elements: 100_000, bytes: 27_400_000, stubborn: 0.0 },
            83.6,
            101.0,
        ),
        (
            Shape { kind: Kind::Set, packed: false, elements: 400_000, bytes: 28_700_000, stubborn: 0.0 },
            145.5,
            153.0,
        ),
        (
            Shape { kind: Kind::Set, packed: false, elements: 400_000, bytes: 19_100_000, stubborn: 0.0 },
            81.0,
            181.0,
        ),
        (
            Shape { kind: Kind::Zset, packed: false, elements: 400_000, bytes: 45_800_000, stubborn: 0.0 },
            239.5,
            170.0,
        ),
        (
            Shape { kind: Kind::List, packed: false, elements: 400_000, bytes: 11_600_000, stubborn: 0.0 },
            8.3,
            9.3,
        ),
        (
            Shape { kind: Kind::List, packed: false, elements: 100_000, bytes: 21_600_000, stubborn: 0.0 },
            9.8,
            11.6,
        ),
        (
            Shape { kind: Kind::Stream, packed: false, elements: 400_000, bytes: 16_000_000, stubborn: 0.0 },
            16.5,
            17.6,
        ),
        (
            Shape {
                kind: Kind::String,
                packed: false,
                elements: 21_000_000,
                bytes: 21_000_000,
                stubborn: 1.0,
            },
            106.0,
            18.5,
        ),
        (
            Shape {
                kind: Kind::String,
                packed: false,
                elements: 105_000_000,
                bytes: 105_000_000,
                stubborn: 0.0,
            },
            33.7,
            56.4,
        ),
    ];

    #[test]
    fn what_was_measured_is_predicted_within_a_factor_of_two() {
        for (shape, dump, restore) in MEASURED {
            let stall = Speed::default().one_shot(shape);
            for (predicted, measured) in [(stall.dump, dump), (stall.restore, restore)] {
                let factor = predicted.as_secs_f64() * 1e3 / measured;
                assert!((0.5..2.0).contains(&factor), "{shape:?}: {predicted:?}, but it took {measured} ms");
            }
        }
    }

    #[test]
    fn below_the_harmless_size_nothing_takes_longer_than_the_budget() {
        let budget = Duration::from_millis(5);
        for factor in [0.5, 1.0, 4.0] {
            let speed = Speed(factor);
            let bytes = speed.harmless_bytes(budget);
            for kind in
                [Kind::String, Kind::Hash, Kind::List, Kind::Set, Kind::Zset, Kind::Stream, Kind::Module]
            {
                // Tables and skip lists take 48 bytes and more for an element, packed ones far less.
                let packed = matches!(kind, Kind::String | Kind::List | Kind::Stream | Kind::Module);
                let elements = if packed { bytes / 8 } else { bytes / 48 };
                let stall = speed.one_shot(&shape(kind, elements, bytes, 1.0));
                assert!(stall.longest() <= budget, "{kind:?} {stall:?}");
            }
        }
    }

    #[test]
    fn a_factor_that_cannot_be_is_not_believed() {
        assert_eq!(Speed::measured(1.5), Some(Speed(1.5)));
        assert_eq!(Speed::measured(150.0), None);
        assert_eq!(Speed::measured(f64::INFINITY), None);
    }
}

//! What a client's SCAN cursor says: which master, how far there, and how slots were served then.
//!
//! Any proxy of the product must understand it, so it holds everything and nothing is remembered. It
//! stays below 2^63, because there are clients that read it as a signed number.

/// Bits of a server's own cursor: as many as a table of 2.7 * 10^11 places needs.
const AT_BITS: u32 = 38;
/// Bits that say which step of the plan it is.
const STEP_BITS: u32 = 10;
/// Bits that tell apart how slots are served.
pub(super) const MARK_BITS: u32 = 15;

/// Steps that a cursor can tell apart.
pub(super) const MAX_STEPS: usize = 1 << STEP_BITS;

/// A place in a SCAN over all masters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Of the plan that `step` counts in. Never 0.
    pub(super) mark: u16,
    pub(super) step: usize,
    /// The server's own cursor.
    pub(super) at: u64,
}

impl Cursor {
    /// The number for the client; `None` if something does not fit. Never 0.
    pub(super) fn encode(self) -> Option<u64> {
        let fits = self.at >> AT_BITS == 0 && self.step < MAX_STEPS;
        fits.then(|| (u64::from(self.mark) << STEP_BITS | self.step as u64) << AT_BITS | self.at)
    }

    /// What a client's number says; `None` if it is none of ours. 0 has a mark that no plan has.
    pub(super) fn decode(number: u64) -> Option<Self> {
        let step = (number >> AT_BITS) as usize % MAX_STEPS;
        let mark = number >> (AT_BITS + STEP_BITS);
        let at = number & ((1 << AT_BITS) - 1);
        (mark >> MARK_BITS == 0).then_some(Self { mark: mark as u16, step, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        for mark in [1, 0x7fff, 0x1234] {
            for step in [0, 1, MAX_STEPS - 1] {
                for at in [0, 1, (1 << AT_BITS) - 1] {
                    let cursor = Cursor { mark, step, at };
                    let number = cursor.encode().unwrap();
                    assert!(number > 0 && number < 1 << 63);
                    assert_eq!(Cursor::decode(number), Some(cursor));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Cursor { mark: 1, step: 0, at: 1 << AT_BITS }.encode(), None);
        assert_eq!(Cursor { mark: 1, step: MAX_STEPS, at: 0 }.encode(), None);
        assert_eq!(Cursor::decode(1 << 63), None);
        assert_eq!(Cursor::decode(u64::MAX), None);
        assert_eq!(Cursor::decode(0).unwrap().mark, 0);
    }
}

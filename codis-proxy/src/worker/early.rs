//! Replies of one client that came before their turn, because its requests went to several servers.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    buffers::{BIG, Pool},
    session::Payload,
};

/// Places for which room is kept when nothing is owed.
const KEEP_PLACES: usize = 128;

/// What is known of a reply that is owed.
#[derive(Debug, Clone)]
enum Place {
    /// Not in yet.
    Empty,
    /// In `Early::bytes`.
    Copied { start: usize, len: usize },
    /// A big one, as it lies.
    Whole(Bytes),
}

/// Replies that wait for earlier ones.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// From the reply that is owed first to the last one that is in.
    places: VecDeque<Place>,
    /// Of the pool, while there is something in it.
    bytes: Vec<u8>,
}

impl Early {
    /// True if no reply waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Keeps a reply that comes `place` places after the one that is owed first.
    pub(super) fn keep(&mut self, place: usize, payload: Payload<'_>, pool: &mut Pool) {
        let reply = match payload {
            Payload::Slice(bytes) => {
                if self.bytes.capacity() == 0 {
                    self.bytes = pool.take();
                }
                let start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                Place::Copied { start, len: bytes.len() }
            }
            Payload::Whole(bytes) => Place::Whole(bytes),
        };
        // Mostly it is the next one after those that are in, or one that they have left out.
        while self.places.len() < place {
            self.places.push_back(Place::Empty);
        }
        match self.places.get_mut(place) {
            Some(free) => *free = reply,
            None => self.places.push_back(reply),
        }
    }

    /// The reply that was owed first has been sent without coming here.
    pub(super) fn skip(&mut self) {
        self.places.pop_front();
    }

    /// The reply that is owed first, if it is in; it is not kept any longer.
    pub(super) fn next(&mut self) -> Option<Payload<'_>> {
        match self.places.pop_front_if(|place| !matches!(place, Place::Empty))? {
            Place::Copied { start, len } => Some(Payload::Slice(&self.bytes[start..start + len])),
            Place::Whole(bytes) => Some(Payload::Whole(bytes)),
            Place::Empty => None,
        }
    }

    /// Forgets the bytes of replies that have been sent, if that is worth while.
    pub(super) fn tidy(&mut self, pool: &mut Pool) {
        if self.places.is_empty() {
            pool.give(std::mem::take(&mut self.bytes));
        } else if self.bytes.len() > BIG {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let length = |place: &Place| if let Place::Copied { len, .. } = place { *len } else { 0 };
        let live: usize = self.places.iter().map(length).sum();
        if live * 2 > self.bytes.len() {
            return;
        }
        let mut kept = Vec::with_capacity(live * 2);
        for place in &mut self.places {
            if let Place::Copied { start, len } = place {
                let at = kept.len();
                kept.extend_from_slice(&self.bytes[*start..*start + *len]);
                *start = at;
            }
        }
        self.bytes = kept;
    }

    /// Bytes that wait.
    pub(super) fn held(&self) -> usize {
        let whole = |place: &Place| if let Place::Whole(bytes) = place { bytes.len() } else { 0 };
        self.bytes.len() + self.places.iter().map(whole).sum::<usize>()
    }

    /// Keeps the places only.
    pub(super) fn forget(&mut self) {
        self.bytes = Vec::new();
        for place in &mut self.places {
            if !matches!(place, Place::Empty) {
                *place = Place::Copied { start: 0, len: 0 };
            }
        }
    }

    /// True if it holds more room than is usually needed.
    pub(super) fn is_unusual(&self) -> bool {
        self.places.capacity() > KEEP_PLACES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(early: &mut Early) -> Option<Vec<u8>> {
        early.next().map(|payload| payload.bytes().to_vec())
    }

    #[test]
    fn replies_come_out_in_turn() {
        let (mut early, mut pool) = (Early::default(), Pool::default());
        early.keep(3, Payload::Slice(b"d"), &mut pool);
        early.keep(1, Payload::Slice(b"b"), &mut pool);
        early.keep(2, Payload::Whole(Bytes::from_static(b"c")), &mut pool);
        assert_eq!(next(&mut early), None);
        early.skip();
        assert_eq!(next(&mut early).as_deref(), Some(&b"b"[..]));
        assert_eq!(next(&mut early).as_deref(), Some(&b"c"[..]));
        assert_eq!(next(&mut early).as_deref(), Some(&b"d"[..]));
        assert_eq!(next(&mut early), None);
        assert!(early.is_empty());
    }

    #[test]
    fn compacting_keeps_what_has_not_been_sent() {
        let (mut early, mut pool) = (Early::default(), Pool::default());
        early.keep(1, Payload::Slice(&vec![b'x'; 2 * BIG]), &mut pool);
        early.keep(3, Payload::Slice(b"last"), &mut pool);
        early.skip();
        assert_eq!(next(&mut early).map(|bytes| bytes.len()), Some(2 * BIG));
        assert_eq!(next(&mut early), None);
        early.tidy(&mut pool);
        assert_eq!(early.bytes, b"last");
        early.skip();
        assert_eq!(next(&mut early).as_deref(), Some(&b"last"[..]));
        early.tidy(&mut pool);
        assert!(early.is_empty() && early.bytes.is_empty());
    }
}

//! Split requests that took long.

use super::{Asked, Split};
use crate::worker::{
    Worker,
    pending::{Arrival, KeyHead},
    slow::Slow,
};

impl Worker {
    /// A part of a request came late: until then the whole waited.
    #[cold]
    pub(in crate::worker) fn late_part(&mut self, id: u32, sent: u64) {
        if let Some(split) = self.splits.live.get_mut(id as usize) {
            split.sent = split.sent.max(sent);
        }
    }

    #[cold]
    pub(super) fn split_was_slow(&mut self, split: &Split) {
        let Arrival { at, held, moving } = split.arrival;
        let backend = Some(&split.parts[..]).filter(|parts| parts.len() == 1).map(|parts| parts[0].backend);
        let key = split.parts.first().map_or(KeyHead::NONE, |part| part.key);
        let slot = split.keys.first().map(|(slot, _)| *slot);
        let (Asked { session, seq }, command, sent) = (split.asked, split.command, split.sent);
        self.was_slow(Slow { session, seq, command, key, slot, backend, at, held, moving, sent });
    }
}

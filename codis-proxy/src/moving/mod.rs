//! Moves single keys out of the old group before a request is served by the new one.

use bytes::Bytes;
use codis_core::SlotId;
use smallvec::SmallVec;

use crate::{config::MoveLimits, table::Endpoint};

/// Why a key is not known to have left its old group.
#[derive(Debug, thiserror::Error)]
#[error("hand-over is not available")]
pub(crate) struct MoveError;

/// The hand-overs of one worker.
pub(crate) struct Movers {}

impl Movers {
    /// No connections yet; they are opened by the first hand-over.
    pub(crate) fn new(_limits: MoveLimits) -> Self {
        Self {}
    }

    /// Waits until all `keys` have left `from`; only then may the request go to `to`.
    pub(crate) async fn settle(
        &self,
        _slot: SlotId,
        _from: &Endpoint,
        _to: &Endpoint,
        _from_slaves: u32,
        _to_slaves: u32,
        _keys: SmallVec<[Bytes; 1]>,
    ) -> Result<(), MoveError> {
        Err(MoveError)
    }

    /// True if the key is known to have left the old group since the slot began to migrate.
    pub(crate) fn is_settled(&self, _slot: SlotId, _key: &[u8]) -> bool {
        false
    }

    /// Forgets what is settled in a slot: its state has changed.
    pub(crate) fn clear(&self, _slot: SlotId) {}
}

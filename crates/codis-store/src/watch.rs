//! One-shot notices of change.

use tokio::sync::oneshot;

/// Why a watch fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// What was watched has changed: read it again.
    Changed,
    /// The session is over; nothing is watched any more.
    SessionOver,
}

/// A one-shot notice, set at the moment the value beside it was read: no change in between is missed.
///
/// It fires on any change, also on one that is undone later; only a node that comes and goes again within
/// milliseconds may leave no trace in a local store. Dropping it gives up the watch.
#[derive(Debug)]
pub struct Watch {
    fired: oneshot::Receiver<Fired>,
}

impl Watch {
    pub(crate) fn new() -> (oneshot::Sender<Fired>, Self) {
        let (sender, fired) = oneshot::channel();
        (sender, Self { fired })
    }

    /// Waits until the watch fires. Safe to cancel and call again; after it has fired it says `SessionOver`.
    pub async fn fired(&mut self) -> Fired {
        // The sender is dropped unsent only when the store handle is gone.
        (&mut self.fired).await.unwrap_or(Fired::SessionOver)
    }
}

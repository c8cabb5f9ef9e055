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
    /// None once it has fired: a receiver must not be asked again.
    fired: Option<oneshot::Receiver<Fired>>,
}

impl Watch {
    pub(crate) fn new() -> (oneshot::Sender<Fired>, Self) {
        let (sender, fired) = oneshot::channel();
        (sender, Self { fired: Some(fired) })
    }

    /// Waits until the watch fires. Safe to cancel and call again; after it has fired it says `SessionOver`.
    pub async fn fired(&mut self) -> Fired {
        let Some(receiver) = &mut self.fired else { return Fired::SessionOver };
        // The sender is dropped unsent only when the store handle is gone.
        let fired = receiver.await.unwrap_or(Fired::SessionOver);
        self.fired = None;
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_has_fired_may_be_asked_again() {
        let (sender, mut watch) = Watch::new();
        sender.send(Fired::Changed).unwrap();
        assert_eq!(watch.fired().await, Fired::Changed);
        assert_eq!(watch.fired().await, Fired::SessionOver);
    }
}

//! Registers the proxy, loads the routes, and goes online.

use std::time::Duration;

use codis_core::{Proxy, ProxyState, Versioned};
use codis_store::{ErrorKind, SessionState, StoreError};
use tokio::time::{Instant, sleep, timeout};

use super::{FollowError, Follower, PAUSE, causes, jittered};

/// How long going online waits for what was sent under routes from before a lost session. Later the
/// workers go on waiting, and no action for those slots is acknowledged before they are done; but a
/// proxy that stayed offline for ever would hold up every other change with its fence.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause between two looks while slots are not ready.
const RECHECK: Duration = Duration::from_secs(1);

/// What came of one attempt.
enum Attempt {
    /// In this state: online, or marked offline before it got there.
    Joined(ProxyState),
    NotInitialised,
    Taken(Box<Proxy>),
}

impl Follower {
    /// The first registration. Trouble with the store is tried again until `deadline`.
    ///
    /// # Errors
    /// What a person has to look at before the proxy can start.
    pub(super) async fn join_first(&mut self, deadline: Instant) -> Result<ProxyState, FollowError> {
        let mut pause = PAUSE.0;
        loop {
            let why = match self.join().await {
                Ok(Attempt::Joined(state)) => return Ok(state),
                Ok(Attempt::NotInitialised) => {
                    let product = self.product.name().clone();
                    return Err(FollowError::NotInitialised { product, store: self.address.clone() });
                }
                Ok(Attempt::Taken(other)) => {
                    let addr = other.addr.to_string();
                    return Err(FollowError::Taken { id: other.id.clone(), addr, pid: other.pid });
                }
                Err(error) if Instant::now() + pause >= deadline => return Err(self.gave_up(error)),
                Err(error) => causes(&error),
            };
            tracing::warn!(why, "cannot register yet; trying again");
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn gave_up(&self, error: StoreError) -> FollowError {
        let source = Box::new(error);
        if source.is_transient() {
            let after = self.start_timeout;
            return FollowError::Unreachable { store: self.address.clone(), after, source };
        }
        FollowError::Store { product: self.product.name().clone(), source }
    }

    /// Registers again after a lost session. The routes are served meanwhile; never gives up.
    pub(super) async fn join_again(&mut self) -> ProxyState {
        let mut pause = PAUSE.0;
        loop {
            let why = match self.join().await {
                Ok(Attempt::Joined(state)) => return state,
                Ok(Attempt::NotInitialised) => "the product has no slots any more".to_owned(),
                Ok(Attempt::Taken(other)) => format!("the id is taken by the proxy at {}", other.addr),
                Err(error) => causes(&error),
            };
            tracing::warn!(why, "cannot register again yet; the last known routes are served");
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn join(&mut self) -> Result<Attempt, StoreError> {
        let store = self.product.store().clone();
        if *store.session().borrow() == SessionState::Expired {
            store.reopen().await?;
            tracing::info!("a new session with the store is open");
        }
        self.status.update(|facts| {
            facts.store_connected = true;
            facts.state = ProxyState::Offline.as_str();
        });
        // Before anything else: without slots there is nothing to register for.
        if !self.load_all().await? {
            return Ok(Attempt::NotInitialised);
        }
        if let Some(other) = self.register().await? {
            return Ok(Attempt::Taken(other));
        }
        // From here on our fence holds up whatever needs confirmation. Anything published from the
        // list below on is looked at, even if it was sent before we could be among its receivers.
        let (actions, _) = self.product.watch_actions().await?;
        self.seen = actions.last().copied();
        let state = self.go_online().await?;
        if state == ProxyState::Online {
            self.serve();
        }
        Ok(Attempt::Joined(state))
    }

    /// Creates node and fence. Returns the proxy that has the id, if it is another one.
    async fn register(&mut self) -> Result<Option<Box<Proxy>>, StoreError> {
        self.own = Versioned::new(Proxy { state: ProxyState::Offline, ..self.own.value.clone() }, 0);
        match self.product.register_proxy(&self.own).await {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::NodeExists => {
                let (other, _) = self.product.watch_proxy(&self.own.id).await?;
                match other {
                    Some(other) if other.addr != self.own.addr => return Ok(Some(Box::new(other.value))),
                    Some(other) => self.replace(&other).await?,
                    None => {}
                }
                self.product.register_proxy(&self.own).await?;
            }
            Err(error) => return Err(error),
        }
        tracing::info!(id = %self.own.id, addr = %self.own.addr, "registered as offline");
        Ok(None)
    }

    /// Removes the node of a process that is gone: it had our address, and we are listening there now.
    async fn replace(&self, other: &Versioned<Proxy>) -> Result<(), StoreError> {
        tracing::warn!(
            id = %other.id, addr = %other.addr, pid = other.pid,
            "replacing the registration of an earlier process at the same address"
        );
        self.remove_node(other.version).await
    }

    /// Removes our node, so that what comes next is a registration like any other. The fence stays.
    pub(super) async fn remove_own_node(&self) -> Result<(), StoreError> {
        match self.product.watch_proxy(&self.own.id).await? {
            (Some(own), _) if own.start_at == self.own.start_at && own.pid == self.own.pid => {
                self.remove_node(own.version).await
            }
            _ => Ok(()),
        }
    }

    async fn remove_node(&self, version: i32) -> Result<(), StoreError> {
        match self.product.store().delete(&self.node_path(), Some(version)).await {
            Err(error) if error.kind == ErrorKind::NoNode => Ok(()),
            done => done,
        }
    }

    fn node_path(&self) -> String {
        format!("{}/proxy/{}", self.product.root(), self.own.id)
    }

    /// Waits until all slots are resolved and the node says online: by our own hand, or set by whoever
    /// decides about proxies.
    async fn go_online(&mut self) -> Result<ProxyState, StoreError> {
        let mut reported = None;
        loop {
            if !self.load_all().await? {
                tracing::warn!("the product has no slots any more");
            }
            let table = self.next_table();
            let installed = timeout(DRAIN, self.workers.install(table)).await;
            if installed.is_err() {
                tracing::warn!("requests sent under old routes are still unfinished on a server");
            }
            let (own, mut watch) = self.product.watch_proxy(&self.own.id).await?;
            let Some(own) = own else { return Err(self.lost_node()) };
            self.own = own;
            match self.own.state {
                ProxyState::Online | ProxyState::MarkOffline => return Ok(self.own.state),
                ProxyState::Offline => {}
            }
            let not_ready = self.view.not_ready();
            let why = match not_ready.first() {
                Some(first) => {
                    let slots: codis_core::SlotSet = not_ready.iter().map(|trouble| trouble.slot).collect();
                    format!("slots {slots} are not ready; slot {}: {}", first.slot, first.why)
                }
                None if self.auto_online => {
                    match self.product.set_proxy_state(&self.own, ProxyState::Online).await {
                        Ok(version) => {
                            self.own.version = version;
                            self.own.value.state = ProxyState::Online;
                            return Ok(ProxyState::Online);
                        }
                        // Somebody else has just decided about this proxy: look again.
                        Err(error) if error.kind == ErrorKind::BadVersion => continue,
                        Err(error) => return Err(error),
                    }
                }
                None => format!("waiting for: codisctl proxy online {}", self.own.id),
            };
            if reported.as_ref() != Some(&why) {
                tracing::warn!(why, "not online yet");
                self.status.update(|facts| facts.not_ready = Some(why.clone()));
                reported = Some(why);
            }
            // Slots have no watch of their own. Their actions do not concern a proxy that is offline,
            // and our fence may keep them from being sent at all.
            let _ = timeout(jittered(RECHECK), watch.fired()).await;
        }
    }

    fn lost_node(&self) -> StoreError {
        StoreError {
            op: "find",
            path: self.node_path(),
            kind: ErrorKind::NoNode,
            failed_op: None,
            source: None,
        }
    }

    /// Opens the doors.
    fn serve(&mut self) {
        tracing::info!(id = %self.own.id, addr = %self.own.addr, epoch = self.workers.table().epoch, "online");
        self.status.update(|facts| {
            facts.state = ProxyState::Online.as_str();
            facts.not_ready = None;
        });
        if let Some(listener) = self.listener.take() {
            self.workers.start_accepting(listener);
        }
    }
}

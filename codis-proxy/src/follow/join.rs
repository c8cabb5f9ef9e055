//! Registers the proxy, loads the routes, and goes online.

use std::time::Duration;

use codis_core::{Proxy, ProxyState, SlotSet, Versioned};
use codis_store::{ErrorKind, SessionState, StoreError};
use tokio::time::{Instant, sleep, timeout};

use crate::restart::TakeOverError;

use super::identity::hidden_from;
use super::{FollowError, Follower, PAUSE, causes, jittered};

/// How long going online waits for what was sent under routes from before a lost session. Later the
/// workers go on waiting, and no action for those slots is acknowledged before they are done; but a
/// proxy that stayed offline for ever would hold up every other change with its fence.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// Pause between two looks while the proxy may not go online. Slots have no watch of their own.
const RECHECK: Duration = Duration::from_secs(1);

/// What came of one attempt.
enum Attempt {
    /// In this state: online, or marked offline before it got there.
    Joined(ProxyState),
    NotInitialised,
    Taken(Box<Proxy>),
    /// The process that runs keeps its place.
    NotGiven(Box<TakeOverError>),
}

impl Follower {
    /// The first registration. Trouble with the store is tried again until `deadline`.
    ///
    /// # Errors
    /// What a person has to look at before the proxy can start.
    pub(super) async fn join_first(&mut self, mut deadline: Instant) -> Result<ProxyState, FollowError> {
        let mut pause = PAUSE.0;
        loop {
            let begun = Instant::now();
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
                Ok(Attempt::NotGiven(error)) => return Err((*error).into()),
                Err(error) if self.waited_enough(begun, deadline) => return Err(self.gave_up(error)),
                Err(error) => causes(&error),
            };
            tracing::warn!(why, "cannot register yet; trying again");
            if begun.elapsed() > self.start_timeout {
                // It has waited for slots in between: the store was there.
                deadline = Instant::now() + self.start_timeout;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Whether an attempt that began at `begun` and has just failed was the last.
    fn waited_enough(&self, begun: Instant, deadline: Instant) -> bool {
        begun.elapsed() <= self.start_timeout && Instant::now() + PAUSE.0 >= deadline
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
                Ok(Attempt::NotGiven(error)) => causes(&*error),
                Err(error) => causes(&error),
            };
            tracing::warn!(why, "cannot register again yet; the last known routes are served");
            self.store_lost();
            sleep(jittered(pause)).await;
            self.fence_if_due().await;
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
        if !self.load_all().await? {
            return Ok(Attempt::NotInitialised);
        }
        let first = !self.joined;
        if first {
            self.warn_of_hidden_pages();
        }
        if first && self.auto_online {
            self.wait_until_ready().await?;
        }
        // Before anyone counts on us: what is served from here on is what the store says.
        self.install().await;
        if let Err(error) = self.doors.predecessor_leaves().await {
            return Ok(Attempt::NotGiven(Box::new(error)));
        }
        if let Some(other) = self.register().await? {
            return Ok(Attempt::Taken(other));
        }
        // From here on our fence holds up whatever needs confirmation, and anything published besides
        // these is looked at.
        let (actions, _) = self.product.watch_actions().await?;
        self.seen = actions.into_iter().collect();
        let state = self.go_online(self.auto_online || !first).await?;
        if state == ProxyState::Online {
            self.load_all().await?;
            self.install().await;
            if let Err(error) = self.serve().await {
                return Ok(Attempt::NotGiven(Box::new(error)));
            }
        }
        self.joined = true;
        Ok(Attempt::Joined(state))
    }

    /// Waits until all slots can be served. Not registered meanwhile: a proxy that is registered but
    /// not online has a fence, and that would hold up the very change that is waited for.
    async fn wait_until_ready(&mut self) -> Result<(), StoreError> {
        let mut reported = None;
        loop {
            let not_ready = self.view.not_ready();
            let Some(first) = not_ready.first() else { return Ok(()) };
            let slots: SlotSet = not_ready.iter().map(|trouble| trouble.slot).collect();
            let why = format!("slots {slots} are not ready; slot {}: {}", first.slot, first.why);
            self.report(&mut reported, why);
            sleep(jittered(RECHECK)).await;
            self.load_all().await?;
        }
    }

    /// Says why clients are not served, once.
    fn report(&self, reported: &mut Option<String>, why: String) {
        if reported.as_ref() != Some(&why) {
            tracing::warn!(why, "not online yet");
            self.status.update(|facts| facts.not_ready = Some(why.clone()));
            *reported = Some(why);
        }
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
            (Some(own), _) if self.is_ours(&own) => self.remove_node(own.version).await,
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

    /// Waits until the node says online: by our own hand, or set by whoever decides about proxies.
    async fn go_online(&mut self, by_itself: bool) -> Result<ProxyState, StoreError> {
        let mut reported = None;
        loop {
            let (own, mut watch) = self.product.watch_proxy(&self.own.id).await?;
            self.own = own.filter(|own| self.is_ours(own)).ok_or_else(|| self.lost_node())?;
            match self.own.state {
                ProxyState::Online | ProxyState::MarkOffline => return Ok(self.own.state),
                ProxyState::Offline if by_itself => {
                    match self.product.set_proxy_state(&self.own, ProxyState::Online).await {
                        // Somebody else may have decided about this proxy: look again, in both cases.
                        Ok(_) => {}
                        Err(error) if error.kind == ErrorKind::BadVersion => {}
                        Err(error) => return Err(error),
                    }
                }
                ProxyState::Offline => {
                    self.report(&mut reported, format!("waiting for: codisctl proxy online {}", self.own.id));
                    let _ = timeout(RECHECK, watch.fired()).await;
                }
            }
        }
    }

    /// Whether a registration is that of this process.
    pub(super) fn is_ours(&self, proxy: &Proxy) -> bool {
        proxy.pid == self.own.pid && proxy.start_at == self.own.start_at
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

    /// Opens the doors, with what the store says now that the proxy is online: whoever has changed a
    /// slot before this could not list us among those who must know, and from now on has to.
    /// Agents on other hosts read the admin pages of every proxy.
    fn warn_of_hidden_pages(&self) {
        let pages = &self.own.debug_var_addr;
        if let Some(server) = hidden_from(pages, self.view.servers()) {
            tracing::warn!(
                admin = %pages, %server,
                "other hosts cannot read the admin pages, which the product has; next: --admin with an address of this host"
            );
        }
    }

    async fn serve(&mut self) -> Result<(), TakeOverError> {
        tracing::info!(id = %self.own.id, addr = %self.own.addr, epoch = self.workers.table().epoch, "online");
        self.status.update(|facts| {
            facts.state = ProxyState::Online.as_str();
            facts.not_ready = None;
        });
        self.doors.open().await
    }

    async fn install(&mut self) {
        self.store_found();
        self.membership += 1;
        let table = self.next_table();
        if timeout(DRAIN, self.workers.install(table)).await.is_err() {
            tracing::warn!("requests sent under old routes are still unfinished on a server");
        }
    }
}

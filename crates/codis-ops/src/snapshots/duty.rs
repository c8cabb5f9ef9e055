//! The agent's part: a governor for each host, in a task of its own, as long as the agent leads.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use codis_core::{
    Addr,
    duty::snapshots::Plight,
    notice::{Alert, Facts, Kind, Round, Unsaved},
};
use rand::Rng as _;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    SnapshotSettings,
    claim::Claim,
    host::{HostWork, Step},
    look::{self, Listed},
};
use crate::{Context, Failure, FailureKind, agent::Tick, context};

/// How often a host is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The same while something is under way on it.
const CLOSE: Duration = Duration::from_millis(200);
/// Pause after an error, and while somebody else governs the host.
const REST: Duration = Duration::from_secs(3);

/// The duty.
#[derive(Debug)]
pub struct Snapshots {
    settings: SnapshotSettings,
    observe_only: bool,
    tasks: BTreeMap<String, Task>,
}

#[derive(Debug)]
struct Task {
    servers: watch::Sender<Vec<Listed>>,
    found: Found,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What is the matter on a host, since when. `None` before the first look, and while there is none.
type Found = Arc<Mutex<Option<BTreeMap<Addr, (u64, Plight)>>>>;

impl Snapshots {
    /// A duty that has seen nothing yet. One that only observes tells people and does nothing.
    pub fn new(settings: SnapshotSettings, observe_only: bool) -> Self {
        Self { settings, observe_only, tasks: BTreeMap::new() }
    }

    /// Follows a tick: governs all hosts while this agent leads, none otherwise. Never waits. What is the matter goes
    /// into the round.
    pub fn tick(&mut self, cx: &Context, tick: &Tick, round: &mut Round) {
        if !self.settings.on {
            return;
        }
        self.tasks.retain(|_, task| !task.task.is_finished());
        if !tick.leads && !self.observe_only {
            self.tasks.values().for_each(|task| task.stop.cancel());
            return;
        }
        let Some(observed) = &tick.observed else { return };
        let hosts = look::hosts(&observed.cluster);
        for (name, task) in &self.tasks {
            if !hosts.contains_key(name) {
                task.stop.cancel();
            }
        }
        let mut alerts = Vec::new();
        for (name, servers) in hosts {
            let task = match self.tasks.get(&name) {
                Some(task) => {
                    task.servers.send_if_modified(|known| {
                        let changed = *known != servers;
                        known.clone_from(&servers);
                        changed
                    });
                    task
                }
                None => {
                    let task = self.begin(cx, &name, servers.clone());
                    self.tasks.entry(name.clone()).or_insert(task)
                }
            };
            let found = task.found.lock().unwrap_or_else(PoisonError::into_inner);
            match &*found {
                Some(found) => {
                    alerts.extend(
                        found.iter().map(|(addr, (since, plight))| {
                            alert(&name, addr, *since, plight, &self.settings)
                        }),
                    );
                }
                None => servers.iter().for_each(|server| round.blind(Kind::Snapshot, &server.addr)),
            }
        }
        round.looked_for([Kind::Snapshot], alerts);
    }

    fn begin(&self, cx: &Context, name: &str, servers: Vec<Listed>) -> Task {
        let (sender, receiver) = watch::channel(servers);
        let (found, stop) = (Found::default(), CancellationToken::new());
        let keeper = Keeper {
            cx: cx.clone(),
            work: HostWork::new(cx, name, &self.settings, true),
            servers: receiver,
            found: Arc::clone(&found),
            stop: stop.clone(),
            acts: !self.observe_only,
            claim: None,
        };
        Task { servers: sender, found, stop, task: tokio::spawn(keeper.run()) }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        // The session ends with the agent, and the claims with the session.
        self.tasks.values().for_each(|task| task.task.abort());
    }
}

/// Governs one host.
struct Keeper {
    cx: Context,
    work: HostWork,
    servers: watch::Receiver<Vec<Listed>>,
    found: Found,
    stop: CancellationToken,
    acts: bool,
    claim: Option<Claim>,
}

impl Keeper {
    async fn run(mut self) {
        let mut failing = false;
        while !self.stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(step) => {
                    failing = false;
                    self.note(&step);
                    let busy = step.decision.waits.is_some() || !step.decision.orders.is_empty();
                    if busy { CLOSE } else { LOOK }
                }
                Err(failure) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%failure, host = self.work.name, "nothing is saved meanwhile");
                    }
                    // A silent store says nothing about the claim; anything else may mean that it is gone.
                    if failure.kind != FailureKind::Unreachable {
                        self.claim = None;
                    }
                    *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    REST
                }
            };
            let pause = pause.mul_f64(rand::rng().random_range(0.9..1.1));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        }
        if let Some(claim) = self.claim.take() {
            claim.release().await;
        }
    }

    async fn step(&mut self) -> Result<Step, Failure> {
        if self.acts && self.claim.is_none() {
            self.claim = Some(Claim::take(&self.cx, &self.work.name).await?);
            tracing::info!(host = self.work.name, "this agent says when its servers fork");
        }
        let servers = self.servers.borrow_and_update().clone();
        self.work.step(&servers, self.claim.as_mut()).await
    }

    fn note(&self, step: &Step) {
        if let Some((addr, does)) = &step.forked {
            tracing::info!(%addr, does = does.as_str(), "it saves");
        }
        let now_ms = context::now_ms();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let before = found.take().unwrap_or_default();
        let mut now = BTreeMap::new();
        let mut plights: Vec<_> = step.decision.plights.iter().collect();
        // That it is late is what comes of the others.
        plights.sort_by_key(|(_, plight)| matches!(plight, Plight::Late(_)));
        for (addr, plight) in plights {
            let since = before.get(addr).map_or(now_ms, |(since, _)| *since);
            now.entry(addr.clone()).or_insert((since, plight.clone()));
        }
        *found = Some(now);
    }
}

fn alert(host: &str, server: &Addr, since_ms: u64, plight: &Plight, settings: &SnapshotSettings) -> Alert {
    let (trouble, needs, free, ms) = match plight {
        Plight::NoRoom { needs, free: Some(free), sync: false } => (Unsaved::NoRoom, *needs, *free, 0),
        Plight::NoRoom { needs, free: Some(free), sync: true } => (Unsaved::NoRoomForCopy, *needs, *free, 0),
        Plight::NoRoom { needs, free: None, .. } => (Unsaved::UnknownHost, *needs, 0, 0),
        Plight::Failed(_) => (Unsaved::Failed, 0, 0, 0),
        Plight::Slow(_, ms) => (Unsaved::Slow, 0, 0, *ms),
        Plight::Late(ms) => (Unsaved::Late, 0, 0, *ms),
        Plight::Unruly => (Unsaved::Unruly, 0, 0, 0),
    };
    let interval_ms = settings.policy.interval_ms;
    let (host, server_) = (host.to_owned(), server.clone());
    let facts = Facts::Snapshot { host, server: server_, trouble, needs, free, ms, interval_ms };
    Alert::new(server, since_ms, facts)
}

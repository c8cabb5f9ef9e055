//! Registration, state and actions.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    process::exit,
    rc::Rc,
    time::Duration,
};

use codis_store::{Acl, CreateMode, ErrorKind, Fired, SessionState, Store, StoreError, Watch};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    records::{Action, ProxyInfo, Range, Server, Slot},
    role,
    routes::{Route, Routes},
};

/// Where the original panics.
const PANIC: i32 = 2;
/// Where a master's role is not master.
const BAD_ROLE: i32 = 255;

type Serving = Rc<RefCell<Option<JoinHandle<()>>>>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The part that talks to the store.
pub(crate) struct Follower {
    store: Store,
    root: String,
    me: ProxyInfo,
    routes: Rc<Routes>,
    period: Duration,
    last_seen: i64,
    actions: Option<Watch>,
    own: Option<Watch>,
}

impl Follower {
    pub(crate) fn new(
        store: Store,
        root: String,
        me: ProxyInfo,
        routes: Rc<Routes>,
        period: Duration,
    ) -> Self {
        Self { store, root, me, routes, period, last_seen: -1, actions: None, own: None }
    }

    fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.root)
    }

    fn own_path(&self) -> String {
        self.path(&format!("proxy/{}", self.me.id))
    }

    /// Its node, its fence, and the place where it looks whether it has to go. Errors are only logged.
    pub(crate) async fn register(&self) {
        match self.try_register().await {
            Ok(()) => tracing::info!("registered"),
            Err(error) => tracing::warn!(%error, "its registration failed"),
        }
    }

    async fn try_register(&self) -> Result<(), StoreError> {
        let (store, fence) = (&self.store, self.path(&format!("fence/{}", self.me.addr)));
        store.ensure_dir(&self.path("proxy")).await?;
        let data = self.me.json();
        exists_is_fine(
            store.create(&self.own_path(), data.as_bytes(), CreateMode::Ephemeral, Acl::File).await,
        )?;
        store.ensure_dir(&self.path("fence")).await?;
        exists_is_fine(store.create(&fence, b"", CreateMode::Persistent, Acl::File).await)?;
        store.ensure_dir(&self.path("proxy_suspend")).await
    }

    /// Looks at its own node until somebody has set it online.
    pub(crate) async fn wait_online(&mut self) -> Outcome {
        loop {
            match self.store.get(&self.own_path()).await {
                Ok(node) => match serde_json::from_slice::<ProxyInfo>(&node.data)?.state.as_str() {
                    "online" => return Ok(()),
                    "mark_offline" => self.leave().await,
                    _ => {}
                },
                Err(error) => tracing::warn!(%error, "its own node cannot be read"),
            }
            sleep(self.period).await;
        }
    }

    /// Sets its watches and loads all slots.
    pub(crate) async fn begin(&mut self) -> Outcome {
        self.me.state = "online".to_owned();
        self.watch().await?;
        self.load((0..1024).collect()).await?;
        tracing::info!("serves: online");
        Ok(())
    }

    async fn watch(&mut self) -> Result<(), StoreError> {
        self.own = Some(self.store.watch_node(&self.own_path()).await?.1);
        self.actions = Some(self.store.watch_children(&self.path("actions")).await?.1);
        Ok(())
    }

    /// Follows until it has to end.
    pub(crate) async fn run(mut self, serving: Serving) -> Outcome {
        let mut pings = interval(self.period);
        let mut looks = interval(self.period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut terminated = signal(SignalKind::terminate())?;
        loop {
            let (Some(actions), Some(own)) = (self.actions.as_mut(), self.own.as_mut()) else {
                return Err("nothing is watched".into());
            };
            let fired = tokio::select! {
                fired = actions.fired() => {
                    if fired == Fired::Changed { self.newest_action().await?; }
                    fired
                }
                fired = own.fired() => {
                    if fired == Fired::Changed { self.own_state().await?; }
                    fired
                }
                _ = pings.tick() => {
                    if let Some(server) = role::not_a_master(self.routes.servers()).await {
                        tracing::error!(server, "it is not a master");
                        exit(BAD_ROLE);
                    }
                    Fired::Changed
                }
                _ = looks.tick() => { self.suspended().await; Fired::Changed }
                _ = terminated.recv() => {
                    if let Some(serving) = serving.borrow_mut().take() { serving.abort(); }
                    self.leave().await
                }
            };
            if fired == Fired::SessionOver || *self.store.session().borrow() == SessionState::Expired {
                // The same state as before, and no look at the slots: so the fork does it.
                self.store.reopen().await?;
                self.register().await;
                self.watch().await?;
            }
        }
    }

    async fn own_state(&mut self) -> Outcome {
        let (node, watch) = self.store.watch_node(&self.own_path()).await?;
        self.own = Some(watch);
        let Some(node) = node else {
            self.register().await;
            return Ok(());
        };
        match serde_json::from_slice::<ProxyInfo>(&node.data)?.state.as_str() {
            "mark_offline" => self.leave().await,
            "online" => self.register().await,
            state => panic_as_the_original(&format!("unknown proxy state {state}")),
        }
        Ok(())
    }

    /// Leaves as upstream does: fence, node, session, end.
    async fn leave(&self) -> ! {
        for path in [self.path(&format!("fence/{}", self.me.addr)), self.own_path()] {
            if let Err(error) = self.store.delete(&path, None).await {
                tracing::warn!(%error, "left behind");
            }
        }
        // What is left of the session goes with the process.
        let _ = self.store.close().await;
        exit(0)
    }

    /// Ends, without cleaning up, if a dashboard has asked for it.
    async fn suspended(&self) {
        let path = self.path(&format!("proxy_suspend/{}", self.me.id));
        if self.store.get(&path).await.is_ok() {
            let _ = self.store.delete(&path, Some(0)).await;
            tracing::warn!("suspended");
            exit(0);
        }
    }

    /// The newest action, if it has not been seen. Those before it are skipped and not answered.
    async fn newest_action(&mut self) -> Outcome {
        let (names, watch) = self.store.watch_children(&self.path("actions")).await?;
        self.actions = Some(watch);
        let Ok(mut numbers) = names.iter().map(|name| name.parse::<i64>()).collect::<Result<Vec<_>, _>>()
        else {
            tracing::warn!(?names, "a name that is no number");
            return Ok(());
        };
        numbers.sort_unstable();
        let Some(newest) = numbers.last().copied().filter(|newest| *newest > self.last_seen) else {
            return Ok(());
        };
        self.last_seen = newest;
        let response = self.path(&format!("ActionResponse/{newest:010}/{}", self.me.id));
        if self.store.get(&response).await.is_ok() {
            return Ok(());
        }
        let read = self.store.get(&self.path(&format!("actions/{newest:010}"))).await;
        let action = match read.map(|node| serde_json::from_slice::<Action>(&node.data)) {
            Ok(Ok(action)) => action,
            other => {
                tracing::warn!(?other, newest, "an action that cannot be read");
                return Ok(());
            }
        };
        if !action.is_for(&self.me) {
            return Ok(());
        }
        tracing::info!(newest, kind = action.kind, "action");
        self.act(action).await?;
        let answer = self.me.json();
        let written =
            self.store.create(&response, answer.as_bytes(), CreateMode::Persistent, Acl::File).await;
        if let Err(error) = written {
            tracing::warn!(%error, "not acknowledged");
        }
        Ok(())
    }

    async fn act(&self, action: Action) -> Outcome {
        let id = |target: &serde_json::Value| target["id"].as_i64().unwrap_or(-1);
        match action.kind.as_str() {
            "slot_changed" | "slot_premigrate" | "slot_migrate" => {
                self.load(vec![u16::try_from(id(&action.target))?]).await
            }
            "multi_slot_changed" => {
                let range: Range = serde_json::from_value(action.target)?;
                let slots = range.from..=range.to;
                if range.status == "offline" {
                    for slot in slots {
                        self.routes.change(slot, Route { group: -1, ..Route::default() }, false).await;
                    }
                    return Ok(());
                }
                self.load(slots.collect()).await
            }
            "group_changed" => self.load(self.routes.of_group(id(&action.target))).await,
            "group_remove" => Ok(()),
            other => panic_as_the_original(&format!("unknown action {other}")),
        }
    }

    /// Reads slots and the masters of their groups anew; what the action says of them does not matter.
    async fn load(&self, slots: Vec<u16>) -> Outcome {
        let paths: Vec<String> = slots.iter().map(|slot| self.path(&format!("slots/slot_{slot}"))).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut masters = HashMap::new();
        for (slot, node) in slots.into_iter().zip(nodes) {
            let Some(node) = node else { panic_as_the_original(&format!("slot {slot} does not exist")) };
            let record: Slot = serde_json::from_slice(&node.data)?;
            let moving = record.state.status == "migrate";
            let from = record.state.migrate_status.from;
            for group in [Some(record.group_id), moving.then_some(from)].into_iter().flatten() {
                if let Entry::Vacant(unknown) = masters.entry(group) {
                    unknown.insert(self.master(group).await?);
                }
            }
            let route = Route {
                group: record.group_id,
                backend: masters.get(&record.group_id).cloned(),
                from: masters.get(&from).filter(|_| moving).cloned(),
            };
            self.routes.change(slot, route, record.state.status == "pre_migrate").await;
        }
        Ok(())
    }

    async fn master(&self, group: i64) -> Result<String, Box<dyn std::error::Error>> {
        let dir = self.path(&format!("servers/group_{group}"));
        let Some(names) = self.store.children_many(std::slice::from_ref(&dir)).await?.remove(0) else {
            panic_as_the_original(&format!("group {group} does not exist"))
        };
        let paths: Vec<String> = names.iter().map(|name| format!("{dir}/{name}")).collect();
        let mut masters = Vec::new();
        for node in self.store.get_many(&paths).await?.into_iter().flatten() {
            let server: Server = serde_json::from_slice(&node.data)?;
            if server.role == "master" {
                masters.push(server.addr);
            }
        }
        match <[String; 1]>::try_from(masters) {
            Ok([master]) => Ok(master),
            Err(masters) => panic_as_the_original(&format!("group {group} has {} masters", masters.len())),
        }
    }
}

fn exists_is_fine(created: Result<String, StoreError>) -> Result<(), StoreError> {
    match created {
        Err(error) if error.kind == ErrorKind::NodeExists => Ok(()),
        other => other.map(drop),
    }
}

fn panic_as_the_original(why: &str) -> ! {
    tracing::error!(why, "panic");
    exit(PANIC)
}

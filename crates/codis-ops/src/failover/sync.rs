//! `group sync`: puts a group right by hand, with an agent or without.
//!
//! Without an agent the command leads while it works. If an agent leads, the command writes into the group's journal which
//! offline servers people want back; everything else the leader does by itself. The command looks on and tells what came
//! of it. Should the leader die meanwhile, the command takes its place.

use std::{collections::BTreeMap, path::PathBuf};

use codis_core::{
    Addr, Group, GroupId, MoverLease, Role, Versioned,
    ha::{Demoted, Picture, Policy, Saga, SagaKind, ServerView, Stage, Upkeep, upkeep},
};
use codis_store::ErrorKind;
use tokio::time::{Instant, sleep};

use super::{
    Lead, Outcome, Work,
    begin::journal,
    by_hand::{ASK, PATIENCE, by_hand},
    carry_out, group,
    lead::led_by,
    look,
    upkeep::lift_left_stop,
};
use crate::{Context, Events, Failure, context};

/// What was put right by hand.
#[derive(Debug, Clone, Default)]
pub struct SyncReport {
    /// One line for each thing that was done.
    pub done: Vec<String>,
    /// One line for each server that is not right yet, and why.
    pub left: Vec<String>,
    /// The agent that did it. `None`: this program.
    pub by: Option<String>,
}

/// Puts a group right: goes on with a change that was begun, attaches slaves that follow another server, and brings offline
/// servers back that answer. The data of one that may have writes of its own is first kept in a file in `backups`, or where
/// the agent keeps them if one leads. Each step is complete in itself; whoever asks again goes on.
///
/// # Errors
/// `Unsafe` if another command changes masters all the time.
pub async fn sync(
    cx: &Context,
    id: GroupId,
    policy: &Policy,
    backups: PathBuf,
    events: &Events,
) -> Result<SyncReport, Failure> {
    let what = format!("cannot put group {id} right");
    let deadline = Instant::now() + PATIENCE;
    let policy = Policy { auto_rejoin: true, ..policy.clone() };
    let mut onlooker = Onlooker::default();
    group(cx, id).await?;
    loop {
        match Lead::take(cx, &context::who()).await? {
            Ok(lead) => {
                let report = {
                    let work = Work { backups: &backups, ..by_hand(cx, &lead, &policy, events) };
                    sync_led(&work, id, deadline).await
                };
                lead.release().await;
                return report;
            }
            Err(leader) if is_agent(cx, &leader, &what).await? => {
                onlooker.greet(&leader, events);
                if let Some(report) = onlooker.look_on(cx, id, &policy, &leader, deadline).await? {
                    return Ok(report);
                }
            }
            // Another command is soon done.
            Err(leader) if Instant::now() > deadline => return Err(led_by(&leader, what)),
            Err(_) => {}
        }
        sleep(ASK).await;
    }
}

async fn is_agent(cx: &Context, leader: &MoverLease, what: &str) -> Result<bool, Failure> {
    let agents = cx.product.agents().await.map_err(|error| Failure::store(what, &error))?;
    Ok(agents.found.iter().any(|agent| agent.id == leader.owner))
}

/// A group as it is now.
struct State {
    group: Group,
    views: BTreeMap<Addr, ServerView>,
    saga: Option<Versioned<Saga>>,
}

impl State {
    async fn read(cx: &Context, id: GroupId) -> Result<Self, Failure> {
        let (saga, _) = cx
            .product
            .watch_saga(id)
            .await
            .map_err(|error| Failure::store(format!("cannot read the journal of group {id}"), &error))?;
        let group = group(cx, id).await?;
        let views = look(cx, &group, None).await;
        Ok(Self { group, views, saga })
    }

    fn is_under_way(&self) -> bool {
        self.saga.as_ref().is_some_and(|saga| !saga.stage.is_over())
    }

    fn offline(&self) -> Vec<Addr> {
        let offline = self.group.servers.iter().filter(|server| server.role == Role::Offline);
        offline.map(|server| server.addr.clone()).collect()
    }

    /// The journal with every offline server that answers asked for; nothing if it says so already.
    fn asking(&self, policy: &Policy) -> Option<Saga> {
        let master = &self.group.master()?.addr;
        let before = self.saga.as_ref().map(|saga| &saga.value);
        let blank = || Saga {
            stage: Stage::Ended,
            why: format!("asked for by {}", context::who()),
            ..journal(&self.group, None, SagaKind::Planned, master, master, policy)
        };
        let mut saga = before.cloned().unwrap_or_else(blank);
        let answers = |addr: &Addr| self.views.get(addr).is_some_and(ServerView::is_reachable);
        for addr in self.offline().into_iter().filter(answers) {
            match saga.demoted.iter_mut().find(|server| server.addr == addr) {
                Some(server) => server.asked = true,
                None => {
                    let (history, offset, open, asked) = (None, 0, false, true);
                    saga.demoted.push(Demoted { open, asked, ..Demoted::new(addr, history, offset) });
                }
            }
        }
        let is_news = before.map_or(!saga.demoted.is_empty(), |before| before.demoted != saga.demoted);
        is_news.then_some(saga)
    }

    fn todo(&self, saga: Option<&Saga>, policy: &Policy) -> Vec<Upkeep> {
        let picture = Picture {
            group: &self.group,
            servers: &self.views,
            agents: &[],
            witnesses: &[],
            saga,
            moving: false,
            paused: None,
            session_healthy: true,
            now_ms: context::now_ms(),
        };
        upkeep(&picture, policy)
    }

    /// An offline server follows somebody already, and is waited for.
    fn is_syncing(&self) -> bool {
        self.offline().iter().any(|addr| {
            let facts = self.views.get(addr).and_then(|view| view.facts.as_ref());
            facts.is_some_and(|facts| !facts.is_master)
        })
    }

    /// What is not right yet, server by server. `late`: why something that could be done has not been.
    fn left(&self, late: &str) -> Vec<String> {
        let Some(master) = self.group.master().map(|master| &master.addr) else {
            return vec!["the group has not exactly one master".to_owned()];
        };
        let mut left = Vec::new();
        for server in &self.group.servers {
            let Some(view) = self.views.get(&server.addr) else { continue };
            let why = self.why_left(view, master, late);
            let facts = view.facts.as_ref().filter(|_| view.is_reachable());
            match server.role {
                Role::Offline => left.push(format!("{} is offline: {why}", server.addr)),
                _ if facts.is_none() => {
                    left.push(format!("{} is a {}: {why}", server.addr, server.role.as_str()))
                }
                Role::Slave if facts.is_some_and(|facts| facts.master.as_ref() != Some(master)) => {
                    left.push(format!("{} does not replicate from {master}: {why}", server.addr));
                }
                Role::Master | Role::Slave => {}
            }
        }
        left
    }

    fn why_left(&self, view: &ServerView, master: &Addr, late: &str) -> String {
        if let Some(silence) = &view.silence {
            return format!("not reachable: {}", silence.why);
        }
        if let Some(refusal) = &view.refusal {
            return format!("it refuses: {refusal}");
        }
        let keys =
            |view: Option<&ServerView>| view.and_then(|view| view.facts.as_ref()).map(|facts| facts.keys);
        match &view.facts {
            Some(facts) if facts.master.as_ref() == Some(master) => "not in sync yet".to_owned(),
            Some(facts) if facts.keys > 0 && keys(self.views.get(master)) == Some(0) => format!(
                "it waits for a person: it has {} keys, and {master}, the master, has none",
                facts.keys
            ),
            _ => late.to_owned(),
        }
    }
}

/// Tells what an agent does in a group.
#[derive(Debug, Default)]
struct Onlooker {
    leader: String,
    offline: Vec<Addr>,
    seen: Vec<Upkeep>,
}

impl Onlooker {
    fn greet(&mut self, leader: &MoverLease, events: &Events) {
        if self.leader != leader.owner {
            self.leader.clone_from(&leader.owner);
            let seconds = PATIENCE.as_secs();
            events.note(format!("{} leads the agents and does it; waiting up to {seconds} s", self.leader));
        }
    }

    /// One look: asks for what the leader does not do by itself. A report once there is nothing left to wait for.
    async fn look_on(
        &mut self,
        cx: &Context,
        id: GroupId,
        policy: &Policy,
        leader: &MoverLease,
        deadline: Instant,
    ) -> Result<Option<SyncReport>, Failure> {
        let state = State::read(cx, id).await?;
        let is_late = Instant::now() > deadline;
        if state.is_under_way() && !is_late {
            return Ok(None);
        }
        if let Some(saga) = state.asking(policy).filter(|_| !state.is_under_way()) {
            match cx.product.begin_saga(&saga, state.saga.as_ref()).await {
                Ok(_) => {}
                // Somebody has changed it meanwhile: look again.
                Err(error) if matches!(error.kind, ErrorKind::BadVersion | ErrorKind::NodeExists) => {
                    return Ok(None);
                }
                Err(error) => {
                    return Err(Failure::store(format!("cannot ask {} for it", leader.owner), &error));
                }
            }
            if !is_late {
                self.remember(&state, &state.todo(Some(&saga), policy));
                return Ok(None);
            }
        }
        let todo = state.todo(state.saga.as_ref().map(|saga| &saga.value), policy);
        self.remember(&state, &todo);
        if !is_late && (!todo.is_empty() || state.is_syncing()) {
            return Ok(None);
        }
        let late = format!("{} has not done it in {} s; its log says why", leader.owner, PATIENCE.as_secs());
        let done = self.seen.iter().filter(|one| !todo.contains(one)).filter_map(told);
        let back = self
            .offline
            .iter()
            .filter(|addr| state.group.server(addr).is_some_and(|listed| listed.role == Role::Slave));
        let done = done.chain(back.map(|addr| format!("{addr} is a slave of the group"))).collect();
        Ok(Some(SyncReport { done, left: state.left(&late), by: Some(leader.owner.clone()) }))
    }

    fn remember(&mut self, state: &State, todo: &[Upkeep]) {
        for addr in state.offline() {
            if !self.offline.contains(&addr) {
                self.offline.push(addr);
            }
        }
        for one in todo {
            if !self.seen.contains(one) {
                self.seen.push(one.clone());
            }
        }
    }
}

/// What the leader has done, as far as one can see it.
fn told(one: &Upkeep) -> Option<String> {
    match one {
        Upkeep::AllowWrites { master } => Some(format!("{master} takes writes again")),
        Upkeep::Reattach { server, master } | Upkeep::Rejoin { server, master, diverged: false } => {
            Some(format!("{server} replicates from {master}"))
        }
        Upkeep::Rejoin { server, master, diverged: true } => {
            Some(format!("{server} replicates from {master}; what it held is in the agent's backup_dir"))
        }
        Upkeep::ListAsSlave { .. } | Upkeep::Forget { .. } | Upkeep::Waiting { .. } => None,
    }
}

async fn sync_led(work: &Work<'_>, id: GroupId, deadline: Instant) -> Result<SyncReport, Failure> {
    let mut report = SyncReport::default();
    let mut tried: Vec<Upkeep> = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    loop {
        let state = State::read(work.cx, id).await?;
        if state.is_under_way() {
            let saga = work.carry_on(id).await?;
            report.done.push(format!("the change to {} is {}", saga.new, saga.stage));
            continue;
        }
        if let Some(master) = state.group.master()
            && lift_left_stop(work, &master.addr).await?
        {
            report.done.push(format!("{} takes writes again", master.addr));
        }
        // All that are offline are meant: somebody has asked for exactly this.
        let asked = state.asking(work.policy).or_else(|| state.saga.as_ref().map(|saga| saga.value.clone()));
        let todo = state.todo(asked.as_ref(), work.policy);
        let todo: Vec<Upkeep> = todo.into_iter().filter(|one| !tried.contains(one)).collect();
        for one in todo.iter().cloned() {
            match work_on(work, id, &one).await {
                Ok(done) => report.done.extend(done),
                Err(failure) => failed.push(failure.to_string()),
            }
            tried.push(one);
        }
        if todo.is_empty() && (!state.is_syncing() || Instant::now() > deadline) {
            report.left = [failed, state.left("not attached yet")].concat();
            return Ok(report);
        }
        sleep(ASK).await;
    }
}

async fn work_on(work: &Work<'_>, group: GroupId, one: &Upkeep) -> Result<Option<String>, Failure> {
    let outcome = carry_out(work, group, one).await?;
    Ok(match (one, outcome) {
        (Upkeep::Rejoin { server, master, .. }, Outcome::Attached(Some(file))) => {
            Some(format!("{server} replicates from {master}; what it held is in {}", file.display()))
        }
        (Upkeep::ListAsSlave { server }, _) => Some(format!("{server} is a slave of the group")),
        (Upkeep::Rejoin { server, master, .. } | Upkeep::Reattach { server, master }, _) => {
            Some(format!("{server} replicates from {master}"))
        }
        _ => None,
    })
}

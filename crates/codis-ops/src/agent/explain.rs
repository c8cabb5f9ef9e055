//! What agents would do, and why not: for people, and without an agent.

use std::collections::BTreeMap;

use codis_core::{
    Addr, GroupId, MoverLease, Versioned,
    ha::{
        AgentView, Decision, Need, Observed, Pause, Picture, Policy, Saga, ServerView, Silence, Verdict,
        choose, decide, needs,
    },
};

use super::AgentOptions;
use crate::{Consent, Context, Failure, FailureKind, audit, context, failover};

/// Who is there, and what is going on.
#[derive(Debug, Clone)]
pub struct Status {
    /// The agent that leads.
    pub leader: Option<MoverLease>,
    /// The agents that live.
    pub agents: Vec<AgentView>,
    /// Failovers are suspended.
    pub paused: Option<Pause>,
    /// The last change of each group's master.
    pub sagas: BTreeMap<GroupId, Versioned<Saga>>,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// Who is there, and what is going on.
///
/// # Errors
/// If the store does not answer.
pub async fn status(cx: &Context) -> Result<Status, Failure> {
    let product = &cx.product;
    let read = tokio::try_join!(product.leader(), product.agents(), product.ha_pause(), product.sagas());
    let (leader, agents, paused, sagas) =
        read.map_err(|error| Failure::store("cannot read the agents", &error))?;
    let now_ms = context::now_ms();
    let paused = paused.filter(|pause| pause.holds(now_ms));
    Ok(Status { leader, agents: agents.found, paused, sagas: sagas.found, now_ms })
}

/// What would be done about a group.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The group's master.
    pub master: Addr,
    /// What is decided now.
    pub now: Decision,
    /// What is held against each other server, the one first that would be chosen if the master died now.
    pub candidates: Vec<Verdict>,
    /// How far the master is, bytes.
    pub offset: Option<u64>,
    /// How each server was found.
    pub servers: BTreeMap<Addr, ServerView>,
    /// Agents and pause.
    pub status: Status,
    /// Proxies that have trouble with the master, and how many say how servers do.
    pub proxies: (usize, usize),
    /// Slots move from or to the group.
    pub moving: bool,
    /// What a failover needs, and whether it is so.
    pub needs: Vec<Need>,
}

impl Explanation {
    /// How many agents have an answer from a server.
    pub fn agents_that_reach(&self, addr: &Addr) -> usize {
        self.status.agents.iter().filter(|agent| !agent.silent.contains_key(addr)).count()
    }
}

/// Looks at a group as an agent would, and says what that would come to.
///
/// # Errors
/// If the store does not answer, or the group has not exactly one master.
pub async fn explain(cx: &Context, id: GroupId, policy: &Policy) -> Result<Explanation, Failure> {
    let what = format!("cannot explain group {id}");
    let place = format!("servers/group_{id}");
    let cluster = cx.load().await?;
    let Some(group) = cluster.groups.get(&id) else {
        return Err(Failure::new(FailureKind::Failed, what, place, "there is no such group")
            .next("codisctl group list"));
    };
    let Some(master) = group.master().map(|master| master.addr.clone()) else {
        let why = format!("it lists {} masters", group.masters().count());
        return Err(
            Failure::new(FailureKind::Failed, what, place, why).next(format!("codisctl group show {id}"))
        );
    };
    let status = status(cx).await?;
    let witnesses = cx.product.witnesses().await.map_err(|error| Failure::store(&what, &error))?.found;
    let mut servers = failover::look(cx, group, None).await;
    // How long a server has been silent only agents know.
    for (addr, view) in &mut servers {
        if let Some(silence) = &mut view.silence {
            let seen = status.agents.iter().filter_map(|agent| Some((agent, agent.silent.get(addr)?)));
            let silent = seen.map(|(agent, seen)| seen.ms + status.now_ms.saturating_sub(agent.ts_ms));
            silence.ms = silent.max().unwrap_or(0);
        }
    }
    let moving = cluster.slots_using(id).any(|slot| slot.moving().is_some());
    let picture = Picture {
        group,
        servers: &servers,
        agents: &status.agents,
        witnesses: &witnesses,
        saga: cluster.sagas.get(&id).map(|saga| &saga.value),
        moving,
        paused: status.paused.as_ref(),
        session_healthy: true,
        now_ms: status.now_ms,
    };
    let now = decide(&picture, policy);
    let mut lost = servers.clone();
    if let Some(view) = lost.get_mut(&master).filter(|view| view.silence.is_none()) {
        view.silence = Some(Silence { ms: 0, why: "if it died now".to_owned() });
    }
    let candidates = choose(group, &master, &lost, policy, moving, picture.saga, picture.now_ms);
    let needs = needs(&picture, policy, status.leader.is_some(), &candidates);
    let sights = witnesses.iter().filter_map(|witness| witness.servers.get(&master));
    let proxies = sights.fold((0, 0), |(say, of), sight| (say + usize::from(sight.failing > 0), of + 1));
    let facts = servers.get(&master).and_then(|view| view.facts.as_ref());
    let offset = facts.map(|facts| facts.offset);
    Ok(Explanation { master, now, candidates, offset, servers, status, proxies, moving, needs })
}

/// Suspends failovers, or lets them be made again (`why` is `None`).
///
/// # Errors
/// If the store does not answer.
pub async fn set_pause(
    cx: &Context,
    until_ms: Option<u64>,
    why: Option<&str>,
    consent: Consent,
) -> Result<(), Failure> {
    let pause = why.map(|why| Pause {
        by: context::who(),
        why: why.to_owned(),
        since_ms: context::now_ms(),
        until_ms,
    });
    let text = match &pause {
        Some(pause) => format!("suspend failovers\n1 ha: suspended by {}: {}", pause.by, pause.why),
        None => "let failovers be made again\n1 ha: not suspended".to_owned(),
    };
    let record = audit::begin(cx, text, consent).await?;
    let done = cx.product.set_ha_pause(pause.as_ref()).await;
    let done = done.map_err(|error| Failure::store("cannot write whether failovers are suspended", &error));
    let recorded = record.end(cx, &done).await;
    done?;
    recorded
}

/// What an agent that acts on nothing would do now: one line for each group with a lost master, and one for moves.
pub fn would_do(observed: &Observed, options: &AgentOptions) -> Vec<String> {
    let policy = &options.policy;
    let decisions = observed.cluster.groups.keys().filter_map(|id| {
        let picture = super::work::picture(observed, *id, true)?;
        Some((id, decide(&picture, policy)))
    });
    let moves = options.moves.as_ref().and_then(|_| super::moves::would_move(observed));
    let masters = decisions.filter_map(|(id, decision)| match decision {
        Decision::Nothing => None,
        Decision::Failover(choice) => {
            Some(format!("group {id}: {} would take the place of {}", choice.new, choice.old))
        }
        Decision::Refused { master, why } => Some(format!("group {id}: {master} is lost; {why}")),
    });
    masters.chain(moves).collect()
}

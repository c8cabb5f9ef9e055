//! What a failover needs, for people who ask before a master is lost.

use crate::ha::{AgentView, Picture, Policy, Verdict, decide::cooling, master_down};

/// One thing that a failover needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What it is, in a few words.
    pub what: String,
    /// Why it is not so now. `None`: it is.
    pub unmet: Option<String>,
}

/// What could keep the group's master from being replaced: always that agents agree, that nobody has suspended failovers,
/// and that the last one is long enough ago; other things only if they are in the way. `leads`: some agent leads.
pub fn needs(picture: &Picture<'_>, policy: &Policy, leads: bool, candidates: &[Verdict]) -> Vec<Need> {
    let need = |what: String, unmet: Option<String>| Need { what, unmet };
    let block_s = policy.recovery_block_ms.div_ceil(1000);
    let paused = picture.paused.filter(|pause| pause.holds(picture.now_ms));
    let mut all = vec![
        need("majority of agents".to_owned(), no_majority(picture, policy, leads)),
        need(
            "product not paused".to_owned(),
            paused.map(|pause| match pause.why.as_str() {
                "" => format!("suspended by {}", pause.by),
                why => format!("suspended by {}: {why}", pause.by),
            }),
        ),
        need(
            format!("no failover here in the last {block_s} s"),
            cooling(picture, policy).map(|left| format!("the next may be in {} s", left.div_ceil(1000))),
        ),
    ];
    let open = picture.saga.filter(|saga| !saga.stage.is_over() && !saga.stage.is_stored());
    if let Some(saga) = open {
        let why = format!("{} is to be the master: {}", saga.new, saga.stage);
        all.push(need("no change of master under way".to_owned(), Some(why)));
    }
    if !candidates.iter().any(|verdict| verdict.chosen) {
        let why = if candidates.is_empty() { "the group has no other server" } else { "none of those above" };
        all.push(need("a server that is fit".to_owned(), Some(why.to_owned())));
    }
    all
}

fn no_majority(picture: &Picture<'_>, policy: &Policy, leads: bool) -> Option<String> {
    let agents = picture.agents;
    if agents.is_empty() {
        return Some("no agent watches".to_owned());
    }
    if agents.iter().all(|agent: &AgentView| agent.observe_only) {
        return Some("all agents only observe".to_owned());
    }
    if !leads {
        return Some("no agent leads".to_owned());
    }
    if agents.len() == 1 && !policy.single_observer {
        return Some("there is a single agent, and ha.single_observer is false".to_owned());
    }
    let master = picture.group.master()?;
    master_down(picture, &master.addr, policy).err().map(|why| why.to_string())
}

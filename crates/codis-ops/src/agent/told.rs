//! What people should hear of masters and their slaves.

use codis_core::{
    Addr, GroupId,
    ha::{
        Decision, NotNow, Observed, Picture, Policy, Saga, SagaKind, Stage, Unfit, Upkeep, Verdict, decide,
        upkeep,
    },
    notice::{Alert, Facts},
};

use super::work::{Ended, picture};
use crate::{context, failover::Outcome};

/// What lasts is found anew at every tick; since when is remembered here.
#[derive(Debug, Default)]
pub(super) struct Told {
    since: std::collections::BTreeMap<String, u64>,
}

impl Told {
    /// Everything that lasts, and what has ended since the last tick.
    pub(super) fn of(
        &mut self,
        observed: Option<&Observed>,
        policy: &Policy,
        ended: Vec<Ended>,
    ) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = ended.into_iter().filter_map(|one| event(one, observed)).collect();
        let Some(observed) = observed else { return alerts };
        let mut lasting = Vec::new();
        for id in observed.cluster.groups.keys() {
            lasting.extend(of_group(observed, *id, policy));
        }
        let ids: Vec<String> = lasting.iter().map(|alert| alert.id().to_string()).collect();
        self.since.retain(|id, _| ids.contains(id));
        for (alert, id) in lasting.iter_mut().zip(ids) {
            alert.since_ms = *self.since.entry(id).or_insert(alert.since_ms);
        }
        alerts.extend(lasting);
        alerts
    }
}

fn of_group(observed: &Observed, id: GroupId, policy: &Policy) -> Vec<Alert> {
    let Some(picture) = picture(observed, id, true) else { return Vec::new() };
    let mut alerts = Vec::new();
    let decision = decide(&picture, policy);
    if let Decision::Refused { master, why } = &decision {
        let silent_ms =
            observed.servers.get(master).and_then(|view| view.silence.as_ref()).map_or(0, |s| s.ms);
        let (reason, verdicts): (_, &[Verdict]) = match why {
            NotNow::NobodyFit(verdicts) => (None, verdicts),
            other => (Some(other.to_string()), &[]),
        };
        let slots = observed.cluster.slots_using(id).filter(|slot| slot.group == Some(id)).count() as u64;
        let answers = |verdict: &&Verdict| !matches!(verdict.unfit, Some(Unfit::Unreachable(_)));
        let has_data = verdicts.iter().filter(|verdict| verdict.same_history).filter(answers);
        let best = has_data.max_by_key(|verdict| verdict.offset);
        let facts = Facts::FailoverRefused {
            group: id,
            master: master.clone(),
            slots,
            why: reason,
            refused: verdicts.iter().map(ToString::to_string).collect(),
            best: best.map(|verdict| verdict.addr.clone()),
        };
        alerts.push(Alert::new(format!("group {id}"), observed.now_ms.saturating_sub(silent_ms), facts));
    }
    for one in upkeep(&picture, policy) {
        if let (Upkeep::Waiting { server }, Some(master)) = (&one, picture.group.master()) {
            let facts = Facts::RejoinWaiting {
                group: id,
                server: server.clone(),
                master: master.addr.clone(),
                why: "ha.rejoin is manual".to_owned(),
            };
            alerts.push(Alert::new(server, observed.now_ms, facts));
        }
    }
    alerts.extend(empty_master(observed, &picture, &decision));
    alerts
}

/// A master that has lost its data: who still has it, and what is done.
fn empty_master(observed: &Observed, picture: &Picture<'_>, decision: &Decision) -> Option<Alert> {
    let master = &picture.group.master()?.addr;
    let view = observed.servers.get(master)?;
    let keys_before = view.emptied?;
    let keys = |addr: &Addr| observed.servers.get(addr)?.facts.as_ref().map(|facts| facts.keys);
    // As one must have to take its place.
    let has_them = |addr: &Addr| keys(addr).is_some_and(|keys| keys > 0 && keys * 2 >= keys_before);
    let slave = picture.group.slaves().map(|server| &server.addr).find(|addr| has_them(addr));
    let under_way = picture.saga.filter(|saga| !saga.stage.is_over() && &saga.old == master);
    let (to, why) = match decision {
        Decision::Failover(choice) => (Some(choice.new.clone()), None),
        Decision::Refused { why, .. } => (None, Some(why.to_string())),
        Decision::Nothing => (under_way.map(|saga| saga.new.clone()), None),
    };
    let facts = Facts::EmptyMaster {
        group: picture.group.id,
        master: master.clone(),
        keys_before,
        keys: keys(master).unwrap_or(0),
        slave: to.or(slave.cloned()),
        why,
    };
    Some(Alert::new(master, observed.now_ms, facts))
}

/// What has happened.
fn event(ended: Ended, observed: Option<&Observed>) -> Option<Alert> {
    let now_ms = context::now_ms();
    match ended {
        Ended::Changed(saga) if saga.stage == Stage::Ended => {
            Some(Alert::new(format!("group {}", saga.group), now_ms, changed(&saga, observed)))
        }
        Ended::Upkeep(Upkeep::ListAsSlave { server }, Outcome::Rejoined { kept, lost }) => {
            let group = observed?.cluster.groups.values().find(|group| group.server(&server).is_some())?;
            let master = group.master()?.addr.clone();
            let facts =
                Facts::RejoinDone { group: group.id, server: server.clone(), master, kept, loss: lost };
            Some(Alert::new(server, now_ms, facts))
        }
        _ => None,
    }
}

fn changed(saga: &Saga, observed: Option<&Observed>) -> Facts {
    let receipt = &saga.receipt;
    let followers = observed.and_then(|observed| observed.cluster.groups.get(&saga.group)).map(|group| {
        group
            .slaves()
            .filter(|server| server.addr != saga.new)
            .map(|server| server.addr.to_string())
            .collect()
    });
    Facts::FailoverDone {
        group: saga.group,
        from: saga.old.clone(),
        to: saga.new.clone(),
        planned: saga.kind == SagaKind::Planned,
        down_ms: receipt.followed_ms.saturating_sub(receipt.last_good_ms)
            * u64::from(receipt.last_good_ms > 0),
        agents_agree: receipt.agents.0,
        agents: receipt.agents.1,
        proxies_agree: receipt.proxies.0,
        proxies: receipt.proxies.1,
        switched_ms: receipt.followed_ms.saturating_sub(receipt.decided_ms.max(saga.begun_ms)),
        loss: receipt.lost,
        confirmed: receipt.confirmed,
        silent: receipt.unconfirmed.clone(),
        followers: followers.unwrap_or_default(),
    }
}

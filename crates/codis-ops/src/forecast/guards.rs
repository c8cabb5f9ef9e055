//! What must be true before slots move, looked at one by one, so that a person sees all of it and not the first refusal only.

use std::collections::BTreeSet;

use codis_core::{Addr, Cluster, GroupId, ProxyKind, SlotSet};

use super::{Ends, ForecastOptions, Room};
use crate::{Context, Failure, actions, check::Checked, mover::fit, observe};

/// How well it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it must be.
    Good,
    /// To be known.
    Told,
    /// A move can begin, but may be slow or at risk.
    Warning,
    /// Some slots cannot move, see their verdicts.
    Partly,
    /// Nothing can move.
    Bad,
}

/// One of the things that must be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// How well it stands.
    pub mark: Mark,
    /// What was found.
    pub text: String,
    /// What to do about it; empty if nothing.
    pub next: String,
}

/// Actions that are looked at for proxies that have not followed.
const RECENT: usize = 5;

fn guard(mark: Mark, text: impl Into<String>) -> Guard {
    Guard { mark, text: text.into(), next: String::new() }
}

/// What else must be true, in the order in which it matters, when [`of_servers`] has found nothing bad.
pub(super) async fn of_the_rest(
    cx: &Context,
    ends: &Ends<'_>,
    checked: &Checked,
    room: &Room,
    options: &ForecastOptions,
) -> Result<Vec<Guard>, Failure> {
    let (cluster, to) = (ends.cluster, ends.to);
    let mut guards = Vec::new();
    guards.push(clean(to, &checked.held));
    guards.extend(memory(to, room));
    guards.extend(replicas(ends)?);
    // The planner has refused otherwise.
    guards.push(guard(Mark::Good, "no Go dashboard"));
    guards.push(guard(Mark::Good, "fences clean"));
    guards.extend(cluster.mover.as_ref().map(|mover| {
        let text =
            format!("{} (pid {}) moves slots now, these when it comes to them", mover.owner, mover.pid);
        Guard { next: "codisctl migrate watch".to_owned(), ..guard(Mark::Warning, text) }
    }));
    guards.extend(proxies(cx, cluster, options).await?);
    guards.push(guard(Mark::Told, "a probe key: when it begins"));
    Ok(guards)
}

/// Masters that are fit, and ways between them.
pub(super) fn of_servers(ends: &Ends<'_>) -> Result<Vec<Guard>, Failure> {
    let (d, takes) = ends.master(ends.to)?;
    let mut bad = Vec::new();
    let mut formats = BTreeSet::new();
    let refuse =
        |addr: &Addr, why: &str, next: String| Guard { next, ..guard(Mark::Bad, format!("{addr}: {why}")) };
    for id in ends.sources.iter().chain([&ends.to]) {
        let (addr, info) = ends.master(*id)?;
        bad.extend(fit::unfit(info).map(|why| refuse(addr, &why, format!("codisctl server info {addr}"))));
    }
    let mut native = false;
    for id in &ends.sources {
        let (s, gives) = ends.master(*id)?;
        match fit::native((s, gives), (d, takes)) {
            Ok(of_this) => native |= of_this,
            Err(misfit) => bad.push(refuse(&misfit.addr, &misfit.why, misfit.next)),
        }
        formats.extend(fit::formats(gives, takes));
    }
    let mut guards = Vec::new();
    if bad.is_empty() {
        let all = if ends.sources.len() == 1 {
            "both are masters and answer"
        } else {
            "all are masters and answer"
        };
        guards.push(guard(Mark::Good, all));
        let told: Vec<String> = formats.iter().map(|(from, to)| format!("{from} to {to}")).collect();
        if !told.is_empty() {
            guards.push(guard(Mark::Good, format!("RDB version {}", told.join(", "))));
        }
    }
    guards.extend(bad);
    if native {
        let text =
            "a source moves keys by its own SLOTSMGRTTAGSLOT: a failover meanwhile can lose or revive keys";
        guards.push(guard(Mark::Warning, text));
    }
    for id in &ends.sources {
        let (addr, info) = ends.master(*id)?;
        if info.other_dbs > 0 {
            let text = format!("{addr} has keys in databases other than 0; they do not move");
            guards.push(guard(Mark::Warning, text));
        }
    }
    Ok(guards)
}

/// Keys that the destination has already would win over those of the source.
fn clean(to: GroupId, held: &SlotSet) -> Guard {
    if held.is_empty() {
        return guard(Mark::Good, format!("group {to} holds no key of them"));
    }
    let next = "look at them there, and delete or rename what does not belong".to_owned();
    Guard { next, ..guard(Mark::Partly, format!("group {to} holds keys of slots {held}")) }
}

fn memory(to: GroupId, room: &Room) -> Option<Guard> {
    let full = room.max > 0 && room.after > room.max;
    full.then(|| {
        let next = "raise its maxmemory, or move fewer slots".to_owned();
        Guard { next, ..guard(Mark::Partly, format!("group {to} has no room for all of them")) }
    })
}

/// Slaves that are listed but do not follow: what moves is not confirmed by them.
fn replicas(ends: &Ends<'_>) -> Result<Vec<Guard>, Failure> {
    let mut guards = Vec::new();
    for id in ends.sources.iter().chain([&ends.to]) {
        let (_, info) = ends.master(*id)?;
        let listed = ends.cluster.groups.get(id).map_or(0, |group| group.slaves().count());
        let linked = info.slaves_online() as usize;
        if linked < listed {
            let text = format!(
                "group {id}: {linked} of {listed} slaves follow; the others do not confirm what moves"
            );
            let next = format!("codisctl group show {id}");
            guards.push(Guard { next, ..guard(Mark::Warning, text) });
        }
    }
    Ok(guards)
}

/// Whether all proxies follow, as far as it can be seen without asking them to.
async fn proxies(cx: &Context, cluster: &Cluster, options: &ForecastOptions) -> Result<Vec<Guard>, Failure> {
    let online: Vec<_> = cluster.online_proxies().collect();
    if online.is_empty() {
        return Ok(vec![guard(Mark::Told, "no proxy is online")]);
    }
    let answers = observe::proxies(cluster, options.patience).await;
    let recent = actions::recent(cx, RECENT).await?;
    let mut guards = Vec::new();
    for proxy in &online {
        let missed = recent.newest.found.iter().find(|followed| {
            let id = proxy.id.as_str();
            followed.receivers.iter().any(|to| to == id) && !followed.acked.iter().any(|by| by == id)
        });
        let silent = answers.get(&proxy.id).and_then(|answer| answer.as_ref().err());
        let text = match (missed, silent) {
            (Some(followed), _) => {
                let action = followed.action.seq.unwrap_or_default();
                format!("{} has not acknowledged action {action}", proxy.id)
            }
            (None, Some(why)) => format!("{} does not answer: {why}", proxy.id),
            (None, None) => continue,
        };
        let next = format!("codisctl proxy show {}", proxy.id);
        guards.push(Guard { next, ..guard(Mark::Warning, text) });
    }
    if guards.is_empty() {
        let all = codis_core::plan::plural(online.len(), "proxy follows", "proxies follow");
        guards.push(guard(Mark::Good, all));
    }
    if let Some(proxy) = online.iter().find(|proxy| proxy.kind() == ProxyKind::Go) {
        let text = format!("{} is a Go proxy: slots move one at a time", proxy.id);
        guards.push(guard(Mark::Warning, text));
    }
    Ok(guards)
}

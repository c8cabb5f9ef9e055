//! Saving servers one after another: by agents all the time, or by hand for one round.
//!
//! [`codis_core::duty::snapshots`] decides; here servers are asked and told. Before a server forks on nobody's word but ours
//! its own reasons to fork are taken away: what was set before is first written to the store
//! (`snapshots/ADDR`), then changed on the server. Whoever dies in between leaves a server that is taken over the rest of the
//! way by the next one, or put back by `snapshot undo`. A claim in the store (`governors/HOST`), gone with its
//! session, sees to it that a host has one governor.

mod claim;
mod duty;
mod host;
mod look;
mod round;
mod settings;
mod undo;

use codis_core::{
    Cluster,
    duty::snapshots::{Capacity, Host, Turn, capacity as fill, preview},
};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

pub use self::duty::Snapshots;
pub use self::round::{NotSaved, Saved};
pub use self::settings::SnapshotSettings;
pub use self::undo::PutBack;
use crate::{Consent, Context, Events, Failure, FailureKind, audit};

/// A host and the round that would be run on it.
#[derive(Debug)]
pub struct HostPlan {
    /// How full it is.
    pub capacity: Capacity,
    /// Its servers in their order.
    pub turns: Vec<Turn>,
    /// Servers whose settings are kept: they fork on nobody's word but ours.
    pub taken: Vec<codis_core::Addr>,
    /// Who governs it now.
    pub governor: Option<String>,
}

/// How full hosts are, and what a round would do; all hosts, or one. Writes nothing.
///
/// # Errors
/// If the store does not answer, or has no server on that host.
pub async fn plan(
    cx: &Context,
    cluster: &Cluster,
    only: Option<&str>,
    settings: &SnapshotSettings,
) -> Result<Vec<HostPlan>, Failure> {
    let kept = host::kept(cx).await?;
    let mut plans = Vec::new();
    let looks = chosen(cluster, only)?.into_iter().map(|(name, servers)| {
        let kept = &kept;
        async move {
            let host = look::Eyes::default().look(cx, &name, &servers, kept, settings).await;
            (host, cx.product.governor(&name).await)
        }
    });
    for (host, governor) in join_all(looks).await {
        let what = format!("cannot tell who governs {}", host.name);
        let governor = governor.map_err(|error| Failure::store(what, &error))?;
        plans.push(of_host(&host, settings, governor.map(|lease| lease.owner)));
    }
    Ok(plans)
}

fn of_host(host: &Host, settings: &SnapshotSettings, governor: Option<String>) -> HostPlan {
    let taken = host.instances.iter().filter(|one| one.kept.is_some()).map(|one| one.addr.clone());
    HostPlan {
        capacity: fill(host, &settings.policy),
        turns: preview(host, &settings.policy),
        taken: taken.collect(),
        governor,
    }
}

/// Saves every server of all hosts, or one host, once; hosts at the same time, the servers of each one after another.
/// When told to stop it begins no further child and puts settings back. There is an audit record of it.
///
/// # Errors
/// `Unsafe` if somebody else governs a host; if the store does not answer.
pub async fn run(
    cx: &Context,
    only: Option<&str>,
    settings: &SnapshotSettings,
    consent: Consent,
    events: &Events,
    stop: &CancellationToken,
) -> Result<Vec<Saved>, Failure> {
    let cluster = cx.load().await?;
    let hosts = chosen(&cluster, only)?;
    let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
    for name in &names {
        claim::is_free(cx, name).await?;
    }
    let title = format!("save the servers of {} one after another", names.join(", "));
    recorded(cx, title, consent, async {
        let rounds =
            hosts.iter().map(|(name, servers)| round::run(cx, name, servers, settings, events, stop));
        let mut saved = Vec::new();
        for done in join_all(rounds).await {
            saved.extend(done?);
        }
        Ok(saved)
    })
    .await
}

/// Lets servers of all hosts, or one, fork again as they did before. There is an audit record of it.
///
/// # Errors
/// `Unsafe` if an agent governs a host: it would take them over again; if the store does not answer.
pub async fn undo(cx: &Context, only: Option<&str>, consent: Consent) -> Result<PutBack, Failure> {
    let cluster = cx.load().await?;
    let listed = look::hosts(&cluster);
    let mut hosts: Vec<String> = host::kept(cx).await?.keys().map(|addr| addr.host().to_owned()).collect();
    hosts.dedup();
    hosts.retain(|host| only.is_none_or(|only| only == host));
    if hosts.is_empty() {
        return Ok(PutBack::default());
    }
    let title = format!("let the servers of {} fork as they did before", hosts.join(", "));
    recorded(cx, title, consent, async {
        let mut report = PutBack::default();
        for name in hosts {
            let mut claim = claim::Claim::take(cx, &name).await?;
            let servers = listed.get(&name).map(Vec::as_slice).unwrap_or_default();
            let done = undo::put_back(cx, &name, servers, &mut claim, |_| true).await;
            claim.release().await;
            let done = done?;
            report.done.extend(done.done);
            report.left.extend(done.left);
        }
        Ok(report)
    })
    .await
}

/// Does something with an audit record of it.
async fn recorded<T>(
    cx: &Context,
    title: String,
    consent: Consent,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let record = audit::begin(cx, title, consent).await?;
    let done = work.await;
    let outcome = done.as_ref().map(drop).map_err(Clone::clone);
    let ended = record.end(cx, &outcome).await;
    let done = done?;
    ended.map(|()| done)
}

fn chosen(cluster: &Cluster, only: Option<&str>) -> Result<Vec<(String, Vec<look::Listed>)>, Failure> {
    let mut hosts = look::hosts(cluster);
    let Some(only) = only else { return Ok(hosts.into_iter().collect()) };
    match hosts.remove_entry(only) {
        Some(host) => Ok(vec![host]),
        None => {
            let known: Vec<String> = hosts.into_keys().collect();
            let why = format!("servers are on: {}", known.join(", "));
            let what = format!("no server is on host {only}");
            Err(Failure::new(FailureKind::Failed, what, "servers", why).next("codisctl capacity"))
        }
    }
}

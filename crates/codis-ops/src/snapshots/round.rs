//! One round by hand: every server of a host once, then their settings as they were.

use std::time::Duration;

use codis_core::{
    Addr,
    duty::snapshots::{Does, Plight},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    SnapshotSettings,
    claim::Claim,
    host::{HostWork, Step},
    look::Listed,
    undo,
};
use crate::{Context, Events, Failure};

/// How often the servers are asked while one of them saves.
const LOOK: Duration = Duration::from_millis(200);
/// A round in which nothing happens for so long ends.
const STUCK: Duration = Duration::from_secs(3600);
/// A round in which nobody fits, and nobody has a child, ends after so long.
const FULL: Duration = Duration::from_secs(3);

/// What became of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The server.
    pub addr: Addr,
    /// What its child did, or was to do.
    pub does: Does,
    /// How long it took, milliseconds; or why it was not done.
    pub done: Result<u64, NotSaved>,
}

/// Why a server was not saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSaved {
    /// There was no room, or never a moment: it is put off.
    PutOff(String),
    /// It was tried.
    Failed(String),
}

/// Runs a round on one host.
pub(super) async fn run(
    cx: &Context,
    name: &str,
    servers: &[Listed],
    settings: &SnapshotSettings,
    events: &Events,
    stop: &CancellationToken,
) -> Result<Vec<Saved>, Failure> {
    let mut claim = Claim::take(cx, name).await?;
    let mut round = Round { events, saved: Vec::new(), running: None, moved: Instant::now(), said: None };
    let mut work = HostWork::new(cx, name, settings, false);
    let done = round.run(&mut work, servers, settings, &mut claim, stop).await;
    // What was taken over for this round only is put back, also after an error.
    let back = undo::put_back(cx, name, servers, &mut claim, |kept| !kept.standing).await;
    claim.release().await;
    done?;
    let left: Vec<String> = back?.left.into_iter().map(|(addr, why)| format!("{addr}: {why}")).collect();
    for line in left {
        events.note(format!("its settings are not as before yet: {line}"));
    }
    Ok(round.saved)
}

struct Round<'a> {
    events: &'a Events,
    saved: Vec<Saved>,
    running: Option<(Addr, Does, Instant)>,
    /// When something last happened.
    moved: Instant,
    said: Option<String>,
}

impl Round<'_> {
    async fn run(
        &mut self,
        work: &mut HostWork,
        servers: &[Listed],
        settings: &SnapshotSettings,
        claim: &mut Claim,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let host = work.look(servers).await?;
        work.governor.ask(&host, &settings.policy);
        loop {
            let step = work.step(servers, Some(&mut *claim)).await?;
            self.note(&step);
            let open: Vec<(Addr, Does)> = work.governor.asked().cloned().collect();
            if self.running.is_none() && (open.is_empty() || self.ends(&step, stop)) {
                let put_off = open.into_iter().map(|(addr, does)| {
                    let why = why_not(&step, &addr, stop);
                    Saved { addr, does, done: Err(NotSaved::PutOff(why)) }
                });
                self.saved.extend(put_off);
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    fn note(&mut self, step: &Step) {
        if let Some((addr, does, begun)) = self.running.take() {
            let said = step.host.instances.iter().find(|one| one.addr == addr).map(|one| &one.said);
            let done = match said {
                Some(Ok(said)) if said.child.is_some() => {
                    self.running = Some((addr, does, begun));
                    return;
                }
                Some(Ok(said))
                    if does == Does::Save && said.save_failed
                        || does == Does::Rewrite && said.rewrite_failed =>
                {
                    Err(NotSaved::Failed("its log says why".to_owned()))
                }
                Some(Ok(_)) => Ok(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)),
                Some(Err(unheard)) => Err(NotSaved::Failed(unheard.why.clone())),
                None => Err(NotSaved::Failed("it is not listed any more".to_owned())),
            };
            self.moved = Instant::now();
            self.saved.push(Saved { addr, does, done });
        }
        if let Some((addr, does)) = &step.forked {
            self.events.note(format!("{addr}  {}", does.as_str()));
            self.running = Some((addr.clone(), *does, Instant::now()));
            (self.moved, self.said) = (Instant::now(), None);
        }
        if !step.decision.orders.is_empty() {
            self.moved = Instant::now();
        }
        if step.decision.waits.is_some() && step.decision.waits != self.said {
            self.said.clone_from(&step.decision.waits);
            self.events.note(format!("waits: {}", self.said.as_deref().unwrap_or_default()));
        }
    }

    /// There is nothing to wait for any more.
    fn ends(&self, step: &Step, stop: &CancellationToken) -> bool {
        let idle = self.moved.elapsed();
        let full = step.decision.waits.is_none() && step.decision.orders.is_empty() && idle > FULL;
        stop.is_cancelled() || full || idle > STUCK
    }
}

fn why_not(step: &Step, addr: &Addr, stop: &CancellationToken) -> String {
    if stop.is_cancelled() {
        return "the round was stopped".to_owned();
    }
    let room = step.decision.plights.iter().find_map(|(one, plight)| match plight {
        Plight::NoRoom { needs, free, .. } if one == addr => Some((needs, free)),
        _ => None,
    });
    match room {
        Some((needs, Some(free))) => {
            format!("no room: a child may need {needs} bytes, {free} bytes are free")
        }
        Some((_, None)) => "nobody knows how much memory its host has".to_owned(),
        None => step.decision.waits.clone().unwrap_or_else(|| "it was not its turn".to_owned()),
    }
}

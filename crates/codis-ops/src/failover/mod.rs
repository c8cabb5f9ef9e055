//! Another server becomes the master of a group: as planned, or because the master is lost.
//!
//! Everything is in the group's journal ([`Saga`]): whoever leads reads how far it is, makes itself the owner, takes the
//! next steps and writes that down, each by compare-and-set. So it can die after any write, and the next one goes on.
//!
//! ```text
//! planned:   asked → hold ─┐
//! failover:  (asked →) intent ─┴→ promote → follow → attach → ended
//!                  └──────────────────┴→ aborted: the old master stays
//! ```
//!
//! The same code runs in an agent and behind `codisctl group promote`. Its rules, and why each is needed, are in
//! `docs/failover.md`.

mod attach;
mod begin;
mod by_hand;
mod follow;
mod lead;
mod look;
mod lost;
mod planned;
mod promote;
mod sync;
mod upkeep;
mod write_stop;

use codis_core::{
    Addr, Group, GroupId, Versioned,
    ha::{Policy, Saga, SagaKind, Stage},
};

pub(crate) use begin::begin;
pub(crate) use by_hand::change_master;
pub(crate) use lead::Lead;
pub(crate) use look::{is_answer, look};
pub use sync::{SyncReport, sync};
pub(crate) use upkeep::{Outcome, carry_out};
pub(crate) use write_stop::is_stopped;

use crate::{Context, Events, Failure, FailureKind, context};

/// Stages that a change can go through before it must have ended: each may be entered anew for every server of a group.
const ROUNDS: usize = 64;

/// How many writes our proxies have acknowledged since a master was at an offset, given when it last answered us, Unix
/// milliseconds.
pub(crate) type WritesSince<'a> = dyn Fn(&Addr, u64, u64) -> Option<u64> + Sync + 'a;

/// What a change of master is made with.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) lead: &'a Lead,
    pub(crate) policy: &'a Policy,
    /// Who we are, for the journal.
    pub(crate) owner: &'a str,
    pub(crate) events: &'a Events,
    /// How many writes our proxies have acknowledged, if somebody counts.
    pub(crate) writes_since: &'a WritesSince<'a>,
    /// Where the data sets of old masters are kept before they become slaves.
    pub(crate) backups: &'a std::path::Path,
}

impl Work<'_> {
    /// Goes on with the group's change until it is over, and returns it as it is then.
    ///
    /// # Errors
    /// If the store or the servers do not answer, or somebody else goes on with it: look again later.
    pub(crate) async fn carry_on(&self, group: GroupId) -> Result<Versioned<Saga>, Failure> {
        for _ in 0..ROUNDS {
            let what = format!("cannot change the master of group {group}");
            let (saga, _) =
                self.cx.product.watch_saga(group).await.map_err(|error| Failure::store(&what, &error))?;
            let Some(saga) = saga else {
                return Err(Failure::new(
                    FailureKind::Failed,
                    what,
                    format!("failover/group_{group}"),
                    "it is not there",
                ));
            };
            if saga.stage.is_over() {
                return Ok(saga);
            }
            let (saga, taken_over) = self.own(saga).await?;
            tracing::info!(%group, stage = %saga.stage, old = %saga.old, new = %saga.new, "changing the master");
            match (saga.kind, saga.stage) {
                (SagaKind::Planned, Stage::Asked) => planned::hold(self, saga).await?,
                // Whoever held it has died: its requests have waited long enough.
                (SagaKind::Planned, Stage::Hold) if taken_over => {
                    planned::give_up(self, saga, "whoever began it has died").await?
                }
                (SagaKind::Planned, Stage::Hold) => planned::switch(self, saga).await?,
                (SagaKind::Failover, Stage::Asked | Stage::Hold | Stage::Intent)
                | (SagaKind::Planned, Stage::Intent) => lost::stop_old(self, saga).await?,
                (_, Stage::Promote) => promote::promote(self, saga).await?,
                (_, Stage::Follow) => follow::follow(self, saga).await?,
                (_, Stage::Attach) => attach::attach(self, saga).await?,
                (_, Stage::Ended | Stage::Aborted) => {}
            }
        }
        let why = "it goes in circles";
        Err(Failure::new(
            FailureKind::Failed,
            "cannot change the master",
            format!("failover/group_{group}"),
            why,
        ))
    }

    /// Makes us the owner, if we are not.
    async fn own(&self, saga: Versioned<Saga>) -> Result<(Versioned<Saga>, bool), Failure> {
        let owner = self.name();
        if saga.owner == owner {
            return Ok((saga, false));
        }
        // One that was asked for belongs to nobody yet.
        let orphan = saga.stage != Stage::Asked;
        let epoch = saga.epoch + 1;
        Ok((self.put(&saga, |saga| (saga.owner, saga.epoch) = (owner, epoch)).await?, orphan))
    }

    /// Our name in journals: a process that leads again is another owner.
    fn name(&self) -> String {
        format!("{}#{}", self.owner, self.lead.epoch())
    }

    /// Writes a journal with changes.
    async fn put(
        &self,
        saga: &Versioned<Saga>,
        change: impl FnOnce(&mut Saga),
    ) -> Result<Versioned<Saga>, Failure> {
        let mut changed = saga.clone();
        change(&mut changed.value);
        let written = self.cx.product.put_saga(&changed).await;
        written.map_err(|error| {
            Failure::store(format!("cannot go on with the change of group {}", saga.group), &error)
        })
    }

    /// The group as it is now.
    async fn group(&self, id: GroupId) -> Result<Group, Failure> {
        group(self.cx, id).await
    }

    fn note(&self, text: impl Into<String>) {
        self.events.note(text);
    }

    fn now_ms(&self) -> u64 {
        context::now_ms()
    }
}

/// A group as the store lists it now.
async fn group(cx: &Context, id: GroupId) -> Result<Group, Failure> {
    let what = format!("cannot read group {id}");
    let groups = cx.product.some_groups(&[id]).await.map_err(|error| Failure::store(&what, &error))?;
    if let Some(gap) = groups.gaps.first() {
        return Err(Failure::new(FailureKind::Failed, what, &gap.path, &gap.why));
    }
    groups.found.get(&id).cloned().ok_or_else(|| {
        Failure::new(FailureKind::Failed, what, format!("servers/group_{id}"), "there is no such group")
            .next("codisctl group list")
    })
}

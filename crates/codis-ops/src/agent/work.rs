//! What the leader has done about each group, one task for each at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use codis_core::{
    Addr, GroupId, Versioned,
    ha::{Choice, Decision, Observed, Picture, Policy, Saga, ServerView, Upkeep, decide, upkeep},
};
use tokio::{task::JoinHandle, time::Instant};

use super::{Agent, counted::Counts, servers};
use crate::{
    Context, Events,
    failover::{self, Lead, Outcome, Work},
};

/// How long something that did not work out is left alone.
const AGAIN: Duration = Duration::from_secs(2);

/// What has ended since the last tick.
#[derive(Debug)]
pub(super) enum Ended {
    /// A change of master.
    Changed(Box<Saga>),
    /// Something was put right.
    Upkeep(Upkeep, Outcome),
    /// It did not work out; it is tried again. The log says what.
    Failed,
}

#[derive(Debug)]
struct Job {
    task: JoinHandle<Vec<Ended>>,
    urgent: bool,
}

/// The tasks.
#[derive(Debug, Default)]
pub(super) struct Crew {
    jobs: BTreeMap<GroupId, Job>,
    resting: BTreeMap<GroupId, Instant>,
    ended: Vec<Ended>,
}

impl Crew {
    /// Ends all tasks where they are. What they were about to send is not sent.
    pub(super) fn dismiss(&mut self) {
        for job in std::mem::take(&mut self.jobs).into_values() {
            job.task.abort();
        }
    }

    /// A change of master is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.jobs.values().any(|job| job.urgent)
    }

    /// What has ended since this was last asked.
    pub(super) fn ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    async fn collect(&mut self) {
        let over: Vec<GroupId> =
            self.jobs.iter().filter(|(_, job)| job.task.is_finished()).map(|(id, _)| *id).collect();
        for id in over {
            let Some(job) = self.jobs.remove(&id) else { continue };
            // A task that was ended by us, or has panicked, has nothing to say.
            let ended = job.task.await.unwrap_or_default();
            if ended.iter().any(|one| matches!(one, Ended::Failed)) {
                self.resting.insert(id, Instant::now());
            }
            self.ended.extend(ended);
        }
        self.resting.retain(|_, since| since.elapsed() < AGAIN);
    }
}

/// What a task works with.
struct Tools {
    cx: Context,
    lead: Arc<Lead>,
    policy: Policy,
    owner: String,
    backups: std::path::PathBuf,
    counts: Counts,
}

impl Tools {
    fn work<'a>(&'a self, events: &'a Events, since: &'a failover::WritesSince<'a>) -> Work<'a> {
        let Self { cx, lead, policy, owner, backups, .. } = self;
        Work { cx, lead, policy, owner, events, writes_since: since, backups }
    }

    async fn change(self, group: GroupId) -> Vec<Ended> {
        // It may have lived until the question that it did not answer was over.
        let question_ms = servers::question(&self.policy).as_millis() as u64;
        let since = |addr: &Addr, offset, last_good_ms| {
            self.counts.writes_since(addr, offset, last_good_ms + question_ms)
        };
        let done = self.work(&Events::none(), &since).carry_on(group).await;
        vec![match done {
            Ok(saga) => Ended::Changed(Box::new(saga.value)),
            Err(failure) => {
                tracing::warn!(%group, %failure, "the change of master goes on later");
                Ended::Failed
            }
        }]
    }

    async fn begin(
        self,
        group: codis_core::Group,
        before: Option<Versioned<Saga>>,
        choice: Choice,
        lost: ServerView,
    ) -> Vec<Ended> {
        let owner = format!("{}#{}", self.owner, self.lead.epoch());
        let begun = async {
            self.lead.prove().await?;
            failover::begin(&self.cx, &group, before.as_ref(), &choice, &lost, &self.policy, &owner).await
        };
        match begun.await {
            Ok(id) => self.change(id).await,
            Err(failure) => {
                tracing::warn!(group = %group.id, %failure, "the failover is not begun");
                vec![Ended::Failed]
            }
        }
    }

    async fn put_right(self, group: GroupId, todo: Vec<Upkeep>) -> Vec<Ended> {
        let mut ended = Vec::new();
        let none = Events::none();
        let work = self.work(&none, &|_, _, _| None);
        for one in todo {
            match failover::carry_out(&work, group, &one).await {
                Ok(outcome) => ended.push(Ended::Upkeep(one, outcome)),
                Err(failure) => {
                    tracing::warn!(%group, %failure, "not put right yet");
                    ended.push(Ended::Failed);
                }
            }
        }
        ended
    }
}

impl Agent<'_> {
    /// Decides for every group, and gives the work to tasks.
    pub(super) async fn act(&mut self, observed: &Observed) {
        self.work.collect().await;
        if self.seen.quiet {
            return;
        }
        let Some(lead) = self.lead.lead().cloned() else { return };
        for id in Self::group_ids(observed) {
            if self.work.jobs.contains_key(&id) || self.work.resting.contains_key(&id) {
                continue;
            }
            let Some(picture) = picture(observed, id, lead.is_fresh()) else { continue };
            let tools = || Tools {
                cx: self.cx.clone(),
                lead: lead.clone(),
                policy: self.options.policy.clone(),
                owner: self.id.clone(),
                backups: self.options.backups.clone(),
                counts: self.counted.counts(),
            };
            let saga = observed.sagas.get(&id);
            let (urgent, task) = match decide(&picture, &self.options.policy) {
                Decision::Failover(choice) => {
                    self.events
                        .note(format!("group {id}: {} is lost, {} takes its place", choice.old, choice.new));
                    let lost = observed.servers.get(&choice.old).cloned().unwrap_or_default();
                    let begin = tools().begin(picture.group.clone(), saga.cloned(), choice, lost);
                    (true, tokio::spawn(begin))
                }
                _ if saga.is_some_and(|saga| !saga.stage.is_over()) => {
                    (true, tokio::spawn(tools().change(id)))
                }
                _ => {
                    let mut todo = upkeep(&picture, &self.options.policy);
                    todo.retain(|one| !matches!(one, Upkeep::Waiting { .. }));
                    if todo.is_empty() {
                        continue;
                    }
                    (false, tokio::spawn(tools().put_right(id, todo)))
                }
            };
            self.work.jobs.insert(id, Job { task, urgent });
        }
    }
}

/// What is decided from.
pub(super) fn picture(observed: &Observed, id: GroupId, session_healthy: bool) -> Option<Picture<'_>> {
    Some(Picture {
        group: observed.cluster.groups.get(&id)?,
        servers: &observed.servers,
        agents: &observed.agents,
        witnesses: &observed.witnesses,
        saga: observed.sagas.get(&id).map(|saga| &saga.value),
        moving: observed.cluster.slots_using(id).any(|slot| slot.moving().is_some()),
        paused: observed.paused.as_ref(),
        session_healthy,
        now_ms: observed.now_ms,
    })
}

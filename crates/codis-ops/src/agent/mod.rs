//! The agent: it looks at everything all the time, says what it sees, and the one that leads acts.
//!
//! One tick: what the store says and what the servers were found to be become an [`Observed`]; the agent publishes its view;
//! it tries to lead; if it leads, it decides for each group and has the work done in a task of its own, so that one
//! group never waits for another. What people should hear of comes out as alerts in a [`Tick`], with everything that was
//! seen: the place for further duties.

mod counted;
mod explain;
mod lead;
mod look;
mod moves;
mod pace;
mod published;
mod pulse;
mod servers;
mod told;
mod work;

pub use counted::Pulses;
pub use explain::{Explanation, Status, explain, set_pause, status, would_do};
pub use moves::MovesOptions;

use std::{path::PathBuf, sync::Arc, time::Duration};

use codis_core::{
    GroupId,
    ha::{Observed, Policy},
    notice::Alert,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Context, Events, Failure, context};

/// Pause between two ticks while a master may be lost, or is being replaced.
const FAST: Duration = Duration::from_millis(100);
/// Part of `down_after` after which a silent master is looked at closely.
const CLOSE: f64 = 0.8;

/// How an agent works.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// When it acts.
    pub policy: Policy,
    /// It acts on nothing, and says what it would have done.
    pub observe_only: bool,
    /// How it works on the queue of moves; `None`: it does not.
    pub moves: Option<MovesOptions>,
    /// Where the data sets of old masters are kept before they become slaves.
    pub backups: PathBuf,
    /// Cancel it to stop.
    pub stop: CancellationToken,
}

/// What one tick came to.
#[derive(Debug)]
pub struct Tick {
    /// What was seen. `None` while the store does not answer.
    pub observed: Option<Observed>,
    /// What each proxy said last, or why it did not.
    pub proxies: Arc<Pulses>,
    /// What people should hear of masters and their slaves: all of it that lasts, and what has happened since the last tick.
    pub alerts: Vec<Alert>,
    /// This agent leads: it acts, and tells people.
    pub leads: bool,
}

/// Runs an agent until it is told to stop. `each` gets every tick; it must not wait for anything.
///
/// # Errors
/// None that ends it: an agent whose store is away goes on looking.
pub async fn run(
    cx: &Context,
    options: &AgentOptions,
    events: &Events,
    mut each: impl FnMut(Tick) + Send,
) -> Result<(), Failure> {
    let mut agent = Agent::new(cx, options, events);
    let interval = Duration::from_millis(options.policy.check_interval_ms);
    while !options.stop.is_cancelled() {
        let begun = Instant::now();
        let tick = agent.tick().await;
        let seen = tick.observed.is_some();
        let pause = if agent.is_tense() { FAST.min(interval) } else { interval };
        each(tick);
        agent.pace.note(begun.elapsed(), agent.servers.oldest(), seen);
        tokio::select! {
            () = sleep_until(begun + pause) => {}
            () = options.stop.cancelled() => {}
        }
    }
    agent.leave().await;
    Ok(())
}

/// The name of an agent in this process.
pub fn own_id() -> String {
    format!("{}:{}", context::hostname(), std::process::id())
}

struct Agent<'a> {
    cx: &'a Context,
    options: &'a AgentOptions,
    events: &'a Events,
    id: String,
    servers: servers::Watchers,
    seen: look::Seen,
    published: published::Published,
    lead: lead::Leading,
    work: work::Crew,
    moves: moves::Moves,
    told: told::Told,
    counted: counted::Counted,
    pulse: pulse::Pulse,
    pace: pace::Pace,
    /// A master may be lost.
    suspects: bool,
}

impl<'a> Agent<'a> {
    fn new(cx: &'a Context, options: &'a AgentOptions, events: &'a Events) -> Self {
        Self {
            cx,
            options,
            events,
            id: own_id(),
            servers: servers::Watchers::new(cx, &options.policy),
            seen: look::Seen::default(),
            published: published::Published::default(),
            lead: lead::Leading::default(),
            work: work::Crew::default(),
            moves: moves::Moves::default(),
            told: told::Told::default(),
            counted: counted::Counted::default(),
            pulse: pulse::Pulse::start(Duration::from_millis(options.policy.check_interval_ms)),
            pace: pace::Pace::default(),
            suspects: false,
        }
    }

    async fn tick(&mut self) -> Tick {
        let observed = self.look().await;
        if let Some(observed) = &observed {
            self.counted.note(observed, &self.servers);
            self.suspects = self.suspect(observed);
            self.lead.hold(self.cx, &self.id, self.options.observe_only, observed, self.events).await;
            if !self.lead.leads() {
                self.dismiss();
            }
            self.act(observed).await;
            self.tend_moves(observed).await;
        } else if !self.lead.leads() {
            self.dismiss();
        }
        let ended = self.work.ended();
        let mut alerts = self.told.of(observed.as_ref(), &self.options.policy, ended);
        alerts.extend(observed.as_ref().and_then(|observed| self.moves.trouble(observed)));
        Tick { observed, proxies: self.counted.pages(), alerts, leads: self.lead.leads() }
    }

    /// Ends what only the one that leads may do.
    fn dismiss(&mut self) {
        self.work.dismiss();
        self.moves.stop();
    }

    async fn tend_moves(&mut self, observed: &Observed) {
        if let Some(options) = self.options.moves.as_ref().filter(|_| self.lead.leads()) {
            self.moves.tend(self.cx, &self.id, options, observed, self.events).await;
        }
    }

    fn suspect(&self, observed: &Observed) -> bool {
        let masters = observed.cluster.groups.values().filter_map(|group| group.master());
        let close = (self.options.policy.down_after_ms as f64 * CLOSE) as u64;
        masters.filter_map(|master| observed.servers.get(&master.addr)).any(|view| {
            view.emptied.is_some() || view.silence.as_ref().is_some_and(|silence| silence.ms >= close)
        })
    }

    /// True while there is something that should not wait for the next regular tick.
    fn is_tense(&self) -> bool {
        self.suspects || self.work.is_busy()
    }

    /// Leaves as one that is missed by nobody.
    async fn leave(mut self) {
        self.work.dismiss();
        self.moves.leave().await;
        self.lead.release().await;
        if let Err(error) = self.cx.product.unpublish_agent(&self.id).await {
            tracing::info!(%error, "this agent's node goes only with the session");
        }
    }

    fn group_ids(observed: &Observed) -> Vec<GroupId> {
        observed.cluster.groups.keys().copied().collect()
    }
}

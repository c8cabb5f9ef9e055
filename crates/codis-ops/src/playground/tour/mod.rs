//! The tour: a finite demonstration that moves slots under load and checks every key.
//!
//! It does to its own playground what an operator does to a product that has outgrown its servers:
//! adds a group and moves half of another group's slots to it while clients write. Then it reads back
//! every key through every proxy, and looks for what was left behind. It holds only if all of it is right.

mod story;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use codis_core::Cluster;
use codis_core::plan::plural;
pub use codis_redis::ledger::Latency;

use super::{Options, Playground, Summary};
use crate::{Events, Failure};

/// How many steps the tour has.
const STEPS: usize = 6;

/// What the tour is done with.
#[derive(Debug, Clone)]
pub struct TourOptions {
    /// The product; `dir` should be one that nobody looks for afterwards.
    pub playground: Options,
    /// How many keys are loaded.
    pub keys: u64,
    /// How many clients write while slots move.
    pub writers: usize,
}

impl TourOptions {
    /// 100 000 keys and four writers on this product.
    pub fn new(playground: Options) -> Self {
        Self { playground, keys: 100_000, writers: 4 }
    }
}

/// What the tour shows, in order.
#[derive(Debug, Clone)]
pub enum Scene {
    /// The product is up.
    Ready(Summary),
    /// A step begins.
    Begins {
        /// Its number, from 1.
        n: usize,
        /// How many there are.
        of: usize,
        /// What it does.
        title: String,
    },
    /// A step is done.
    Done(Step),
    /// The slot map, to be drawn.
    Map {
        /// `before` or `after`.
        when: &'static str,
        /// The product at this moment.
        cluster: Box<Cluster>,
    },
}

/// One step, done and checked.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number, from 1.
    pub n: usize,
    /// What was done.
    pub title: String,
    /// How long it took.
    pub took: Duration,
    /// What was found: as it should be, or not.
    pub verified: Result<String, String>,
}

/// The figures of a whole tour.
#[derive(Debug, Clone, Default)]
pub struct TourReport {
    /// The steps.
    pub steps: Vec<Step>,
    /// Keys loaded and read back at the end.
    pub keys: u64,
    /// Slots that moved.
    pub slots_moved: usize,
    /// Keys that the mover moved; the proxies have moved others on demand.
    pub keys_moved: u64,
    /// Keys per second while the mover moved them.
    pub keys_per_s: f64,
    /// 99th percentile of the time that a batch held a server up, milliseconds.
    pub stall_p99_ms: f64,
    /// Longest of the same.
    pub stall_max_ms: f64,
    /// How long requests of the writers took while slots moved.
    pub latency: Latency,
    /// Requests of all clients.
    pub requests: u64,
    /// Requests of the writers that got an error, by its text.
    pub errors: BTreeMap<String, u64>,
    /// Keys that were wrong or missing, and other violations of the ledger.
    pub wrong: u64,
    /// From the first program's start to the last check.
    pub took: Duration,
}

impl TourReport {
    /// How many steps were found as they should be.
    pub fn verified(&self) -> usize {
        self.steps.iter().filter(|step| step.verified.is_ok()).count()
    }

    /// True if every step was.
    pub fn holds(&self) -> bool {
        self.steps.len() == STEPS && self.verified() == STEPS
    }
}

/// Gives the tour and stops its playground. `show` is called as things happen; `events` hears of the
/// progress of the move.
///
/// # Errors
/// If something could not be done. What was done and found wrong is in the report instead:
/// see [`TourReport::holds`].
pub async fn tour(
    options: &TourOptions,
    events: &Events,
    show: &mut (dyn FnMut(Scene) + Send),
) -> Result<TourReport, Failure> {
    let mut guide = Guide::new(show);
    guide.begin(format!(
        "{}, {}, 1024 slots ready",
        plural(options.playground.groups as usize, "group", "groups"),
        plural(options.playground.proxies as usize, "proxy", "proxies")
    ));
    let mut playground = Playground::start(&options.playground, events).await?;
    guide.end(Ok("every slot answers through every proxy".into()));
    guide.show(Scene::Ready(playground.summary().clone()));
    let outcome = Box::pin(story::tell(options, &mut playground, &mut guide, events)).await;
    playground.stop().await;
    outcome?;
    Ok(guide.finish())
}

/// Counts the steps and shows them.
struct Guide<'a> {
    show: &'a mut (dyn FnMut(Scene) + Send),
    begun: Instant,
    title: String,
    step_begun: Instant,
    report: TourReport,
}

impl<'a> Guide<'a> {
    fn new(show: &'a mut (dyn FnMut(Scene) + Send)) -> Self {
        let now = Instant::now();
        Self { show, begun: now, title: String::new(), step_begun: now, report: TourReport::default() }
    }

    fn show(&mut self, scene: Scene) {
        (self.show)(scene);
    }

    fn begin(&mut self, title: String) {
        self.title.clone_from(&title);
        self.step_begun = Instant::now();
        let n = self.report.steps.len() + 1;
        self.show(Scene::Begins { n, of: STEPS, title });
    }

    fn end(&mut self, verified: Result<String, String>) {
        let n = self.report.steps.len() + 1;
        let title = std::mem::take(&mut self.title);
        let step = Step { n, title, took: self.step_begun.elapsed(), verified };
        self.report.steps.push(step.clone());
        self.show(Scene::Done(step));
    }

    fn finish(mut self) -> TourReport {
        self.report.took = self.begun.elapsed();
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tour_holds_only_if_every_step_does() {
        let mut shown = 0;
        let mut show = |_: Scene| shown += 1;
        let mut guide = Guide::new(&mut show);
        for _ in 1..STEPS {
            guide.begin("a step".into());
            guide.end(Ok("fine".into()));
        }
        assert!(!guide.report.clone().holds(), "one step is missing");
        guide.begin("the last".into());
        guide.end(Err("3 keys are missing".into()));
        let report = guide.finish();
        assert_eq!((report.steps.len(), report.verified()), (STEPS, STEPS - 1));
        assert!(!report.holds());
        assert_eq!(shown, 2 * STEPS);
    }
}

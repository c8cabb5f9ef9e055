use std::time::Duration;

use clap::ValueEnum;
use codis_core::{Cluster, Versioned, plan::plural};
use codis_ops::{
    Consent, Context, Events, Failure, FailureKind,
    mover::{self, RunOptions, RunReport, Verify},
};
use serde::Serialize;

use super::{Way, waves::Waves};
use crate::{
    error::{Done, Stop},
    render::{Look, progress, units},
    session::{Session, Sure, release},
    signal::Signals,
    ui::Report,
};

/// Move the queued slots, until the queue is empty
///
/// Can be interrupted and killed at any moment: run again, it goes on where it was. While a slot
/// moves its keys are reachable at both groups. Ctrl-C stops at the next safe point; where an
/// agent leads, it goes on after 30 s (duty.tasks in its settings) unless the tasks are paused. While a Go proxy is
/// online, slots move one at a time, and only from codis-servers 2.8. The queue of the Go tools is left alone
/// unless --as codis2 asks for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate run
  codisctl migrate run --yes --max-stall 2 --rate 5000
  codisctl migrate run --as codis2 --delay 10ms

Exit status: 0 the queue is empty · 1 a wave was given up, its keys are reachable · 4 refused, e.g.
another mover or a Go dashboard is at work · 5 store or server unreachable · 130 interrupted")]
pub(crate) struct RunArgs {
    /// Longest time that a batch of keys may keep a server busy, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    max_stall: u64,
    /// Move slots with keys that alone keep a server busy for longer; else they are refused
    #[arg(long)]
    allow_stall: bool,
    /// Keys per second at most, of each wave [no limit]
    #[arg(long, value_name = "KEYS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Waves between different groups at once; a server takes part in one at a time
    #[arg(long, value_name = "WAVES", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    max_parallel: u8,
    /// How to look for leftovers before slots go online: sample or full
    #[arg(long, value_name = "HOW", default_value = "sample", hide_possible_values = true)]
    verify: How,
    /// Whose queue and way of moving: codis2 is that of the Go tools; else ours
    #[arg(long = "as", value_name = "WAY", hide_possible_values = true)]
    way: Option<Way>,
    /// Pause between two keys of a codis-server 2.8, e.g. 10ms [what the task says]
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
    delay: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    Sample,
    Full,
}

/// What the run came to.
#[derive(Debug, Serialize)]
struct Moved {
    waves: usize,
    slots_moved: usize,
    keys_moved: u64,
    bytes_moved: u64,
    keys_per_s: f64,
    stall_p50_ms: f64,
    stall_p99_ms: f64,
    stall_max_ms: f64,
    took_ms: u64,
}

/// The queue as the plan of this verb.
#[derive(Debug, Serialize)]
struct Queue {
    title: String,
    waves: Vec<super::waves::Wave>,
    /// Those of the Go tools, if they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    go_tasks: Vec<GoTask>,
}

/// One task of the Go tools' queue.
#[derive(Debug, Serialize)]
struct GoTask {
    task: String,
    slot: u16,
    to: u32,
    status: String,
}

pub(super) async fn run(session: &Session, args: &RunArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let queue = Queue::new(&cluster, args.way);
    if args.way.is_none() && !cluster.go_tasks.is_empty() {
        let left = plural(cluster.go_tasks.len(), "task is", "tasks are");
        session.ui.say(&format!(
            "{left} in the queue of the Go tools and not touched   → codisctl migrate run --as codis2    or: codisctl \
             task delete --as codis2 TASK"
        ));
    }
    if queue.is_empty() {
        session.ui.report(&Moved::from(RunReport::default()))?;
        session.ui.say("the queue is empty   → codisctl migrate start --slots RANGES --to GROUP");
        return Ok(());
    }
    if session.settings.dry_run {
        return session.ui.report(&queue);
    }
    session.ui.say(&queue.human(&session.ui.look()));
    let consent = session.consent(&cx, &queue.title, Sure::Yes).await?;
    let report = Box::pin(work(session, &cx, args, consent)).await?;
    cx.close().await;
    session.ui.report(&Moved::from(report))
}

/// Runs the mover. The first signal asks it to stop where it is safe, the second one ends it.
async fn work(session: &Session, cx: &Context, args: &RunArgs, consent: Consent) -> Result<RunReport, Stop> {
    let options = RunOptions {
        max_stall: Duration::from_millis(args.max_stall),
        allow_stall: args.allow_stall,
        rate: args.rate,
        max_parallel: usize::from(args.max_parallel),
        verify: match args.verify {
            How::Sample => Verify::Sample,
            How::Full => Verify::Full,
        },
        as_codis2: args.way == Some(Way::Codis2),
        delay: args.delay,
        consent,
        ..RunOptions::default()
    };
    let mut signals = Signals::new()?;
    let (events, stream) = Events::channel();
    let agent = super::agent_leads(cx).await;
    let stopping = async {
        signals.next().await;
        session.ui.say("stopping at the next safe point; once more to stop at once");
        if agent && args.way.is_none() {
            session.ui.say(
                "an agent leads and goes on by itself after a while   → codisctl task pause --state pending    keeps what has not begun",
            );
        }
        options.stop.cancel();
        signals.next().await;
    };
    let interrupted = Failure::new(
        FailureKind::Interrupted,
        "interrupted",
        "",
        "every key stays reachable, and no task is lost",
    )
    .next(format!(
        "{}    goes on",
        if options.as_codis2 { "codisctl migrate run --as codis2" } else { "codisctl migrate run" }
    ));
    let work = mover::run(cx, &options, &events);
    let outcome = progress::follow_until(&session.ui, stream, work, stopping, interrupted.clone()).await;
    let report = release(cx, outcome).await?;
    if options.stop.is_cancelled() && !Queue::new(&cx.load().await?, args.way).is_empty() {
        let place = format!("after {}", plural(report.slots_moved, "slot", "slots"));
        return Err(Failure { place, ..interrupted }.into());
    }
    Ok(report)
}

impl Queue {
    fn new(cluster: &Cluster, way: Option<Way>) -> Self {
        if way == Some(Way::Codis2) {
            let line = |task: &Versioned<codis_core::GoTask>| GoTask {
                task: task.name.clone(),
                slot: task.slot.get(),
                to: task.to.0,
                status: task.status.clone(),
            };
            let go_tasks: Vec<GoTask> = cluster.go_tasks.iter().map(line).collect();
            let slots = plural(go_tasks.len(), "slot", "slots");
            return Self { title: format!("move {slots} as Codis 2 does"), waves: Vec::new(), go_tasks };
        }
        let waves = Waves::default().take(cluster);
        let count: usize = waves.iter().map(|wave| wave.count).sum();
        Self { title: format!("move {}", plural(count, "slot", "slots")), waves, go_tasks: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.waves.is_empty() && self.go_tasks.is_empty()
    }
}

impl Report for Queue {
    fn human(&self, _look: &Look) -> String {
        let mut text = format!("plan      {}", self.title);
        for (i, wave) in self.waves.iter().enumerate() {
            let slots = plural(wave.count, "slot", "slots");
            let note = if wave.note.is_empty() { String::new() } else { format!(", {}", wave.note) };
            text.push_str(&format!(
                "\n{:<8}  {} → {}: {slots} {}, {}{note}",
                format!("wave {}", i + 1),
                wave.from,
                wave.to,
                wave.slots,
                wave.state
            ));
        }
        for task in &self.go_tasks {
            text.push_str(&format!(
                "\ntask {}  slot {} → {}, {}",
                task.task, task.slot, task.to, task.status
            ));
        }
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |wave: &super::waves::Wave| {
            vec![wave.from.to_string(), wave.to.to_string(), wave.slots.clone(), wave.state.to_owned()]
        };
        let task = |task: &GoTask| {
            vec![task.task.clone(), task.to.to_string(), task.slot.to_string(), task.status.clone()]
        };
        self.waves.iter().map(row).chain(self.go_tasks.iter().map(task)).collect()
    }
}

impl From<RunReport> for Moved {
    fn from(report: RunReport) -> Self {
        Self {
            waves: report.waves,
            slots_moved: report.slots_moved,
            keys_moved: report.keys_moved,
            bytes_moved: report.bytes_moved,
            keys_per_s: report.keys_per_s,
            stall_p50_ms: report.stall_p50_ms,
            stall_p99_ms: report.stall_p99_ms,
            stall_max_ms: report.stall_max_ms,
            took_ms: report.took_ms,
        }
    }
}

impl Moved {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "moved",
                format!(
                    "{} in {}",
                    plural(self.slots_moved, "slot", "slots"),
                    plural(self.waves, "wave", "waves")
                ),
            ),
            ("keys", format!("{}, {}", units::grouped(self.keys_moved), units::bytes(self.bytes_moved))),
            ("rate", format!("{} keys/s", units::rate(self.keys_per_s))),
            (
                "stall",
                format!(
                    "p50 {:.1}  p99 {:.1}  max {:.1} ms",
                    self.stall_p50_ms, self.stall_p99_ms, self.stall_max_ms
                ),
            ),
            ("took", format!("{} ms", units::grouped(self.took_ms))),
        ]
    }
}

impl Report for Moved {
    fn human(&self, _look: &Look) -> String {
        if self.slots_moved == 0 {
            return "moved     0 slots".to_owned();
        }
        let line = |(name, value): &(&str, String)| format!("{name:<8}  {value}");
        self.rows().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
    }
}

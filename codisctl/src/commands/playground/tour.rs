//! `playground --tour`: what happens, and what it comes to.

use codis_ops::{
    Events, Failure, FailureKind,
    playground::{Scene, Step, TourOptions, TourReport, tour},
};
use serde::Serialize;

use super::interrupted;
use crate::{
    cli::Output,
    error::{Done, Stop},
    render::{Glyphs, Look, SlotMap, progress, units},
    session::Session,
    signal::Signals,
    ui::Report,
};

/// The figures of a tour.
#[derive(Debug, Serialize)]
struct Toured {
    holds: bool,
    steps: Vec<StepLine>,
    keys: u64,
    slots_moved: usize,
    keys_moved: u64,
    keys_per_s: f64,
    stall_p99_ms: f64,
    stall_max_ms: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    requests: u64,
    errors: u64,
    wrong: u64,
    took_s: f64,
}

#[derive(Debug, Serialize)]
struct StepLine {
    n: usize,
    title: String,
    took_s: f64,
    verified: bool,
    found: String,
}

pub(super) async fn show(session: &Session, options: TourOptions) -> Done {
    let mut signals = Signals::new()?;
    let (events, stream) = Events::channel();
    let people = session.ui.output() == Output::Table;
    let look = session.ui.look();
    let (scenes, mut shown) = tokio::sync::mpsc::unbounded_channel();
    let mut show = move |scene| {
        // The receiver lives as long as the tour.
        let _ = scenes.send(scene);
    };
    let work = async {
        let mut tour = Box::pin(tour(&options, &events, &mut show));
        loop {
            tokio::select! {
                biased;
                Some(scene) = shown.recv() => print_scene(session, people, &look, scene),
                report = &mut tour => break report,
            }
        }
    };
    let report = progress::follow_until(&session.ui, stream, work, signals.next(), interrupted()).await?;
    let toured = Toured::new(&report);
    session.ui.report(&toured)?;
    if report.holds() {
        return Ok(());
    }
    let wrong = report.steps.iter().filter_map(|step| Some((step, step.verified.as_ref().err()?)));
    let wrong: Vec<String> = wrong.map(|(step, why)| format!("step {}: {why}", step.n)).collect();
    Err(Stop::from(
        Failure::new(
            FailureKind::Problems,
            "the tour found something wrong",
            &session.line,
            wrong.join("; "),
        )
        .next("run it again with -v; what the programs wrote is gone with the directory"),
    ))
}

/// Shows people what happens; programs get the report at the end.
fn print_scene(session: &Session, people: bool, look: &Look, scene: Scene) {
    if !people {
        return;
    }
    let text = match scene {
        Scene::Ready(summary) => format!("store     {}", summary.store),
        Scene::Begins { .. } => return,
        Scene::Done(step) => step_line(&step),
        Scene::Map { when, cluster } => {
            let map = SlotMap::new(&cluster);
            let glyphs = Glyphs::new(look.ascii);
            format!("slots {when}\n{}\n{}", map.narrow(glyphs, look.colour), map.legend(glyphs, false))
        }
    };
    // A reader that has gone does not end the tour: what it started must be stopped in order.
    let _ = session.ui.data(&text);
}

fn step_line(step: &Step) -> String {
    let verdict = match &step.verified {
        Ok(found) => format!("✓ {found}"),
        Err(found) => format!("✗ {found}"),
    };
    format!("{:>2}  {:<50} {:>5.1} s   {verdict}", step.n, step.title, step.took.as_secs_f64())
}

impl Toured {
    fn new(report: &TourReport) -> Self {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        let line = |step: &Step| StepLine {
            n: step.n,
            title: step.title.clone(),
            took_s: step.took.as_secs_f64(),
            verified: step.verified.is_ok(),
            found: match &step.verified {
                Ok(found) | Err(found) => found.clone(),
            },
        };
        Self {
            holds: report.holds(),
            steps: report.steps.iter().map(line).collect(),
            keys: report.keys,
            slots_moved: report.slots_moved,
            keys_moved: report.keys_moved,
            keys_per_s: report.keys_per_s,
            stall_p99_ms: report.stall_p99_ms,
            stall_max_ms: report.stall_max_ms,
            latency_p50_ms: ms(report.latency.p50),
            latency_p99_ms: ms(report.latency.p99),
            latency_max_ms: ms(report.latency.max),
            requests: report.requests,
            errors: report.errors.values().sum(),
            wrong: report.wrong,
            took_s: report.took.as_secs_f64(),
        }
    }
}

impl Report for Toured {
    /// The steps have been printed as they happened.
    fn human(&self, _look: &Look) -> String {
        let verified = self.steps.iter().filter(|step| step.verified).count();
        format!(
            "moved     {} slots, {} keys at {} keys/s; stall p99 {:.1} max {:.1} ms\n\
             clients   p50 {:.2} p99 {:.2} max {:.1} ms while slots moved; {} errors\n\
             tour      {verified} of {} verified, {} requests, {} wrong, {:.0} s",
            self.slots_moved,
            units::grouped(self.keys_moved),
            units::rate(self.keys_per_s),
            self.stall_p99_ms,
            self.stall_max_ms,
            self.latency_p50_ms,
            self.latency_p99_ms,
            self.latency_max_ms,
            self.errors,
            self.steps.len(),
            units::grouped(self.requests),
            self.wrong,
            self.took_s
        )
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |step: &StepLine| {
            let verdict = if step.verified { "verified" } else { "wrong" };
            vec![
                step.n.to_string(),
                verdict.to_owned(),
                format!("{:.1}", step.took_s),
                step.title.clone(),
                step.found.clone(),
            ]
        };
        self.steps.iter().map(row).collect()
    }
}

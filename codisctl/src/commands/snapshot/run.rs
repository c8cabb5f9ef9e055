use codis_core::plan::plural;
use codis_ops::{
    Events, Failure, FailureKind,
    mover::CancellationToken,
    snapshots::{self, NotSaved, Saved, SnapshotSettings},
};
use serde::Serialize;

use super::plan::Plans;
use crate::{
    cli::Output,
    error::Done,
    render::{Fit, Grid, Look, progress, units},
    session::{Session, Sure, release},
    signal::Signals,
    ui::Report,
};

/// Save every server once, those of a host one after another
///
/// First takes the servers' own reasons to fork away, and puts them back at the end; where an agent has taken over for
/// good they stay. A server with an append-only file has it rewritten. One whose child does not fit is put off. Ctrl-C
/// begins no further child; one that is there ends by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl snapshot run --host 10.0.7.53
  codisctl snapshot run --yes --output json | jq '.servers[] | select(.outcome != \"saved\")'

Exit status: 0 all are saved · 1 a save failed · 3 one was put off · 4 refused: an agent or
another command does it on this host · 5 store unreachable · 130 interrupted")]
pub(crate) struct RunArgs {
    /// This host only
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

#[derive(Debug, Serialize)]
struct Round {
    servers: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    server: String,
    does: &'static str,
    /// `saved`, `put_off`, `failed`.
    outcome: &'static str,
    took_ms: Option<u64>,
    why: Option<String>,
}

pub(super) async fn run(session: &Session, args: &RunArgs) -> Done {
    let settings = SnapshotSettings::read(session.settings.file(), &session.settings.ha.0);
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plans = Plans::new(&snapshots::plan(&cx, &cluster, args.host.as_deref(), &settings).await?);
    if session.settings.dry_run {
        cx.close().await;
        return session.ui.report(&plans);
    }
    if session.ui.output() != Output::Json || !session.settings.yes {
        session.ui.say(&plans.human(&session.ui.look()));
    }
    let consent = session.consent(&cx, "save these servers one after another", Sure::Yes).await?;
    let stop = CancellationToken::new();
    let (events, stream) = Events::channel();
    let work = snapshots::run(&cx, args.host.as_deref(), &settings, consent, &events, &stop);
    let interrupted = Failure::new(
        FailureKind::Interrupted,
        "interrupted",
        "",
        "settings of servers may still be taken over",
    )
    .next("codisctl snapshot undo");
    let mut signals = Signals::new()?;
    let end = async {
        signals.next().await;
        session.ui.say("begins no further child; again to give up at once");
        stop.cancel();
        signals.next().await;
    };
    let outcome = progress::follow_until(&session.ui, stream, Box::pin(work), end, interrupted.clone()).await;
    let saved = release(&cx, outcome).await?;
    cx.close().await;
    let round = Round { servers: saved.into_iter().map(Line::new).collect() };
    session.ui.report(&round)?;
    if stop.is_cancelled() {
        let why = "the servers before are saved, settings are as before";
        return Err(Failure::new(FailureKind::Interrupted, "interrupted", "", why)
            .next(session.line.clone())
            .into());
    }
    round.verdict()
}

impl Line {
    fn new(saved: Saved) -> Self {
        let (outcome, took_ms, why) = match saved.done {
            Ok(ms) => ("saved", Some(ms), None),
            Err(NotSaved::PutOff(why)) => ("put_off", None, Some(why)),
            Err(NotSaved::Failed(why)) => ("failed", None, Some(why)),
        };
        Self { server: saved.addr.to_string(), does: saved.does.as_str(), outcome, took_ms, why }
    }
}

impl Round {
    fn verdict(&self) -> Done {
        let of = |outcome: &str| self.servers.iter().find(|line| line.outcome == outcome);
        let (kind, what, line) = match (of("failed"), of("put_off")) {
            (Some(line), _) => (FailureKind::Failed, "a server was not saved", line),
            (None, Some(line)) => (FailureKind::Problems, "a server was put off", line),
            (None, None) => return Ok(()),
        };
        let why = line.why.as_deref().unwrap_or_default();
        Err(Failure::new(kind, what, &line.server, why).next("codisctl snapshot plan").into())
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("server", Fit::Left),
            ("child", Fit::Left),
            ("took", Fit::Right),
            ("outcome", Fit::Text),
        ]);
        for line in &self.servers {
            let outcome = match (line.outcome, &line.why) {
                ("saved", _) => "✓ saved".to_owned(),
                ("put_off", Some(why)) => format!("▲ put off: {why}"),
                (_, why) => format!("✗ {}", why.as_deref().unwrap_or("failed")),
            };
            let took = line.took_ms.map_or_else(|| "-".to_owned(), |ms| units::seconds(ms.div_ceil(1000)));
            grid.row([line.server.clone(), line.does.to_owned(), took, outcome]);
        }
        grid
    }
}

impl Report for Round {
    fn human(&self, look: &Look) -> String {
        let of = |outcome: &str| self.servers.iter().filter(|line| line.outcome == outcome).count();
        let mut summary =
            format!("{}: {} saved", plural(self.servers.len(), "child", "children"), of("saved"));
        for (outcome, word) in [("put_off", "put off"), ("failed", "failed")] {
            if of(outcome) > 0 {
                summary.push_str(&format!(", {} {word}", of(outcome)));
            }
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}

use codis_ops::{
    Event, Events, Failure,
    agent::{self, AgentOptions},
    alerts::{AlertSettings, Desk},
    mover::CancellationToken,
    snapshots::{SnapshotSettings, Snapshots},
    watch::{Watch, WatchSettings},
};

use crate::{
    error::{Done, Stop},
    session::Session,
    signal::Signals,
};

/// Watch over the product until stopped
///
/// Replaces masters that are lost, attaches slaves that follow the wrong server, brings old masters back as slaves, and moves
/// the slots that are queued when nobody else does.
/// Run one for each site, or three: they elect one that acts. Asks nobody: what it may do is in the table ha of
/// codis.toml.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl agent run
  codisctl agent run --observe-only -v

Exit status: 0 stopped by a signal · 2 settings that cannot be · 5 store unreachable at the start")]
pub(crate) struct RunArgs {
    /// Act on nothing, and say what would be done
    #[arg(long)]
    observe_only: bool,
}

pub(super) async fn run(session: &Session, args: &RunArgs) -> Done {
    let alerts = AlertSettings::read(session.settings.file())?;
    let settings = WatchSettings::read(session.settings.file());
    let cx = session.connect().await?;
    let (policy, backups) = session.settings.ha.clone();
    let observe_only = args.observe_only || session.settings.dry_run;
    let snapshots = SnapshotSettings::read(session.settings.file(), &policy);
    let mut snapshots = Snapshots::new(snapshots, observe_only);
    let stop = CancellationToken::new();
    let options =
        AgentOptions { policy, observe_only, moves: settings.moves.clone(), backups, stop: stop.clone() };
    let mut watch = Watch::new(settings);
    let mut signals = Signals::new()?;
    let (events, mut stream) = Events::channel();
    session.ui.say(&format!("agent {} watches product {}", agent::own_id(), cx.product_name()));
    if alerts.is_mute() {
        session
            .ui
            .say("nobody is told of alerts: [alert.mail] and [alert.webhook] are missing in the settings");
    }
    let desk = Desk::open(&cx, alerts, &agent::own_id(), observe_only)?;
    let (mut said, mut known): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let each = |tick: agent::Tick| {
        let ids: Vec<String> = tick.alerts.iter().map(|alert| alert.id().to_string()).collect();
        for (alert, id) in tick.alerts.iter().zip(&ids).filter(|(_, id)| !known.contains(id)) {
            tracing::info!(id, facts = ?alert.facts, "alert");
        }
        known = ids;
        let mut round = watch.round(&cx, &tick);
        snapshots.tick(&cx, &tick, &mut round);
        // What was told is kept in the store: one that only observes repeats nothing that the leader has told.
        if tick.leads || observe_only {
            desk.hand_over(round);
        }
        let would = match (&tick.observed, observe_only) {
            (Some(observed), true) => agent::would_do(observed, &options),
            _ => Vec::new(),
        };
        for line in would.iter().filter(|line| !said.contains(line)) {
            session.ui.say(line);
        }
        said = would;
    };
    let telling = async {
        while let Some(event) = stream.next().await {
            if let Event::Note(text) = event {
                session.ui.say(&text);
            }
        }
        std::future::pending::<()>().await
    };
    let stopping = async {
        signals.next().await;
        stop.cancel();
        signals.next().await;
    };
    tokio::select! {
        done = Box::pin(agent::run(&cx, &options, &events, each)) => done?,
        () = telling => {}
        () = stopping => return Err(Stop::from(interrupted())),
    }
    cx.close().await;
    Ok(())
}

fn interrupted() -> Failure {
    let why = "it did not wait for what was under way; the next agent goes on with it";
    Failure::new(codis_ops::FailureKind::Interrupted, "interrupted", "", why)
}

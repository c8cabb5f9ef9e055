use std::{io::IsTerminal as _, time::Duration};

use codis_core::{Cluster, MoveState, plan::plural};
use codis_ops::{Context, Failure, FailureKind};
use serde::Serialize;

use super::waves::{Wave, Waves};
use crate::{cli::Output, error::Done, render::progress::Picture, session::Session};

/// Follow the moves that another process makes, until the queue is empty
///
/// Tasks in the queue of the Go tools are shown, too, and waited for while a mover or a dashboard works.
/// On a terminal a few lines are redrawn; else there is a line for every change, and for every wave
/// that moves one in ten seconds. Ctrl-C ends the watching, not the moving.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate watch
  codisctl migrate watch --output json | jq -r .state

Exit status: 0 the queue is empty · 1 only tasks in error are left · 5 store unreachable · 130
interrupted, what moves goes on")]
pub(crate) struct WatchArgs {}

/// How often the store is read.
const EVERY: Duration = Duration::from_millis(500);

/// One line of `--output json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    v: u8,
    time_ms: u64,
    #[serde(flatten)]
    wave: &'a Wave,
}

pub(super) async fn run(session: &Session, _args: &WatchArgs) -> Done {
    let cx = session.connect().await?;
    let mut signals = crate::signal::Signals::new()?;
    let done = tokio::select! {
        done = Box::pin(follow(session, &cx)) => done,
        () = signals.next() => Err(Failure::new(
            FailureKind::Interrupted,
            "watching has ended; what moves goes on",
            "moves",
            "interrupted",
        ).next("codisctl migrate watch").into()),
    };
    cx.close().await;
    done
}

async fn follow(session: &Session, cx: &Context) -> Done {
    let live = session.ui.output() == Output::Table && std::io::stdout().is_terminal();
    let mut picture = live.then(Picture::new);
    let mut waves = Waves::of_both_queues();
    let mut nobody = false;
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        let cluster = cx.load().await?;
        for wave in waves.take(&cluster) {
            tell(session, &wave, &cluster, picture.as_ref())?;
        }
        let waiting =
            cluster.moves.iter().any(|task| !matches!(task.state, MoveState::Error | MoveState::Paused));
        // Theirs are waited for only while somebody works on them.
        let go = cluster.go_tasks.iter().any(|task| task.status != MoveState::Error.as_str());
        let waiting_for_go = go && (cluster.mover.is_some() || cluster.dashboard.is_some());
        if !waiting && !waiting_for_go {
            if let Some(picture) = &picture {
                picture.clear();
            }
            return end(session, &cluster, &waves);
        }
        if cluster.mover.is_none() && !nobody {
            session.ui.say("nobody works on the queue   → codisctl migrate run");
        }
        nobody = cluster.mover.is_none();
        if let Some(picture) = &mut picture {
            picture.show(waves.picture(session.ui.look().ascii));
            picture.tick();
        }
    }
}

fn tell(session: &Session, wave: &Wave, cluster: &Cluster, picture: Option<&Picture>) -> Done {
    let text = match session.ui.output() {
        Output::Json => crate::ui::json_line(&Line { v: crate::ui::SHAPE, time_ms: cluster.taken_ms, wave })?,
        Output::Table | Output::Plain => wave.log(cluster.taken_ms),
    };
    match picture {
        Some(picture) => picture.suspend(|| session.ui.data(&text)),
        None => session.ui.data(&text),
    }
}

fn end(session: &Session, cluster: &Cluster, waves: &Waves) -> Done {
    let Some(task) = cluster.moves.first() else {
        if !cluster.go_tasks.is_empty() {
            let left = plural(cluster.go_tasks.len(), "task is", "tasks are");
            session.ui.say(&format!(
                "{left} in the queue of the Go tools, and nobody works on it   → codisctl migrate run --as codis2"
            ));
        }
        session.ui.say(&format!("the queue is empty; {} moved", plural(waves.moved(), "slot", "slots")));
        return Ok(());
    };
    let what = format!("{} in error left", plural(cluster.moves.len(), "task is", "tasks are"));
    let place = format!("task {}, slot {}, {} → {}", task.task, task.slot, task.from, task.to);
    let why = if task.note.is_empty() { "no reason is given" } else { &task.note };
    Err(Failure::new(FailureKind::Failed, what, place, why)
        .next("codisctl migrate run    tries again, or: codisctl task list")
        .into())
}

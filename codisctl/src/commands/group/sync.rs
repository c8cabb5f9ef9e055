use codis_core::GroupId;
use codis_ops::{Events, Failure, FailureKind, failover};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Look, progress},
    session::{Session, Sure, release},
    ui::Report,
};

/// Put a group right: attach its slaves, bring offline servers back
///
/// Goes on with a change of master that was begun, attaches slaves that follow another server, and makes offline servers
/// that answer slaves again. The data of one that may have writes of its own is first kept in a file (backup_dir in the
/// table ha of codis.toml). If an agent leads, it is asked to do all this, and the command tells what came of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl group sync 5
  codisctl group sync 5 --yes --output json | jq '.left[]'

Exit status: 0 everything is right · 3 something is not right yet · 4 refused: another command
changes a master · 5 store unreachable")]
pub(crate) struct SyncArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
}

#[derive(Debug, Serialize)]
struct Synced {
    group: u32,
    done: Vec<String>,
    left: Vec<String>,
    /// The agent that did it; nothing: the command itself.
    by: Option<String>,
}

pub(super) async fn run(session: &Session, args: &SyncArgs) -> Done {
    let cx = session.connect().await?;
    let title = format!("put group {} right", args.group);
    if session.settings.dry_run {
        let why = "what is to be done is found out while it is done";
        return Err(Failure::new(
            FailureKind::Usage,
            format!("cannot show how to {title}"),
            "--dry-run",
            why,
        )
        .next(format!("codisctl ha explain {}", args.group))
        .into());
    }
    session.consent(&cx, &title, Sure::Yes).await?;
    let (policy, backups) = session.settings.ha.clone();
    let (events, stream) = Events::channel();
    let work = failover::sync(&cx, args.group, &policy, backups, &events);
    let interrupted =
        Failure::new(FailureKind::Interrupted, "interrupted", "", "what was put right stays so")
            .next(format!("{}    does the rest", session.line));
    let outcome = progress::follow(&session.ui, stream, Box::pin(work), interrupted).await;
    let report = release(&cx, outcome).await?;
    cx.close().await;
    let left = report.left.len();
    let group = args.group.0;
    session.ui.report(&Synced { group, done: report.done, left: report.left, by: report.by })?;
    if left == 0 {
        return Ok(());
    }
    let what = format!("group {} is not right yet", args.group);
    let why = codis_core::plan::plural(left, "thing is left", "things are left");
    Err(Failure::new(FailureKind::Problems, what, format!("servers/group_{}", args.group), why)
        .next(format!("{}    when they answer", session.line))
        .into())
}

impl Report for Synced {
    fn human(&self, _look: &Look) -> String {
        let done = self.done.iter().map(|line| format!("done      {line}"));
        let left = self.left.iter().map(|line| format!("left      {line}"));
        let lines: Vec<String> = done.chain(left).collect();
        if lines.is_empty() { format!("group {} is right", self.group) } else { lines.join("\n") }
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |word: &str, line: &String| vec![word.to_owned(), line.clone()];
        let done = self.done.iter().map(|line| row("done", line));
        done.chain(self.left.iter().map(|line| row("left", line))).collect()
    }
}

use codis_ops::{
    Failure, FailureKind,
    snapshots::{self, PutBack},
};
use serde::Serialize;

use crate::{
    error::Done,
    render::Look,
    session::{Session, Sure},
    ui::Report,
};

/// Let servers fork again as they did before they were taken over
///
/// Puts the settings back that are kept in the store, and forgets them. Refused while an agent governs the host: it would
/// take them over again; set duty.snapshots.on to false there first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl snapshot undo
  codisctl snapshot undo --host 10.0.7.53 --yes

Exit status: 0 done · 3 a server does not answer, and stays taken over · 4 refused: an agent
governs the host · 5 store unreachable")]
pub(crate) struct UndoArgs {
    /// This host only
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

#[derive(Debug, Serialize)]
struct Undone {
    done: Vec<String>,
    left: Vec<Left>,
}

#[derive(Debug, Serialize)]
struct Left {
    server: String,
    why: String,
}

pub(super) async fn run(session: &Session, args: &UndoArgs) -> Done {
    let cx = session.connect().await?;
    if session.settings.dry_run {
        cx.close().await;
        let why = "what is kept is put back as it is";
        return Err(Failure::new(FailureKind::Usage, "nothing to show", "--dry-run", why)
            .next("codisctl snapshot plan")
            .into());
    }
    let consent = session.consent(&cx, "let servers fork on their own again", Sure::Yes).await?;
    let undone = snapshots::undo(&cx, args.host.as_deref(), consent).await?;
    cx.close().await;
    let undone = Undone::new(undone);
    session.ui.report(&undone)?;
    let Some(left) = undone.left.first() else { return Ok(()) };
    Err(Failure::new(FailureKind::Problems, "a server stays taken over", &left.server, &left.why)
        .next(format!("{}    when it answers", session.line))
        .into())
}

impl Undone {
    fn new(undone: PutBack) -> Self {
        let left = |(addr, why): (codis_core::Addr, String)| Left { server: addr.to_string(), why };
        Self {
            done: undone.done.iter().map(ToString::to_string).collect(),
            left: undone.left.into_iter().map(left).collect(),
        }
    }
}

impl Report for Undone {
    fn human(&self, _look: &Look) -> String {
        let done = self.done.iter().map(|server| format!("done      {server} forks as before"));
        let left = self.left.iter().map(|left| format!("left      {}: {}", left.server, left.why));
        let lines: Vec<String> = done.chain(left).collect();
        if lines.is_empty() { "no server is taken over".to_owned() } else { lines.join("\n") }
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let done = self.done.iter().map(|server| vec!["done".to_owned(), server.clone()]);
        let left =
            self.left.iter().map(|left| vec!["left".to_owned(), left.server.clone(), left.why.clone()]);
        done.chain(left).collect()
    }
}

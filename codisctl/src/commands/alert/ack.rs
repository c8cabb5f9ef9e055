use codis_core::notice::{AlertId, Kind};
use codis_ops::alerts;
use serde::Serialize;

use crate::{error::Done, render::Look, session::Session, ui::Report};

/// Say that you know about an alert
///
/// It is not repeated until it is over, which is told. It is told at once, too, if it gets worse.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl alert ack memory 10.0.7.51:6387
  codisctl alert ack proxy_ack px-4 --why OPS-812

Exit status: 0 done · 1 there is no such alert now · 5 store unreachable")]
pub(crate) struct AckArgs {
    /// Its kind, as alert list shows it
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Whom it is about
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// What there is to say about it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Acknowledged<'a> {
    kind: &'static str,
    subject: &'a str,
    acknowledged: bool,
}

pub(super) async fn run(session: &Session, args: &AckArgs) -> Done {
    let cx = session.connect().await?;
    let id = AlertId::new(args.kind, &args.subject);
    if !session.settings.dry_run {
        alerts::acknowledge(&cx, &id, &args.why).await?;
    }
    cx.close().await;
    let (kind, acknowledged) = (args.kind.as_str(), !session.settings.dry_run);
    session.ui.report(&Acknowledged { kind, subject: &args.subject, acknowledged })
}

impl Report for Acknowledged<'_> {
    fn human(&self, _look: &Look) -> String {
        let Self { kind, subject, acknowledged } = self;
        match acknowledged {
            true => format!("done      {kind} {subject} is acknowledged: told when it gets worse or is over"),
            false => "dry run   nothing was written".to_owned(),
        }
    }

    fn plain(&self) -> Vec<Vec<String>> {
        vec![vec![self.kind.to_owned(), self.subject.to_owned(), self.acknowledged.to_string()]]
    }
}

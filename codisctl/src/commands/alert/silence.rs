use std::time::Duration;

use codis_core::notice::Kind;
use codis_ops::alerts;
use serde::Serialize;

use crate::{
    config::duration,
    error::Done,
    render::{Look, units},
    session::Session,
    ui::Report,
};

/// Tell nothing of some alerts for a while
///
/// They stay in alert list. What still lasts afterwards is told then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl alert silence memory 10.0.7.51:6387 --for 4h --why OPS-812
  codisctl alert silence '*' '10.0.7.51:*' --for 30m --why OPS-813
  codisctl alert silence memory 10.0.7.51:6387 --end

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct SilenceArgs {
    /// The kind, as alert list shows it; * for all
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Which,
    /// Whom it is about; * stands for any text
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// For how long: 30m, 4h, 2d
    #[arg(long = "for", value_name = "TIME", value_parser = duration, required_unless_present = "end")]
    span: Option<Duration>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
    /// End it now
    #[arg(long, conflicts_with_all = ["span", "why"])]
    end: bool,
}

/// One kind, or all.
#[derive(Debug, Clone, Copy)]
struct Which(Option<Kind>);

fn kind(text: &str) -> Result<Which, String> {
    match text {
        "*" => Ok(Which(None)),
        text => text
            .parse()
            .map(|kind| Which(Some(kind)))
            .map_err(|error: codis_core::ParseError| error.to_string()),
    }
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Silenced<'a> {
    kind: &'static str,
    subject: &'a str,
    /// `None`: nothing was written.
    until_ms: Option<u64>,
    #[serde(skip)]
    ended: bool,
}

pub(super) async fn run(session: &Session, args: &SilenceArgs) -> Done {
    let cx = session.connect().await?;
    let span = args.span.filter(|_| !args.end).unwrap_or_default();
    let until_ms = match session.settings.dry_run {
        true => None,
        false => Some(alerts::silence(&cx, args.kind.0, &args.subject, span, &args.why).await?),
    };
    cx.close().await;
    let kind = args.kind.0.map_or("*", Kind::as_str);
    session.ui.report(&Silenced { kind, subject: &args.subject, until_ms, ended: args.end })
}

impl Report for Silenced<'_> {
    fn human(&self, _look: &Look) -> String {
        let Self { kind, subject, .. } = self;
        match self.until_ms {
            None => "dry run   nothing was written".to_owned(),
            Some(_) if self.ended => format!("done      {kind} {subject} is told again"),
            Some(ms) => format!("done      {kind} {subject} is silent until {} UTC", units::date_time(ms)),
        }
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let until = self.until_ms.map_or_else(String::new, |ms| ms.to_string());
        vec![vec![self.kind.to_owned(), self.subject.to_owned(), until]]
    }
}

use codis_ops::browse::{self, Listed};
use serde::Serialize;

use crate::{
    commands::store::{NodeShape, printable},
    error::Done,
    render::{Look, units},
    session::Session,
    ui::Report,
};

/// Show a node and what is in it
///
/// What is not printable is escaped; --output json has every byte.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --store zk://10.0.7.11:2181 store get /zk/codis/db_feed/dashboard
  codisctl --store local:codis.db store get /zk/codis/db_feed/slots/slot_7 --output json | jq .data

Exit status: 0 done · 1 no such node · 2 a path that is none · 5 store unreachable")]
pub(crate) struct GetArgs {
    /// The node
    #[arg(value_name = "PATH")]
    path: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    node: NodeShape,
    created_ms: i64,
    modified_ms: i64,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    bytes: usize,
}

pub(super) async fn run(session: &Session, args: &GetArgs) -> Done {
    let access = session.access().await?;
    let seen = browse::get(&access, &args.path).await?;
    access.close().await;
    session.ui.report(&Shown::new(seen))
}

impl Shown {
    fn new(seen: Listed) -> Self {
        Self {
            created_ms: seen.stat.created_ms,
            modified_ms: seen.stat.modified_ms,
            text: printable(&seen.data),
            bytes: seen.data.len(),
            node: NodeShape::new(seen),
        }
    }
}

impl Report for Shown {
    fn human(&self, _look: &Look) -> String {
        let time = |ms: i64| match u64::try_from(ms) {
            Ok(ms) if ms > 0 => format!("{} UTC", units::date_time(ms)),
            _ => "with the store".to_owned(),
        };
        let life = if self.node.ephemeral { ", goes with its session" } else { "" };
        let access = self.node.acl.as_ref().map_or_else(|| "its own list".to_owned(), |list| list.join(" "));
        let mut text = format!(
            "node      {}\nversion   {}{life}\ncreated   {}\nwritten   {}\naccess    {access}\ncontent   {}",
            self.node.path,
            self.node.version,
            time(self.created_ms),
            time(self.modified_ms),
            codis_core::plan::plural(self.bytes, "byte", "bytes"),
        );
        if !self.text.is_empty() {
            text.push_str(&format!("\n{}", self.text.trim_end_matches('\n')));
        }
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        vec![vec![self.text.clone()]]
    }
}

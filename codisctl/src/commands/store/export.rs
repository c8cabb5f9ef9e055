use codis_ops::browse;
use serde::Serialize;

use crate::{commands::store::NodeShape, error::Done, session::Session, ui::json_line};

/// Print a node and everything below it as JSON, one line for each node
///
/// A copy to keep, or to compare with another. It is read node by node, so what changes meanwhile may be
/// seen before or after. The form of --output makes no difference.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --store zk://10.0.7.11:2181 store export /zk/codis/db_feed
  codisctl --store local:codis.db store export | jq -r '.set[].path'

Exit status: 0 done · 1 no such node · 2 a path that is none · 5 store unreachable")]
pub(crate) struct ExportArgs {
    /// The node
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
}

/// Everything but the nodes, which follow line by line.
#[derive(Debug, Serialize)]
struct Head<'a> {
    v: u8,
    store: String,
    path: &'a str,
    total_nodes: usize,
}

pub(super) async fn run(session: &Session, args: &ExportArgs) -> Done {
    let access = session.access().await?;
    let nodes = browse::export(&access, &args.path).await?;
    let store = access.addr().to_string();
    access.close().await;
    let head = Head { v: crate::ui::SHAPE, store, path: &args.path, total_nodes: nodes.len() };
    let head = json_line(&head)?;
    session.ui.data(&format!("{},\"set\":[", head.trim_end_matches('}')))?;
    let last = nodes.len().saturating_sub(1);
    for (n, seen) in nodes.into_iter().enumerate() {
        let comma = if n == last { "" } else { "," };
        session.ui.data(&format!("{}{comma}", json_line(&NodeShape::new(seen))?))?;
    }
    session.ui.data("]}")
}

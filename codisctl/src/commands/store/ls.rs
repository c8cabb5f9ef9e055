use codis_ops::browse::{self, Listed};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// List the children of a node
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --store zk://10.0.7.11:2181 store ls
  codisctl --store local:codis.db store ls /zk/codis/db_feed/LOCK

Exit status: 0 done · 1 no such node · 2 a path that is none · 5 store unreachable")]
pub(crate) struct LsArgs {
    /// The node
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
}

#[derive(Debug, Serialize)]
struct Listing {
    path: String,
    nodes: Vec<Line>,
    #[serde(skip)]
    now_ms: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    bytes: u64,
    children: u64,
    version: i32,
    ephemeral: bool,
    /// Permission bits for everybody.
    access: Option<i32>,
    modified_ms: i64,
}

pub(super) async fn run(session: &Session, args: &LsArgs) -> Done {
    let access = session.access().await?;
    let entries = browse::list(&access, &args.path).await?;
    access.close().await;
    let nodes = entries.into_iter().map(Line::new).collect();
    session.ui.report(&Listing { path: args.path.clone(), nodes, now_ms: units::now_ms() })
}

impl Line {
    fn new(Listed { path, stat, .. }: Listed) -> Self {
        Self {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            bytes: stat.bytes,
            children: stat.children,
            version: stat.version,
            ephemeral: stat.owner != 0,
            access: stat.acl,
            modified_ms: stat.modified_ms,
        }
    }
}

impl Listing {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("node", Fit::Left),
            ("children", Fit::Right),
            ("bytes", Fit::Right),
            ("version", Fit::Right),
            ("access", Fit::Right),
            ("written", Fit::Right),
            ("life", Fit::Left),
        ]);
        for node in &self.nodes {
            let modified = u64::try_from(node.modified_ms).unwrap_or_default();
            grid.row([
                super::printable(node.name.as_bytes()),
                node.children.to_string(),
                node.bytes.to_string(),
                node.version.to_string(),
                node.access.map_or_else(|| "own".to_owned(), |bits| bits.to_string()),
                match modified {
                    0 => String::new(),
                    at => format!("{} ago", units::seconds(self.now_ms.saturating_sub(at) / 1000)),
                },
                if node.ephemeral { "with its session".to_owned() } else { String::new() },
            ]);
        }
        grid
    }
}

impl Report for Listing {
    fn human(&self, look: &Look) -> String {
        let count = codis_core::plan::plural(self.nodes.len(), "node", "nodes");
        if self.nodes.is_empty() {
            return format!("{count} below {}", self.path);
        }
        format!("{}\n{count} below {}", self.grid().draw(look), self.path)
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}

//! The threads of the data path, and what the rest of the process may ask of them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{stats::Stats, table::Table};

/// Handle on all workers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Workers {
    table: Arc<ArcSwap<Table>>,
}

impl Workers {
    /// The table that was installed last.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Makes all workers use `table`.
    ///
    /// Resolves when every worker uses it and, for each slot whose route changed, no request sent
    /// under the old route is unfinished: its reply is in, or its connection is known dead on the
    /// server. That may take for ever while a server is unreachable; dropping the future takes
    /// nothing back. Calls must not overlap in the order of their tables' epochs.
    pub(crate) async fn install(&self, table: Arc<Table>) {
        self.table.store(table);
    }

    /// Begins to accept clients. Until then they wait in the kernel's queue.
    pub(crate) fn start_accepting(&self) {}

    /// Stops accepting, finishes what is in flight within `stop_grace`, closes all connections.
    pub(crate) async fn stop(&self) {}

    /// Counters of all workers, summed.
    pub(crate) async fn stats(&self) -> Stats {
        Stats::default()
    }
}

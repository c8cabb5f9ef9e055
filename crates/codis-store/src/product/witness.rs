//! What proxies see of the servers, each in an ephemeral node of its own.

use codis_core::Witness;

use super::load::{Found, Gaps};
use super::{Product, Result};
use crate::wire;

impl Product {
    /// Writes what a proxy sees, for as long as this session lives. A node that another session has left is replaced.
    pub async fn publish_witness(&self, witness: &Witness) -> Result<()> {
        let (dir, path) = (self.layout.witnesses(), self.layout.witness(&witness.proxy));
        self.publish_own(&dir, &path, &wire::witness_json(witness)).await
    }

    /// What all proxies see that say so; Go proxies never do.
    pub async fn witnesses(&self) -> Result<Found<Vec<Witness>>> {
        let mut gaps = Gaps::default();
        let mut found = Vec::new();
        for (path, node) in self.nodes_below(self.layout.witnesses()).await? {
            found.extend(gaps.keep(&path, wire::witness_from(&node.data)));
        }
        Ok(Found { found, gaps: gaps.0 })
    }
}

//! What proxies see of the servers, each in an ephemeral node of its own.

use codis_core::Witness;

use super::load::{Found, Gaps};
use super::proxies::missing_is_fine;
use super::writes::set;
use super::{Product, Result};
use crate::node::{Acl, CreateMode};
use crate::wire;

impl Product {
    /// Writes what a proxy sees, for as long as this session lives. A node that another session has left is replaced.
    pub async fn publish_witness(&self, witness: &Witness) -> Result<()> {
        let path = self.layout.witness(&witness.proxy);
        let text = wire::witness_json(witness);
        let old = self.store.get_many(std::slice::from_ref(&path)).await?.pop().flatten();
        match old {
            Some(old) if old.owner == self.store.session_id() => {
                return self.store.commit_settled(vec![set(path, text, old.version)]).await.map(drop);
            }
            Some(old) => missing_is_fine(self.store.delete(&path, Some(old.version)).await)?,
            None => {}
        }
        let dir = self.layout.witnesses();
        self.create_below(&dir, &path, &text, CreateMode::Ephemeral, Acl::File).await.map(drop)
    }

    /// What all proxies see that say so; Go proxies never do.
    pub async fn witnesses(&self) -> Result<Found<Vec<Witness>>> {
        let dir = self.layout.witnesses();
        let names = self.store.children_many(std::slice::from_ref(&dir)).await?;
        let names = names.into_iter().flatten().flatten();
        let paths: Vec<String> = names.map(|name| format!("{dir}/{name}")).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut gaps = Gaps::default();
        let mut found = Vec::new();
        for (path, node) in paths.iter().zip(nodes) {
            let read = node.and_then(|node| gaps.keep(path, wire::witness_from(&node.data)));
            found.extend(read);
        }
        Ok(Found { found, gaps: gaps.0 })
    }
}

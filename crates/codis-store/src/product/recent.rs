//! The newest actions and who has followed them, for people.

use codis_core::Action;

use super::gc::numbers;
use super::load::Gaps;
use super::{Found, Product, Result};
use crate::wire;

/// An action, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The action.
    pub action: Action,
    /// Ids of the proxies that must follow it.
    pub receivers: Vec<String>,
    /// Ids of the proxies that have.
    pub acked: Vec<String>,
}

/// The newest of the actions there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentActions {
    /// How many there are in all.
    pub there: usize,
    /// The newest, newest first, and those that cannot be understood.
    pub newest: Found<Vec<Followed>>,
}

impl Product {
    /// The newest `count` actions, newest first. One that is removed meanwhile is left out.
    pub async fn recent_actions(&self, count: usize) -> Result<RecentActions> {
        let names = self.store.children_many(&[self.layout.actions()]).await?;
        let numbers = numbers(&names.into_iter().flatten().flatten().collect::<Vec<_>>());
        let newest: Vec<u64> = numbers.iter().rev().take(count).copied().collect();
        let paths: Vec<String> = newest.iter().map(|seq| self.layout.action(*seq)).collect();
        let responses: Vec<String> = newest.iter().map(|seq| self.layout.response(*seq)).collect();
        let (nodes, answers) =
            tokio::try_join!(self.store.get_many(&paths), self.store.children_many(&responses))?;
        let mut gaps = Gaps::default();
        let mut found = Vec::with_capacity(newest.len());
        for ((seq, path), (node, acked)) in newest.iter().zip(&paths).zip(nodes.into_iter().zip(answers)) {
            let Some(node) = node else { continue };
            let Some(action) = gaps.keep(path, wire::action_from(*seq, &node.data)) else { continue };
            let receivers = action.receivers.iter().map(|text| receiver(text)).collect();
            found.push(Followed { action, receivers, acked: acked.unwrap_or_default() });
        }
        Ok(RecentActions { there: numbers.len(), newest: Found { found, gaps: gaps.0 } })
    }
}

/// The id of a receiver: it is written as the whole text of its node, or, of old, as the bare id.
fn receiver(text: &str) -> String {
    wire::proxy_from(text.as_bytes()).map_or_else(|_| text.to_owned(), |proxy| proxy.id.to_string())
}

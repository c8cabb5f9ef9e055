//! What people have been told of, and what they do not want to hear of for a while.
//!
//! It lives in the store so that another agent goes on where one stopped, and tells nothing twice.

use std::collections::BTreeMap;

use codis_core::notice::{AlertId, Record, Silence};
use codis_core::{Gap, Versioned};

use super::load::Gaps;
use super::proxies::missing_is_fine;
use super::writes::{create, set};
use super::{Product, Result};
use crate::node::{Acl, CreateMode, Op};
use crate::wire;

/// Alerts and silences with the versions of their nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertBook {
    /// What is remembered of each alert.
    pub records: BTreeMap<AlertId, Versioned<Record>>,
    /// What is silenced, also if its time is over.
    pub silences: Vec<Versioned<Silence>>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
}

/// What becomes of one alert: the version that was read (`None`: there was none), and what is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    /// Which one.
    pub id: AlertId,
    /// The version that was read; `None` if there was none.
    pub version: Option<i32>,
    /// What is to be remembered; `None` for nothing.
    pub record: Option<Record>,
}

impl Product {
    /// All alerts and silences as they are now, in two rounds.
    pub async fn alert_book(&self) -> Result<AlertBook> {
        let dirs = [self.layout.alerts(), self.layout.silences()];
        let lists = self.store.children_many(&dirs).await?;
        let mut book = AlertBook::default();
        let names: Vec<Vec<String>> = lists.into_iter().map(Option::unwrap_or_default).collect();
        let paths: Vec<String> = dirs
            .iter()
            .zip(&names)
            .flat_map(|(dir, names)| names.iter().map(move |name| format!("{dir}/{name}")))
            .collect();
        if paths.is_empty() {
            return Ok(book);
        }
        let alerts = names.first().map_or(0, Vec::len);
        let mut gaps = Gaps::default();
        let nodes = self.store.get_many(&paths).await?;
        for (n, (path, node)) in paths.iter().zip(nodes).enumerate() {
            if n < alerts {
                let record = gaps.versioned(path, node, wire::alert_from);
                book.records.extend(record.map(|record| (record.alert.id(), record)));
            } else {
                book.silences.extend(gaps.versioned(path, node, wire::silence_from));
            }
        }
        book.gaps = gaps.0;
        Ok(book)
    }

    /// Changes what is remembered, all or nothing, each alert still at the version that was read.
    ///
    /// # Errors
    /// `BadVersion`, `NodeExists` or `NoNode` when somebody else has changed one of them: read and decide again.
    pub async fn put_alerts(&self, changes: &[AlertChange]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if changes.iter().any(|change| change.version.is_none()) {
            self.store.ensure_dir(&self.layout.alerts()).await?;
        }
        let op = |change: &AlertChange| {
            let path = self.layout.alert(&change.id.to_string());
            Some(match (change.version, &change.record) {
                (None, None) => return None,
                (None, Some(record)) => {
                    create(&path, &wire::alert_json(record), CreateMode::Persistent, Acl::File)
                }
                (Some(version), Some(record)) => set(path, wire::alert_json(record), version),
                (Some(version), None) => Op::Delete { path, version: Some(version) },
            })
        };
        self.store.commit_settled(changes.iter().filter_map(op).collect()).await.map(drop)
    }

    /// Writes a silence; one of the same kind and subject is replaced.
    pub async fn put_silence(&self, silence: &Silence) -> Result<()> {
        let path = self.layout.silence(&wire::silence_name(silence));
        let old = self.node_at(&path).await?;
        let json = wire::silence_json(silence);
        match old {
            Some(old) => self.store.commit_settled(vec![set(path, json, old.version)]).await.map(drop),
            None => {
                let dir = self.layout.silences();
                self.create_below(&dir, &path, &json, CreateMode::Persistent, Acl::File).await.map(drop)
            }
        }
    }

    /// Removes a silence that is still at the version it carries. A missing one is fine.
    ///
    /// # Errors
    /// `BadVersion` when it is another one by now.
    pub async fn delete_silence(&self, silence: &Versioned<Silence>) -> Result<()> {
        let path = self.layout.silence(&wire::silence_name(silence));
        let delete = Op::Delete { path, version: Some(silence.version) };
        missing_is_fine(self.store.commit_settled(vec![delete]).await.map(drop))
    }
}

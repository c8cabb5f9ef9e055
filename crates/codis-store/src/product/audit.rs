//! Who changed what: records that are appended before a change, completed after it, and dropped when old.

use codis_core::Gap;

use super::{Product, Result};
use crate::error::ErrorKind;
use crate::layout::sequence;
use crate::node::{Acl, CreateMode, Op};
use crate::wire::{self, AuditRecord};

/// Records kept.
const KEPT: usize = 1000;
/// The old ones are dropped at every so many-th record.
const SWEEP: u64 = 50;
/// Longest plan kept, bytes: a ZooKeeper node holds 1 MB.
const PLAN_LIMIT: usize = 64 * 1024;

impl Product {
    /// Appends a record and returns its path. Now and then the oldest beyond 1,000 are dropped.
    pub async fn audit_append(&self, record: &AuditRecord) -> Result<String> {
        let dir = self.layout.audit();
        let path = format!("{dir}/");
        let data = audit_data(record);
        let path = self.create_below(&dir, &path, &data, CreateMode::PersistentSequential, Acl::File).await?;
        if sequence(&path).is_some_and(|number| number % SWEEP == SWEEP - 1) {
            self.audit_sweep().await?;
        }
        Ok(path)
    }

    /// Rewrites a record of [`Product::audit_append`] once, when it is known how the change has ended. A record that is
    /// gone, because it was old or the whole product was removed, stays gone.
    pub async fn audit_end(&self, path: &str, record: &AuditRecord) -> Result<()> {
        let set = Op::Set { path: path.to_owned(), data: audit_data(record).into_bytes(), version: 0 };
        match self.store.commit_settled(vec![set]).await {
            Err(error) if error.kind == ErrorKind::NoNode => Ok(()),
            done => done.map(drop),
        }
    }

    /// The newest records, newest first. What cannot be understood is left out.
    pub async fn audit_list(&self, count: usize) -> Result<Vec<AuditRecord>> {
        let names = match self.store.children(&self.layout.audit()).await {
            Err(error) if error.kind == ErrorKind::NoNode => return Ok(Vec::new()),
            names => names?,
        };
        let newest = names.iter().rev().take(count);
        let paths: Vec<String> = newest.map(|name| self.layout.audit_record(name)).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut gaps = super::load::Gaps::default();
        let records: Vec<AuditRecord> = paths
            .iter()
            .zip(nodes)
            .filter_map(|(path, node)| gaps.keep(path, wire::audit_from(&node?.data)))
            .collect();
        for Gap { path, why } in gaps.0 {
            tracing::warn!(%path, %why, "an audit record cannot be understood");
        }
        Ok(records)
    }

    async fn audit_sweep(&self) -> Result<()> {
        let names = self.store.children(&self.layout.audit()).await?;
        let old = names.len().saturating_sub(KEPT);
        let delete = |name: &String| Op::Delete { path: self.layout.audit_record(name), version: None };
        match self.store.commit(names.iter().take(old).map(delete).collect()).await {
            // Somebody else has swept.
            Err(error) if error.kind == ErrorKind::NoNode => Ok(()),
            done => done.map(drop),
        }
    }
}

fn audit_data(record: &AuditRecord) -> String {
    let mut record = record.clone();
    shorten(&mut record.plan);
    wire::audit_json(&record)
}

fn shorten(plan: &mut String) {
    if plan.len() > PLAN_LIMIT {
        let end = (0..=PLAN_LIMIT).rev().find(|at| plan.is_char_boundary(*at)).unwrap_or(0);
        let left_out = plan.len() - end;
        plan.truncate(end);
        plan.push_str(&format!("\n... ({left_out} bytes left out)"));
    }
}

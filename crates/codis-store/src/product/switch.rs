//! Planned switches of masters: a journal for each group. While it says so, proxies hold back the group's
//! requests; so it must outlive whoever wrote it, and only a compare-and-set changes it.

use std::collections::BTreeMap;

use codis_core::{GroupId, Switch, SwitchStep, Versioned};

use super::load::{Found, Gaps};
use super::writes::set;
use super::{Product, Result, corrupt};
use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, CreateMode};
use crate::watch::Watch;
use crate::wire;

impl Product {
    /// The journals of some groups; those without one are left out.
    pub async fn switches(&self, ids: &[GroupId]) -> Result<Found<BTreeMap<GroupId, Versioned<Switch>>>> {
        let paths: Vec<String> = ids.iter().map(|id| self.layout.switch(*id)).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut gaps = Gaps::default();
        let mut found = BTreeMap::new();
        for (id, (path, node)) in ids.iter().zip(paths.iter().zip(nodes)) {
            if let Some(switch) = gaps.versioned(path, node, |data| wire::switch_from(*id, data)) {
                found.insert(*id, switch);
            }
        }
        Ok(Found { found, gaps: gaps.0 })
    }

    /// A group's journal now (`None`: there is none) and a notice for when it changes.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood.
    pub async fn watch_switch(&self, id: GroupId) -> Result<(Option<Versioned<Switch>>, Watch)> {
        let path = self.layout.switch(id);
        let (node, watch) = self.store.watch_node(&path).await?;
        let Some(node) = node else { return Ok((None, watch)) };
        let switch = wire::switch_from(id, &node.data).map_err(|error| corrupt(&path, error))?;
        Ok((Some(Versioned::new(switch, node.version)), watch))
    }

    /// Writes the journal of a switch that begins, with step `hold`. One that has ended before is replaced.
    ///
    /// Proxies that are to hold back must be told with `group_changed` afterwards; those that start later
    /// read it by themselves.
    ///
    /// # Errors
    /// `NodeExists` when another switch of the group is under way.
    pub async fn begin_switch(&self, switch: &Switch) -> Result<Versioned<Switch>> {
        let path = self.layout.switch(switch.group);
        let switch = Switch { step: SwitchStep::Hold, ..switch.clone() };
        let (old, _) = self.watch_switch(switch.group).await?;
        let Some(old) = old else {
            let text = wire::switch_json(&switch);
            let dir = self.layout.switches();
            self.create_below(&dir, &path, &text, CreateMode::Persistent, Acl::File).await?;
            return Ok(Versioned::new(switch, 0));
        };
        if !old.step.may_become(SwitchStep::Hold) {
            return Err(StoreError::new("create", &path, ErrorKind::NodeExists));
        }
        let switch = Switch { epoch: switch.epoch.max(old.epoch + 1), ..switch };
        self.store.commit_settled(vec![set(path, wire::switch_json(&switch), old.version)]).await?;
        Ok(Versioned::new(switch, old.version + 1))
    }

    /// Sets the step of a journal that is still at the version it carries.
    ///
    /// # Errors
    /// `BadVersion` when somebody else has been faster, or when this step does not follow.
    pub async fn step_switch(
        &self,
        switch: &Versioned<Switch>,
        step: SwitchStep,
    ) -> Result<Versioned<Switch>> {
        let path = self.layout.switch(switch.group);
        if !switch.step.may_become(step) {
            return Err(StoreError::new("write", &path, ErrorKind::BadVersion));
        }
        let changed = Switch { step, ..switch.value.clone() };
        self.store.commit_settled(vec![set(path, wire::switch_json(&changed), switch.version)]).await?;
        Ok(Versioned::new(changed, switch.version + 1))
    }
}

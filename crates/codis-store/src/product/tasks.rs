//! Queues of slots to move: ours, and what the original's queue holds.

use codis_core::{GoTask, Move, Versioned};

use super::load::Gaps;
use super::writes::{create, set};
use super::{Found, Product, Result};
use crate::error::ErrorKind;
use crate::layout::sequence;
use crate::node::{Acl, CreateMode, Op, OpDone};
use crate::watch::Watch;
use crate::wire;

impl Product {
    /// Adds tasks at the end of our queue, all or none; says their numbers.
    pub async fn add_moves(&self, moves: &[Move]) -> Result<Vec<u64>> {
        let dir = self.layout.moves();
        self.store.ensure_dir(&dir).await?;
        let path = format!("{dir}/");
        let add =
            |task: &Move| create(&path, &wire::move_json(task), CreateMode::PersistentSequential, Acl::File);
        let done = self.store.commit_settled(moves.iter().map(add).collect()).await?;
        Ok(done
            .iter()
            .filter_map(|done| match done {
                OpDone::Created(path) => sequence(path),
                _ => None,
            })
            .collect())
    }

    /// Rewrites tasks, all or none, each still at the version it carries.
    pub async fn put_moves(&self, tasks: &[Versioned<Move>]) -> Result<()> {
        let set =
            |task: &Versioned<Move>| set(self.layout.task(task.task), wire::move_json(task), task.version);
        self.store.commit_settled(tasks.iter().map(set).collect()).await.map(drop)
    }

    /// Removes tasks, all or none, each still at the version it carries.
    pub async fn delete_moves(&self, moves: &[Versioned<Move>]) -> Result<()> {
        let delete = |task: &Versioned<Move>| Op::Delete {
            path: self.layout.task(task.task),
            version: Some(task.version),
        };
        self.store.commit_settled(moves.iter().map(delete).collect()).await.map(drop)
    }

    /// Our queue in order.
    pub async fn moves(&self) -> Result<Found<Vec<Versioned<Move>>>> {
        let names = self.store.children_many(&[self.layout.moves()]).await?;
        self.read_moves(names.into_iter().flatten().flatten().collect()).await
    }

    /// Our queue in order, and a notice for when a task comes or goes.
    pub async fn watch_moves(&self) -> Result<(Found<Vec<Versioned<Move>>>, Watch)> {
        let dir = self.layout.moves();
        let (names, watch) = match self.store.watch_children(&dir).await {
            Err(error) if error.kind == ErrorKind::NoNode => {
                self.store.ensure_dir(&dir).await?;
                self.store.watch_children(&dir).await?
            }
            watched => watched?,
        };
        Ok((self.read_moves(names).await?, watch))
    }

    pub(super) async fn read_moves(&self, names: Vec<String>) -> Result<Found<Vec<Versioned<Move>>>> {
        let dir = self.layout.moves();
        let paths: Vec<String> = names.iter().map(|name| format!("{dir}/{name}")).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut gaps = Gaps::default();
        let mut found = Vec::with_capacity(nodes.len());
        for (path, node) in paths.iter().zip(nodes) {
            found.extend(gaps.task(path, node));
        }
        Ok(Found { found, gaps: gaps.0 })
    }

    /// Adds tasks at the end of the original's queue, in this order, all or none; says the names of their nodes.
    pub async fn add_go_tasks(&self, tasks: &[GoTask]) -> Result<Vec<String>> {
        let dir = self.layout.go_tasks();
        self.store.ensure_dir(&dir).await?;
        let path = format!("{dir}/");
        let add = |task: &GoTask| {
            create(&path, &wire::go_task_json(task), CreateMode::PersistentSequential, Acl::File)
        };
        let done = self.store.commit_settled(tasks.iter().map(add).collect()).await?;
        Ok(done
            .iter()
            .filter_map(|done| match done {
                OpDone::Created(path) => path.rsplit('/').next().map(str::to_owned),
                _ => None,
            })
            .collect())
    }

    /// Rewrites tasks of the original's queue, all or none, each still at the version it carries.
    pub async fn put_go_tasks(&self, tasks: &[Versioned<GoTask>]) -> Result<()> {
        let set = |task: &Versioned<GoTask>| {
            set(self.layout.go_task(&task.name), wire::go_task_json(task), task.version)
        };
        self.store.commit_settled(tasks.iter().map(set).collect()).await.map(drop)
    }

    /// Removes tasks from the original's queue, all or none, each still at the version it carries.
    pub async fn delete_go_tasks(&self, tasks: &[Versioned<GoTask>]) -> Result<()> {
        let delete = |task: &Versioned<GoTask>| Op::Delete {
            path: self.layout.go_task(&task.name),
            version: Some(task.version),
        };
        self.store.commit_settled(tasks.iter().map(delete).collect()).await.map(drop)
    }
}

//! The tree in one SQLite file.

use std::path::Path;

use tokio::sync::watch;

use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, ConnectOptions, CreateMode, Node, Op, OpDone, SessionState};
use crate::watch::Watch;

type Result<T> = std::result::Result<T, StoreError>;

/// A session with a local store.
#[derive(Clone, Debug)]
pub struct LocalStore {
    state: watch::Receiver<SessionState>,
}

impl LocalStore {
    pub(crate) async fn connect(path: &Path, _options: &ConnectOptions) -> Result<Self> {
        Err(StoreError::new("connect to", path.display().to_string(), ErrorKind::Unreachable))
    }
    fn off<T>(&self, op: &'static str, path: &str) -> Result<T> {
        Err(StoreError::new(op, path, ErrorKind::Unreachable))
    }
    pub(crate) async fn get(&self, path: &str) -> Result<Node> {
        self.off("read", path)
    }
    pub(crate) async fn get_many(&self, _paths: &[String]) -> Result<Vec<Option<Node>>> {
        self.off("read", "/")
    }
    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>> {
        self.off("list", path)
    }
    pub(crate) async fn children_many(&self, _paths: &[String]) -> Result<Vec<Option<Vec<String>>>> {
        self.off("list", "/")
    }
    pub(crate) async fn create(
        &self,
        path: &str,
        _data: &[u8],
        _mode: CreateMode,
        _acl: Acl,
    ) -> Result<String> {
        self.off("create", path)
    }
    pub(crate) async fn ensure_dir(&self, path: &str) -> Result<()> {
        self.off("create", path)
    }
    pub(crate) async fn set(&self, path: &str, _data: &[u8], _expected: i32) -> Result<i32> {
        self.off("write", path)
    }
    pub(crate) async fn delete(&self, path: &str, _expected: Option<i32>) -> Result<()> {
        self.off("delete", path)
    }
    pub(crate) async fn commit(&self, _ops: Vec<Op>) -> Result<Vec<OpDone>> {
        self.off("commit", "/")
    }
    pub(crate) async fn watch_children(&self, path: &str) -> Result<(Vec<String>, Watch)> {
        self.off("watch", path)
    }
    pub(crate) async fn watch_node(&self, path: &str) -> Result<(Option<Node>, Watch)> {
        self.off("watch", path)
    }
    pub(crate) fn session(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }
    pub(crate) fn session_id(&self) -> i64 {
        0
    }
    pub(crate) async fn reopen(&self) -> Result<()> {
        self.off("reopen", "/")
    }
    pub(crate) async fn close(&self) -> Result<()> {
        self.off("close", "/")
    }
}

//! Going through a tree of any size, a page at a time.

use std::collections::VecDeque;

use crate::error::{ErrorKind, StoreError};
use crate::node::{Node, NodeStat};
use crate::store::Store;

type Result<T> = std::result::Result<T, StoreError>;

/// Nodes of one page.
const PAGE: usize = 512;
/// Content of one page, bytes; a larger node is a page of its own.
const PAGE_BYTES: u64 = 8 << 20;
/// Names asked for at once.
const NAMES: u64 = 8192;

/// A node as a [`Walk`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// How far below the beginning of the walk, 0 for where it began.
    pub depth: usize,
    /// What is known of it. Version and length are those of `data` where that was read.
    pub stat: NodeStat,
    /// Its content; empty when the walk does not read it.
    pub data: Vec<u8>,
}

/// A walk through part of a tree, parents before their children, each level sorted.
///
/// Every page takes two round trips (one without content), every level one more. The tree may change
/// meanwhile: what is gone when its turn comes is left out.
#[derive(Debug)]
pub struct Walk {
    store: Store,
    /// Deepest level wanted.
    depth: usize,
    content: bool,
    /// A missing first node is an error.
    must_begin: bool,
    /// Nodes to look at.
    nodes: VecDeque<(String, usize)>,
    /// Nodes whose children are to be listed, and how many those were.
    parents: VecDeque<(String, usize, u64)>,
}

impl Store {
    /// Goes through the tree below `path`, that node first, down to `depth` levels below it (`usize::MAX`: all).
    /// `content` says whether the nodes are read, or only looked at.
    pub fn walk(&self, path: &str, depth: usize, content: bool) -> Walk {
        let walk = Walk::over(self.clone(), vec![path.to_owned()], depth, content);
        Walk { must_begin: true, ..walk }
    }
}

impl Walk {
    /// Goes through several trees at once; missing ones are left out.
    pub(crate) fn over(store: Store, paths: Vec<String>, depth: usize, content: bool) -> Self {
        let nodes = paths.into_iter().map(|path| (path, 0)).collect();
        Self { store, depth, content, must_begin: false, nodes, parents: VecDeque::new() }
    }

    /// The next nodes, at least one; `None` at the end.
    ///
    /// # Errors
    /// `NoNode` when the node that the walk begins with does not exist; else when the store does not answer. Asking
    /// again goes on with the same page.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Listed>>> {
        loop {
            if self.nodes.is_empty() && !self.list().await? {
                return Ok(None);
            }
            let page = self.look().await?;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }

    /// Lists the children of the next parents; false when there is none.
    async fn list(&mut self) -> Result<bool> {
        let mut names = 0;
        let fits = |(_, _, children): &&(String, usize, u64)| {
            names += children;
            names <= NAMES
        };
        let count = self.parents.iter().take_while(fits).count().max(1).min(self.parents.len());
        let paths: Vec<String> = self.parents.iter().take(count).map(|(path, ..)| path.clone()).collect();
        let lists = self.store.children_many(&paths).await?;
        for ((path, depth, _), names) in self.parents.drain(..count).zip(lists) {
            let below = if path == "/" { "" } else { path.as_str() };
            let names = names.unwrap_or_default().into_iter();
            self.nodes.extend(names.map(|name| (format!("{below}/{name}"), depth + 1)));
        }
        Ok(count > 0)
    }

    /// Looks at the next nodes, as many as make a page.
    async fn look(&mut self) -> Result<Vec<Listed>> {
        let mut paths: Vec<String> = self.nodes.iter().take(PAGE).map(|(path, _)| path.clone()).collect();
        let mut stats = self.store.stat_many(&paths).await?;
        let mut data = Vec::new();
        if self.content {
            let mut bytes = 0;
            let fits = |stat: &&Option<NodeStat>| {
                bytes += stat.as_ref().map_or(0, |stat| stat.bytes);
                bytes <= PAGE_BYTES
            };
            let count = stats.iter().take_while(fits).count().max(1);
            paths.truncate(count);
            stats.truncate(count);
            data = self.store.get_many(&paths).await?;
        }
        if let (true, Some((path, 0)), Some(None)) = (self.must_begin, self.nodes.front(), stats.first()) {
            return Err(StoreError::new("list", path, ErrorKind::NoNode));
        }
        let looked = self.nodes.drain(..stats.len()).zip(stats);
        let data = data.into_iter().map(Some).chain(std::iter::repeat(None));
        let mut page = Vec::with_capacity(paths.len());
        for (((path, depth), stat), data) in looked.zip(data) {
            let Some((stat, data)) = joined(stat, data) else { continue };
            if stat.children > 0 && depth < self.depth {
                self.parents.push_back((path.clone(), depth, stat.children));
            }
            page.push(Listed { path, depth, stat, data });
        }
        Ok(page)
    }
}

/// What two looks at a node say together; `None` when it has gone. No second look is an empty one.
fn joined(stat: Option<NodeStat>, read: Option<Option<Node>>) -> Option<(NodeStat, Vec<u8>)> {
    let mut stat = stat?;
    let Some(read) = read else { return Some((stat, Vec::new())) };
    let node = read?;
    stat.version = node.version;
    stat.modified_ms = node.modified_ms;
    stat.bytes = node.data.len() as u64;
    Some((stat, node.data))
}

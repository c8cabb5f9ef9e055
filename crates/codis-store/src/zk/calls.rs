//! What several requests make of one call, and the library's words in ours.

use std::sync::LazyLock;

use futures::future::join_all;
use zookeeper_client as zk;

use crate::node::{Acl, CreateMode, Node, Op, OpDone, SessionState};

/// Reads in flight at once, as many as there are slots.
const PIPELINE: usize = 1024;
/// Nodes read by one request, for servers from 3.6 on.
const BUNDLE: usize = 32;

type Answer<T> = Result<T, zk::Error>;

/// Reads with several nodes in each request: a third of the time of single reads.
pub(super) async fn bundled(client: &zk::Client, paths: &[String]) -> Answer<Vec<Option<Node>>> {
    let mut nodes = Vec::with_capacity(paths.len());
    for part in paths.chunks(PIPELINE) {
        let mut requests = Vec::with_capacity(PIPELINE / BUNDLE);
        for bundle in part.chunks(BUNDLE) {
            let mut reader = client.new_multi_reader();
            bundle.iter().try_for_each(|path| reader.add_get_data(path))?;
            requests.push(reader.commit());
        }
        for bundle in join_all(requests).await {
            for read in bundle? {
                nodes.push(match read {
                    zk::MultiReadResult::Data { data, stat } => Some(node(data, &stat)),
                    zk::MultiReadResult::Error { err } => present(Err(err))?,
                    other => {
                        return Err(zk::Error::UnexpectedError(format!("asked for data, got {other:?}")));
                    }
                });
            }
        }
    }
    Ok(nodes)
}

/// Single reads. The library sends a request when the method is called, so collecting the futures is a pipeline.
pub(super) async fn pipelined(client: &zk::Client, paths: &[String]) -> Answer<Vec<Option<Node>>> {
    let mut nodes = Vec::with_capacity(paths.len());
    for part in paths.chunks(PIPELINE) {
        let reads: Vec<_> = part.iter().map(|path| client.get_data(path)).collect();
        for read in join_all(reads).await {
            nodes.push(present(read.map(|(data, stat)| node(data, &stat)))?);
        }
    }
    Ok(nodes)
}

/// Lists, as [`pipelined`].
pub(super) async fn lists(client: &zk::Client, paths: &[String]) -> Answer<Vec<Option<Vec<String>>>> {
    let mut lists = Vec::with_capacity(paths.len());
    for part in paths.chunks(PIPELINE) {
        let reads: Vec<_> = part.iter().map(|path| client.list_children(path)).collect();
        for read in join_all(reads).await {
            lists.push(present(read.map(sorted))?);
        }
    }
    Ok(lists)
}

/// All of the steps or none.
pub(super) async fn transaction(
    client: &zk::Client,
    chroot: &str,
    ops: &[Op],
) -> Result<Vec<OpDone>, zk::MultiWriteError> {
    let mut writer = client.new_multi_writer();
    for op in ops {
        let full = format!("{chroot}{}", op.path());
        match op {
            Op::Check { version, .. } => writer.add_check_version(&full, *version)?,
            Op::Create { data, mode, acl, .. } => writer.add_create(&full, data, &zk_options(*mode, *acl))?,
            Op::Set { data, version, .. } => writer.add_set_data(&full, data, Some(*version))?,
            Op::Delete { version, .. } => writer.add_delete(&full, *version)?,
        }
    }
    let done = writer.commit().await?;
    Ok(done
        .into_iter()
        .map(|result| match result {
            zk::MultiWriteResult::Create { path, .. } => OpDone::Created(path[chroot.len()..].to_owned()),
            zk::MultiWriteResult::SetData { stat } => OpDone::Set(stat.version),
            zk::MultiWriteResult::Delete => OpDone::Deleted,
            _ => OpDone::Checked,
        })
        .collect())
}

/// A missing node is an answer.
fn present<T>(read: Answer<T>) -> Answer<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

pub(super) fn node(data: Vec<u8>, stat: &zk::Stat) -> Node {
    Node {
        data,
        version: stat.version,
        ephemeral: stat.ephemeral_owner != 0,
        owner: stat.ephemeral_owner,
        created_ms: stat.ctime,
        modified_ms: stat.mtime,
    }
}

pub(super) fn session_state(state: zk::SessionState) -> SessionState {
    match state {
        zk::SessionState::SyncConnected | zk::SessionState::ConnectedReadOnly => SessionState::Connected,
        zk::SessionState::Disconnected => SessionState::Disconnected,
        zk::SessionState::Expired | zk::SessionState::AuthFailed => SessionState::Expired,
        zk::SessionState::Closed => SessionState::Closed,
    }
}

pub(super) fn zk_options(mode: CreateMode, acl: Acl) -> zk::CreateOptions<'static> {
    static DIR: LazyLock<[zk::Acl; 1]> = LazyLock::new(|| [anyone(zk::Permission::ALL)]);
    static FILE: LazyLock<[zk::Acl; 1]> =
        LazyLock::new(|| [anyone(zk::Permission::READ | zk::Permission::WRITE | zk::Permission::ADMIN)]);
    let mode = match mode {
        CreateMode::Persistent => zk::CreateMode::Persistent,
        CreateMode::PersistentSequential => zk::CreateMode::PersistentSequential,
        CreateMode::Ephemeral => zk::CreateMode::Ephemeral,
        CreateMode::EphemeralSequential => zk::CreateMode::EphemeralSequential,
    };
    mode.with_acls(zk::Acls::new(match acl {
        Acl::Dir => &*DIR,
        Acl::File => &*FILE,
    }))
}

fn anyone(permission: zk::Permission) -> zk::Acl {
    zk::Acl::new(permission, zk::AuthId::anyone())
}

//! What several requests make of one call, and the library's words in ours.

use std::sync::LazyLock;

use futures::future::join_all;
use zookeeper_client as zk;

use crate::node::{Acl, CreateMode, Node, NodeStat, Op, OpDone, SessionState};

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

/// What is known of nodes without their content, as [`pipelined`]: the access list comes with the rest.
pub(super) async fn stats(client: &zk::Client, paths: &[String]) -> Answer<Vec<Option<NodeStat>>> {
    let mut stats = Vec::with_capacity(paths.len());
    for part in paths.chunks(PIPELINE) {
        let reads: Vec<_> = part.iter().map(|path| client.get_acl(path)).collect();
        for (path, read) in part.iter().zip(join_all(reads).await) {
            stats.push(match read {
                // Somebody keeps the access list to himself; that there is a node is no secret.
                Err(zk::Error::NoAuth) => client.check_stat(path).await?.map(|stat| node_stat(&stat, None)),
                read => present(read)?.map(|(acl, stat)| node_stat(&stat, everybody(&acl))),
            });
        }
    }
    Ok(stats)
}

fn node_stat(stat: &zk::Stat, acl: Option<i32>) -> NodeStat {
    NodeStat {
        version: stat.version,
        owner: stat.ephemeral_owner,
        created_ms: stat.ctime,
        modified_ms: stat.mtime,
        bytes: u64::try_from(stat.data_length).unwrap_or_default(),
        children: u64::try_from(stat.num_children).unwrap_or_default(),
        acl,
    }
}

/// The permission bits of a list that is one entry for everybody.
fn everybody(acl: &[zk::Acl]) -> Option<i32> {
    let [only] = acl else { return None };
    let bits = [
        (zk::Permission::READ, 1),
        (zk::Permission::WRITE, 2),
        (zk::Permission::CREATE, 4),
        (zk::Permission::DELETE, 8),
        (zk::Permission::ADMIN, 16),
    ];
    let has =
        |(permission, bit): (zk::Permission, i32)| if only.permission().has(permission) { bit } else { 0 };
    ((only.scheme(), only.id()) == ("world", "anyone")).then(|| bits.map(has).iter().sum())
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

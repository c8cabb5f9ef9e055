//! The tree as rows: what each call does inside its transaction.
//!
//! Order of checks and rules for versions, sequence digits and access lists are ZooKeeper's.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use crate::error::ErrorKind;
use crate::node::{Acl, CreateMode, Node, NodeStat, Op, OpDone};

/// Permission to create and to delete children, in the bits of an access list.
const MAY_CREATE: i64 = 4;
const MAY_DELETE: i64 = 8;

type Result<T> = std::result::Result<T, Fault>;

/// What a watch compares: the node's id and the counter that interests it. `None`: no such node.
pub(super) type Mark = Option<(i64, i64)>;

/// What a watch looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Data,
    Children,
}

pub(super) fn get(db: &Connection, path: &str) -> Result<Option<Node>> {
    let mut select =
        sql(db, "SELECT data, version, owner, created_ms, modified_ms FROM node WHERE path = ?1")?;
    let read = |row: &Row<'_>| {
        let owner: i64 = row.get(2)?;
        Ok(Node {
            data: row.get(0)?,
            version: row.get(1)?,
            ephemeral: owner != 0,
            owner,
            created_ms: row.get(3)?,
            modified_ms: row.get(4)?,
        })
    };
    Ok(select.query_row([path], read).optional()?)
}

pub(super) fn stat(db: &Connection, path: &str) -> Result<Option<NodeStat>> {
    let mut select = sql(
        db,
        "SELECT version, owner, created_ms, modified_ms, length(data), acl,
                (SELECT count(*) FROM node AS child WHERE child.parent = node.id)
         FROM node WHERE path = ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(NodeStat {
            version: row.get(0)?,
            owner: row.get(1)?,
            created_ms: row.get(2)?,
            modified_ms: row.get(3)?,
            bytes: row.get::<_, i64>(4)?.unsigned_abs(),
            acl: Some(row.get(5)?),
            children: row.get::<_, i64>(6)?.unsigned_abs(),
        })
    };
    Ok(select.query_row([path], read).optional()?)
}

/// Names of the children in the order of their bytes; `None` when there is no such node.
pub(super) fn children(db: &Connection, path: &str) -> Result<Option<Vec<String>>> {
    let id = sql(db, "SELECT id FROM node WHERE path = ?1")?;
    let Some(id) = { id }.query_row([path], |row| row.get::<_, i64>(0)).optional()? else { return Ok(None) };
    let skip = if path == "/" { 1 } else { path.len() + 1 };
    let mut select = sql(db, "SELECT path FROM node WHERE parent = ?1 ORDER BY path")?;
    let names = select.query_map([id], |row| {
        let path = row.get_ref(0)?.as_str()?;
        Ok(path.get(skip..).unwrap_or_default().to_owned())
    })?;
    Ok(Some(names.collect::<rusqlite::Result<_>>()?))
}

pub(super) fn mark(db: &Connection, path: &str, interest: Interest) -> Result<Mark> {
    let mut select = sql(db, "SELECT id, version, changes FROM node WHERE path = ?1")?;
    let counter = match interest {
        Interest::Data => 1,
        Interest::Children => 2,
    };
    Ok(select.query_row([path], |row| Ok((row.get(0)?, row.get(counter)?))).optional()?)
}

/// One step of a transaction, in the name of session `owner`.
pub(super) fn apply(db: &Connection, op: &Op, owner: i64, now_ms: i64) -> Result<OpDone> {
    match op {
        Op::Check { path, version } => {
            expect_version(&find(db, path)?, Some(*version))?;
            Ok(OpDone::Checked)
        }
        Op::Create { path, data, mode, acl } => {
            create(db, path, data, *mode, *acl, owner, now_ms).map(OpDone::Created)
        }
        Op::Set { path, data, version } => {
            let found = find(db, path)?;
            expect_version(&found, Some(*version))?;
            let mut update =
                sql(db, "UPDATE node SET data = ?2, version = version + 1, modified_ms = ?3 WHERE id = ?1")?;
            update.execute(params![found.id, data, now_ms])?;
            Ok(OpDone::Set(found.version + 1))
        }
        Op::Delete { path, version } => {
            delete(db, path, *version)?;
            Ok(OpDone::Deleted)
        }
    }
}

/// Makes a directory and its missing parents.
pub(super) fn ensure_dir(db: &Connection, path: &str, now_ms: i64) -> Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    for end in ends {
        match create(db, &path[..end], b"", CreateMode::Persistent, Acl::Dir, 0, now_ms) {
            Ok(_) | Err(Fault::Kind(ErrorKind::NodeExists)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// Removes everything the session owns. Ephemeral nodes have no children.
pub(super) fn delete_owned(db: &Connection, session: i64) -> Result<()> {
    let mut touch = sql(
        db,
        "UPDATE node SET changes = changes + 1 WHERE id IN (SELECT parent FROM node WHERE owner = ?1)",
    )?;
    touch.execute([session])?;
    sql(db, "DELETE FROM node WHERE owner = ?1")?.execute([session])?;
    Ok(())
}

struct Found {
    id: i64,
    version: i32,
    creates: i64,
    owner: i64,
    acl: i64,
}

fn find(db: &Connection, path: &str) -> Result<Found> {
    let mut select = sql(db, "SELECT id, version, creates, owner, acl FROM node WHERE path = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(Found {
            id: row.get(0)?,
            version: row.get(1)?,
            creates: row.get(2)?,
            owner: row.get(3)?,
            acl: row.get(4)?,
        })
    };
    select.query_row([path], read).optional()?.ok_or(Fault::Kind(ErrorKind::NoNode))
}

fn expect_version(found: &Found, expected: Option<i32>) -> Result<()> {
    match expected {
        Some(version) if version != found.version => Err(ErrorKind::BadVersion.into()),
        _ => Ok(()),
    }
}

fn create(
    db: &Connection,
    path: &str,
    data: &[u8],
    mode: CreateMode,
    acl: Acl,
    owner: i64,
    now_ms: i64,
) -> Result<String> {
    let parent = find(db, parent_of(path))?;
    if parent.acl & MAY_CREATE == 0 {
        return Err(ErrorKind::NoAuth.into());
    }
    let path = if mode.is_sequential() { format!("{path}{:010}", parent.creates) } else { path.to_owned() };
    if mark(db, &path, Interest::Data)?.is_some() {
        return Err(ErrorKind::NodeExists.into());
    }
    if parent.owner != 0 {
        return Err(ErrorKind::EphemeralParent.into());
    }
    let owner = if mode.is_ephemeral() { owner } else { 0 };
    let mut insert = sql(
        db,
        "INSERT INTO node (parent, path, data, owner, acl, created_ms, modified_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    insert.execute(params![parent.id, path, data, owner, acl.bits(), now_ms])?;
    sql(db, "UPDATE node SET creates = creates + 1, changes = changes + 1 WHERE id = ?1")?
        .execute([parent.id])?;
    Ok(path)
}

fn delete(db: &Connection, path: &str, expected: Option<i32>) -> Result<()> {
    let found = find(db, path)?;
    let parent = find(db, parent_of(path))?;
    if parent.acl & MAY_DELETE == 0 {
        return Err(ErrorKind::NoAuth.into());
    }
    expect_version(&found, expected)?;
    let mut any = sql(db, "SELECT 1 FROM node WHERE parent = ?1 LIMIT 1")?;
    if any.exists([found.id])? {
        return Err(ErrorKind::NotEmpty.into());
    }
    sql(db, "DELETE FROM node WHERE id = ?1")?.execute([found.id])?;
    sql(db, "UPDATE node SET changes = changes + 1 WHERE id = ?1")?.execute([parent.id])?;
    Ok(())
}

fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Statements are prepared once per connection.
fn sql<'db>(db: &'db Connection, text: &str) -> rusqlite::Result<CachedStatement<'db>> {
    db.prepare_cached(text)
}

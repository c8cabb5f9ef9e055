//! What is put right while no master changes: see [`codis_core::ha::upkeep`].

use std::path::{Path, PathBuf};

use codis_core::{
    Addr, GroupId, Role, Server, Versioned,
    ha::{Loss, Saga, Upkeep},
};

use super::{Work, attach, lead::PATIENCE, write_stop};
use crate::{Failure, FailureKind};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A slave follows its master again.
    Reattached,
    /// An old master follows the new one; what only it had is in the file.
    Attached(Option<PathBuf>),
    /// An old master is a slave again.
    Rejoined {
        /// The file with what only it had.
        kept: Option<String>,
        /// What the change had lost; `None` if nobody can tell.
        lost: Option<Loss>,
    },
    /// Nothing that people should hear of.
    Done,
}

/// Puts one thing right. Each is complete in itself, or found again by the next look.
///
/// # Errors
/// If the store or a server does not answer, or something has changed since the look.
pub(crate) async fn carry_out(work: &Work<'_>, group: GroupId, one: &Upkeep) -> Result<Outcome, Failure> {
    match one {
        Upkeep::AllowWrites { master } => lift_left_stop(work, master).await.map(|_| Outcome::Done),
        Upkeep::Reattach { server, master } => {
            attach::attach_one(work, server, master).await.map(|()| Outcome::Reattached)
        }
        Upkeep::Rejoin { server, master, diverged } => rejoin(work, group, server, master, *diverged).await,
        Upkeep::ListAsSlave { server } => list_as_slave(work, group, server).await,
        Upkeep::Forget { server } => forget(work, group, server).await,
        Upkeep::Waiting { .. } => Ok(Outcome::Done),
    }
}

/// Steps: an old master that may have more than the new one takes no more writes, its data set is kept in a file; the journal
/// says how much more it has, and where that is; it follows the new master. Whoever dies in between leaves an offline server that
/// is found again: the file is written once more, under another name.
async fn rejoin(
    work: &Work<'_>,
    group: GroupId,
    server: &Addr,
    master: &Addr,
    diverged: bool,
) -> Result<Outcome, Failure> {
    let what = format!("cannot make {server} a slave again");
    let mut old = work.lead.connect(work.cx, server, PATIENCE).await?;
    let is_master = old.ask().facts().await.map_err(|error| Failure::redis(&what, &error))?.master.is_none();
    if diverged && is_master {
        write_stop::stop(&mut old, server, &what).await?;
    }
    let facts = old.ask().facts().await.map_err(|error| Failure::redis(&what, &error))?;
    drop(old);
    if facts.master.as_ref() == Some(master) {
        // The look was older than what was done already. What it holds is on its way to be the new master's, and not kept again.
        return Ok(Outcome::Done);
    }
    let kept = if diverged { Some(keep(work, server).await?) } else { None };
    if let Some(mut saga) = journal(work, group, &what).await? {
        let missed = saga.demoted.iter().find(|other| &other.addr == server);
        let missed = missed.and_then(|other| other.went_on(&facts));
        saga.value.note_return(server, missed, kept.as_ref().map(|file| file.display().to_string()));
        work.lead.fresh().await?;
        work.cx.product.put_saga(&saga).await.map_err(|error| Failure::store(&what, &error))?;
    }
    attach::attach_one(work, server, master).await.map(|()| Outcome::Attached(kept))
}

/// Writes the whole data set of an old master, which takes no more writes, into a file: what a proxy that has not heard of
/// the change wrote to it is in there.
async fn keep(work: &Work<'_>, server: &Addr) -> Result<PathBuf, Failure> {
    let what = format!("cannot keep the data of {server} before it becomes a slave");
    let folder = work.backups;
    let at = |why: std::io::Error| {
        let why = crate::config::error_text(&why);
        Failure::new(FailureKind::Failed, &what, folder.display(), why)
            .next("name a folder for it: backup_dir in the table [ha] of codis.toml")
    };
    std::fs::create_dir_all(folder).map_err(at)?;
    let file = file_of(folder, work.cx.product_name().as_str(), server, work.now_ms());
    let bytes = codis_redis::backup(server, &work.cx.redis, &file).await;
    let bytes = bytes.map_err(|error| Failure::redis(&what, &error))?;
    tracing::info!(%server, file = %file.display(), bytes, "its data is kept");
    Ok(file)
}

fn file_of(folder: &Path, product: &str, server: &Addr, now_ms: u64) -> PathBuf {
    let server = server.as_str().replace([':', '[', ']'], "-");
    folder.join(format!("{product}-{server}-{now_ms}.rdb"))
}

async fn list_as_slave(work: &Work<'_>, group: GroupId, server: &Addr) -> Result<Outcome, Failure> {
    let what = format!("cannot list {server} as a slave");
    let listed = work.group(group).await?.server(server).cloned();
    let Some(listed) = listed.filter(|listed| listed.role == Role::Offline) else { return Ok(Outcome::Done) };
    let slave = Versioned::new(Server { role: Role::Slave, ..listed.value.clone() }, listed.version);
    let Some(mut saga) = journal(work, group, &what).await? else {
        work.lead.fresh().await?;
        let put = work.cx.product.put_servers(&[slave]).await;
        put.map_err(|error| Failure::store(&what, &error))?;
        return Ok(Outcome::Rejoined { kept: None, lost: None });
    };
    let kept = saga.demoted.iter().find(|other| &other.addr == server).and_then(|other| other.kept.clone());
    let lost = saga.lost_with(server);
    saga.value.demoted.retain(|other| &other.addr != server);
    work.lead.fresh().await?;
    let put = work.cx.product.put_saga_and_servers(&saga, &[slave]).await;
    put.map_err(|error| Failure::store(&what, &error))?;
    attach::tell(work, &saga).await;
    Ok(Outcome::Rejoined { kept, lost })
}

async fn forget(work: &Work<'_>, group: GroupId, server: &Addr) -> Result<Outcome, Failure> {
    let what = format!("cannot forget {server}");
    let Some(mut saga) = journal(work, group, &what).await? else { return Ok(Outcome::Done) };
    saga.value.demoted.retain(|other| &other.addr != server);
    work.lead.fresh().await?;
    let put = work.cx.product.put_saga(&saga).await;
    put.map(|_| Outcome::Done).map_err(|error| Failure::store(&what, &error))
}

/// The group's journal, if no change is under way.
async fn journal(work: &Work<'_>, group: GroupId, what: &str) -> Result<Option<Versioned<Saga>>, Failure> {
    let (saga, _) = work.cx.product.watch_saga(group).await.map_err(|error| Failure::store(what, &error))?;
    match saga {
        Some(saga) if !saga.stage.is_over() => {
            let why = "its master is being changed";
            Err(Failure::new(FailureKind::Failed, what, format!("failover/group_{group}"), why).stale())
        }
        saga => Ok(saga),
    }
}

/// Takes a write stop of ours off the group's master: whoever set it has died.
///
/// # Errors
/// If it does not answer.
pub(super) async fn lift_left_stop(work: &Work<'_>, master: &Addr) -> Result<bool, Failure> {
    let what = format!("cannot allow writes on {master}");
    let mut server = work.lead.connect(work.cx, master, PATIENCE).await?;
    let lifted = write_stop::lift(&mut server, &what).await?;
    if lifted {
        server.redis().await?.unpause().await.map_err(|error| Failure::redis(&what, &error))?;
    }
    Ok(lifted)
}

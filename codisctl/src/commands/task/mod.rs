//! `task`: slots that shall move, one task each.

mod cancel;
mod delete;
mod list;
mod pause;
mod resume;
mod show;

use codis_core::{
    Cluster, MoveState,
    plan::{Plan, Refusal},
};

use crate::{
    error::Done,
    session::{Session, Sure},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Pause(pause::PauseArgs),
    Resume(resume::ResumeArgs),
    Cancel(cancel::CancelArgs),
    Delete(delete::DeleteArgs),
}

/// Which tasks of our queue are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// Numbers of tasks
    #[arg(value_name = "TASK", required_unless_present = "state")]
    tasks: Vec<u64>,
    /// All in this state: pending, migrating, error, paused
    #[arg(long, value_name = "STATE", conflicts_with = "tasks")]
    state: Option<MoveState>,
}

impl Chosen {
    /// Their numbers.
    fn numbers(&self, cluster: &Cluster) -> Vec<u64> {
        match self.state {
            None => self.tasks.clone(),
            Some(state) => {
                cluster.moves.iter().filter(|task| task.state == state).map(|task| task.task).collect()
            }
        }
    }
}

/// Changes the chosen tasks as `planned` says; `next` is the command to go on with.
async fn change(
    session: &Session,
    chosen: &Chosen,
    planned: fn(&Cluster, &[u64]) -> Result<Plan, Refusal>,
    next: impl FnOnce(&Cluster) -> &'static str,
) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = planned(&cluster, &chosen.numbers(&cluster))?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next(next(&cluster));
    }
    cx.close().await;
    Ok(())
}

pub(super) async fn run(session: &Session, verb: &Task) -> Done {
    match verb {
        Task::List(args) => list::run(session, args).await,
        Task::Show(args) => show::run(session, args).await,
        Task::Pause(args) => pause::run(session, args).await,
        Task::Resume(args) => resume::run(session, args).await,
        Task::Cancel(args) => cancel::run(session, args).await,
        Task::Delete(args) => delete::run(session, args).await,
    }
}

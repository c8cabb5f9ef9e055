use codis_core::{MoveState, plan};

use crate::{
    commands::migrate::Way,
    error::Done,
    session::{Session, Sure},
};

/// Take tasks off the queue whose slots have not begun to move
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl task delete 436 437
  codisctl task delete --state error
  codisctl task delete --as codis2 3

Exit status: 0 done · 1 no such task · 4 refused: its slot is on its way · 5 store unreachable")]
pub(crate) struct DeleteArgs {
    /// Numbers of tasks
    #[arg(value_name = "TASK", required_unless_present = "state")]
    tasks: Vec<u64>,
    /// All in this state: pending, error, paused
    #[arg(long, value_name = "STATE", conflicts_with = "tasks")]
    state: Option<MoveState>,
    /// Whose queue: codis2 is that of the Go tools; else ours
    #[arg(long = "as", value_name = "WAY", hide_possible_values = true)]
    way: Option<Way>,
}

pub(super) async fn run(session: &Session, args: &DeleteArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let tasks: Vec<u64> = match (args.state, args.way) {
        (None, _) => args.tasks.clone(),
        (Some(state), None) => {
            cluster.moves.iter().filter(|task| task.state == state).map(|task| task.task).collect()
        }
        (Some(state), Some(Way::Codis2)) => {
            let wanted = cluster.go_tasks.iter().filter(|task| task.status == state.as_str());
            wanted.filter_map(|task| task.name.parse().ok()).collect()
        }
    };
    let plan = match args.way {
        None => plan::delete_tasks(&cluster, &tasks)?,
        Some(Way::Codis2) => plan::delete_go_tasks(&cluster, &tasks)?,
    };
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next("codisctl task list");
    }
    cx.close().await;
    Ok(())
}

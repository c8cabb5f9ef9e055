//! Who is dead, who takes its place, and what is put right: the decisions of an agent, as values.
//!
//! An agent looks ([`ServerView`]), says what it sees ([`AgentView`]), and the one that leads asks [`decide`] for each
//! group. The answer is a [`Decision`] with the reasons for every server, so that the same value is acted upon, shown
//! by `codisctl ha explain` and told in an alert. [`upkeep`] is what is left to do when nobody is dead. How a decision is
//! carried out, and why in that order, is in `docs/failover.md`.

mod candidate;
mod decide;
mod needs;
mod policy;
mod saga;
mod upkeep;
mod view;

pub use candidate::{Unfit, Verdict, choose, is_fit};
pub use decide::{Choice, Decision, Down, NotNow, Picture, decide, master_down};
pub use needs::{Need, needs};
pub use policy::{Pause, Policy};
pub use saga::{Demoted, Loss, Receipt, Saga, SagaKind, Stage};
pub use upkeep::{Upkeep, upkeep};
pub use view::{AgentView, Facts, Observed, Seen, ServerView, Silence};

//! The verbs, one file each: the doc comment is the help, then what may be typed, then `run`.
//!
//! A verb resolves what was typed, loads the snapshot, lets `codis_core::plan` decide, shows the
//! plan, asks, has it carried out, and says how to go on.

mod action;
mod agent;
mod alert;
mod audit;
mod bigkeys;
mod capacity;
mod check_slot;
mod completion;
mod config;
mod group;
mod ha;
mod lock;
mod man;
mod migrate;
mod playground;
mod product;
mod proxy;
mod server;
mod slot;
mod snapshot;
mod status;
mod store;
mod task;

use codis_core::Cluster;
use codis_ops::{Failure, FailureKind};

use crate::{error::Done, session::Session};

/// What can be worked on.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Noun {
    Playground(playground::PlaygroundArgs),
    Status(status::StatusArgs),
    /// Products: create, list, look at
    #[command(subcommand)]
    Product(product::Product),
    /// Groups of one master and its slaves
    #[command(subcommand)]
    Group(group::Group),
    /// Servers of a group
    #[command(subcommand)]
    Server(server::Server),
    /// The 1024 slots
    #[command(subcommand)]
    Slot(slot::Slot),
    #[command(name = "check-slot")]
    CheckSlot(check_slot::CheckSlotArgs),
    #[command(name = "bigkeys")]
    BigKeys(bigkeys::BigKeysArgs),
    /// Proxies, and the fences they leave
    #[command(subcommand)]
    Proxy(proxy::Proxy),
    /// Move slots from group to group
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// The queue of slots to move
    #[command(subcommand)]
    Task(task::Task),
    /// What people were told of, and what they say to it
    #[command(subcommand)]
    Alert(alert::Alert),
    /// The programs that watch over masters
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Failovers: what would be done, and suspending them
    #[command(subcommand)]
    Ha(ha::Ha),
    /// Saving the servers of a host one after another
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    Capacity(capacity::CapacityArgs),
    Audit(audit::AuditArgs),
    /// The lock on the topology: who holds it
    #[command(subcommand)]
    Lock(lock::Lock),
    /// What was announced to the proxies
    #[command(subcommand)]
    Action(action::Action),
    /// The nodes of the store as they are
    #[command(subcommand)]
    Store(store::Store),
    /// Settings of this run
    #[command(subcommand)]
    Config(config::Config),
    Completion(completion::CompletionArgs),
    Man(man::ManArgs),
}

/// Runs the verb.
pub(crate) async fn run(session: &Session, noun: &Noun) -> Done {
    match noun {
        Noun::Playground(args) => playground::run(session, args).await,
        Noun::Status(args) => status::run(session, args).await,
        Noun::Product(verb) => product::run(session, verb).await,
        Noun::Group(verb) => group::run(session, verb).await,
        Noun::Server(verb) => server::run(session, verb).await,
        Noun::Slot(verb) => slot::run(session, verb).await,
        Noun::CheckSlot(args) => check_slot::run(session, args).await,
        Noun::BigKeys(args) => bigkeys::run(session, args).await,
        Noun::Proxy(verb) => proxy::run(session, verb).await,
        Noun::Migrate(verb) => migrate::run(session, verb).await,
        Noun::Task(verb) => task::run(session, verb).await,
        Noun::Alert(verb) => alert::run(session, verb).await,
        Noun::Agent(verb) => agent::run(session, verb).await,
        Noun::Ha(verb) => ha::run(session, verb).await,
        Noun::Snapshot(verb) => snapshot::run(session, verb).await,
        Noun::Capacity(args) => capacity::run(session, args).await,
        Noun::Audit(args) => audit::run(session, args).await,
        Noun::Lock(verb) => lock::run(session, verb).await,
        Noun::Action(verb) => action::run(session, verb).await,
        Noun::Store(verb) => store::run(session, verb).await,
        Noun::Config(verb) => config::run(session, verb),
        Noun::Completion(args) => completion::run(session, args),
        Noun::Man(args) => man::run(session, args),
    }
}

/// After what could be read was shown: an error if a node could not be.
fn damage(cluster: &Cluster) -> Done {
    let Some(first) = cluster.gaps.first() else { return Ok(()) };
    let count = codis_core::plan::plural(cluster.gaps.len(), "node", "nodes");
    let mut place = first.path.clone();
    if cluster.gaps.len() > 1 {
        place.push_str(&format!("   and {} more", cluster.gaps.len() - 1));
    }
    let what = format!("{count} of product {} cannot be read; the rest is shown", cluster.product);
    Err(Failure::new(FailureKind::Failed, what, place, &first.why)
        .next("correct or delete the node; what needs it is refused until then")
        .into())
}

/// A cell for something that may be absent.
fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A cause without the number of the operating system's error.
fn cause(text: &str) -> &str {
    text.split(" (os error").next().unwrap_or(text)
}

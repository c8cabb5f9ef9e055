//! What is seen of servers, by this agent and by the others.

use std::collections::BTreeMap;

use crate::{Addr, Cluster, GroupId, Versioned, Witness, ha::Saga};

/// What a server said of itself when it was last asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Takes writes. False for a slave.
    pub is_master: bool,
    /// The master it follows, slaves only.
    pub master: Option<Addr>,
    /// Changes with every start of the process.
    pub run_id: String,
    /// The replication history it is in; none before version 4.
    pub history: Option<String>,
    /// The history it was in before, and up to which offset the two are the same.
    pub former: Option<(String, u64)>,
    /// Its place in that history, bytes.
    pub offset: u64,
    /// A slave whose link to its master is up.
    pub link_up: bool,
    /// For how long the link has been down, seconds. Nothing: it was never up.
    pub link_down_s: Option<u64>,
    /// Seconds since it last heard from its master.
    pub last_io_s: Option<u64>,
    /// A slave that receives or loads a whole copy.
    pub syncing: bool,
    /// Reads its data from disk, and answers no request.
    pub loading: bool,
    /// `replica-priority`: the smallest is preferred, 0 is never promoted.
    pub priority: u32,
    /// Keys in all databases.
    pub keys: u64,
    /// Its version, e.g. `7.0.15`.
    pub version: String,
    /// Memory in use, bytes.
    pub used_memory: u64,
    /// Memory limit, bytes; 0 is none.
    pub maxmemory: u64,
    /// Slaves that it feeds, and how far each has come.
    pub slaves: Vec<(String, u64)>,
    /// A child process writes a snapshot or rewrites the AOF.
    pub forked: bool,
    /// Memory of its machine, bytes; 0 where it does not say.
    pub host_memory: u64,
    /// Full copies that it has sent to slaves since its start.
    pub full_syncs: u64,
    /// The last snapshot could be written.
    pub snapshot_ok: bool,
    /// Seconds since its start.
    pub uptime_s: u64,
}

/// Why there is no answer from a server, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Since its last good answer, or since we first asked, milliseconds.
    pub ms: u64,
    /// What was met instead.
    pub why: String,
}

/// What this agent sees of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerView {
    /// It does not answer. Any answer is one, also that it is loading its data or wants another password.
    pub silence: Option<Silence>,
    /// An answer that is no good for anything but proving that it lives: what it said.
    pub refusal: Option<String>,
    /// What it said last, as long as this agent has known it.
    pub facts: Option<Facts>,
    /// How long ago that was, milliseconds.
    pub facts_age_ms: u64,
    /// How long its last answer to PING took, microseconds.
    pub ping_us: u64,
    /// How long the last connection took, microseconds.
    pub connect_us: u64,
    /// As a master it restarted without most of its keys: what it held before.
    pub emptied: Option<u64>,
    /// The furthest offset that it was seen at as a master, and in which history.
    pub furthest: Option<(Option<String>, u64)>,
    /// Its writes are stopped by one of us.
    pub writes_stopped: bool,
}

impl ServerView {
    /// It answers, and can be asked to do something.
    pub fn is_reachable(&self) -> bool {
        self.silence.is_none() && self.refusal.is_none() && self.facts.is_some()
    }
}

/// What an agent says in its node, `agents/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    /// Its name: `host:pid`.
    pub id: String,
    /// It acts on nothing and never leads.
    pub observe_only: bool,
    /// When it was written, Unix milliseconds, by its own clock; for people.
    pub ts_ms: u64,
    /// The servers that do not answer it. All others do, as far as it knows them.
    pub silent: BTreeMap<Addr, Seen>,
}

/// How an agent finds a server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// For how long, when this was written, milliseconds.
    pub ms: u64,
    /// Longer than `down_after`, or it has lost its data: this agent would replace it.
    pub down: bool,
}

/// Everything that one tick of an agent has seen, for every duty. Times are durations: two machines' clocks are
/// never compared.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The store's picture. Its slots and proxies may be some seconds old.
    pub cluster: Cluster,
    /// Each listed server, as this agent sees it.
    pub servers: BTreeMap<Addr, ServerView>,
    /// The live agents, this one included.
    pub agents: Vec<AgentView>,
    /// What proxies see of the servers.
    pub witnesses: Vec<Witness>,
    /// Journals of switches and failovers, ended ones included.
    pub sagas: BTreeMap<GroupId, Versioned<Saga>>,
    /// Failovers are suspended.
    pub paused: Option<super::Pause>,
    /// Unix milliseconds by this agent's clock.
    pub now_ms: u64,
}

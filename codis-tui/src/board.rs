//! What a snapshot means on the screen: cells of the map, rows of the lists, counts, findings.
//!
//! Made once per change of the data. Drawing a frame only lays it out.

mod groups;
mod waves;

use std::collections::BTreeMap;

use codis_core::{
    Addr, Cluster, Finding, GroupId, MoveState, ProxyId, ProxyState, Role, Severity, Slot, SlotId,
    SlotStatus, findings as findings_of_store,
};

use crate::model::Model;
use crate::msg::ProxyFacts;

pub use groups::{GroupRow, Label};
pub use waves::{Wave, WaveState};

/// State of a slot as the map shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Served by its group.
    Online,
    /// Belongs to no group.
    NoGroup,
    /// Not served.
    Offline,
    /// Requests wait.
    PreMigrate,
    /// Moving; tenths of its keys that have arrived, if they were counted.
    Migrate(Option<u8>),
    /// Moving, but nobody works on it.
    Stuck,
    /// Its node could not be read.
    #[default]
    Unknown,
}

/// One slot of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// State.
    pub state: State,
    /// The group that serves it; the source while it moves.
    pub owner: Option<GroupId>,
    /// The destination while it moves.
    pub to: Option<GroupId>,
}

/// How many slots are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is named after the state that it counts")]
pub struct Counts {
    pub online: usize,
    pub no_group: usize,
    pub offline: usize,
    pub pre_migrate: usize,
    pub migrate: usize,
    pub stuck: usize,
    pub unknown: usize,
}

/// A proxy in the list.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyRow {
    /// Its id.
    pub id: ProxyId,
    /// State in the store.
    pub state: ProxyState,
    /// What it said when asked; `None` if it was not asked yet.
    pub answer: Option<Result<ProxyFacts, String>>,
}

impl ProxyRow {
    /// True if it should answer and does not.
    pub fn is_silent(&self) -> bool {
        self.state == ProxyState::Online && matches!(self.answer, Some(Err(_)))
    }
}

/// A snapshot, ready to be drawn.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// The slots in order; empty before the first snapshot.
    pub cells: Vec<Cell>,
    /// Slots per state.
    pub counts: Counts,
    /// Groups by number.
    pub groups: Vec<GroupRow>,
    /// Label and colour number per group.
    pub labels: BTreeMap<GroupId, Label>,
    /// What moves and what waits to be moved.
    pub waves: Vec<Wave>,
    /// Proxies, those that do not answer first.
    pub proxies: Vec<ProxyRow>,
    /// What is not well, worst first.
    pub findings: Vec<Finding>,
    /// Servers that are in use and do not answer, with the reason.
    pub silent_servers: Vec<(Addr, GroupId, Role, String)>,
}

impl Board {
    /// The board of the model's newest data.
    pub fn of(model: &Model) -> Self {
        let Some(cluster) = &model.cluster else { return Self::default() };
        let cells: Vec<Cell> = SlotId::all()
            .map(|id| cluster.slot(id).map_or_else(Cell::default, |s| cell(cluster, s)))
            .collect();
        let mut board =
            Self { counts: count(&cells), proxies: proxies(model, cluster), cells, ..Self::default() };
        board.labels = groups::labels(cluster, &board.cells, model.theme.group_colours());
        board.groups = groups::rows(model, cluster, &board.cells, &board.labels);
        board.waves = waves::of(cluster, &model.pace);
        board.silent_servers = silent_servers(model, cluster);
        board.findings = findings(&board, cluster);
        board
    }

    /// The slot's cell; an unknown one before the first snapshot.
    pub fn cell(&self, slot: SlotId) -> Cell {
        self.cells.get(slot.index()).copied().unwrap_or_default()
    }

    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

fn cell(cluster: &Cluster, slot: &Slot) -> Cell {
    let plain = |state| Cell { state, owner: slot.group, to: None };
    match slot.status {
        _ if slot.group.is_none() => plain(State::NoGroup),
        SlotStatus::Offline => plain(State::Offline),
        SlotStatus::Online => plain(State::Online),
        SlotStatus::PreMigrate if !is_worked_on(cluster, slot.id) => plain(State::Stuck),
        SlotStatus::PreMigrate => plain(State::PreMigrate),
        SlotStatus::Migrate => {
            let state = if is_worked_on(cluster, slot.id) {
                State::Migrate(tenths(cluster, slot.id))
            } else {
                State::Stuck
            };
            Cell { state, owner: slot.from.or(slot.group), to: slot.to.or(slot.group) }
        }
    }
}

/// True if a task of ours is in the hands of a mover, or a Go dashboard has one.
fn is_worked_on(cluster: &Cluster, slot: SlotId) -> bool {
    let ours = cluster
        .move_of(slot)
        .is_some_and(|entry| !matches!(entry.state, MoveState::Error | MoveState::Paused));
    let theirs = cluster.go_tasks.iter().any(|task| task.slot == slot);
    (ours && cluster.mover.is_some()) || (theirs && cluster.dashboard.is_some())
}

fn tenths(cluster: &Cluster, slot: SlotId) -> Option<u8> {
    let entry = cluster.move_of(slot)?;
    entry.keys_total?;
    Some((entry.percent() / 10).min(9))
}

fn count(cells: &[Cell]) -> Counts {
    let mut counts = Counts::default();
    for cell in cells {
        let counter = match cell.state {
            State::Online => &mut counts.online,
            State::NoGroup => &mut counts.no_group,
            State::Offline => &mut counts.offline,
            State::PreMigrate => &mut counts.pre_migrate,
            State::Migrate(_) => &mut counts.migrate,
            State::Stuck => &mut counts.stuck,
            State::Unknown => &mut counts.unknown,
        };
        *counter += 1;
    }
    counts
}

fn proxies(model: &Model, cluster: &Cluster) -> Vec<ProxyRow> {
    let mut rows: Vec<ProxyRow> = cluster
        .proxies
        .values()
        .map(|proxy| ProxyRow {
            id: proxy.id.clone(),
            state: proxy.state,
            answer: model.proxies.get(&proxy.id).cloned(),
        })
        .collect();
    // Stable: within each class they stay in the order of their ids.
    rows.sort_by_key(|row| (!row.is_silent(), row.state != ProxyState::Online));
    rows
}

fn silent_servers(model: &Model, cluster: &Cluster) -> Vec<(Addr, GroupId, Role, String)> {
    let used = cluster.groups.values().flat_map(|g| &g.servers).filter(|s| s.role != Role::Offline);
    used.filter_map(|server| match model.servers.get(&server.addr) {
        Some(Err(why)) => Some((server.addr.clone(), server.group, server.role, why.clone())),
        _ => None,
    })
    .collect()
}

/// What is wrong in the store, and who does not answer. Not alerts: nobody is told, and what is gone
/// is gone.
fn findings(board: &Board, cluster: &Cluster) -> Vec<Finding> {
    let mut found = findings_of_store(cluster);
    for (addr, group, role, why) in &board.silent_servers {
        let severity = if *role == Role::Master { Severity::Critical } else { Severity::Warning };
        let what = format!("the {role} of group {group} does not answer: {why}");
        found.push(Finding {
            severity,
            what,
            place: addr.to_string(),
            fix: format!("codisctl server info {addr}"),
        });
    }
    for row in board.proxies.iter().filter(|row| row.is_silent()) {
        if let Some(Err(why)) = &row.answer {
            let what = format!("proxy {} does not answer: {why}", row.id);
            let fix = "codisctl proxy list".to_owned();
            found.push(Finding {
                severity: Severity::Warning,
                what,
                place: format!("proxy/{}", row.id),
                fix,
            });
        }
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

//! A group as `group list` and `group show` print it: what the store says beside what servers say.

use std::collections::BTreeMap;

use codis_core::{Addr, Cluster, Group, GroupId, Role, SlotStatus, plan::plural};
use codis_ops::{LiveRole, ServerInfo};
use serde::Serialize;

use crate::{
    commands::{cause, cell},
    render::{Fit, Glyphs, Grid, Look, units},
};

/// What servers answered, or why they did not.
pub(super) type Live = BTreeMap<Addr, Result<ServerInfo, String>>;

/// One group.
#[derive(Debug, Serialize)]
pub(super) struct GroupView {
    /// Its number.
    pub(super) group: u32,
    /// How many slots it serves.
    pub(super) slot_count: usize,
    /// Slots in pre_migrate.
    held: usize,
    /// Slots whose keys come to it.
    moving_in: usize,
    /// Slots whose keys leave it.
    moving_out: usize,
    /// Its servers, master first.
    servers: Vec<ServerView>,
}

/// One server: the store's word, and its own.
#[derive(Debug, Serialize)]
struct ServerView {
    addr: String,
    role: &'static str,
    version: Option<String>,
    live_role: Option<&'static str>,
    used_memory: Option<u64>,
    maxmemory: Option<u64>,
    keys: Option<u64>,
    ops_per_s: Option<u64>,
    link_up: Option<bool>,
    lag_bytes: Option<u64>,
    error: Option<String>,
}

impl GroupView {
    /// The group with what its servers answered.
    pub(super) fn new(cluster: &Cluster, group: &Group, live: &Live) -> Self {
        let id = group.id;
        let counted = |want: &dyn Fn(&codis_core::Slot) -> bool| {
            cluster.known_slots().filter(|slot| want(&slot.value)).count()
        };
        let migrate =
            |slot: &codis_core::Slot| (slot.status == SlotStatus::Migrate).then(|| slot.moving()).flatten();
        let mut servers: Vec<_> = group.servers.iter().collect();
        servers.sort_by_key(|server| server.role as u8);
        let master = group.master().and_then(|master| live.get(&master.addr)?.as_ref().ok());
        Self {
            group: id.0,
            slot_count: counted(&|slot| slot.group == Some(id)),
            held: counted(&|slot| slot.group == Some(id) && slot.status == SlotStatus::PreMigrate),
            moving_in: counted(&|slot| migrate(slot).is_some_and(|(_, to): (GroupId, GroupId)| to == id)),
            moving_out: counted(&|slot| {
                migrate(slot).is_some_and(|(from, _): (GroupId, GroupId)| from == id)
            }),
            servers: servers
                .into_iter()
                .map(|s| ServerView::new(&s.addr, s.role, live.get(&s.addr), master))
                .collect(),
        }
    }

    /// `» 6 out`, `‖ 16 out`, `» 6 in`: what is on its way.
    pub(super) fn moving(&self, look: &Look) -> String {
        let glyphs = Glyphs::new(look.ascii);
        let parts = [
            (self.held, format!("{} {} held", glyphs.pre_migrate(), self.held)),
            (self.moving_out, format!("{} {} out", glyphs.migrate(), self.moving_out)),
            (self.moving_in, format!("{} {} in", glyphs.migrate(), self.moving_in)),
        ];
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect::<Vec<_>>().join("  ")
    }
}

impl ServerView {
    fn new(
        addr: &Addr,
        role: Role,
        live: Option<&Result<ServerInfo, String>>,
        master: Option<&ServerInfo>,
    ) -> Self {
        let info = live.and_then(|answer| answer.as_ref().ok());
        let slave = info.filter(|info| info.role == LiveRole::Slave);
        Self {
            addr: addr.to_string(),
            role: role.as_str(),
            version: info.map(|info| info.version.clone()),
            live_role: info.map(|info| word(info.role)),
            used_memory: info.map(|info| info.used_memory),
            maxmemory: info.map(|info| info.maxmemory),
            keys: info.map(|info| info.keys),
            ops_per_s: info.map(|info| info.ops_per_s),
            link_up: info.and_then(|info| info.link_up),
            lag_bytes: slave.zip(master).map(|(slave, master)| master.offset.saturating_sub(slave.offset)),
            error: live.and_then(|answer| answer.as_ref().err()).map(|error| cause(error).to_owned()),
        }
    }

    /// What differs from what the store says, or is not well.
    fn state(&self) -> String {
        match (&self.error, self.live_role, self.role) {
            (Some(error), ..) => format!("not reachable: {error}"),
            (None, Some("slave"), "master") => "✗ is a slave".to_owned(),
            (None, Some("master"), "slave") => "✗ is a master".to_owned(),
            _ if self.link_up == Some(false) => "▲ link down".to_owned(),
            _ => String::new(),
        }
    }

    fn memory(&self) -> String {
        match (self.used_memory, self.maxmemory) {
            (Some(used), Some(max)) if max > 0 => format!("{} / {}", units::bytes(used), units::bytes(max)),
            (Some(used), _) => units::bytes(used),
            _ => String::new(),
        }
    }
}

/// The word for a role that a server says it has.
pub(crate) fn word(role: LiveRole) -> &'static str {
    match role {
        LiveRole::Master => "master",
        LiveRole::Slave => "slave",
    }
}

/// The table; for people the group's number stands at its first server only.
pub(super) fn grid(groups: &[GroupView], look: &Look, people: bool) -> Grid {
    let mut grid = Grid::new(&[
        ("group", Fit::Right),
        ("server", Fit::Left),
        ("role", Fit::Left),
        ("memory", Fit::Right),
        ("keys", Fit::Right),
        ("ops/s", Fit::Right),
        ("link", Fit::Left),
        ("lag", Fit::Right),
        ("state", Fit::Text),
    ]);
    for group in groups {
        for (i, server) in group.servers.iter().enumerate() {
            let number = if i == 0 || !people { group.group.to_string() } else { String::new() };
            let moving = if i == 0 { group.moving(look) } else { String::new() };
            let state = [server.state(), moving].into_iter().filter(|text| !text.is_empty());
            let link = server.link_up.map(|up| if up { "up" } else { "down" });
            let exact = |value: Option<u64>, shown: fn(u64) -> String| {
                value.map_or_else(String::new, |value| if people { shown(value) } else { value.to_string() })
            };
            let memory = if people { server.memory() } else { cell(server.used_memory) };
            grid.row([
                number,
                server.addr.clone(),
                server.role.to_owned(),
                memory,
                exact(server.keys, units::count),
                exact(server.ops_per_s, units::count),
                cell(link),
                exact(server.lag_bytes, units::bytes),
                state.collect::<Vec<_>>().join("  "),
            ]);
        }
        if group.servers.is_empty() {
            let empty = String::new;
            let state = "no server".to_owned();
            let cells = [empty(), empty(), empty(), empty(), empty(), empty(), empty(), state];
            let [server, role, memory, keys, ops, link, lag, state] = cells;
            grid.row([group.group.to_string(), server, role, memory, keys, ops, link, lag, state]);
        }
    }
    grid
}

/// `13 groups, 28 servers, 1 offline, 120.4 of 195.0 GiB`.
pub(super) fn summary(groups: &[GroupView]) -> String {
    let servers = || groups.iter().flat_map(|group| &group.servers);
    let mut text = plural(groups.len(), "group", "groups");
    text.push_str(&format!(", {}", plural(servers().count(), "server", "servers")));
    let offline = servers().filter(|server| server.role == "offline").count();
    if offline > 0 {
        text.push_str(&format!(", {offline} offline"));
    }
    let silent = servers().filter(|server| server.error.is_some()).count();
    if silent > 0 {
        text.push_str(&format!(", {silent} not reachable"));
    }
    let keys: u64 = servers().filter(|server| server.role == "master").filter_map(|server| server.keys).sum();
    text.push_str(&format!(", {} keys", units::count(keys)));
    text
}

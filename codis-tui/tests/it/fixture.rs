//! One product for all pictures: `feed`, 13 groups, 7 proxies. Group 13 is new and is being filled;
//! six slots of group 5 are on their way to it, sixteen of group 12 wait to go to 2, and the move of
//! slot 340 failed.

use std::collections::BTreeMap;

use codis_core::{
    Addr, Cluster, Extra, Group, GroupId, Move, MoveState, MoverLease, Proxy, ProxyState, Role, Server, Slot,
    SlotId, SlotSet, Versioned,
};
use codis_tui::model::Model;
use codis_tui::msg::{Answers, Msg, ProxyFacts, ServerFacts};
use codis_tui::theme::{self, Depth, Glyphs, Kind, Theme};
use codis_tui::update::update;
use codis_tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

/// 2026-11-22 14:32:08 UTC.
pub(crate) const NOW_MS: u64 = 1_795_357_928_000;

pub(crate) const DARK: Theme = Theme { kind: Kind::Dark, depth: Depth::Indexed };

const OWNERS: [(u32, &str); 13] = [
    (1, "0-78"),
    (2, "86-164"),
    (3, "172-250"),
    (4, "258-336,340"),
    (5, "344-422"),
    (6, "429-513"),
    (7, "514-598"),
    (8, "599-683"),
    (9, "684-768"),
    (10, "769-853"),
    (11, "854-938"),
    (12, "939-1023"),
    (13, "79-85,165-171,251-257,337-339,341-343"),
];

/// Task, slot, keys at the start, keys left.
const RUNNING: [(u64, u16, u64, u64); 6] = [
    (440, 423, 41_199, 6_592),
    (441, 424, 41_174, 13_999),
    (442, 425, 41_204, 33_786),
    (443, 426, 41_175, 21_822),
    (444, 427, 41_197, 32_957),
    (445, 428, 41_174, 36_233),
];

/// Keys that the six have moved together.
const MOVED: u64 = 101_734;

/// From, slots, keys.
const PENDING: [(u32, &str, u64); 7] = [
    (6, "508-513", 246_000),
    (7, "593-598", 246_000),
    (8, "678-683", 247_000),
    (9, "763-768", 246_000),
    (10, "848-853", 247_000),
    (11, "932-938", 288_000),
    (12, "1017-1023", 288_000),
];

pub(crate) fn slot(n: u16) -> SlotId {
    SlotId::new(n).unwrap()
}

fn set(text: &str) -> SlotSet {
    text.parse().unwrap()
}

pub(crate) fn addr(text: &str) -> Addr {
    text.parse().unwrap()
}

fn put(cluster: &mut Cluster, slot: Slot) {
    let index = slot.id.index();
    cluster.slots[index] = Some(Versioned::new(slot, 3));
}

/// Master and slaves of a group; group 5 lost its first master this morning.
fn servers(group: u32) -> Vec<(String, Role)> {
    let port = 6380 + group;
    let hosts = if group % 2 == 1 { [51, 52] } else { [53, 54] };
    let at = |host: u32| format!("10.0.7.{host}:{port}");
    match group {
        3 => vec![(at(51), Role::Master), (at(52), Role::Slave), (at(54), Role::Slave)],
        5 => vec![(at(51), Role::Offline), (at(52), Role::Master), (at(54), Role::Slave)],
        _ => vec![(at(hosts[0]), Role::Master), (at(hosts[1]), Role::Slave)],
    }
}

/// The product in the store, with this many keys less moved than in the picture.
pub(crate) fn cluster(behind: u64) -> Cluster {
    let mut cluster = Cluster::empty("feed".parse().unwrap());
    for (group, slots) in OWNERS {
        for id in set(slots).iter() {
            put(&mut cluster, Slot::unassigned(id).online_at(GroupId(group)));
        }
        let servers = servers(group);
        let servers = servers
            .iter()
            .map(|(at, role)| Versioned::new(Server::new(addr(at), GroupId(group), *role), 0))
            .collect();
        cluster.groups.insert(GroupId(group), Group { id: GroupId(group), servers });
    }
    for (_, n, ..) in RUNNING {
        put(&mut cluster, Slot::unassigned(slot(n)).migrate(GroupId(5), GroupId(13)));
    }
    for id in set("960-975").iter() {
        put(&mut cluster, Slot::unassigned(id).online_at(GroupId(12)).pre_migrate());
    }
    cluster.moves = moves(behind);
    cluster.mover = Some(MoverLease { owner: "ops@ops-1".to_owned(), pid: 4711, epoch: 7 });
    for n in 1..=7 {
        let state = if n == 7 { ProxyState::Offline } else { ProxyState::Online };
        let proxy = Proxy {
            id: format!("px-{n}").parse().unwrap(),
            addr: addr(&format!("10.0.9.2{n}:19000")),
            state,
            debug_var_addr: format!("10.0.9.2{n}:11080"),
            pid: 100 + n,
            start_at: Proxy::start_mark("2026-11-20 08:00:59", "0.1.0"),
            extra: Extra::default(),
        };
        if state == ProxyState::Online {
            cluster.fences.insert(proxy.addr.to_string());
        }
        cluster.proxies.insert(proxy.id.clone(), Versioned::new(proxy, 2));
    }
    cluster
}

fn moves(behind: u64) -> Vec<Versioned<Move>> {
    let new = |task, slot, from, to, wave, keys_total| Move {
        task,
        slot,
        from: GroupId(from),
        to: GroupId(to),
        state: MoveState::Pending,
        wave,
        created: NOW_MS / 1_000 - 190,
        keys_total: Some(keys_total),
        keys_moved: 0,
        held: false,
        note: String::new(),
        extra: Extra::default(),
    };
    let mut moves = vec![Move {
        state: MoveState::Error,
        note: "px-4 did not ack".to_owned(),
        ..new(436, slot(340), 4, 13, 7, 41_000)
    }];
    for (task, n, total, left) in RUNNING {
        let moved = (total - left) * (MOVED - behind) / MOVED;
        let entry = new(task, slot(n), 5, 13, 7, total);
        moves.push(Move { state: MoveState::Migrating, keys_moved: moved, ..entry });
    }
    let mut task = 446;
    for (from, slots, keys) in PENDING {
        let slots = set(slots);
        let share = keys / slots.len() as u64;
        for id in slots.iter() {
            moves.push(new(task, id, from, 13, 7, share));
            task += 1;
        }
    }
    for id in set("960-975").iter() {
        let note = "acks 5 of 6: px-4".to_owned();
        let entry = new(task, id, 12, 2, 8, 658_000 / 16);
        moves.push(Move { state: MoveState::Migrating, note, ..entry });
        task += 1;
    }
    moves.into_iter().map(|entry| Versioned::new(entry, 1)).collect()
}

pub(crate) fn server_answers() -> Answers<Addr, ServerFacts> {
    let mut answers = BTreeMap::new();
    for (group, _) in OWNERS {
        let keys = match group {
            4 => 3_290_000,
            1..=5 => 3_250_000,
            13 => 1_190_000,
            _ => 3_490_000,
        };
        for (at, role) in servers(group) {
            let answer = match role {
                Role::Offline => Err("connection refused".to_owned()),
                _ => Ok(ServerFacts { keys, is_master: role == Role::Master }),
            };
            answers.insert(addr(&at), answer);
        }
    }
    answers
}

pub(crate) fn proxy_answers() -> Answers<codis_core::ProxyId, ProxyFacts> {
    let rows = [
        ("px-1", 1_204, 38_200.0, 1.14, 0.0),
        ("px-2", 1_198, 37_900.0, 1.16, 0.0),
        ("px-3", 1_211, 37_100.0, 1.13, 0.0),
        ("px-4", 1_187, 31_000.0, 4.10, 0.2),
        ("px-5", 1_240, 38_400.0, 1.15, 0.0),
        ("px-6", 1_222, 38_600.0, 1.12, 0.0),
    ];
    let fact = |(_, clients, per_s, p99, errors_per_s)| ProxyFacts {
        clients,
        per_s,
        p99_ms: Some(p99),
        errors_per_s,
    };
    let mut answers: Answers<_, _> = rows.map(|row| (row.0.parse().unwrap(), Ok(fact(row)))).into();
    answers.insert("px-7".parse().unwrap(), Err("connection refused".to_owned()));
    answers
}

/// A dashboard that has just been started, at this size.
pub(crate) fn fresh(size: (u16, u16), theme: Theme, glyphs: &'static Glyphs) -> Model {
    let store = "zk://10.0.7.11:2181,10.0.7.12:2181,10.0.7.13:2181/codis";
    let mut model = Model::new("feed", store, theme, glyphs);
    update(&mut model, Msg::Tick { now_ms: NOW_MS - 5_400 });
    update(&mut model, Msg::Resize(size.0, size.1));
    model
}

/// The dashboard after five seconds of watching, cursor on slot 425.
pub(crate) fn watching(size: (u16, u16), theme: Theme, glyphs: &'static Glyphs) -> Model {
    let mut model = fresh(size, theme, glyphs);
    // 8000 keys/s for five seconds.
    update(&mut model, Msg::Cluster(Box::new(cluster(40_000))));
    update(&mut model, Msg::Servers(server_answers()));
    update(&mut model, Msg::Proxies(proxy_answers()));
    update(&mut model, Msg::Tick { now_ms: NOW_MS - 400 });
    update(&mut model, Msg::Cluster(Box::new(cluster(0))));
    update(&mut model, Msg::Tick { now_ms: NOW_MS });
    model.cursor = slot(425);
    model
}

pub(crate) fn normal(width: u16, height: u16) -> Model {
    watching((width, height), DARK, &theme::UNICODE)
}

/// The drawn screen.
pub(crate) fn buffer(model: &Model) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(model.size.0, model.size.1)).unwrap();
    terminal.draw(|frame| view(model, frame)).unwrap();
    terminal.backend().buffer().clone()
}

/// Its text, without the blanks at the ends of rows.
pub(crate) fn text(model: &Model) -> String {
    let buffer = buffer(model);
    let rows = (0..buffer.area.height).map(|y| {
        let row: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        row.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

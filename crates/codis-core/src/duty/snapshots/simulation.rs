//! Hosts whose servers do as real ones do: whatever happens, in whatever order, the governor lets no two children live
//! at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

pub(super) const STEP_MS: u64 = 500;
const MEMORY: u64 = 1000;

/// What may happen to a server between two looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Nothing,
    /// A slave comes that wants a whole copy.
    SlaveComes,
    /// All slaves that wait go away.
    SlavesGo,
    /// Writes, so many bytes of which are in the append-only file.
    Writes(u64),
    /// It needs so much memory from now on.
    Grows(u64),
    /// It does not answer at this look.
    Hangs,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) said: Said,
    kept: Option<Kept>,
    /// For how long each slave has waited, milliseconds.
    pub(super) waits: Vec<u64>,
    /// How much longer its child lives, milliseconds.
    pub(super) child_ms: u64,
    /// How long its children live, milliseconds.
    takes_ms: u64,
    hangs: bool,
    pub(super) forks: u64,
}

impl Server {
    pub(super) fn new(n: usize, takes_ms: u64) -> Self {
        let aof = n.is_multiple_of(2);
        let save = if n < 2 { "" } else { "900 1" };
        let settings = [
            ("save", save),
            ("auto-aof-rewrite-percentage", "100"),
            ("auto-aof-rewrite-min-size", "64"),
            ("repl-diskless-sync", if n == 3 { "no" } else { "yes" }),
            ("repl-diskless-sync-delay", if n == 1 { "0" } else { "5" }),
            ("repl-diskless-sync-max-replicas", "0"),
        ];
        let settings: Settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let said = Said {
            used: 100,
            rss: 100,
            aof,
            aof_base: 100,
            aof_size: 100,
            settings: Some(settings),
            ..Said::default()
        };
        Self { said, kept: None, waits: Vec::new(), child_ms: 0, takes_ms, hangs: false, forks: 0 }
    }

    pub(super) fn setting(&self, name: &str) -> &str {
        self.said.settings.as_ref().and_then(|all| all.get(name)).map_or("", String::as_str)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.said.settings.as_mut().unwrap().insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn fork(&mut self) {
        self.child_ms = self.takes_ms;
        self.forks += 1;
    }

    pub(super) fn happens(&mut self, event: Event) {
        self.hangs = false;
        match event {
            Event::Nothing => {}
            Event::SlaveComes => self.waits.push(0),
            Event::SlavesGo if self.child_ms == 0 => self.waits.clear(),
            Event::SlavesGo => {}
            Event::Writes(bytes) => {
                self.said.changes += 1;
                self.said.aof_size += bytes;
            }
            Event::Grows(size) => self.said.rss = size,
            Event::Hangs => self.hangs = true,
        }
    }

    /// Time passes; what a server does on its own, it does.
    pub(super) fn goes_on(&mut self) {
        self.said.saved_ago_ms += STEP_MS;
        if self.child_ms > 0 {
            self.child_ms = self.child_ms.saturating_sub(STEP_MS);
            if self.child_ms == 0 {
                (self.said.changes, self.said.saved_ago_ms) = (0, 0);
                self.said.aof_base = self.said.aof_size;
            }
            return;
        }
        self.waits.iter_mut().for_each(|waited| *waited += STEP_MS);
        let delay: u64 = self.setting("repl-diskless-sync-delay").parse().unwrap();
        let diskless = self.setting("repl-diskless-sync") == "yes";
        if self.waits.iter().any(|waited| !diskless || *waited >= delay * 1000) {
            self.waits.clear();
            self.fork();
        }
        let percent: u64 = self.setting("auto-aof-rewrite-percentage").parse().unwrap();
        let grown = self.said.aof_size * 100 / self.said.aof_base.max(1) >= 100 + percent;
        if self.said.aof && percent > 0 && grown {
            self.fork();
        }
    }

    fn said(&self) -> Said {
        let child = (self.child_ms > 0).then_some(Child { does: Does::Save, for_ms: 0 });
        Said { child, waiting: self.waits.len() as u64, ..self.said.clone() }
    }
}

pub(super) fn addr(n: usize) -> Addr {
    format!("10.0.7.51:{}", 6381 + n).parse().unwrap()
}

pub(super) fn look(servers: &[Server]) -> Host {
    let instance = |(n, server): (usize, &Server)| Instance {
        addr: addr(n),
        group: GroupId(n as u32 + 1),
        role: Role::Master,
        said: match server.hangs {
            true => Err(Unheard { refused: false, why: "no answer".to_owned() }),
            false => Ok(server.said()),
        },
        kept: server.kept.clone(),
    };
    let instances = servers.iter().enumerate().map(instance).collect();
    Host { name: "10.0.7.51".to_owned(), memory: MEMORY, instances }
}

pub(super) fn carry_out(servers: &mut [Server], order: &Order) {
    let of: BTreeMap<Addr, usize> = (0..servers.len()).map(|n| (addr(n), n)).collect();
    match order {
        Order::TakeOver(addr) => {
            let server = &mut servers[of[addr]];
            if server.kept.is_none() {
                let settings = server.said.settings.clone().unwrap();
                let by = "test".to_owned();
                let extra = Extra::default();
                server.kept =
                    Some(Kept { addr: addr.clone(), settings, standing: true, by, ts_ms: 0, extra });
            }
            for (name, value) in server.said.own_reasons() {
                server.set(name, &value);
            }
        }
        Order::Delay(addr, seconds) => {
            servers[of[addr]].set("repl-diskless-sync-delay", &seconds.to_string());
        }
        Order::Admit(addr) => servers[of[addr]].set("repl-diskless-sync-delay", "0"),
        Order::Fork(addr, _) => servers[of[addr]].fork(),
    }
}

fn living(servers: &[Server]) -> usize {
    servers.iter().filter(|server| server.child_ms > 0).count()
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => Just(Event::Nothing),
        8 => Just(Event::SlaveComes),
        1 => Just(Event::SlavesGo),
        10 => (1u64..60).prop_map(Event::Writes),
        2 => (50u64..400).prop_map(Event::Grows),
        2 => Just(Event::Hangs),
    ]
}

pub(super) fn policy() -> SnapshotsPolicy {
    SnapshotsPolicy { interval_ms: 10_000, ..SnapshotsPolicy::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_two_children_live_at_once(
        rounds in prop::collection::vec(prop::collection::vec(event(), 4), 1..250),
        takes in prop::collection::vec(500u64..90_000, 4),
        again in prop::bool::ANY,
    ) {
        let mut servers: Vec<Server> = takes.iter().enumerate().map(|(n, ms)| Server::new(n, *ms)).collect();
        let mut governor = Governor::default();
        let mut now_ms = 1_000_000;
        let mut taken = false;
        for (at, events) in rounds.iter().enumerate() {
            if again && at == 150 {
                // Another agent takes over, which remembers nothing.
                governor = Governor::default();
            }
            for (server, event) in servers.iter_mut().zip(events) {
                server.happens(*event);
                server.goes_on();
            }
            let host = look(&servers);
            let free = host.free(&policy()).unwrap();
            let decision = governor.next(&host, &policy(), now_ms);
            let forks = decision.orders.iter().filter(|order| order.forks()).count();
            prop_assert!(forks == 0 || decision.orders.len() == 1, "{:?}", decision.orders);
            if let [Order::Fork(one, _)] = &decision.orders[..] {
                let needs = host.instances.iter().find(|i| &i.addr == one).unwrap().heard().unwrap().needs();
                prop_assert!(needs <= free, "{needs} in {free}");
                prop_assert_eq!(living(&servers), 0);
            }
            for order in &decision.orders {
                carry_out(&mut servers, order);
            }
            // From when they are taken over, and what they did before that is over.
            let settled = |server: &Server| {
                let open = server.setting("repl-diskless-sync-delay") == "0";
                server.kept.is_some() && server.said.own_reasons().is_empty() && !open
            };
            taken |= servers.iter().all(settled) && living(&servers) <= 1;
            prop_assert!(!taken || living(&servers) <= 1, "step {at}: {} children", living(&servers));
            now_ms += STEP_MS;
        }
    }

    #[test]
    fn whoever_is_due_gets_a_turn(takes in prop::collection::vec(500u64..5000, 4)) {
        let mut servers: Vec<Server> = takes.iter().enumerate().map(|(n, ms)| Server::new(n, *ms)).collect();
        let mut governor = Governor::default();
        let mut now_ms = 1_000_000;
        for at in 0..400 {
            for server in &mut servers {
                server.happens(if at % 40 == 0 { Event::SlaveComes } else { Event::Writes(1) });
                server.goes_on();
            }
            for order in governor.next(&look(&servers), &policy(), now_ms).orders {
                carry_out(&mut servers, &order);
            }
            now_ms += STEP_MS;
        }
        for server in &servers {
            prop_assert!(server.forks >= 4, "{} forks", server.forks);
            prop_assert!(server.waits.iter().all(|ms| *ms < 30_000), "{:?}", server.waits);
        }
    }
}

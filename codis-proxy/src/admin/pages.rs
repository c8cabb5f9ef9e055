//! From counters and routes to the pages.

use codis_admin::{
    BackendStats, CallStats, CommandTimes, CommandsPage, Latency, MoveStats, ProxyStats, Rates, SlotCounts,
    SlotRoute, SlotsPage, go,
};
use hdrhistogram::Histogram;

use crate::stats::{Calls, Stats};
use crate::status::Facts;
use crate::table::{Route, Table};

/// `/stats`.
pub(super) fn stats(stats: &Stats, facts: &Facts, table: &Table, recent: Rates) -> ProxyStats {
    ProxyStats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        id: facts.id.clone(),
        product: facts.product.clone(),
        addr: facts.addr.clone(),
        pid: std::process::id(),
        uptime_s: facts.started.elapsed().as_secs(),
        state: facts.state.to_owned(),
        ready: facts.not_ready.is_none(),
        epoch: table.epoch,
        last_action: facts.last_action,
        store_connected: facts.store_connected,
        slots_digest: slots(table).digest,
        slots: slot_counts(table),
        clients: stats.clients,
        clients_accepted: stats.clients_accepted,
        clients_refused: stats.clients_refused,
        clients_dropped: stats.clients_dropped,
        requests: stats.requests,
        errors: stats.errors,
        in_flight: stats.in_flight,
        parked: stats.parked,
        pinned: stats.pinned,
        listeners: stats.listeners,
        messages: stats.messages,
        bytes_in: stats.bytes_in,
        bytes_out: stats.bytes_out,
        recent,
        latency: latency(&total_latency(stats)),
        failures: stats.failures.clone(),
        slow: stats.slow,
        moves: MoveStats {
            requests: stats.on_demand_moves,
            failures: stats.on_demand_failures,
            moved: stats.moves.moved,
            absent: stats.moves.absent,
            settled: stats.moves.settled,
            broken_pairs: stats.moves.broken_pairs,
            to_kill: stats.moves.to_kill,
        },
        backends: backends(stats),
        commands: stats.commands.iter().map(|(name, calls)| call_stats(name, calls)).collect(),
    }
}

fn backends(stats: &Stats) -> Vec<BackendStats> {
    let one = |(addr, backend): (&codis_core::Addr, &crate::stats::BackendStats)| {
        let calls = backend.commands.values();
        BackendStats {
            addr: addr.to_string(),
            connections: backend.connections,
            connects: backend.connects,
            failures: backend.failures,
            in_flight: backend.in_flight,
            queued_bytes: backend.queued_bytes,
            bytes_out: backend.bytes_out,
            bytes_in: backend.bytes_in,
            calls: calls.clone().map(|calls| calls.calls).sum(),
            errors: calls.clone().map(|calls| calls.errors).sum(),
            latency: latency(&sum(calls)),
            commands: backend.commands.iter().map(|(name, calls)| call_stats(name, calls)).collect(),
        }
    };
    stats.backends.iter().map(one).collect()
}

fn call_stats(name: &str, calls: &Calls) -> CallStats {
    CallStats {
        command: name.to_owned(),
        calls: calls.calls,
        errors: calls.errors,
        usecs: calls.usecs,
        error_usecs: calls.error_usecs,
        latency: latency(&calls.latency),
    }
}

/// `/commands`.
pub(super) fn commands(stats: &Stats, facts: &Facts) -> CommandsPage {
    let one = |(name, calls): (&&'static str, &Calls)| CommandTimes {
        command: (*name).to_owned(),
        calls: calls.calls,
        errors: calls.errors,
        usecs: calls.usecs,
        times: calls
            .latency
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect(),
    };
    CommandsPage {
        uptime_s: facts.started.elapsed().as_secs(),
        commands: stats.commands.iter().map(one).collect(),
    }
}

/// Times of all requests.
pub(super) fn total_latency(stats: &Stats) -> Histogram<u64> {
    sum(stats.commands.values())
}

fn sum<'a>(calls: impl Iterator<Item = &'a Calls>) -> Histogram<u64> {
    let mut total = Calls::new();
    calls.for_each(|calls| total.add(calls));
    total.latency
}

/// Percentiles of times in microseconds.
pub(super) fn latency(times: &Histogram<u64>) -> Latency {
    let ms = |us: u64| us as f64 / 1000.0;
    Latency {
        p50_ms: ms(times.value_at_quantile(0.50)),
        p99_ms: ms(times.value_at_quantile(0.99)),
        max_ms: ms(times.max()),
    }
}

/// `/slots`.
pub(super) fn slots(table: &Table) -> SlotsPage {
    let one = |(slot, route): (codis_core::SlotId, &Route)| {
        let from = match route {
            Route::Migrate { from, .. } => Some(from.addr.to_string()),
            Route::Unassigned | Route::Online { .. } | Route::Blocked { .. } => None,
        };
        let master = route.master().map(|master| master.addr.to_string());
        SlotRoute { slot: slot.get(), state: state(route).to_owned(), master, from }
    };
    SlotsPage::new(table.epoch, table.iter().map(one).collect())
}

fn state(route: &Route) -> &'static str {
    match route {
        Route::Unassigned => "offline",
        Route::Online { .. } => "online",
        Route::Blocked { .. } => "pre_migrate",
        Route::Migrate { .. } => "migrate",
    }
}

/// Slots by state.
pub(super) fn slot_counts(table: &Table) -> SlotCounts {
    let mut counts = SlotCounts::default();
    for (_, route) in table.iter() {
        match route {
            Route::Unassigned => counts.offline += 1,
            Route::Online { .. } => counts.online += 1,
            Route::Blocked { .. } => counts.pre_migrate += 1,
            Route::Migrate { .. } => counts.migrate += 1,
        }
    }
    counts
}

/// `/debug/vars`.
pub(super) fn debug_vars(stats: &Stats) -> go::DebugVars {
    go::DebugVars { router: go::Ops { ops: stats.requests.saturating_sub(stats.errors) } }
}

/// `/MoniData`.
pub(super) fn moni_data(stats: &Stats) -> go::MoniData {
    let op = |(name, calls): (&&'static str, &Calls)| {
        go::OpStats::new(name, calls.calls, calls.usecs, calls.errors, calls.error_usecs)
    };
    let redis = |(addr, backend): (&codis_core::Addr, &crate::stats::BackendStats)| go::RedisStats {
        redis_addr: addr.to_string(),
        calls: backend.commands.values().map(|calls| calls.calls).sum(),
        fail_calls: backend.commands.values().map(|calls| calls.errors).sum(),
        cmdmap: backend.commands.iter().map(op).collect(),
    };
    go::MoniData {
        router: go::Router {
            cmd_proxy: stats.commands.iter().map(op).collect(),
            cmd_redis: stats.backends.iter().map(redis).collect(),
            conn_fail_num: stats.clients_dropped,
            conn_num: stats.clients_accepted,
            op_fail_num: stats.errors,
            op_num: stats.requests,
            op_succ_num: stats.requests.saturating_sub(stats.errors),
        },
    }
}

/// `/slotsinfo`.
pub(super) fn slots_info(table: &Table) -> go::SlotsInfo {
    let one = |route: SlotRoute| go::SlotInfo {
        slotid: route.slot,
        master: route.master.unwrap_or_default(),
        ismgrt: u8::from(route.from.is_some()),
        mgrtfrom: route.from.unwrap_or_default(),
    };
    go::SlotsInfo { slots: go::SlotList { sinfo: slots(table).slots.into_iter().map(one).collect() } }
}

#[cfg(test)]
pub(super) mod tests {
    use codis_core::{Addr, SlotId};

    use super::*;
    use crate::status::Status;

    pub(in crate::admin) fn stats() -> Stats {
        Stats::default()
    }

    /// Counts requests of a command that took these times, in microseconds.
    pub(in crate::admin) fn call(stats: &mut Stats, command: &'static str, times: &[u64]) {
        let calls = stats.commands.entry(command).or_insert_with(Calls::new);
        for time in times {
            calls.calls += 1;
            calls.usecs += time;
            calls.latency.record(*time).unwrap();
            stats.requests += 1;
        }
    }

    pub(in crate::admin) fn table() -> Table {
        let addr = |port: u16| format!("127.0.0.1:{port}").parse::<Addr>().unwrap().into();
        let mut table = Table::unassigned();
        table.epoch = 3;
        for id in SlotId::all().skip(2) {
            table.set(id, Route::Online { master: addr(7001) });
        }
        table.set(SlotId::new(0).unwrap(), Route::Blocked { master: addr(7001) });
        let migrate = Route::Migrate { from: addr(7001), to: addr(7002), from_slaves: 1, to_slaves: 1 };
        table.set(SlotId::new(1).unwrap(), migrate);
        table
    }

    #[test]
    fn the_stats_page_sums_what_the_workers_counted() {
        let mut counters = stats();
        call(&mut counters, "GET", &[1000; 98]);
        call(&mut counters, "SET", &[9000, 9000]);
        counters.errors = 1;
        let facts = Status::starting("127.0.0.1:19000").facts();
        let page = super::stats(&counters, &facts, &table(), Rates::default());
        assert_eq!((page.requests, page.errors, page.epoch, page.ready), (100, 1, 3, false));
        assert!((0.9..1.1).contains(&page.latency.p50_ms), "{:?}", page.latency);
        assert!((8.9..9.2).contains(&page.latency.p99_ms), "{:?}", page.latency);
        assert_eq!(page.slots, SlotCounts { offline: 0, online: 1022, pre_migrate: 1, migrate: 1 });
        assert_eq!(page.slots_digest, slots(&table()).digest);
        assert_eq!(
            page.commands.iter().map(|c| (c.command.as_str(), c.calls)).collect::<Vec<_>>(),
            [("GET", 98), ("SET", 2)]
        );
    }

    #[test]
    fn times_in_full_tell_the_same_percentiles() {
        let mut counters = stats();
        let times: Vec<u64> = (0..2000).map(|i| 50 + i * i % 7919).collect();
        call(&mut counters, "GET", &times);
        let facts = Status::starting("127.0.0.1:19000").facts();
        let page = commands(&counters, &facts);
        assert_eq!((page.commands[0].command.as_str(), page.commands[0].calls), ("GET", 2000));
        assert_eq!(page.commands[0].latency(), latency(&counters.commands["GET"].latency));
    }

    #[test]
    fn go_tools_read_the_same_counters() {
        let mut counters = stats();
        call(&mut counters, "GET", &[100, 300]);
        counters.errors = 1;
        assert_eq!(debug_vars(&counters).router.ops, 1);
        let data = moni_data(&counters).router;
        assert_eq!((data.op_num, data.op_fail_num, data.op_succ_num), (2, 1, 1));
        assert_eq!(data.cmd_proxy[0].usecs_percall, 200);
        let info = slots_info(&table()).slots.sinfo;
        assert_eq!(info.len(), 1024);
        assert_eq!((info[0].ismgrt, info[0].master.as_str()), (0, "127.0.0.1:7001"));
        assert_eq!((info[1].ismgrt, info[1].mgrtfrom.as_str()), (1, "127.0.0.1:7001"));
        assert_eq!(info[1].master, "127.0.0.1:7002");
    }
}

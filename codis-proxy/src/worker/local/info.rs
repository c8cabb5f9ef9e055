//! INFO, as monitoring and client libraries read it: the sums of all workers, and the keys of all
//! masters. A master that does not tell in time is not in the sum.

use std::{fmt::Write as _, time::Duration};

use codis_core::SlotId;
use codis_resp::{COMMANDS, Class, CommandId};
use tokio::time::timeout;

use super::{
    super::{
        Worker,
        clients::{Ask, CallSums, Counts},
        dispatch::{Frame, Outcome},
        fanout::Keyspace,
        session::SessionId,
        slots::LocalRoute,
    },
    REDIS_VERSION,
};
use crate::stats::Calls;

/// Longest wait for what the masters say of their keys.
const PATIENCE: Duration = Duration::from_secs(1);

/// The sections, and whether INFO without arguments shows them.
const SECTIONS: [(&str, bool); 11] = [
    ("server", true),
    ("clients", true),
    ("memory", true),
    ("persistence", true),
    ("stats", true),
    ("replication", true),
    ("cpu", true),
    ("commandstats", false),
    ("cluster", true),
    ("keyspace", true),
    ("codis", true),
];

impl Worker {
    pub(super) fn info(&mut self, id: SessionId, command: CommandId, frame: Frame<'_>) -> Outcome {
        let words: Vec<String> = frame.args[1..]
            .iter()
            .map(|arg| String::from_utf8_lossy(arg.of(frame.bytes)).to_ascii_lowercase())
            .collect();
        let sections: Vec<&str> = SECTIONS
            .iter()
            .filter(|(name, usual)| {
                words.is_empty() && *usual
                    || words.iter().any(|word| match word.as_str() {
                        "all" | "everything" => true,
                        "default" => *usual,
                        other => other == *name,
                    })
            })
            .map(|(name, _)| *name)
            .collect();
        let own = self.own_section();
        let (max_clients, port) = (self.limits.max_clients, self.port(id));
        let (registry, uptime) = (self.registry.clone(), self.started.elapsed().as_secs());
        let counts = self.registry.ask_workers(Ask::Counts { commands: sections.contains(&"commandstats") });
        let keys = sections.contains(&"keyspace").then(|| self.ask_keyspace(command));
        self.answer_later(id, command, async move |answer| {
            let counts = counts.await.counts;
            let keyspace = match keys {
                Some(keys) => timeout(PATIENCE, keys).await.ok().and_then(Result::ok),
                None => None,
            };
            let (accepted, refused) = registry.totals();
            let run_id = registry.run_id().to_owned();
            let facts =
                Facts { run_id, uptime, port, max_clients, clients: registry.len(), accepted, refused };
            let mut text = String::new();
            for name in sections {
                if !text.is_empty() {
                    text.push_str("\r\n");
                }
                let mut title = name.to_owned();
                title[..1].make_ascii_uppercase();
                // Writing to a string cannot fail.
                let _ = write!(text, "# {}\r\n", if name == "cpu" { "CPU" } else { &title });
                match name {
                    "codis" => text.push_str(&own),
                    "keyspace" => text.push_str(&keyspace.as_ref().map(Keyspace::line).unwrap_or_default()),
                    name => facts.write(name, &counts, &mut text),
                }
            }
            answer.text(&text);
        })
    }

    fn own_section(&self) -> String {
        let route = |slot| self.slots.get(slot).route;
        let assigned = SlotId::all().filter(|slot| route(*slot) != LocalRoute::Unassigned).count();
        let moving = SlotId::all()
            .filter(|slot| matches!(route(*slot), LocalRoute::Migrate(_) | LocalRoute::Blocked))
            .count();
        let backends = self.by_addr.values().filter(|id| self.backends[**id].used).count();
        format!("slots_assigned:{assigned}\r\nslots_moving:{moving}\r\nbackends:{backends}\r\n")
    }

    /// What this worker has counted.
    pub(in crate::worker) fn counts(&self, commands: bool) -> Counts {
        let blocked = self.sessions.iter().filter(|(id, _)| self.is_blocked(*id)).count();
        let mut counts = Counts {
            requests: self.totals.requests,
            requests_per_second: self.totals.requests_per_second,
            errors: self.totals.errors,
            bytes_in: self.totals.bytes_in,
            bytes_out: self.totals.bytes_out,
            blocked: blocked as u64,
            parked: self.parked as u64,
            pinned: self.pinned() as u64,
            ..Counts::default()
        };
        if commands {
            let mut add = |name: &'static str, calls: &Calls| {
                let sum: &mut CallSums = counts.commands.entry(name).or_default();
                *sum = (sum.0 + calls.calls, sum.1 + calls.usecs, sum.2 + calls.errors);
            };
            self.meter.each(&mut add);
            for (_, backend) in &self.backends {
                backend.meter.each(|name, calls| {
                    if !is_counted_whole(name) {
                        add(name, calls);
                    }
                });
            }
        }
        counts
    }
}

/// True for commands that the worker's own meter counts, however many servers had a share in one.
fn is_counted_whole(name: &str) -> bool {
    let row = COMMANDS.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &COMMANDS[at]);
    row.is_none_or(|row| {
        matches!(row.class, Class::Mget | Class::Mset | Class::Sum | Class::Fan(_) | Class::Session(_))
    })
}

/// What INFO tells of the process.
struct Facts {
    run_id: String,
    uptime: u64,
    port: u16,
    max_clients: usize,
    clients: usize,
    accepted: u64,
    refused: u64,
}

impl Facts {
    fn write(&self, section: &str, counts: &Counts, text: &mut String) {
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{name}:{value}\r\n");
        };
        match section {
            "server" => {
                line("redis_version", &REDIS_VERSION);
                line("redis_mode", &"standalone");
                line("codis_proxy_version", &env!("CARGO_PKG_VERSION"));
                line("os", &std::env::consts::OS);
                line("arch_bits", &usize::BITS);
                line("multiplexing_api", &"epoll");
                line("run_id", &self.run_id);
                line("process_id", &std::process::id());
                line("tcp_port", &self.port);
                line("uptime_in_seconds", &self.uptime);
                line("uptime_in_days", &(self.uptime / 86_400));
            }
            "clients" => {
                line("connected_clients", &self.clients);
                line("cluster_connections", &0);
                line("maxclients", &self.max_clients);
                line("blocked_clients", &counts.blocked);
                line("clients_waiting_for_slots", &counts.parked);
                line("clients_with_own_connections", &counts.pinned);
            }
            "memory" => {
                let (now, peak) = memory();
                line("used_memory", &now);
                line("used_memory_human", &human(now));
                line("used_memory_rss", &now);
                line("used_memory_peak", &peak);
                line("used_memory_peak_human", &human(peak));
                line("maxmemory", &0);
                line("maxmemory_human", &"0B");
                line("maxmemory_policy", &"noeviction");
            }
            "persistence" => {
                line("loading", &0);
                line("async_loading", &0);
                line("rdb_bgsave_in_progress", &0);
                line("aof_enabled", &0);
            }
            "stats" => {
                line("total_connections_received", &self.accepted);
                line("total_commands_processed", &counts.requests);
                line("instantaneous_ops_per_sec", &counts.requests_per_second);
                line("total_net_input_bytes", &counts.bytes_in);
                line("total_net_output_bytes", &counts.bytes_out);
                line("rejected_connections", &self.refused);
                line("total_error_replies", &counts.errors);
            }
            "replication" => {
                line("role", &"master");
                line("connected_slaves", &0);
            }
            "cpu" => {
                let (user, system) = cpu();
                line("used_cpu_sys", &format!("{system:.2}"));
                line("used_cpu_user", &format!("{user:.2}"));
            }
            "cluster" => line("cluster_enabled", &0),
            "commandstats" => {
                for (name, (calls, usecs, failed)) in &counts.commands {
                    let each = *usecs as f64 / (*calls).max(1) as f64;
                    let sums = format!(
                        "calls={calls},usec={usecs},usec_per_call={each:.2},rejected_calls=0,failed_calls={failed}"
                    );
                    line(&format!("cmdstat_{}", name.to_ascii_lowercase()), &sums);
                }
            }
            _ => {}
        }
    }
}

/// Bytes of memory in use now and at most, from the kernel; 0 where it does not tell.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("VmRSS:") << 10, kib("VmHWM:") << 10)
}

/// Seconds of user and system time, from the kernel, which counts hundredths.
fn cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name of the program, which may hold anything.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let seconds = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    (seconds(11), seconds(12))
}

fn human(bytes: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let unit = units.iter().find(|(bits, _)| bytes >> bits > 0);
    unit.map_or_else(
        || format!("{bytes}B"),
        |(bits, name)| format!("{:.2}{name}", bytes as f64 / f64::from(1 << bits)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(human(5), "5B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(3 << 30), "3.00G");
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let (now, peak) = memory();
        assert!(0 < now && now <= peak);
        assert!(cpu().0 >= 0.0);
    }
}

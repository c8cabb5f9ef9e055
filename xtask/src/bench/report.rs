//! Medians of what was measured, and the tables that show them.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::calls::Calls;
use super::load::{ONE_AT_A_TIME, Work};
use super::memory::Memory;
use super::target::Target;

/// One measurement under load; `--json` writes these.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) target: String,
    pub(crate) work: String,
    /// 0 for the server alone; `null` where it is not known.
    pub(crate) workers: Option<u32>,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) rps: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Processor time of the proxy; `null` for the server alone.
    pub(crate) cpu_us_per_req: Option<f64>,
    pub(crate) rss_mb: Option<f64>,
    pub(crate) round: usize,
}

/// Everything that one run has measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) calls: Vec<Calls>,
    pub(crate) memory: Vec<Memory>,
}

impl Results {
    /// Median of the processor time per request, in microseconds.
    pub(crate) fn cpu(&self, work: &str, target: &str) -> Option<f64> {
        self.median(work, target, |row| row.cpu_us_per_req)
    }

    /// By how much a proxy's median is longer than that of the server alone, one request at a time, in
    /// microseconds.
    pub(crate) fn added_latency(&self, target: &str) -> Option<f64> {
        let p50 = |target| self.median(ONE_AT_A_TIME, target, |row| Some(row.p50_ms * 1e3));
        Some(p50(target)? - p50("direct")?)
    }

    /// Median of the system calls per request.
    pub(crate) fn system_calls(&self, work: &str, target: &str) -> Option<f64> {
        let of = self.calls.iter().filter(|calls| calls.work == work && calls.target == target);
        median(of.map(|calls| calls.system_calls_per_req).collect())
    }

    fn median(&self, work: &str, target: &str, value: fn(&Row) -> Option<f64>) -> Option<f64> {
        let of = self.rows.iter().filter(|row| row.work == work && row.target == target);
        median(of.filter_map(value).collect())
    }

    /// Every single measurement as an element of one array.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let mut all = Vec::new();
        for row in &self.rows {
            all.push(serde_json::to_value(row)?);
        }
        for calls in &self.calls {
            all.push(serde_json::to_value(calls)?);
        }
        for memory in &self.memory {
            all.push(serde_json::to_value(memory)?);
        }
        serde_json::to_string_pretty(&all).context("cannot write measurements as JSON")
    }

    /// The medians of all works under load.
    pub(crate) fn table(&self, works: &[&Work], targets: &[Target]) -> String {
        let mut text = format!(
            "{:<16}{:<11}{:>10}{:>9}{:>9}{:>12}{:>11}{:>13}{:>9}\n",
            "work", "target", "req/s", "p50 ms", "p99 ms", "CPU us/req", "x haproxy", "x twemproxy", "RSS MB"
        );
        for work in works {
            for (index, target) in targets.iter().enumerate() {
                let of = |value: fn(&Row) -> Option<f64>| self.median(work.name, target.name(), value);
                let own = self.cpu(work.name, target.name());
                let times = |peer| Some(own? / self.cpu(work.name, peer)?);
                let _ = writeln!(
                    text,
                    "{:<16}{:<11}{:>10}{:>9}{:>9}{:>12}{:>11}{:>13}{:>9}",
                    if index == 0 { work.name } else { "" },
                    target.name(),
                    figure(of(|r| Some(r.rps)), 0),
                    figure(of(|r| Some(r.p50_ms)), 3),
                    figure(of(|r| Some(r.p99_ms)), 2),
                    figure(own, 2),
                    figure(times("haproxy"), 2),
                    figure(times("twemproxy"), 2),
                    figure(of(|r| r.rss_mb), 1),
                );
            }
        }
        text
    }

    /// What is measured once for each proxy: two workers beside one, system calls, memory, added latency.
    pub(crate) fn single_figures(&self, works: &[&Work], targets: &[Target]) -> String {
        let mut text = String::new();
        for work in works {
            let times = self.cpu(work.name, "ours-2").zip(self.cpu(work.name, "ours-1"));
            let _ = writeln!(
                text,
                "{:<42}{:<16}{:>8} x",
                if work.name == works[0].name { "CPU per request, 2 workers beside 1" } else { "" },
                work.name,
                figure(times.map(|(two, one)| two / one), 2)
            );
        }
        let mut list = |title: &str, decimals: usize, value: &dyn Fn(&str) -> Option<f64>| {
            let mut title = title;
            for target in targets.iter().filter(|target| target.pid().is_some()) {
                let _ = writeln!(
                    text,
                    "{title:<42}{:<16}{:>8}",
                    target.name(),
                    figure(value(target.name()), decimals)
                );
                title = "";
            }
        };
        for work in super::calls::WORKS {
            list(&format!("system calls per request, {work}"), 3, &|target| self.system_calls(work, target));
        }
        list("MB for 1000 connections, each used once", 2, &|target| {
            self.memory.iter().find(|memory| memory.target == target).map(Memory::grown)
        });
        list("us that the hop adds, GET c1 P1, p50", 0, &|target| self.added_latency(target));
        text
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.decimals$}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row of which only the processor time and the median latency are of interest.
    pub(crate) fn row(target: &str, work: &str, cpu: f64, p50_ms: f64) -> Row {
        Row {
            target: target.into(),
            work: work.into(),
            workers: Some(1),
            clients: 50,
            pipeline: 1,
            rps: 1.0,
            p50_ms,
            p99_ms: 1.0,
            cpu_us_per_req: Some(cpu),
            rss_mb: None,
            round: 1,
        }
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let rows = [3.0, 1.0, 9.0].iter().map(|cpu| row("ours-1", "GET", *cpu, 1.0)).collect();
        let mut results = Results { rows, ..Results::default() };
        assert_eq!(results.cpu("GET", "ours-1"), Some(3.0));
        results.rows.pop();
        assert_eq!(results.cpu("GET", "ours-1"), Some(2.0));
        assert_eq!(results.cpu("GET", "haproxy"), None);
    }

    #[test]
    fn a_hop_adds_what_the_server_alone_does_not_take() {
        let rows = vec![
            row("direct", ONE_AT_A_TIME, 0.0, 0.020),
            row("ours-1", ONE_AT_A_TIME, 9.0, 0.031),
            row("ours-1", "GET c50 P1", 9.0, 0.5),
        ];
        let added = Results { rows, ..Results::default() }.added_latency("ours-1").unwrap();
        assert!((added - 11.0).abs() < 1e-6, "{added}");
    }
}

//! Medians, the table, and the bounds that `--check` knows.

use std::fmt::Write as _;

use serde::Serialize;

use super::load::Work;
use super::memory::Memory;
use super::target::Target;

/// With one request at a time per connection our proxy may cost this many times a bare pass-through.
const BOUND_P1: f64 = 1.5;

/// One measurement; `--json` writes these.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) target: String,
    pub(crate) work: String,
    pub(crate) workers: u32,
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

/// The medians as a table.
pub(crate) fn table(works: &[&Work], targets: &[Target], rows: &[Row]) -> String {
    let mut text = format!(
        "{:<14}{:<11}{:>10}{:>9}{:>9}{:>12}{:>11}{:>9}\n",
        "work", "target", "req/s", "p50 ms", "p99 ms", "CPU us/req", "x haproxy", "RSS MB"
    );
    for work in works {
        let bare = cpu(rows, work.name, "haproxy");
        for (index, target) in targets.iter().enumerate() {
            let of = |value: fn(&Row) -> Option<f64>| median_of(rows, work.name, target.name(), value);
            let own = cpu(rows, work.name, target.name());
            let ratio = own.zip(bare).map(|(own, bare)| own / bare);
            let _ = writeln!(
                text,
                "{:<14}{:<11}{:>10}{:>9}{:>9}{:>12}{:>11}{:>9}",
                if index == 0 { work.name } else { "" },
                target.name(),
                figure(of(|r| Some(r.rps)), 0),
                figure(of(|r| Some(r.p50_ms)), 2),
                figure(of(|r| Some(r.p99_ms)), 2),
                figure(own, 2),
                figure(ratio, 2),
                figure(of(|r| r.rss_mb), 1),
            );
        }
    }
    text
}

/// What 1000 connections cost.
pub(crate) fn memory_table(memories: &[Memory]) -> String {
    let mut text = "1000 connections that have sent a request, RSS MB\n".to_owned();
    for memory in memories {
        let grown = memory.used_mb - memory.base_mb;
        let Memory { target, base_mb, used_mb } = memory;
        let _ = writeln!(text, "{:<14}{target:<11}{base_mb:>8.1} -> {used_mb:.1}: {grown:.2} more", "");
    }
    text
}

/// Rows that miss their bound, each with its figures.
pub(crate) fn missed(rows: &[Row]) -> Vec<String> {
    let mut works: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|r| r.pipeline == 1) {
        if !works.contains(&row.work.as_str()) {
            works.push(&row.work);
        }
    }
    let beyond = |work: &str| {
        let (ours, bare) = (cpu(rows, work, "ours-1")?, cpu(rows, work, "haproxy")?);
        let ratio = ours / bare;
        (ratio > BOUND_P1).then(|| {
            format!("{work}: ours-1 takes {ours:.2} us per request, {ratio:.2}x haproxy's {bare:.2}; at most {BOUND_P1}x")
        })
    };
    works.iter().filter_map(|work| beyond(work)).collect()
}

fn cpu(rows: &[Row], work: &str, target: &str) -> Option<f64> {
    median_of(rows, work, target, |r| r.cpu_us_per_req)
}

fn median_of(rows: &[Row], work: &str, target: &str, value: fn(&Row) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> =
        rows.iter().filter(|r| r.work == work && r.target == target).filter_map(value).collect();
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
mod tests {
    use super::*;

    fn row(target: &str, work: &str, pipeline: u32, cpu: f64) -> Row {
        Row {
            target: target.into(),
            work: work.into(),
            workers: 1,
            clients: 50,
            pipeline,
            rps: 1.0,
            p50_ms: 1.0,
            p99_ms: 1.0,
            cpu_us_per_req: Some(cpu),
            rss_mb: None,
            round: 1,
        }
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let rows: Vec<_> = [3.0, 1.0, 9.0].iter().map(|c| row("ours-1", "GET", 1, *c)).collect();
        assert_eq!(cpu(&rows, "GET", "ours-1"), Some(3.0));
        assert_eq!(cpu(&rows[..2], "GET", "ours-1"), Some(2.0));
        assert_eq!(cpu(&rows, "GET", "haproxy"), None);
    }

    #[test]
    fn a_row_beyond_its_bound_is_named_once_and_deep_pipelines_are_not_checked() {
        let rows = [
            row("haproxy", "GET c50 P1", 1, 10.0),
            row("ours-1", "GET c50 P1", 1, 16.0),
            row("ours-1", "GET c50 P1", 1, 16.0),
            row("haproxy", "SET c50 P1", 1, 10.0),
            row("ours-1", "SET c50 P1", 1, 14.0),
            row("haproxy", "GET c50 P32", 32, 0.5),
            row("ours-1", "GET c50 P32", 32, 2.0),
        ];
        assert_eq!(
            missed(&rows),
            ["GET c50 P1: ours-1 takes 16.00 us per request, 1.60x haproxy's 10.00; at most 1.5x"]
        );
    }
}

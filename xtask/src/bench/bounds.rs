//! What `--check` asks for: the bounds that the proxy is accepted by, against peers of the same run.

use super::calls;
use super::load::{ONE_AT_A_TIME, WORKS};
use super::memory::Memory;
use super::report::Results;

/// Processor time per request, at most so many times that of a peer, with one worker.
const RATIOS: &[(&str, &[&str], f64)] = &[
    ("twemproxy", &["GET c50 P1"], 1.05),
    ("twemproxy", &["SET c50 P1"], 0.85),
    ("twemproxy", &["GET c50 P32", "SET c50 P32"], 0.15),
    ("twemproxy", &["GET c1000 P1"], 0.75),
    ("twemproxy", &["GET 4K c50 P16", "SET 4K c50 P16"], 0.45),
    ("twemproxy", &["MSET 10 c50", "MGET 100 c50"], 0.70),
    ("twemproxy", &["MGET 10 c50"], 0.80),
    ("haproxy", &["GET c50 P1", "SET c50 P1"], 0.65),
    ("haproxy", &["GET c50 P32", "SET c50 P32"], 0.9),
    ("haproxy", &["GET 4K c50 P16", "SET 4K c50 P16"], 1.15),
    ("haproxy", &["MGET 100 c50"], 1.5),
];
/// Processor time per request of two workers, at most so many times that of one.
const TWO_WORKERS: f64 = 1.05;
/// System calls per request, for each of [`calls::WORKS`].
const SYSTEM_CALLS: [f64; 2] = [2.2, 0.10];
/// MB that 1000 connections cost.
const MEMORY: f64 = 1.0;
/// Microseconds that the hop adds.
const LATENCY: f64 = 12.0;

/// What the bounds say about one run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) held: usize,
    /// Each with its figures.
    pub(crate) missed: Vec<String>,
    /// What was not measured in this run.
    pub(crate) open: Vec<String>,
}

/// Compares a run with all bounds.
pub(crate) fn check(results: &Results) -> Verdict {
    let mut verdict = Verdict::default();
    for (peer, works, most) in RATIOS {
        works.iter().for_each(|work| verdict.ratio(results, work, "ours-1", peer, *most));
    }
    for work in WORKS.iter().filter(|work| work.name != ONE_AT_A_TIME) {
        verdict.ratio(results, work.name, "ours-2", "ours-1", TWO_WORKERS);
    }
    for (work, most) in calls::WORKS.into_iter().zip(SYSTEM_CALLS) {
        let counted = results.system_calls(work, "ours-1");
        verdict.figure(&format!("{work}: system calls per request of ours-1"), counted, most);
    }
    for target in ["ours-1", "ours-2"] {
        let memory = results.memory.iter().find(|memory| memory.target == target).map(Memory::grown);
        verdict.figure(&format!("1000 connections: MB of {target}"), memory, MEMORY);
    }
    let added = results.added_latency("ours-1");
    verdict.figure(&format!("{ONE_AT_A_TIME}: microseconds that ours-1 adds"), added, LATENCY);
    verdict
}

impl Verdict {
    fn ratio(&mut self, results: &Results, work: &str, own: &str, peer: &str, most: f64) {
        match results.cpu(work, own).zip(results.cpu(work, peer)) {
            None => self.open.push(format!("{work}: {own} beside {peer}")),
            Some((ours, theirs)) if ours <= most * theirs => self.held += 1,
            Some((ours, theirs)) => self.missed.push(format!(
                "{work}: {own} takes {ours:.2} us per request, {:.2}x {peer}'s {theirs:.2}; at most {most:.2}x",
                ours / theirs
            )),
        }
    }

    fn figure(&mut self, what: &str, value: Option<f64>, most: f64) {
        match value {
            None => self.open.push(what.to_owned()),
            Some(value) if value <= most => self.held += 1,
            Some(value) => self.missed.push(format!("{what}: {value:.2}; at most {most:.2}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn every_bound_is_of_a_work_that_exists() {
        let names: Vec<&str> = WORKS.iter().map(|work| work.name).collect();
        let bounded = RATIOS.iter().flat_map(|(_, works, _)| *works).chain(&calls::WORKS);
        bounded.for_each(|work| assert!(names.contains(work), "{work}"));
    }

    #[test]
    fn rows_beyond_their_bounds_are_named_and_what_is_not_measured_is_not_held() {
        let rows = vec![
            row("haproxy", "GET c50 P1", 10.0, 1.0),
            row("ours-1", "GET c50 P1", 6.6, 1.0),
            row("ours-2", "GET c50 P1", 6.7, 1.0),
            row("haproxy", "GET c50 P32", 0.5, 1.0),
            row("ours-1", "GET c50 P32", 0.45, 1.0),
            row("ours-2", "GET c50 P32", 0.5, 1.0),
            row("direct", ONE_AT_A_TIME, 0.0, 0.020),
            row("ours-1", ONE_AT_A_TIME, 9.0, 0.040),
        ];
        let verdict = check(&Results { rows, ..Results::default() });
        assert_eq!(
            verdict.missed,
            [
                "GET c50 P1: ours-1 takes 6.60 us per request, 0.66x haproxy's 10.00; at most 0.65x",
                "GET c50 P32: ours-2 takes 0.50 us per request, 1.11x ours-1's 0.45; at most 1.05x",
                "GET c1 P1: microseconds that ours-1 adds: 20.00; at most 12.00",
            ]
        );
        assert_eq!(verdict.held, 2);
        assert!(verdict.open.contains(&"GET c50 P1: ours-1 beside twemproxy".to_owned()));
        assert!(verdict.open.contains(&"1000 connections: MB of ours-2".to_owned()));
    }
}

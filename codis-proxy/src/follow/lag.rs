//! Measures how far slaves are behind their masters.
//!
//! A master is asked for its replication offset at a known time; once a slave has that offset, in the same
//! history, it has everything that the master had acknowledged by then. Nothing else is relied on: a slave
//! says that its link is up when the stream has long stood still, and one that is stopped says nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codis_core::Addr;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::jittered;
use super::linked::{Access, Asking};
use crate::freshness::{Age, Freshness};
use crate::table::Table;

/// How often in `max_lag` a slave is asked.
const LOOKS: u32 = 5;
/// Bounds of the pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Offsets of a master that are remembered.
const HISTORY: usize = 64;

/// The slaves that are being measured.
pub(super) struct Lag {
    freshness: Arc<Freshness>,
    max_lag: Duration,
    access: Access,
    tasks: BTreeMap<(Addr, Addr), AbortHandle>,
}

impl Lag {
    pub(super) fn new(freshness: Arc<Freshness>, max_lag: Duration, access: Access) -> Self {
        Self { freshness, max_lag, access, tasks: BTreeMap::new() }
    }

    /// Measures the slaves that the table lists, and no others.
    pub(super) fn measure(&mut self, table: &Table) {
        let pairs: BTreeSet<(Addr, Addr)> = table
            .slaves
            .iter()
            .flat_map(|(master, slaves)| slaves.iter().map(|slave| (master.clone(), slave.clone())))
            .collect();
        self.tasks.retain(|pair, task| {
            let keep = pairs.contains(pair);
            if !keep {
                task.abort();
            }
            keep
        });
        self.freshness.forget_unused();
        for (master, slave) in pairs {
            let pair = (master.clone(), slave.clone());
            if !self.tasks.contains_key(&pair) {
                let measuring = Measuring {
                    age: self.freshness.of(&master, &slave),
                    own: self.freshness.of(&master, &master),
                    freshness: self.freshness.clone(),
                    max_lag: self.max_lag,
                    access: self.access.clone(),
                    history: History::default(),
                    master,
                    slave,
                };
                self.tasks.insert(pair, tokio::spawn(measuring.run()).abort_handle());
            }
        }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

/// One slave of one master.
struct Measuring {
    master: Addr,
    slave: Addr,
    age: Arc<Age>,
    /// Of the master itself.
    own: Arc<Age>,
    freshness: Arc<Freshness>,
    max_lag: Duration,
    access: Access,
    history: History,
}

impl Measuring {
    async fn run(mut self) {
        let pause = (self.max_lag / LOOKS).clamp(PAUSE.0, PAUSE.1);
        let (mut master, mut slave) = (None, None);
        let mut failures = 0;
        loop {
            match self.look(&mut master, &mut slave).await {
                Ok(()) => failures = 0,
                Err(why) => {
                    if failures == 0 {
                        tracing::warn!(master = %self.master, slave = %self.slave, why, "no reads from a slave for now");
                    }
                    failures = (failures + 1).min(5);
                    self.history = History::default();
                    (master, slave) = (None, None);
                }
            }
            sleep(jittered(pause * (1 << failures)).min(PAUSE.1 * 2)).await;
        }
    }

    async fn look(&mut self, master: &mut Option<Asking>, slave: &mut Option<Asking>) -> Result<(), String> {
        let (asked, ahead) = self.info(master, &self.master, &self.own).await?;
        let ahead = Offset::of_master(&ahead)?;
        self.history.note(self.freshness.at(asked), ahead);
        let (_, behind) = self.info(slave, &self.slave, &self.age).await?;
        let behind = Offset::of_slave(&behind)?;
        if let Some(as_of) = self.history.had_all_of(&behind)? {
            self.age.has_all_of(as_of);
        }
        Ok(())
    }

    /// What a server says of its replication, and when it was asked.
    async fn info(
        &self,
        connection: &mut Option<Asking>,
        addr: &Addr,
        age: &Age,
    ) -> Result<(Instant, String), String> {
        let limit = self.max_lag.clamp(PAUSE.0 * 10, ANSWER);
        let asking = async {
            if connection.is_none() {
                *connection = Some(Asking::open(addr, &self.access).await?);
            }
            let asked = Instant::now();
            let Some(open) = connection else { return Err("it is not connected".to_owned()) };
            let text = open.info_replication().await?;
            age.answered_after(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            Ok((asked, text))
        };
        match timeout(limit, asking).await {
            Ok(answer) => answer.map_err(|why| format!("{addr}: {why}")),
            Err(_) => Err(format!("{addr}: no answer within {limit:?}")),
        }
    }
}

/// How far a server is in a history of writes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offset {
    /// Which history; nothing before version 4.
    history: Option<String>,
    bytes: u64,
}

impl Offset {
    fn of_master(info: &str) -> Result<Self, String> {
        if field(info, "role") != Some("master") {
            return Err("the master is not one".to_owned());
        }
        Self::of(info, "master_repl_offset")
    }

    fn of_slave(info: &str) -> Result<Self, String> {
        let is = |name: &str, value: &str| field(info, name) == Some(value);
        if !is("role", "slave") {
            return Err("the slave is none".to_owned());
        }
        if !is("master_link_status", "up") || is("master_sync_in_progress", "1") {
            return Err("its link to the master is down".to_owned());
        }
        Self::of(info, "slave_repl_offset")
    }

    fn of(info: &str, name: &str) -> Result<Self, String> {
        let bytes = field(info, name).and_then(|text| text.parse().ok());
        let history = field(info, "master_replid").map(str::to_owned);
        Ok(Self { history, bytes: bytes.ok_or_else(|| format!("it does not say its {name}"))? })
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

/// Where a master was at known times.
#[derive(Debug, Default)]
struct History {
    seen: VecDeque<(u64, Offset)>,
}

impl History {
    fn note(&mut self, at: u64, offset: Offset) {
        if self.seen.back().is_some_and(|(_, last)| last.history != offset.history) {
            self.seen.clear();
        }
        if self.seen.len() >= HISTORY {
            self.seen.pop_front();
        }
        self.seen.push_back((at, offset));
    }

    /// The latest time at which the master was not further than the slave is now.
    fn had_all_of(&mut self, slave: &Offset) -> Result<Option<u64>, String> {
        if self.seen.back().is_some_and(|(_, master)| master.history != slave.history) {
            return Err("it has another history than the master".to_owned());
        }
        let reached = self.seen.iter().rposition(|(_, master)| master.bytes <= slave.bytes);
        let Some(reached) = reached else { return Ok(None) };
        self.seen.drain(..reached);
        Ok(self.seen.front().map(|(at, _)| *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: u64) -> Offset {
        Offset { history: Some("a".into()), bytes }
    }

    #[test]
    fn a_slave_is_as_old_as_the_last_offset_that_it_has_reached() {
        let mut history = History::default();
        history.note(10, at(100));
        history.note(20, at(200));
        history.note(30, at(300));
        assert_eq!(history.had_all_of(&at(99)), Ok(None));
        assert_eq!(history.had_all_of(&at(100)), Ok(Some(10)));
        assert_eq!(history.had_all_of(&at(299)), Ok(Some(20)));
        history.note(40, at(300));
        assert_eq!(history.had_all_of(&at(300)), Ok(Some(40)), "nothing was written since");
        let other = Offset { history: Some("b".into()), bytes: 400 };
        assert!(history.had_all_of(&other).is_err(), "offsets of two histories are not compared");
        history.note(50, other.clone());
        assert!(history.had_all_of(&at(300)).is_err());
        assert_eq!(history.had_all_of(&other), Ok(Some(50)));
    }

    #[test]
    fn only_a_linked_slave_says_how_far_it_is() {
        let info = |role: &str, link: &str| {
            format!(
                "# Replication\r\nrole:{role}\r\nmaster_link_status:{link}\r\nmaster_sync_in_progress:0\r\n\
                     slave_repl_offset:7\r\nmaster_replid:abc\r\nmaster_repl_offset:9\r\n"
            )
        };
        let offset = Offset { history: Some("abc".into()), bytes: 7 };
        assert_eq!(Offset::of_slave(&info("slave", "up")), Ok(offset.clone()));
        assert!(Offset::of_slave(&info("slave", "down")).is_err());
        assert!(Offset::of_slave(&info("master", "up")).is_err());
        assert_eq!(Offset::of_master(&info("master", "up")), Ok(Offset { bytes: 9, ..offset }));
        assert!(Offset::of_master(&info("slave", "up")).is_err());
    }
}

//! One connection to each server, asked at every interval.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use codis_core::{
    Addr,
    ha::{Facts, Policy, ServerView, Silence},
};
use codis_redis::{ConnectOptions, Redis, RedisError};
use rand::Rng as _;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{Context, failover};

/// Name of the connections.
const NAME: &str = "codis-agent-look";
/// Bounds of the time that a server has for an answer.
const ANSWER: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(2));
/// A whole INFO with every so many questions.
const INFO_EVERY: u32 = 2;
/// A look at a master's write stop with every so many.
const STOP_EVERY: u32 = 5;
/// A master has lost its data when it restarts with less than this part of its keys.
const COLLAPSED: u64 = 10;

/// How long it takes at most to find out that a server that has just answered is silent.
pub(super) fn question(policy: &Policy) -> Duration {
    let interval = Duration::from_millis(policy.check_interval_ms);
    interval + patience(interval)
}

/// How long a server has for an answer.
fn patience(interval: Duration) -> Duration {
    interval.clamp(ANSWER.0, ANSWER.1)
}

/// The servers that are watched.
#[derive(Debug)]
pub(super) struct Watchers {
    cx: Context,
    interval: Duration,
    watched: BTreeMap<Addr, (Arc<Mutex<State>>, AbortHandle)>,
}

impl Watchers {
    pub(super) fn new(cx: &Context, policy: &Policy) -> Self {
        let interval = Duration::from_millis(policy.check_interval_ms);
        Self { cx: cx.clone(), interval, watched: BTreeMap::new() }
    }

    /// Watches these servers, and no others.
    pub(super) fn watch<'a>(&mut self, servers: impl Iterator<Item = &'a Addr>) {
        let wanted: std::collections::BTreeSet<&Addr> = servers.collect();
        self.watched.retain(|addr, (_, task)| {
            let keep = wanted.contains(addr);
            if !keep {
                task.abort();
            }
            keep
        });
        for addr in wanted {
            if !self.watched.contains_key(addr) {
                let state = Arc::new(Mutex::new(State::new()));
                let limit = patience(self.interval);
                let options = ConnectOptions {
                    connect_timeout: limit,
                    command_timeout: limit,
                    ..self.cx.redis.named(NAME)
                };
                let watcher =
                    Watcher { addr: addr.clone(), options, state: state.clone(), interval: self.interval };
                let task = tokio::spawn(watcher.run()).abort_handle();
                self.watched.insert(addr.clone(), (state, task));
            }
        }
    }

    /// What each is like now.
    pub(super) fn views(&self) -> BTreeMap<Addr, ServerView> {
        let view = |state: &Mutex<State>| lock(state).view(self.interval);
        self.watched.iter().map(|(addr, (state, _))| (addr.clone(), view(state))).collect()
    }

    /// When a server was asked what it is, the last time that it said so.
    pub(super) fn asked_at(&self, addr: &Addr) -> Option<Instant> {
        self.watched.get(addr).and_then(|(state, _)| lock(state).facts.as_ref().map(|(at, _)| *at))
    }

    /// How old the oldest answer is, of those servers that answer.
    pub(super) fn oldest(&self) -> Duration {
        let age = |state: &Mutex<State>| {
            let state = lock(state);
            state.trouble.is_none().then(|| state.last_good.elapsed())
        };
        self.watched.values().filter_map(|(state, _)| age(state)).max().unwrap_or_default()
    }

    /// Nobody has been silent before now.
    pub(super) fn forget_silence(&mut self) {
        for (state, _) in self.watched.values() {
            lock(state).last_good = Instant::now();
        }
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.watched.values().for_each(|(_, task)| task.abort());
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct State {
    last_good: Instant,
    /// The last question failed.
    trouble: Option<String>,
    refusal: Option<String>,
    facts: Option<(Instant, Facts)>,
    ping_us: u64,
    connect_us: u64,
    /// Which process it was as a master that had all its data, and how many keys.
    held: Option<(String, u64)>,
    emptied: Option<u64>,
    furthest: Option<(Option<String>, u64)>,
    writes_stopped: bool,
}

impl State {
    fn new() -> Self {
        Self {
            last_good: Instant::now(),
            trouble: None,
            refusal: None,
            facts: None,
            ping_us: 0,
            connect_us: 0,
            held: None,
            emptied: None,
            furthest: None,
            writes_stopped: false,
        }
    }

    fn view(&self, interval: Duration) -> ServerView {
        let silent = self.last_good.elapsed();
        let overdue = silent > interval * 2 + ANSWER.0;
        let why = match &self.trouble {
            Some(why) => Some(why.clone()),
            None if overdue => Some("no answer".to_owned()),
            None => None,
        };
        ServerView {
            silence: why.map(|why| Silence { ms: silent.as_millis() as u64, why }),
            refusal: self.refusal.clone(),
            facts: self.facts.as_ref().map(|(_, facts)| facts.clone()),
            facts_age_ms: self.facts.as_ref().map_or(0, |(at, _)| at.elapsed().as_millis() as u64),
            ping_us: self.ping_us,
            connect_us: self.connect_us,
            emptied: self.emptied,
            furthest: self.furthest.clone(),
            writes_stopped: self.writes_stopped,
        }
    }

    /// It has answered.
    fn good(&mut self) {
        self.last_good = Instant::now();
        (self.trouble, self.refusal) = (None, None);
    }

    fn bad(&mut self, error: &RedisError) {
        if failover::is_answer(error) {
            self.last_good = Instant::now();
            (self.trouble, self.refusal) = (None, Some(error.cause.to_string()));
        } else {
            self.trouble = Some(error.cause.to_string());
        }
    }

    /// What it said when it was asked, or later.
    fn learn(&mut self, asked: Instant, facts: Facts) {
        if !facts.is_master {
            (self.held, self.emptied) = (None, None);
        } else if !facts.loading {
            let collapsed = |before: u64| facts.keys < before / COLLAPSED || (facts.keys == 0 && before > 0);
            match (&self.held, self.emptied) {
                (Some((run_id, keys)), None) if *run_id != facts.run_id && collapsed(*keys) => {
                    self.emptied = Some(*keys);
                }
                // Somebody has filled it again.
                (_, Some(keys)) if !collapsed(keys) => self.emptied = None,
                _ => {}
            }
            self.held = Some((facts.run_id.clone(), facts.keys));
            // Of one that has lost its data that history counts in which it had them: who follows the new one is empty, too.
            if self.emptied.is_none() {
                self.furthest = Some((facts.history.clone(), facts.offset));
            }
        }
        self.facts = Some((asked, facts));
    }
}

struct Watcher {
    addr: Addr,
    options: ConnectOptions,
    state: Arc<Mutex<State>>,
    interval: Duration,
}

impl Watcher {
    async fn run(self) {
        // Not all at the same moment.
        let phase = rand::rng().random_range(0.0..0.2);
        sleep(self.interval.mul_f64(phase)).await;
        let mut connection: Option<Redis> = None;
        let mut count = 0u32;
        loop {
            let begun = Instant::now();
            if let Err(error) = self.ask(&mut connection, count).await {
                connection = None;
                lock(&self.state).bad(&error);
            }
            count = count.wrapping_add(1);
            tokio::time::sleep_until(begun + self.interval).await;
        }
    }

    async fn ask(&self, connection: &mut Option<Redis>, count: u32) -> Result<(), RedisError> {
        let fresh = connection.is_none();
        if fresh {
            let begun = Instant::now();
            let opened = Redis::connect(&self.addr, &self.options).await?;
            lock(&self.state).connect_us = begun.elapsed().as_micros() as u64;
            *connection = Some(opened);
        }
        let Some(redis) = connection else { return Ok(()) };
        // At once after a break: it may have restarted. Otherwise what it says of itself is as good a sign of life as a PONG.
        let tells = count.is_multiple_of(INFO_EVERY);
        if fresh || !tells {
            let took = redis.ping().await?;
            let mut state = lock(&self.state);
            state.good();
            state.ping_us = took.as_micros() as u64;
        }
        if fresh || tells {
            let asked = Instant::now();
            let facts = redis.facts().await?;
            let mut state = lock(&self.state);
            state.good();
            state.ping_us = asked.elapsed().as_micros() as u64;
            state.learn(asked, facts);
        }
        // A slave takes no writes anyway.
        let is_master = lock(&self.state).facts.as_ref().is_none_or(|(_, facts)| facts.is_master);
        if fresh || is_master && count.is_multiple_of(STOP_EVERY) {
            let stopped = failover::is_stopped(redis).await?;
            lock(&self.state).writes_stopped = stopped;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(run_id: &str, keys: u64) -> Facts {
        let history = Some(format!("history-{run_id}"));
        Facts { is_master: true, run_id: run_id.to_owned(), keys, offset: keys, history, ..Facts::default() }
    }

    fn furthest(state: &State) -> (&str, u64) {
        let (history, offset) = state.furthest.as_ref().unwrap();
        (history.as_deref().unwrap(), *offset)
    }

    #[test]
    fn a_master_that_restarts_without_its_keys_is_noticed_until_it_has_them_again() {
        let mut state = State::new();
        state.learn(Instant::now(), facts("a", 1000));
        state.learn(Instant::now(), facts("a", 0));
        assert_eq!(state.emptied, None, "somebody has flushed it");
        state.learn(Instant::now(), facts("a", 1000));
        state.learn(Instant::now(), Facts { loading: true, ..facts("b", 0) });
        assert_eq!(state.emptied, None, "it still loads");
        state.learn(Instant::now(), facts("b", 900));
        assert_eq!(state.emptied, None, "it has its data");
        state.learn(Instant::now(), facts("c", 3));
        assert_eq!(state.emptied, Some(900));
        state.learn(Instant::now(), facts("c", 30));
        assert_eq!(state.emptied, Some(900), "still few");
        assert_eq!(furthest(&state), ("history-b", 900), "its slaves are measured by what it had");
        state.learn(Instant::now(), facts("c", 900));
        assert_eq!(state.emptied, None);
        assert_eq!(furthest(&state), ("history-c", 900));
    }
}

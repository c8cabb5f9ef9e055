//! One writer: its keys, its requests, its last look.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{
    LedgerConfig,
    client::Client,
    record::{Counter, Tokens, Versions},
    report::Stats,
};
use crate::{ConnectOptions, RedisCause, RedisError, Reply};

/// Tokens in one key, before the next key is begun: values stay small.
const TOKENS_PER_KEY: u32 = 1000;
/// Keys read by one MGET.
const MGET: usize = 6;
/// Increments of one pipeline, and of how many requests one is a pipeline.
const PIPELINE: usize = 50;
const ONE_OF: u32 = 50;
const SCRIPT: &str = "return redis.call('INCR', KEYS[1])";

struct Key<R> {
    name: String,
    record: R,
}

pub(crate) struct Writer {
    config: Arc<LedgerConfig>,
    stats: Arc<Stats>,
    stop: CancellationToken,
    clients: Vec<Client>,
    random: StdRng,
    counters: Vec<Key<Counter>>,
    tokens: Vec<Key<Tokens>>,
    /// Token keys that are full.
    full: Vec<Key<Tokens>>,
    versions: Vec<Key<Versions>>,
}

impl Writer {
    pub(crate) fn new(
        index: usize,
        run: &str,
        tags: &[String],
        config: Arc<LedgerConfig>,
        stats: Arc<Stats>,
        stop: CancellationToken,
    ) -> Self {
        let options = ConnectOptions {
            password: config.password.clone(),
            command_timeout: config.timeout,
            ..ConnectOptions::default()
        };
        let clients = config.proxies.iter().map(|addr| Client::new(addr.clone(), options.clone())).collect();
        // Neighbouring keys in neighbouring slots, so that a wave of slots has keys of every kind.
        let name = |kind: &str, n: usize| match tags.is_empty() {
            true => format!("ledger:{run}:{index}:{kind}:{n}"),
            false => format!(
                "ledger:{{{}}}:{run}:{index}:{kind}:{n}",
                tags[(index * config.keys + n) % tags.len()]
            ),
        };
        Self {
            stats,
            stop,
            clients,
            random: StdRng::seed_from_u64(index as u64),
            counters: keys(config.keys, |n| name("count", n)),
            tokens: keys(config.keys, |n| name("tokens", n)),
            full: Vec::new(),
            versions: keys(config.keys, |n| name("version", n)),
            config,
        }
    }

    /// Writes until it is stopped, then checks every key.
    pub(crate) async fn run(mut self) {
        if self.clients.is_empty() || self.config.keys == 0 {
            self.stats.violation("the workload has no proxies or no keys".into());
            return;
        }
        while !self.stop.is_cancelled() {
            match self.random.random_range(0..4) {
                0 if self.config.scripts_and_pipelines && self.random.random_ratio(4, ONE_OF) => {
                    self.pipeline().await;
                }
                0 => self.increment().await,
                1 => self.append().await,
                2 => self.set().await,
                _ => self.read_back().await,
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.pause) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.check_all().await;
    }

    async fn increment(&mut self) {
        let n = self.random.random_range(0..self.counters.len());
        self.counters[n].record.sent();
        let cmd = match self.config.scripts_and_pipelines && self.random.random() {
            true => redis::cmd("EVAL").arg(SCRIPT).arg(1).arg(&self.counters[n].name).clone(),
            false => redis::cmd("INCR").arg(&self.counters[n].name).clone(),
        };
        if let Some(reply) = self.write(&cmd).await {
            self.incremented(n, &reply);
        }
    }

    /// Many increments at once; their answers come in their order.
    async fn pipeline(&mut self) {
        let picks: Vec<usize> =
            (0..PIPELINE).map(|_| self.random.random_range(0..self.counters.len())).collect();
        let mut pipe = redis::Pipeline::with_capacity(PIPELINE);
        for n in &picks {
            self.counters[*n].record.sent();
            pipe.cmd("INCR").arg(&self.counters[*n].name);
        }
        let begun = Instant::now();
        let replies = match self.any_client().pipeline(&pipe).await {
            Ok(replies) => replies,
            Err(error) => {
                picks.iter().for_each(|_| self.stats.ambiguous());
                return self.stats.error(text_of(&error));
            }
        };
        for (n, reply) in picks.into_iter().zip(&replies) {
            if let Reply::Error(text) = reply {
                self.stats.ambiguous();
                self.stats.error(text.clone());
            } else {
                self.stats.acknowledged(begun.elapsed());
                self.incremented(n, reply);
            }
        }
    }

    fn incremented(&mut self, n: usize, reply: &Reply) {
        let key = &mut self.counters[n];
        let checked = match reply.int() {
            Some(value) => key.record.acknowledged(value.max(0) as u64),
            None => Err(format!("an increment was answered with {}", reply.what())),
        };
        note(&self.stats, &key.name, checked);
    }

    async fn append(&mut self) {
        let n = self.random.random_range(0..self.tokens.len());
        if self.tokens[n].record.len() >= TOKENS_PER_KEY {
            let name = format!("{}+", self.tokens[n].name);
            self.full.push(std::mem::replace(&mut self.tokens[n], Key { name, record: Tokens::default() }));
        }
        let token = self.tokens[n].record.next();
        let cmd = redis::cmd("APPEND").arg(&self.tokens[n].name).arg(token).clone();
        if let Some(reply) = self.write(&cmd).await {
            let key = &mut self.tokens[n];
            let checked = match reply.int() {
                Some(length) => key.record.acknowledged(length.max(0) as u64),
                None => Err(format!("APPEND was answered with {}", reply.what())),
            };
            note(&self.stats, &key.name, checked);
        }
    }

    async fn set(&mut self) {
        let n = self.random.random_range(0..self.versions.len());
        let value = self.versions[n].record.next();
        let cmd = redis::cmd("SET").arg(&self.versions[n].name).arg(value).clone();
        if self.write(&cmd).await.is_some() {
            self.versions[n].record.acknowledged();
        }
    }

    /// Reads some versions and counters in one MGET, most likely through another proxy and from
    /// several groups.
    async fn read_back(&mut self) {
        let half = MGET / 2;
        let first = self.random.random_range(0..self.counters.len());
        let picks: Vec<usize> = (0..half).map(|n| (first + n) % self.counters.len()).collect();
        let mut cmd = redis::cmd("MGET");
        for n in &picks {
            cmd.arg(&self.versions[*n].name).arg(&self.counters[*n].name);
        }
        let Some(Reply::Array(values)) = self.read(&cmd).await else { return };
        if values.len() != picks.len() * 2 {
            self.stats.violation(format!("MGET of {} keys answered {}", picks.len() * 2, values.len()));
            return;
        }
        for (n, pair) in picks.into_iter().zip(values.chunks_exact(2)) {
            let key = &self.versions[n];
            note(&self.stats, &key.name, check_version(&key.record, &pair[0]));
            let key = &mut self.counters[n];
            let checked = key.record.read(pair[1].int().unwrap_or_default().max(0) as u64);
            note(&self.stats, &key.name, checked);
        }
    }

    /// The last look: every key, from any proxy, tried again while there are errors.
    async fn check_all(&mut self) {
        for n in 0..self.counters.len() {
            let Some(reply) = self.insist(self.counters[n].name.clone()).await else { continue };
            let key = &mut self.counters[n];
            let checked = key.record.read(reply.int().unwrap_or_default().max(0) as u64);
            note(&self.stats, &key.name, checked);
        }
        for n in 0..self.versions.len() {
            let Some(reply) = self.insist(self.versions[n].name.clone()).await else { continue };
            let key = &self.versions[n];
            note(&self.stats, &key.name, check_version(&key.record, &reply));
        }
        let tokens: Vec<Key<Tokens>> = self.tokens.drain(..).chain(self.full.drain(..)).collect();
        for key in tokens {
            let Some(reply) = self.insist(key.name.clone()).await else { continue };
            let checked = match &reply {
                Reply::Bulk(value) => key.record.read(value),
                _ => key.record.read(b""),
            };
            note(&self.stats, &key.name, checked);
        }
    }

    async fn insist(&mut self, name: String) -> Option<Reply> {
        let deadline = Instant::now() + self.config.timeout * 3;
        let cmd = redis::cmd("GET").arg(&name).clone();
        loop {
            if let Some(reply) = self.read(&cmd).await {
                self.stats.checked();
                return Some(reply);
            }
            if Instant::now() > deadline {
                self.stats.violation(format!("{name}: could not be read at the end"));
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A write; `None`: ambiguous.
    async fn write(&mut self, cmd: &redis::Cmd) -> Option<Reply> {
        match self.any_client().call(cmd).await {
            Ok((reply, took)) => {
                self.stats.acknowledged(took);
                Some(reply)
            }
            Err(error) => {
                self.stats.ambiguous();
                self.stats.error(text_of(&error));
                None
            }
        }
    }

    /// A read; `None`: an error, which is counted.
    async fn read(&mut self, cmd: &redis::Cmd) -> Option<Reply> {
        match self.any_client().call(cmd).await {
            Ok((reply, took)) => {
                self.stats.read(took);
                Some(reply)
            }
            Err(error) => {
                self.stats.error(text_of(&error));
                None
            }
        }
    }

    fn any_client(&mut self) -> &mut Client {
        let n = self.random.random_range(0..self.clients.len());
        &mut self.clients[n]
    }
}

fn keys<R: Default>(count: usize, name: impl Fn(usize) -> String) -> Vec<Key<R>> {
    (0..count).map(|n| Key { name: name(n), record: R::default() }).collect()
}

fn check_version(record: &Versions, reply: &Reply) -> Result<(), String> {
    match reply {
        Reply::Bulk(value) => record.read(Some(value)),
        Reply::Nil => record.read(None),
        other => Err(format!("it was read as {}", other.what())),
    }
}

fn note(stats: &Stats, key: &str, checked: Result<(), String>) {
    if let Err(why) = checked {
        stats.violation(format!("{key}: {why}"));
    }
}

/// The words of an error, the same for the same cause, so that they can be counted.
fn text_of(error: &RedisError) -> String {
    match &error.cause {
        RedisCause::Refused(text) => text.clone(),
        cause => format!("{}: {cause}", error.addr),
    }
}

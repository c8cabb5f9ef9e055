//! Random commands go to one real server, and through the proxy to three: the replies must be the same.
//!
//! [`moving`] does so while slots move between two groups.
//!
//! Pipelines of commands of all types, in RESP2 and RESP3, with binary keys and values. Everything follows
//! from a seed. What differs on purpose, or cannot be compared, stands in [`exceptions`] with the reason.
//!
//! The ordinary run is short. A long one, in another order of things:
//! `CODIS_DIFFERENTIAL_COMMANDS=200000 CODIS_DIFFERENTIAL_SEED=7 cargo test -p codis-proxy --test differential`.
//! A failure names the seed and the first reply that differs, and shows a short list of commands that
//! leads to it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure")]

mod commands;
mod exceptions;
#[path = "../follow/fixture.rs"]
#[expect(dead_code, clippy::expect_used, reason = "other tests use more of it")]
mod fixture;
mod generator;
mod moving;
mod shrink;

use std::{cell::Cell, collections::BTreeSet};

use codis_resp::{COMMANDS, Class};
use codis_testkit::{ProxyProcess, RedisServer, Reply, RespClient, need};

use crate::exceptions::{Compare, EXCEPTIONS};
use crate::generator::{Generator, Step};

const COMMANDS_OF_A_SHORT_RUN: usize = 20_000;

/// One server, and the proxy in front of three.
struct Pair {
    single: RedisServer,
    servers: Vec<RedisServer>,
    proxy: ProxyProcess,
    _config: Option<tempfile::TempDir>,
    /// Replies of the single server that were errors.
    errors: Cell<usize>,
}

impl Pair {
    fn start() -> Self {
        let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
        let config = tempfile::tempdir().unwrap();
        let path = config.path().join("codis.toml");
        std::fs::write(&path, "[proxy]\nallow_flush = true\n").unwrap();
        let addrs: Vec<String> = servers.iter().map(RedisServer::addr).collect();
        let proxy = ProxyProcess::fixed(&addrs)
            .program(env!("CARGO_BIN_EXE_codis-proxy"))
            .workers(2)
            .arg("--config")
            .arg(path.display().to_string())
            .start();
        Self { single: RedisServer::start(), servers, proxy, _config: Some(config), errors: Cell::default() }
    }

    /// A connection to either in the given protocol.
    fn connect(&self, resp3: bool) -> [RespClient; 2] {
        let mut clients = [self.single.client(), self.proxy.client()];
        for client in clients.iter_mut().filter(|_| resp3) {
            assert!(!client.call(&["HELLO", "3"]).unwrap().is_error());
        }
        clients
    }

    /// As at the start.
    fn forget(&self) {
        for server in self.servers.iter().chain([&self.single]) {
            let mut client = server.client();
            for line in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"]] {
                assert!(!client.call(line).unwrap().is_error());
            }
        }
    }

    /// Runs one pipeline on new connections; the place of the first reply that differs, with both replies.
    fn compare(&self, pipeline: &Pipeline) -> Option<Difference> {
        let mut clients = self.connect(pipeline.resp3);
        let bytes: Vec<u8> = pipeline.steps.iter().flat_map(|step| encode(&step.args)).collect();
        let [theirs, ours] = clients.each_mut().map(|client| {
            client.send(&bytes).unwrap();
            pipeline.steps.iter().map(|_| client.read()).collect::<Vec<_>>()
        });
        let errors = theirs.iter().filter(|reply| reply.as_ref().is_ok_and(Reply::is_error)).count();
        self.errors.set(self.errors.get() + errors);
        let replies = theirs.into_iter().zip(ours);
        pipeline.steps.iter().zip(replies).enumerate().find_map(|(at, (step, (theirs, ours)))| {
            let told = || Difference { at, theirs: format!("{theirs:?}"), ours: format!("{ours:?}") };
            match (&theirs, &ours) {
                (Ok(theirs), Ok(ours)) => {
                    let same = step.compare.normal(theirs.clone()) == step.compare.normal(ours.clone());
                    (!same).then(told)
                }
                _ => Some(told()),
            }
        })
    }
}

/// What goes to a connection at once.
#[derive(Debug, Clone)]
struct Pipeline {
    resp3: bool,
    steps: Vec<Step>,
}

/// A reply that differs.
struct Difference {
    at: usize,
    theirs: String,
    ours: String,
}

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
fn replies_are_those_of_one_server() {
    need!("redis");
    let wanted = number("CODIS_DIFFERENTIAL_COMMANDS", COMMANDS_OF_A_SHORT_RUN as u64) as usize;
    let seed = number("CODIS_DIFFERENTIAL_SEED", 1);
    let pair = Pair::start();
    let mut generator = Generator::new(seed);
    let mut history: Vec<Pipeline> = Vec::new();
    let (mut sent, mut pipelines) = (0, 0);
    while sent < wanted {
        let pipeline = generator.pipeline();
        sent += pipeline.steps.len();
        pipelines += 1;
        let difference = pair.compare(&pipeline);
        history.push(pipeline);
        if let Some(difference) = difference {
            let story = shrink::shrink(&pair, history, &difference);
            panic!("seed {seed}, pipeline {pipelines} (command {sent}):\n{story}");
        }
        if generator.has_flushed() {
            // Nothing before it matters any more.
            history.clear();
        }
    }
    let (kinds, errors) = (generator.names().len(), pair.errors.get());
    assert!(kinds > 180, "only {:?}", generator.names());
    assert!(errors * 3 < sent, "{errors} of {sent} replies are errors: what is right is hardly compared");
    eprintln!(
        "seed {seed}: {sent} commands of {kinds} kinds in {pipelines} pipelines, {errors} answered with an error, \
         no reply differs"
    );
}

/// Every command of the table is compared, or it is said why not.
#[test]
fn no_command_is_forgotten() {
    let generated = commands::names();
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|exception| exception.command).collect();
    for command in COMMANDS {
        let here = generated.contains(command.name);
        let left_out = EXCEPTIONS
            .iter()
            .any(|exception| exception.command == command.name && exception.compare == Compare::Skip);
        match command.class {
            Class::Container => {}
            // The proxy says so itself.
            Class::Refused => assert!(!here, "{}", command.name),
            // About the proxy itself; some answers are those of a server all the same.
            Class::Session(_) => {}
            _ => assert!(here != left_out, "{}: either compared or left out", command.name),
        }
    }
    for name in excepted {
        assert!(COMMANDS.iter().any(|command| command.name == name), "{name} is not in the table");
    }
}

#[test]
fn exceptions_hide_only_what_they_say() {
    let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
    let list = |texts: &[&str]| Reply::Array(Some(texts.iter().map(|text| bulk(text)).collect()));
    let (ab, ba) = (list(&["a", "b"]), list(&["b", "a"]));
    let same =
        |compare: &Compare, a: &Reply, b: &Reply| compare.normal(a.clone()) == compare.normal(b.clone());
    assert!(!same(&Compare::Exact, &ab, &ba));
    assert!(same(&Compare::Unordered, &ab, &ba));
    assert!(!same(&Compare::Unordered, &ab, &list(&["a", "c"])));
    assert!(same(&Compare::Natural, &Reply::Int(5), &Reply::Int(7)));
    assert!(!same(&Compare::Natural, &Reply::Int(5), &Reply::Int(-1)));
    let inside = Compare::Exec(vec![Compare::Exact, Compare::Unordered]);
    let exec = |second: &Reply| Reply::Array(Some(vec![bulk("x"), second.clone()]));
    assert!(same(&inside, &exec(&ab), &exec(&ba)));
    assert!(!same(
        &inside,
        &Reply::Array(Some(vec![ab.clone(), ab])),
        &Reply::Array(Some(vec![ba.clone(), ba]))
    ));
}

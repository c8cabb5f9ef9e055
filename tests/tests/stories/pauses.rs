//! How long clients wait while a master changes as planned: nothing is lost, nothing is done twice, nobody sees an error.
//!
//! `CODIS_TEST_PAUSES=20` for figures (and where the time went, if an agent leads); programs built with `--release` are what
//! they are about.

use std::time::Duration;

use codis_core::ha::{Loss, SagaKind, Stage};
use codis_testkit::{Process, RedisServer, need};
use codis_tests::{Product, Store};

use crate::failover::{
    Counting, QUICK, addr, group_of, saga, until_counting, until_ended, until_led, until_settled,
};
use crate::support::ledger_on;

/// Who changes the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The command itself.
    Hand,
    /// The agent that leads.
    Agent,
}

/// What clients do besides the two whose pauses are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Ledger,
    Nothing,
}

fn rounds(usual: usize) -> usize {
    std::env::var("CODIS_TEST_PAUSES").map_or(usual, |text| text.parse().unwrap())
}

fn is_long() -> bool {
    std::env::var("CODIS_TEST_PAUSES").is_ok()
}

/// An agent that says how long each step took.
fn agent(product: &Product) -> Process {
    let path = product.home().write("pauses.toml", QUICK).unwrap().display().to_string();
    product.ctl_start_with(&[("NO_COLOR", "1")], &["agent", "run", "-vv", "--config", &path])
}

async fn switches(store: Store, by: By, load: Load, usual: usize) {
    let title =
        format!("{} by {by:?} under {load:?}", if matches!(store, Store::Zk(_)) { "zk" } else { "local" });
    let product = Product::start(store, group_of(2), 2);
    let agent = (by == By::Agent).then(|| agent(&product));
    if agent.is_some() {
        until_led(&product).await;
    }
    let ledger = (load == Load::Ledger).then(|| ledger_on(&product, &"0-63".parse().unwrap()));
    let clients: Vec<Counting> =
        (0..2).map(|n| Counting::start(&product.proxies[n], &format!("counter-{n}"))).collect();
    let settings = product.home().write("hand.toml", "[ha]\nhold_timeout = \"4s\"\n").unwrap();
    let settings = settings.display().to_string();
    let group = &product.groups[0];
    let servers: Vec<&RedisServer> = std::iter::once(&group.master).chain(&group.slaves).collect();
    let mut pauses = Vec::new();
    for round in 0..rounds(usual) {
        let new = servers[(round + 1) % servers.len()];
        for client in &clients {
            until_counting(client).await;
            client.forget_pauses();
        }
        product.ctl_ok(&["group", "promote", "1", &new.addr(), "--config", &settings]);
        if by == By::Agent {
            until_ended(&product, &addr(new)).await;
        }
        for client in &clients {
            until_counting(client).await;
        }
        pauses.push(clients.iter().map(Counting::longest).max().unwrap());
        let saga = saga(&product).await.unwrap();
        let ended = (SagaKind::Planned, Stage::Ended, addr(new), Some(Loss::NONE));
        assert_eq!((saga.kind, saga.stage, saga.new, saga.receipt.lost), ended, "{title}, round {round}");
        // Whoever asks says for how long clients may wait.
        assert_eq!(saga.hold_ms, 4000, "{title}, round {round}");
        until_settled(&product, &servers).await;
    }
    for (n, client) in clients.into_iter().enumerate() {
        let (acknowledged, errors) = client.finish();
        let kept = product.proxies[1 - n].client().call(&["GET", &format!("counter-{n}")]).unwrap();
        assert_eq!((kept.text(), errors), (acknowledged.to_string(), 0), "{title}: {pauses:?}");
    }
    if let Some(ledger) = ledger {
        let account = ledger.finish().await;
        assert!(
            account.holds() && account.error_count() == 0,
            "{title}: {:#?} {:?}",
            account.violations,
            account.errors
        );
    }
    report(&title, pauses, agent.as_ref());
}

#[expect(clippy::print_stdout, reason = "the pauses are a result")]
fn report(title: &str, mut pauses: Vec<Duration>, agent: Option<&Process>) {
    if let Some(agent) = agent.filter(|_| is_long()) {
        let log = agent.log();
        let steps = log.lines().filter(|line| line.contains("DEBUG") && line.contains("group=1"));
        steps.for_each(|line| println!("{line}"));
    }
    pauses.sort_unstable();
    let at = |share: f64| pauses[((pauses.len() - 1) as f64 * share).ceil() as usize].as_secs_f64() * 1e3;
    let (n, over) =
        (pauses.len(), pauses.iter().filter(|pause| **pause > Duration::from_millis(100)).count());
    println!(
        "{title}, {n} planned changes: p50 {:.1}, p99 {:.1}, max {:.1} ms; over 100 ms: {over} of {n}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_change_by_hand_loses_nothing_and_shows_no_error() {
    need!("redis");
    switches(Store::local(), By::Hand, Load::Ledger, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_change_by_an_agent_loses_nothing_and_shows_no_error() {
    need!("redis", "zookeeper");
    switches(Store::zk(), By::Agent, Load::Ledger, 2).await;
}

/// The other combinations are there for their figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_of_planned_changes_everywhere() {
    need!("redis", "zookeeper");
    if !is_long() {
        return;
    }
    switches(Store::zk(), By::Agent, Load::Nothing, 0).await;
    switches(Store::zk(), By::Hand, Load::Ledger, 0).await;
    switches(Store::local(), By::Agent, Load::Nothing, 0).await;
    switches(Store::local(), By::Agent, Load::Ledger, 0).await;
}

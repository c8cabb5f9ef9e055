//! What people get to read when a master dies, comes back, cannot be replaced, or restarts without its data.
//!
//! The slaves of a master without its data ask it for a copy within a second, by themselves. So what becomes of the data depends on
//! who is first: each order is staged here.

use std::time::Duration;

use codis_core::SlotSet;
use codis_core::ha::Loss;
use codis_testkit::{Mail, Process, RedisServer, SmtpServer, eventually, need};
use codis_tests::{Product, Servers, Store};

use crate::alerts::{mail_server, settings, until_mailed, with};
use crate::failover::{Counting, addr, saga, until_counting, until_ended, until_led};
use crate::ha_cases::ask;
use crate::support::{Told, assert_filled, fill, told, until_copied};
use crate::trio::{master, until_healthy};

const SOON: Duration = Duration::from_secs(40);
const KEYS: u64 = 10;

fn slots() -> SlotSet {
    "0-7".parse().unwrap()
}

/// A group with data, a mail server, an agent that leads, and clients: without them a single agent's word does not count.
async fn watched(servers: Servers, max_lag: &str) -> (Product, SmtpServer, Process, Counting) {
    let mail = mail_server();
    let product = Product::start(Store::local(), vec![servers], 1);
    fill(&product, &slots(), KEYS).await;
    until_copied(&product);
    let settings = settings(&product, &mail, "send_interval = \"300s\"");
    let settings = settings.replace("[ha]\n", &format!("[ha]\nmax_lag = \"{max_lag}\"\n"));
    let agent = product.agent(&settings, &[]);
    until_led(&product).await;
    // It has seen what there was: it asks for the write stop after that.
    let seen = &product.groups[0].master;
    ask(seen, "CONFIG SET slowlog-log-slower-than 0");
    let looked = |one: &Told| one.name == "codis-agent-look" && one.order.starts_with("CONFIG GET");
    eventually(SOON, || told(seen).iter().any(looked));
    ask(seen, "CONFIG SET slowlog-log-slower-than 10000");
    let load = Counting::start(&product.proxies[0], "load");
    until_counting(&load).await;
    (product, mail, agent, load)
}

/// The text of a mail without the places where its lines end.
fn flat(mail: &Mail) -> String {
    mail.text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_says(mail: &Mail, all: &[&str]) {
    let text = flat(mail);
    for words in all {
        assert!(text.contains(words), "`{words}` is missing in: {}\n{text}", mail.subject);
    }
}

/// Only one mail that is not about the end of something has these words.
#[track_caller]
fn assert_once(mail: &SmtpServer, words: &[&str]) {
    let found = with(&mail.mails(), words);
    let subjects: Vec<_> =
        found.iter().filter(|mail| !mail.subject.contains(" OK ")).map(|mail| &mail.subject).collect();
    assert_eq!(subjects.len(), 1, "{words:?}: {subjects:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_master_is_told_with_the_receipt_and_so_is_its_return() {
    need!("redis", "smtp");
    let (mut product, mail, agent, load) =
        watched(Servers::start(RedisServer::builder().durable(), 1), "5m").await;
    let (old, new) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    product.groups[0].master.kill();
    let took_over = until_mailed(&mail, &agent, &["its slave took over", new.as_str()]).await;
    let receipt = until_ended(&product, &new).await.receipt;
    let lost = match receipt.lost {
        Some(Loss::NONE) => "lost: none",
        Some(_) => "lost: at least ",
        None => "lost: nobody can tell",
    };
    let change = format!("group 1: {old} → {new}");
    let said = [
        &change,
        "(1 of 1 agents, 1 of 1 proxies)",
        lost,
        "1 of 1 proxies confirmed",
        "codisctl group sync 1",
    ];
    assert_says(&took_over, &said);

    until_counting(&load).await;
    drop(load);
    product.groups[0].master.restart_alone();
    until_healthy(&product).await;
    let back = until_mailed(&mail, &agent, &["is back in group 1", old.as_str()]).await;
    // It has restarted, so nobody can tell what only it has.
    let kept = product.home().path().join("rejoin-backups");
    let files: Vec<_> = std::fs::read_dir(kept).unwrap().map(|file| file.unwrap().file_name()).collect();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    let file = file.to_string_lossy();
    assert_says(&back, &[&format!("group 1: {old} of {new}"), "in sync", "lost at the failover: ", &file]);
    assert_once(&mail, &["its slave took over"]);
    assert_once(&mail, &["is back in group 1"]);
    assert_filled(&product, &slots(), KEYS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_nobody_can_replace_is_told_with_what_is_held_against_each_slave() {
    need!("redis", "smtp");
    let (mut product, mail, agent, load) =
        watched(Servers::start(RedisServer::builder().durable(), 3), "1s").await;
    let [dead, never, late] = [0, 1, 2].map(|n| product.groups[0].slaves[n].addr());
    product.groups[0].slaves[0].kill();
    ask(&product.groups[0].slaves[1], "CONFIG SET replica-priority 0");
    // It has found no way to its master for longer than it may be behind.
    for setting in ["masteruser nobody", "masterauth wrong"] {
        ask(&product.groups[0].slaves[2], &format!("CONFIG SET {setting}"));
    }
    ask(&product.groups[0].slaves[2], "CLIENT KILL TYPE master");
    eventually(SOON, || {
        let info = ask(&product.groups[0].slaves[2], "INFO replication");
        let line = info.lines().find_map(|line| line.strip_prefix("master_link_down_since_seconds:"));
        line.is_some_and(|seconds| seconds.trim().parse::<u64>().unwrap() > 3)
    });
    product.groups[0].master.kill();
    let refused =
        until_mailed(&mail, &agent, &["slots answer errors", &product.groups[0].master.addr()]).await;
    let reasons = [
        format!("{dead}: not reachable"),
        format!("{never}: its replica-priority is 0"),
        format!("{late}: "),
        "limit max_lag_s 1".to_owned(),
        "its 1024 slots answer errors".to_owned(),
        format!("codisctl group promote 1 {never} --force"),
    ];
    assert_says(&refused, &reasons.each_ref().map(String::as_str));
    assert!(refused.subject.contains("CRITICAL"), "{}", refused.subject);
    assert!(saga(&product).await.is_none(), "nothing was begun");

    product.groups[0].master.restart_alone();
    until_counting(&load).await;
    until_mailed(&mail, &agent, &["lasted", "slots answer errors"]).await;
    assert_once(&mail, &["slots answer errors"]);
}

/// It takes longer than the detection: its slave has taken its place by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_restarts_empty_too_late_follows_the_slave_that_has_the_data() {
    need!("redis", "smtp");
    let (mut product, mail, agent, load) = watched(Servers::start(RedisServer::builder(), 1), "5m").await;
    let (old, new) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    product.groups[0].master.kill();
    until_ended(&product, &new).await;
    product.groups[0].master.restart_alone();
    until_healthy(&product).await;
    drop(load);
    assert_eq!(master(&product).await, new);
    assert_filled(&product, &slots(), KEYS).await;
    until_mailed(&mail, &agent, &["is back in group 1", old.as_str()]).await;
    assert!(with(&mail.mails(), &["restarted without its data"]).is_empty(), "it was no master any more");
}

/// It is there again at once, and its slave has not copied it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_restarts_empty_is_replaced_by_a_slave_that_still_has_the_data() {
    need!("redis", "smtp");
    let (mut product, mail, agent, load) = watched(Servers::start(RedisServer::builder(), 1), "5m").await;
    let (old, new) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    for setting in ["masteruser nobody", "masterauth wrong"] {
        ask(&product.groups[0].slaves[0], &format!("CONFIG SET {setting}"));
    }
    product.groups[0].master.restart_alone();
    let ended = until_ended(&product, &new).await;
    assert!(ended.why.starts_with("it restarted without its"), "{ended:?}");
    let mail_of_it = until_mailed(&mail, &agent, &["restarted without its data", old.as_str()]).await;
    assert_says(
        &mail_of_it,
        &[&format!("the slave {new} still has them"), &format!("{new} takes its place")],
    );
    until_mailed(&mail, &agent, &["its slave took over", new.as_str()]).await;
    drop(load);
    until_healthy(&product).await;
    assert_filled(&product, &slots(), KEYS).await;
    assert_once(&mail, &["restarted without its data"]);
}

/// It is there again at once, and its slave has copied it before anybody looked. Nothing can be done but to say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_f4_that_a_master_and_its_slaves_have_lost_their_data_is_told() {
    need!("redis", "smtp");
    let (mut product, mail, agent, load) = watched(Servers::start(RedisServer::builder(), 1), "5m").await;
    drop(load);
    let old = addr(&product.groups[0].master);
    agent.stop();
    product.groups[0].master.restart_alone();
    let copied = || {
        let slave = &product.groups[0].slaves[0];
        ask(slave, "DBSIZE") == "0" && ask(slave, "INFO replication").contains("link_status:up")
    };
    eventually(SOON, copied);
    agent.cont();
    let mail_of_it = until_mailed(&mail, &agent, &["restarted without its data", old.as_str()]).await;
    // The load's own key may be among them.
    let before =
        if flat(&mail_of_it).contains("81 before") { "0 keys, 81 before" } else { "0 keys, 80 before" };
    let said = [before, "no slave has them", "nothing: no slave has the keys", "codisctl ha explain 1"];
    assert_says(&mail_of_it, &said);
    assert!(mail_of_it.subject.contains("CRITICAL"), "{}", mail_of_it.subject);
    assert!(saga(&product).await.is_none(), "an empty slave is no better");
    // Somebody fills it again, from a backup perhaps.
    fill(&product, &slots(), KEYS).await;
    until_mailed(&mail, &agent, &["lasted", "restarted without its data"]).await;
    assert!(saga(&product).await.is_none(), "nothing was done");
    assert_eq!(master(&product).await, old);
}

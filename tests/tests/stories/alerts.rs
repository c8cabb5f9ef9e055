//! What people get to read: a real agent, real servers and proxies, and a real mail server.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use codis_core::GroupId;
use codis_store::ConnectOptions;
use codis_testkit::{Mail, Process, RedisServer, SmtpServer, eventually_async, need};
use codis_tests::{PRODUCT, Product, Servers, Store};

use crate::support::{snapshot, until_copied};

/// How long anything may take that is awaited.
const SOON: Duration = Duration::from_secs(40);
const PASSWORD: &str = "hu=sh-54321";

/// Quick enough for a test, slow enough for a busy machine.
pub(crate) fn settings(product: &Product, mail: &SmtpServer, alert: &str) -> String {
    let secret = product.home().write("mail-password", &format!("{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[agent]\ncheck_interval = \"200ms\"\n[ha]\ndown_after = \"2s\"\nrecovery_block = \"1s\"\n\
         [alert]\nrecover_after = \"1s\"\n{alert}\n[alert.mail]\nserver = \"{}\"\nsecurity = \"none\"\n\
         from = \"codis@example.com\"\nto = \"li@example.com; wang@example.com\"\nuser = \"ops\"\n\
         password_file = \"{}\"\ntimeout = \"3s\"\n\
         [duty.memory]\nhost_line = 100\n[duty.replication]\ngrace = \"1s\"\n[duty.connectivity]\nslow = \"9s\"\n\
         [duty.proxies]\ninterval = \"500ms\"\nwindow = \"6s\"\nfailed_ops = 5\ngrace = \"1s\"\nack = \"1s\"\n\
         [duty.tasks]\nafter = \"300ms\"\n",
        mail.addr(),
        secret.display()
    )
}

pub(crate) fn mail_server() -> SmtpServer {
    SmtpServer::builder().login("ops", PASSWORD).start()
}

fn two_groups() -> Vec<Servers> {
    (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect()
}

fn used(server: &RedisServer) -> u64 {
    let info = server.client().call(&["INFO", "memory"]).unwrap().text();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

/// Sets the limit so that the server is 88 % full, or nearly empty.
fn limit(server: &RedisServer, full: bool) {
    // So much that the buffers of some clients do not count.
    server.client().call(&["SETRANGE", "ballast", "16000000", "x"]).unwrap();
    let max = if full { used(server) * 100 / 88 } else { 1 << 30 };
    server.client().call(&["CONFIG", "SET", "maxmemory", &max.to_string()]).unwrap();
}

/// Mails that hold all of these words, in the subject or, as one of several alerts, in the text.
pub(crate) fn with(mails: &[Mail], words: &[&str]) -> Vec<Mail> {
    let holds = |mail: &&Mail| {
        // Where its lines end is of no interest.
        let all = format!("{} {}", mail.subject, mail.text);
        let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
        words.iter().all(|word| all.contains(word))
    };
    mails.iter().filter(holds).cloned().collect()
}

pub(crate) async fn until_mailed(mail: &SmtpServer, agent: &Process, words: &[&str]) -> Mail {
    let end = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < end {
        if let Some(found) = with(&mail.mails(), words).pop() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let subjects: Vec<_> = mail.mails().into_iter().map(|mail| mail.subject).collect();
    panic!("no mail with {words:?}: {subjects:#?}\n{}", agent.log());
}

/// Writes a slot's group without telling anybody.
async fn rewrite_slot(product: &Product, slot: u16, group: u32) {
    let store = product.store.url().parse().unwrap();
    let store = codis_store::Store::connect(&store, &ConnectOptions::control()).await.unwrap();
    let path = format!("/zk/codis/db_{PRODUCT}/slots/slot_{slot}");
    let node = store.get(&path).await.unwrap();
    let text = String::from_utf8(node.data.clone()).unwrap();
    let other = 3 - group;
    let text = text.replace(&format!("\"group_id\":{other}"), &format!("\"group_id\":{group}"));
    store.set(&path, text.as_bytes(), node.version).await.unwrap();
    store.close().await.unwrap();
}

fn owner(cluster: &codis_core::Cluster, slot: u16) -> u32 {
    cluster.slot(codis_core::SlotId::new(slot).unwrap()).unwrap().group.map_or(0, |GroupId(id)| id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trouble_is_told_once_and_so_is_its_end() {
    need!("redis", "smtp");
    let mail = mail_server();
    let product = Product::start(Store::local(), two_groups(), 1);
    let agent = product.agent(&settings(&product, &mail, "send_interval = \"300s\""), &[]);

    let full = &product.groups[0].master;
    limit(full, true);
    let found = until_mailed(&mail, &agent, &["filling up", &full.addr()]).await;
    assert!(found.text.contains("% (line 80 %)") && found.text.contains("group 1: master"), "{}", found.text);
    assert_eq!(found.to, ["li@example.com", "wang@example.com"]);
    limit(full, false);
    until_mailed(&mail, &agent, &["lasted", "filling up", &full.addr()]).await;

    let slave = &product.groups[1].slaves[0];
    let mut client = slave.client();
    for (key, value) in [("masteruser", "nobody"), ("masterauth", "wrong")] {
        client.call(&["CONFIG", "SET", key, value]).unwrap();
    }
    client.call(&["CLIENT", "KILL", "TYPE", "master"]).unwrap();
    let found = until_mailed(&mail, &agent, &["slave does not replicate", &slave.addr()]).await;
    assert!(found.text.contains("the link is down"), "{}", found.text);
    for key in ["masteruser", "masterauth"] {
        client.call(&["CONFIG", "SET", key, ""]).unwrap();
    }
    until_mailed(&mail, &agent, &["lasted", "slave does not replicate", &slave.addr()]).await;

    let proxy = &product.proxies[0];
    for _ in 0..7 {
        proxy.client().call(&["FLUSHALL"]).unwrap();
    }
    let found = until_mailed(&mail, &agent, &["CRITICAL", "operations fail at"]).await;
    assert!(found.text.contains("(line 5)"), "{}", found.text);
    until_mailed(&mail, &agent, &["lasted", "operations fail"]).await;

    let before = owner(&snapshot(&product).await, 5);
    rewrite_slot(&product, 5, 3 - before).await;
    let found = until_mailed(&mail, &agent, &["CRITICAL", "routes otherwise"]).await;
    assert!(found.text.contains("1 slots differ: 5"), "{}", found.text);
    rewrite_slot(&product, 5, before).await;
    until_mailed(&mail, &agent, &["lasted", "routes otherwise"]).await;

    for words in [["memory", "%"], ["does not", "replicate"], ["operations", "failed"], ["slots of", "proxy"]]
    {
        let told = with(&mail.mails(), &words);
        let subjects: Vec<_> = told.iter().map(|mail| &mail.subject).collect();
        assert_eq!(told.len(), 2, "{words:?} begins once and ends once: {subjects:?}");
    }
    // No secret in the log, nor in the process list.
    let argv = std::fs::read(format!("/proc/{}/cmdline", agent.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&argv).contains(PASSWORD));
    assert!(!agent.log().contains(PASSWORD));
    assert_eq!(product.ctl_ok(&["alert", "list"]), "no alerts\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lasts_is_repeated_until_somebody_knows_and_several_make_one_mail() {
    need!("redis", "smtp");
    let mail = mail_server();
    let product = Product::start(Store::local(), two_groups(), 1);
    let (one, two) = (&product.groups[0].master, &product.groups[1].master);
    limit(one, true);
    limit(two, true);
    let agent = product.agent(&settings(&product, &mail, "send_interval = \"2s\""), &[]);
    let first = until_mailed(&mail, &agent, &["memory", "(+"]).await;
    assert!(first.text.contains(&one.addr()) && first.text.contains(&two.addr()), "{}", first.text);
    eventually_async(SOON, async || with(&mail.mails(), &["filling up"]).len() >= 3).await;
    for server in [one, two] {
        product.ctl_ok(&["alert", "ack", "memory", &server.addr(), "--why", "OPS-812"]);
    }
    let listed = product.ctl_ok(&["alert", "list", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(
        listed["alerts"].as_array().unwrap().iter().all(|alert| alert["standing"] == "acknowledged"),
        "{listed}"
    );
    let counts = |listed: &serde_json::Value| listed["alerts"][0]["count"].as_u64().unwrap();
    let (told, count) = (mail.mails().len(), counts(&listed));
    // It goes on being counted, so the agent looks on; but nobody is mailed.
    eventually_async(SOON, async || {
        let listed = product.ctl_ok(&["alert", "list", "--output", "json"]);
        counts(&serde_json::from_str(&listed).unwrap()) >= count + 2
    })
    .await;
    assert!(mail.mails().len() <= told + 1, "one may have been on its way: {}", agent.log());
    limit(one, false);
    limit(two, false);
    until_mailed(&mail, &agent, &["lasted", "filling up"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_hangs_delays_no_failover_and_gets_its_mails_later() {
    need!("redis", "smtp");
    let mail = mail_server();
    let mut product = Product::start(Store::local(), two_groups(), 1);
    until_copied(&product);
    let agent = product.agent(&settings(&product, &mail, "send_interval = \"300s\""), &[]);
    let new = |product: &Product, group: usize| product.groups[group].slaves[0].addr();
    let well = lost_for(&mut product, 1, &agent).await;
    until_mailed(&mail, &agent, &["its slave took over", &new(&product, 1)]).await;

    mail.process().stop();
    limit(&product.groups[1].slaves[0], true);
    // A mail is on its way to nowhere.
    eventually_async(SOON, async || product.ctl_ok(&["alert", "list"]).contains("memory")).await;
    let told = mail.mails().len();
    let hanging = lost_for(&mut product, 0, &agent).await;
    assert_eq!(mail.mails().len(), told, "it hangs");
    // It waits 3 s for a mail server, again and again.
    assert!(hanging < well + Duration::from_secs(2), "{hanging:?} beside {well:?} with mails");
    mail.process().cont();
    let found = until_mailed(&mail, &agent, &["its slave took over", &new(&product, 0)]).await;
    let old = product.groups[0].master.addr();
    assert!(found.text.contains(&old) && found.text.contains("lost:"), "{}", found.text);
    until_mailed(&mail, &agent, &["memory", &product.groups[1].slaves[0].addr()]).await;
    assert_eq!(with(&mail.mails(), &["its slave took over", &new(&product, 0)]).len(), 1);
}

/// Kills the master of a group; how long the group was without one, as the receipt says.
async fn lost_for(product: &mut Product, group: usize, agent: &Process) -> Duration {
    product.groups[group].master.kill();
    let id = GroupId(group as u32 + 1);
    let over = async || snapshot(product).await.sagas.get(&id).is_some_and(|saga| saga.stage.is_over());
    let end = tokio::time::Instant::now() + SOON;
    while !over().await {
        let late = tokio::time::Instant::now() > end;
        assert!(!late, "{}\n{}", product.ctl_ok(&["alert", "list", "--output", "json"]), agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let receipt = snapshot(product).await.sagas[&id].receipt.clone();
    Duration::from_millis(receipt.followed_ms - receipt.last_good_ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_a_hanging_proxy_stops_is_told_and_so_is_the_proxy() {
    need!("redis", "smtp");
    let mail = mail_server();
    let product = Product::start(Store::local(), two_groups(), 2);
    let agent = product.agent(&settings(&product, &mail, "send_interval = \"300s\""), &[]);
    product.proxies[1].process().stop();
    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let found = until_mailed(&mail, &agent, &["CRITICAL", "px-2 does not acknowledge"]).await;
    for words in
        ["no answer in 1 s", "slots_changed", "the slots stay where they are", "codisctl proxy show px-2"]
    {
        assert!(found.text.contains(words), "{words}: {}", found.text);
    }
    let found = until_mailed(&mail, &agent, &["moving slots 1 → 2 failed"]).await;
    for words in ["group 1 → 2, slots 7", "1 tasks: ", "px-2", "codisctl task list"] {
        assert!(found.text.contains(words), "{words}: {}", found.text);
    }
    assert_eq!(owner(&snapshot(&product).await, 7), 1, "it serves where it was");

    product.proxies[1].process().cont();
    until_mailed(&mail, &agent, &["lasted", "does not acknowledge changes", "proxy px-2"]).await;
    product.ctl_ok(&["task", "resume", "--state", "error"]);
    until_mailed(&mail, &agent, &["lasted", "a move waits for a person"]).await;
    eventually_async(SOON, async || snapshot(&product).await.moves.is_empty()).await;
    assert_eq!(owner(&snapshot(&product).await, 7), 2);
    for words in ["a move waits for a person", "does not acknowledge changes"] {
        assert_eq!(with(&mail.mails(), &[words]).len(), 2, "begins once and ends once: {words}");
    }
}

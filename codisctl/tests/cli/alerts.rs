//! What people were told of, and what they answer.

use codis_core::notice::{Alert, AlertId, Facts, Record};
use codis_core::{Extra, GroupId, Role};
use codis_store::{AlertChange, ConnectOptions, Product, Store};
use codis_testkit::{SmtpServer, need};

use crate::support::{Desk, PRODUCT};

const PASSWORD: &str = "hu=sh-54321";

/// What an agent remembers: a server that fills up, a failover, and a proxy that does not answer.
fn remember(desk: &Desk) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::connect(&desk.store().parse().unwrap(), &ConnectOptions::control()).await.unwrap();
        let product = Product::new(store, PRODUCT.parse().unwrap());
        let memory = Facts::Memory {
            group: GroupId(7),
            server: "10.0.7.51:6387".parse().unwrap(),
            role: Role::Master,
            used: 25 << 29,
            max: 15 << 30,
            line: 80,
            growth: None,
            full_ms: None,
        };
        let silent = Facts::ProxySilent {
            proxy: "px-4".into(),
            addr: "10.0.9.24:19000".into(),
            why: "no answer".into(),
        };
        let event = Facts::Test { by: "li@ops".into() };
        let alerts = [("10.0.7.51:6387", memory, 43), ("px-4", silent, 2), ("mail", event, 1)];
        let changes: Vec<AlertChange> = alerts
            .into_iter()
            .map(|(subject, facts, count)| {
                let alert = Alert::new(subject, 951_782_400_000, facts);
                let (first_ms, last_ms, told_ms) = (1, 2, 3);
                let (said, gone_ms, ack, extra) = (true, None, None, Extra::default());
                let id = AlertId::new(alert.kind(), subject);
                let record = Record { alert, first_ms, last_ms, count, told_ms, said, gone_ms, ack, extra };
                AlertChange { id, version: None, record: Some(record) }
            })
            .collect();
        product.put_alerts(&changes).await.unwrap();
        product.store().close().await.unwrap();
    });
}

#[test]
fn alerts_are_listed_acknowledged_and_silenced() {
    let desk = Desk::new().with_product();
    assert_eq!(desk.run(&["alert", "list"]).ok().out, "no alerts\n");
    remember(&desk);
    insta::assert_snapshot!(desk.run(&["alert", "list"]).ok().out, @"
    severity  kind          subject              since (UTC)  count  what
    ───────────────────────────────────────────────────────────────────────────────────────────────────
    critical  proxy_silent  px-4            2000-02-29 00:00      2  no answer
    warning   memory        10.0.7.51:6387  2000-02-29 00:00     43  12.5 of 15.0 GiB, 83 % (line 80 %)
    event     test          mail            2000-02-29 00:00      1  asked for by li@ops
    1 critical, 1 warning, 1 event   ack: codisctl alert ack proxy_silent px-4
    ");

    desk.run(&["alert", "ack", "memory", "10.0.7.51:6387", "--why", "OPS-812"]).ok();
    desk.run(&["alert", "silence", "*", "px-*", "--for", "4h", "--why", "new disk"]).ok();
    let list = desk.run(&["alert", "list", "--output", "json"]).ok().json();
    let standing: Vec<_> =
        list["alerts"].as_array().unwrap().iter().map(|alert| &alert["standing"]).collect();
    assert_eq!(standing, ["silenced", "acknowledged", "event"]);
    assert_eq!(list["alerts"][0]["why"], "new disk");
    assert_eq!(list["alerts"][1]["facts"]["line"], "80");
    assert_eq!(list["silences"][0]["kind"], "*");
    let people = desk.run(&["alert", "list"]).ok().out;
    assert!(people.ends_with("1 known, 1 silenced, 1 event\n"), "{people}");

    desk.run(&["alert", "silence", "*", "px-*", "--end"]).ok();
    let list = desk.run(&["alert", "list", "--output", "json"]).ok().json();
    assert_eq!(
        (&list["alerts"][0]["standing"], list["silences"].as_array().unwrap().len()),
        (&"open".into(), 0)
    );
    assert!(
        desk.run(&["alert", "ack", "proxy_silent", "px-4", "--dry-run"])
            .ok()
            .out
            .contains("nothing was written")
    );
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let desk = Desk::new().with_product();
    remember(&desk);
    insta::assert_snapshot!(desk.run(&["alert", "ack", "memory", "10.0.7.99:1"]).all(), @"
    --- 1
    error: cannot acknowledge memory 10.0.7.99:1
      where  /zk/codis/db_feed
      why    there is no such alert now
      next   codisctl alert list
    ");
    insta::assert_snapshot!(desk.run(&["alert", "ack", "test", "mail"]).all(), @"
    --- 1
    error: cannot acknowledge test mail
      where  /zk/codis/db_feed
      why    it tells what has happened, and is never repeated
      next   codisctl alert list
    ");
    let unknown = desk.run(&["alert", "ack", "weather", "x"]);
    assert_eq!(unknown.status, 2);
    assert!(unknown.err.contains("`weather` is not a kind of alert"), "{}", unknown.err);
    let forever = desk.run(&["alert", "silence", "memory", "*"]);
    assert_eq!((forever.status, forever.err.contains("--for")), (2, true), "{}", forever.err);
}

/// Writes settings that name this mail server, and says the file.
fn settings(desk: &Desk, port: u16, more: &str) -> String {
    let text = format!(
        "product = \"feed\"\n[alert]\nlang = \"zh\"\n[alert.mail]\nserver = \"127.0.0.1:{port}\"\n\
         security = \"none\"\nfrom = \"ops@example.com\"\nto = \"li@example.com; wang@example.com\"\n{more}"
    );
    desk.sandbox.write("alerts.toml", &text).unwrap().display().to_string()
}

fn secret(desk: &Desk, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = desk.sandbox.write("secret", &format!("{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_test_goes_through_every_channel() {
    need!("smtp");
    let mut desk = Desk::new();
    let server = SmtpServer::builder().login("ops", PASSWORD).start();
    desk.name(&server.addr(), "MAIL");
    secret(&desk, 0o600);
    let file = desk.sandbox.path().join("secret");
    let more = format!("user = \"ops\"\npassword_file = \"{}\"\n", file.display());
    let config = settings(&desk, server.port(), &more);
    insta::assert_snapshot!(desk.run(&["--config", &config, "alert", "test"]).all(), @"
    channel  where                        result
    ────────────────────────────────────────────
    mail     mail server MAIL  taken
    --- 0
    ");
    let mails = server.mails();
    assert_eq!((mails.len(), mails[0].to.len(), mails[0].login.as_str()), (1, 2, "ops"));
    assert_eq!(mails[0].subject, "[codis] 通知 feed：告警可以送达");

    server.kill();
    let dead = desk.run(&["--config", &config, "alert", "test", "--output", "json"]);
    assert_eq!(dead.status, 5, "{}", dead.all());
    assert!(dead.json()["channels"][0]["error"].as_str().unwrap().contains("refused"), "{}", dead.out);
    assert!(!dead.all().contains(PASSWORD));
}

#[test]
fn the_settings_of_codis_ha_are_read_as_they_are() {
    need!("smtp");
    let desk = Desk::new();
    let server = SmtpServer::builder().login("codis@example.com", PASSWORD).start();
    let text = format!(
        "{{\"dashboard_addr\": \"10.0.7.20:18087\", \"email_addr\": \"codis@example.com\", \"email_pwd\": \"{PASSWORD}\",\n\
         \"smtp_addr\": \"{}\", \"to_addr\": \"li@example.com;wang@example.com\", \"send_interval\": 300}}",
        server.addr()
    );
    let config = desk.sandbox.write("codis-ha.json", &text).unwrap().display().to_string();
    let ran = desk.run(&["--config", &config, "alert", "test"]).ok();
    assert!(ran.err.contains("`dashboard_addr` is not used"), "{}", ran.err);
    assert!(ran.err.contains("others can read it: chmod 600"), "{}", ran.err);
    let mails = server.mails();
    assert_eq!(
        (mails[0].from.as_str(), &mails[0].to[..]),
        ("codis@example.com", &["li@example.com".to_owned(), "wang@example.com".into()][..])
    );
    assert!(!ran.all().contains(PASSWORD));
}

#[test]
fn settings_that_cannot_work_are_named_with_their_line() {
    let mut desk = Desk::new();
    let refuse = |desk: &Desk, more: &str| {
        let config = settings(desk, 25, more);
        desk.run(&["--config", &config, "alert", "test"]).all()
    };
    insta::assert_snapshot!(refuse(&desk, "user = \"ops\"\n"), @r#"
    --- 2
    error: alerts.toml line 9: wrong value for `alert.mail.user`
      where  DIR/alerts.toml:9:1   user = "ops"
      why    there is no password for it: neither CODIS_MAIL_PASSWORD nor alert.mail.password_file
      next   write e.g. `user = "codis@example.com"`
    "#);
    secret(&desk, 0o644);
    let file = desk.sandbox.path().join("secret");
    let open = refuse(&desk, &format!("user = \"ops\"\npassword_file = \"{}\"\n", file.display()));
    assert!(open.contains("its mode is 0644: others can read it"), "{open}");
    let ca = refuse(&desk, "ca_file = \"/nonexistent.pem\"\n");
    assert!(ca.contains("alerts.toml line 9: wrong value for `alert.mail.ca_file`"), "{ca}");
    let texts = desk.sandbox.write("texts.toml", "[memory]\nline = \"{{ usage }}\"\n").unwrap();
    desk.name(&texts.display().to_string(), "TEXTS");
    let config = desk
        .sandbox
        .write("alerts.toml", &format!("product = \"feed\"\n[alert]\ntexts = \"{}\"\n", texts.display()))
        .unwrap();
    let ran = desk.run(&["--config", &config.display().to_string(), "alert", "test"]);
    assert!(ran.err.contains("line 2: wrong text `memory.line`"), "{}", ran.err);
    assert!(ran.err.contains("there is no `usage` here; there are: "), "{}", ran.err);
    let none = desk.run(&["alert", "test"]);
    assert_eq!(none.status, 2, "{}", none.all());
    assert!(none.err.contains("neither [alert.mail] nor [alert.webhook]"), "{}", none.err);
}

#[test]
fn servers_are_pinged_and_those_that_are_not_well_are_named() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let (one, two) = (desk.redis("ONE"), desk.redis("TWO"));
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--slave", &two.addr(), "--yes"]).ok();
    // The machine of a test may be busy.
    let config = desk.sandbox.write("ping.toml", "[duty.connectivity]\nslow = \"9s\"\n").unwrap();
    let config = config.display().to_string();
    let ping = |desk: &Desk, more: &[&str]| {
        let args = [&["--config", &config, "server", "ping"], more].concat();
        desk.run(&args)
    };
    let people = ping(&desk, &["--all"]).ok().out;
    assert!(people.ends_with("2 servers: 2 ok, 0 slow, 0 unreachable\n"), "{people}");
    let json = ping(&desk, &[&one.addr(), "--output", "json"]).ok().json();
    assert_eq!(
        (&json["servers"][0]["verdict"], &json["servers"][0]["listed_role"]),
        (&"ok".into(), &"master".into())
    );
    assert!(
        json["servers"][0]["ping_p50_us"].as_u64().unwrap()
            <= json["servers"][0]["ping_max_us"].as_u64().unwrap()
    );

    two.kill();
    let dead = ping(&desk, &["--all"]);
    assert_eq!(dead.status, 3, "{}", dead.all());
    assert!(dead.err.contains("a server does not answer") && dead.err.contains("refused"), "{}", dead.err);
}

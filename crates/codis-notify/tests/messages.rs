//! What people read: each kind of message in both languages, word for word.
#![expect(clippy::unwrap_used, reason = "test")]

use codis_core::ha::Loss;
use codis_core::notice::{Alert, Facts, Kind, Notice, NoticeKind, Trouble, Unsaved};
use codis_core::{Addr, GroupId, Role, Severity};
use codis_notify::{Lang, Letterhead, Texts};
use jiff::tz::{Offset, TimeZone};

/// 2026-11-22 14:31:09 +08:00.
const NOW: u64 = 1_795_329_069_000;
const GIB: u64 = 1 << 30;

fn addr(text: &str) -> Addr {
    text.parse().unwrap()
}

/// An alert of each kind; those with very different texts more than once.
fn alerts() -> Vec<(&'static str, Alert)> {
    let group = GroupId(5);
    let replication = |trouble, lag_ms, lag_bytes| Facts::Replication {
        group: GroupId(3),
        slave: addr("10.0.7.54:6383"),
        master: addr("10.0.7.51:6383"),
        trouble,
        lag_ms,
        lag_bytes,
        line_ms: 30_000,
    };
    let failover = |planned, loss, silent: &[&str]| Facts::FailoverDone {
        group,
        from: addr("10.0.7.51:6385"),
        to: addr("10.0.7.52:6385"),
        planned,
        down_ms: 6000,
        agents_agree: 3,
        agents: 3,
        proxies_agree: 6,
        proxies: 6,
        switched_ms: 400,
        loss,
        confirmed: 6 - silent.len() as u64,
        silent: silent.iter().map(|id| (*id).to_owned()).collect(),
        followers: vec!["10.0.7.54:6385".into()],
    };
    let (px4, px4_addr) = (|| "px-4".to_owned(), || "10.0.9.24:19000".to_owned());
    let facts = vec![
        ("failover_done", failover(false, Some(Loss::NONE), &[])),
        (
            "failover_done_with_losses",
            failover(false, Some(Loss { bytes: 118 << 20, writes: Some(13_204) }), &["px-4"]),
        ),
        ("failover_done_planned", failover(true, Some(Loss::NONE), &[])),
        (
            "failover_refused",
            Facts::FailoverRefused {
                group: GroupId(9),
                master: addr("10.0.7.51:6389"),
                slots: 79,
                why: None,
                refused: vec![
                    "10.0.7.52:6389 link down 412 s (max_lag_s 10)".into(),
                    "10.0.7.53:6389 is loading".into(),
                ],
                best: Some(addr("10.0.7.52:6389")),
            },
        ),
        (
            "rejoin_waiting",
            Facts::RejoinWaiting {
                group,
                server: addr("10.0.7.51:6385"),
                master: addr("10.0.7.52:6385"),
                why: "rejoin = \"manual\"".into(),
            },
        ),
        (
            "rejoin_done",
            Facts::RejoinDone {
                group,
                server: addr("10.0.7.51:6385"),
                master: addr("10.0.7.52:6385"),
                kept: Some("/backup/feed/10.0.7.51-6385-before-rejoin.rdb".into()),
                loss: Some(Loss { bytes: 4096, writes: Some(12) }),
            },
        ),
        (
            "empty_master",
            Facts::EmptyMaster {
                group,
                master: addr("10.0.7.51:6385"),
                keys_before: 3_250_118,
                keys: 0,
                slave: Some(addr("10.0.7.52:6385")),
                why: None,
            },
        ),
        (
            "memory",
            Facts::Memory {
                group: GroupId(7),
                server: addr("10.0.7.51:6387"),
                role: Role::Master,
                used: 12 * GIB + GIB / 2,
                max: 15 * GIB,
                line: 80,
                growth: Some(290 << 20),
                full_ms: Some(NOW + 9 * 86_400_000),
            },
        ),
        (
            "host_memory",
            Facts::HostMemory {
                host: "10.0.7.51".into(),
                servers: 7,
                used: 118 * GIB,
                total: 128 * GIB,
                line: 90,
            },
        ),
        ("replication_behind", replication(Trouble::Behind, Some(41_000), Some(118 << 20))),
        ("replication_link_down", replication(Trouble::LinkDown, Some(412_000), None)),
        ("replication_resyncs", replication(Trouble::Resyncs(4), None, None)),
        ("replication_follows", replication(Trouble::Follows(addr("10.0.7.99:6383")), None, None)),
        ("replication_master", replication(Trouble::Master, None, None)),
        (
            "unreachable",
            Facts::Unreachable {
                what: "server".into(),
                group: Some(group),
                addr: addr("10.0.7.51:6385"),
                why: "connection refused".into(),
            },
        ),
        (
            "slow",
            Facts::Slow {
                what: "proxy".into(),
                group: None,
                addr: addr("10.0.9.24:19000"),
                took_us: 14_000,
                line_us: 10_000,
            },
        ),
        (
            "proxy_ops",
            Facts::ProxyOps {
                proxy: px4(),
                addr: px4_addr(),
                failed: 3306,
                total: 849_992,
                window_ms: 300_000,
                line: 100,
                worst: Some(addr("10.0.7.53:6392")),
                worst_failed: 3290,
            },
        ),
        (
            "proxy_connections",
            Facts::ProxyConnections {
                proxy: px4(),
                addr: px4_addr(),
                failed: 120,
                total: 1300,
                window_ms: 300_000,
                line: 13,
            },
        ),
        (
            "proxy_silent",
            Facts::ProxySilent { proxy: px4(), addr: px4_addr(), why: "no answer within 2 s".into() },
        ),
        (
            "proxy_table",
            Facts::ProxyTable {
                proxy: px4(),
                addr: px4_addr(),
                slots: 16,
                which: "340,423-428,508-511,960-964".into(),
            },
        ),
        (
            "proxy_ack",
            Facts::ProxyAck {
                proxy: px4(),
                addr: px4_addr(),
                actions: vec!["actions/0000008841".into(), "actions/0000008842".into()],
                line_ms: 3000,
                taken_back: true,
            },
        ),
        (
            "task_error",
            Facts::TaskError {
                tasks: 3,
                slots: "340-342".into(),
                from: GroupId(4),
                to: GroupId(13),
                state: "error".into(),
                why: "px-4 did not acknowledge pre_migrate in 3.0 s".into(),
            },
        ),
        ("snapshot", unsaved(Unsaved::NoRoom)),
        ("snapshot_copy", unsaved(Unsaved::NoRoomForCopy)),
        ("snapshot_unknown_host", unsaved(Unsaved::UnknownHost)),
        ("snapshot_failed", unsaved(Unsaved::Failed)),
        ("snapshot_slow", unsaved(Unsaved::Slow)),
        ("snapshot_late", unsaved(Unsaved::Late)),
        ("snapshot_unruly", unsaved(Unsaved::Unruly)),
        (
            "check",
            Facts::Check {
                duty: "memory".into(),
                place: "10.0.7.60:80".into(),
                why: "it is not a redis-server: it answered HTTP/1.1 400".into(),
            },
        ),
        (
            "delivery",
            Facts::Delivery {
                channel: "mail".into(),
                place: "mail server 10.0.7.2:25".into(),
                waiting: 12,
                lost: 0,
                why: "connection refused".into(),
            },
        ),
        ("test", Facts::Test { by: "li@ops-1".into() }),
    ];
    facts.into_iter().map(|(name, facts)| (name, Alert::new("10.0.7.51:6387", NOW, facts))).collect()
}

fn unsaved(trouble: Unsaved) -> Facts {
    let (needs, free) = match trouble {
        Unsaved::NoRoom | Unsaved::NoRoomForCopy => (10 * GIB, 6 * GIB),
        Unsaved::UnknownHost => (10 * GIB, 0),
        _ => (0, 0),
    };
    let ms = if matches!(trouble, Unsaved::Slow | Unsaved::Late) { 4 * 3_600_000 } else { 0 };
    let (host, server) = ("10.0.7.53".into(), addr("10.0.7.53:6392"));
    Facts::Snapshot { host, server, trouble, needs, free, ms, interval_ms: 3_600_000 }
}

fn texts(lang: Lang) -> Texts {
    Texts::new(lang, TimeZone::fixed(Offset::constant(8)))
}

fn head() -> Letterhead {
    Letterhead {
        product: "feed".into(),
        agent: "ops-1".into(),
        number: 1181,
        interval_ms: 300_000,
        observe_only: false,
        now_ms: NOW + 1000,
    }
}

fn notice(alert: Alert, kind: NoticeKind) -> Notice {
    Notice { kind, alert, count: 1, at_ms: NOW + 11_460_000 }
}

/// Subject and blocks of all kinds, without the footers.
fn all_kinds(lang: Lang) -> String {
    let mut out = String::new();
    for (name, alert) in alerts() {
        let message = texts(lang).message(&[notice(alert, NoticeKind::Fired)], &head()).unwrap();
        let body = message.text.split("\n--\n").next().unwrap();
        out.push_str(&format!("== {name}\n{}\n\n{body}\n", message.subject));
    }
    out
}

#[test]
fn every_kind_has_an_example_here() {
    for kind in Kind::ALL {
        assert!(alerts().iter().any(|(_, alert)| alert.kind() == *kind), "{kind}");
    }
}

#[test]
fn every_kind_in_english() {
    insta::assert_snapshot!(all_kinds(Lang::En));
}

#[test]
fn every_kind_in_chinese() {
    insta::assert_snapshot!(all_kinds(Lang::Zh));
}

/// A round with two alerts, the worst first, and one that is over.
fn a_round() -> Vec<Notice> {
    let mut alerts = alerts();
    alerts.retain(|(name, _)| ["memory", "proxy_ops", "replication_behind"].contains(name));
    let mut notices: Vec<_> = alerts.into_iter().map(|(_, alert)| notice(alert, NoticeKind::Fired)).collect();
    notices.sort_by_key(|notice| notice.alert.severity);
    assert_eq!(notices[0].alert.severity, Severity::Critical);
    notices[2].kind = NoticeKind::Recovered;
    notices
}

#[test]
fn alerts_of_a_round_make_one_mail() {
    for lang in [Lang::En, Lang::Zh] {
        let message = texts(lang).message(&a_round(), &head()).unwrap();
        insta::assert_snapshot!(
            format!("a_round_{}", lang.as_str()),
            format!("{}\n\n{}\n{}", message.subject, message.text, message.html)
        );
    }
    assert_eq!(texts(Lang::En).message(&[], &head()), None);
}

#[test]
fn what_is_over_says_how_long_it_lasted() {
    let (_, alert) = alerts().into_iter().find(|(name, _)| *name == "memory").unwrap();
    for lang in [Lang::En, Lang::Zh] {
        let recovered = notice(alert.clone(), NoticeKind::Recovered);
        let message =
            texts(lang).message(&[recovered], &Letterhead { observe_only: true, ..head() }).unwrap();
        insta::assert_snapshot!(
            format!("recovered_{}", lang.as_str()),
            format!("{}\n\n{}", message.subject, message.text)
        );
    }
}

#[test]
fn programs_get_the_same_as_json() {
    let message = texts(Lang::En).message(&a_round()[1..2], &head()).unwrap();
    assert_eq!(message.json["subject"], message.subject);
    assert_eq!(message.json["text"], message.text);
    let mut json = message.json;
    json.as_object_mut().unwrap().remove("text");
    insta::assert_snapshot!(format!("{json:#}"));
}

#[test]
fn no_line_is_wider_than_78_columns_and_no_subject_has_a_second_line() {
    for lang in [Lang::En, Lang::Zh] {
        for (name, mut alert) in alerts() {
            alert.subject = "line\r\nbreak".into();
            let message = texts(lang).message(&[notice(alert, NoticeKind::Repeated)], &head()).unwrap();
            for line in message.text.lines() {
                assert!(unicode_width::UnicodeWidthStr::width(line) <= 78, "{name}: {line}");
            }
            assert!(!message.subject.contains(['\r', '\n']), "{name}");
        }
    }
}

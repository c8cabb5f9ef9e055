//! When people are told of an alert: a table of stories, and what holds in all of them.
#![expect(clippy::unwrap_used, reason = "test")]

use std::collections::BTreeMap;

use codis_core::ha::Loss;
use codis_core::notice::{
    Ack, Alert, AlertId, Facts, Kind, Notice, NoticeKind, Policy, Records, Round, Silence, Standing, Trouble,
    standing, step,
};
use codis_core::{Extra, Role, Severity};
use proptest::prelude::*;

const POLICY: Policy =
    Policy { send_interval_ms: 300_000, recover_after_ms: 10_000, keep_events_ms: 86_400_000 };

fn memory(port: u16, percent: u64) -> Alert {
    let server: codis_core::Addr = format!("10.0.7.51:{port}").parse().unwrap();
    let facts = Facts::Memory {
        group: codis_core::GroupId(7),
        server: server.clone(),
        role: Role::Master,
        used: percent << 20,
        max: 100 << 20,
        line: 80,
        growth: None,
        full_ms: None,
    };
    Alert::new(server, 0, facts)
}

fn critical(alert: Alert) -> Alert {
    Alert { severity: Severity::Critical, ..alert }
}

fn test_event(since_ms: u64) -> Alert {
    Alert::new("mail", since_ms, Facts::Test { by: "li@ops".into() })
}

/// An agent that looks for memory and replication in every round.
#[derive(Default)]
struct Agent {
    records: Records,
    silences: Vec<Silence>,
}

impl Agent {
    fn round(&mut self, at_s: u64, round: Round) -> Vec<Notice> {
        let (records, notices) = step(&self.records, &self.silences, round, at_s * 1000, &POLICY);
        self.records = records;
        notices
    }

    /// Notices of a round as `fired memory:10.0.7.51:6387 1`.
    fn sees(&mut self, at_s: u64, alerts: &[Alert]) -> Vec<String> {
        let mut round = Round::default();
        round.looked_for([Kind::Memory, Kind::Replication], alerts.to_vec());
        told(&self.round(at_s, round))
    }

    fn silence(&mut self, kind: Option<Kind>, subject: &str, until_s: u64) {
        let (subject, by, why) = (subject.to_owned(), "li".to_owned(), "OPS-812".to_owned());
        self.silences.push(Silence {
            kind,
            subject,
            until_ms: until_s * 1000,
            by,
            why,
            extra: Extra::default(),
        });
    }

    fn acknowledge(&mut self, id: &str) {
        let ack = Ack { by: "li".into(), ts_ms: 0, why: String::new() };
        self.records.get_mut(&id.parse::<AlertId>().unwrap()).unwrap().ack = Some(ack);
    }
}

fn told(notices: &[Notice]) -> Vec<String> {
    let kind = |notice: &Notice| match notice.kind {
        NoticeKind::Fired => "fired",
        NoticeKind::Repeated => "repeated",
        NoticeKind::Recovered => "recovered",
    };
    let line = |notice: &Notice| format!("{} {} {}", kind(notice), notice.alert.id(), notice.count);
    notices.iter().map(line).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn it_is_told_when_it_begins_again_while_it_lasts_and_once_when_it_is_over() {
    let mut agent = Agent::default();
    assert_eq!(agent.sees(0, &[memory(6387, 83)]), ["fired memory:10.0.7.51:6387 1"]);
    for at in [1, 60, 299] {
        assert_eq!(agent.sees(at, &[memory(6387, 84)]), NOTHING, "{at}");
    }
    assert_eq!(agent.sees(300, &[memory(6387, 85)]), ["repeated memory:10.0.7.51:6387 2"]);
    assert_eq!(agent.sees(599, &[memory(6387, 85)]), NOTHING);
    assert_eq!(agent.sees(600, &[memory(6387, 85)]), ["repeated memory:10.0.7.51:6387 3"]);
    assert_eq!(agent.sees(601, &[]), NOTHING, "it may come back at once");
    assert_eq!(agent.sees(611, &[]), ["recovered memory:10.0.7.51:6387 3"]);
    assert_eq!(agent.sees(612, &[]), NOTHING);
    assert!(agent.records.is_empty());
    assert_eq!(agent.sees(613, &[memory(6387, 81)]), ["fired memory:10.0.7.51:6387 1"]);
}

#[test]
fn what_comes_and_goes_is_one_alert() {
    let mut agent = Agent::default();
    assert_eq!(agent.sees(0, &[memory(6387, 80)]).len(), 1);
    for at in 1..250 {
        let found = [memory(6387, 80)];
        let found = if at % 5 == 0 { &found[..] } else { &[] };
        assert_eq!(agent.sees(at, found), NOTHING, "{at}");
    }
}

#[test]
fn a_recovery_tells_the_last_values_and_when_it_was_over() {
    let mut agent = Agent::default();
    agent.sees(10, &[Alert { since_ms: 4000, ..memory(6387, 83) }]);
    agent.sees(50, &[memory(6387, 91)]);
    agent.sees(60, &[]);
    let mut round = Round::default();
    round.looked_for([Kind::Memory], []);
    let notices = agent.round(70, round);
    assert_eq!((notices[0].kind, notices[0].at_ms), (NoticeKind::Recovered, 60_000));
    assert_eq!(notices[0].alert, Alert { since_ms: 0, ..memory(6387, 91) });
}

#[test]
fn what_was_not_looked_at_is_not_over() {
    let mut agent = Agent::default();
    agent.sees(0, &[memory(6387, 83)]);
    // The duty did not run in these rounds, or did not reach the server.
    assert_eq!(told(&agent.round(20, Round::default())), NOTHING);
    let mut blind = Round::default();
    blind.looked_for([Kind::Memory], []);
    blind.blind(Kind::Memory, "10.0.7.51:6387");
    assert_eq!(told(&agent.round(40, blind.clone())), NOTHING);
    assert_eq!(told(&agent.round(300, blind)), ["repeated memory:10.0.7.51:6387 2"]);
    assert_eq!(agent.sees(301, &[]), NOTHING);
    assert_eq!(agent.sees(320, &[]), ["recovered memory:10.0.7.51:6387 2"]);
}

#[test]
fn one_round_is_told_at_once_the_worst_first_and_what_is_over_last() {
    let mut agent = Agent::default();
    agent.sees(0, &[memory(6381, 85)]);
    agent.sees(5, &[]);
    let found = [memory(6387, 83), critical(memory(6388, 99)), memory(6386, 82), memory(6387, 83)];
    let expected = [
        "fired memory:10.0.7.51:6388 1",
        "fired memory:10.0.7.51:6386 1",
        "fired memory:10.0.7.51:6387 1",
        "recovered memory:10.0.7.51:6381 1",
    ];
    assert_eq!(agent.sees(15, &found), expected);
}

#[test]
fn worse_is_told_at_once_and_better_with_the_next_repeat() {
    let mut agent = Agent::default();
    agent.sees(0, &[memory(6387, 83)]);
    agent.acknowledge("memory:10.0.7.51:6387");
    assert_eq!(agent.sees(60, &[critical(memory(6387, 99))]), ["fired memory:10.0.7.51:6387 2"]);
    // Back and forth over the line between the two severities makes no mails.
    assert_eq!(agent.sees(120, &[memory(6387, 94)]), NOTHING);
    assert_eq!(agent.sees(150, &[critical(memory(6387, 95))]), NOTHING);
    assert_eq!(agent.sees(360, &[memory(6387, 94)]), ["repeated memory:10.0.7.51:6387 3"]);
    assert_eq!(agent.records.values().next().unwrap().alert.severity, Severity::Warning);
}

#[test]
fn who_knows_about_it_hears_only_of_the_end() {
    let mut agent = Agent::default();
    agent.sees(0, &[memory(6387, 83)]);
    agent.acknowledge("memory:10.0.7.51:6387");
    assert_eq!(agent.sees(300, &[memory(6387, 83)]), NOTHING);
    assert_eq!(agent.sees(900, &[memory(6387, 83)]), NOTHING);
    agent.sees(901, &[]);
    assert_eq!(agent.sees(911, &[]), ["recovered memory:10.0.7.51:6387 3"]);
    assert_eq!(agent.sees(920, &[memory(6387, 83)]), ["fired memory:10.0.7.51:6387 1"], "it is a new one");
}

#[test]
fn silence_holds_until_its_time_and_for_what_it_names() {
    let mut agent = Agent::default();
    agent.silence(Some(Kind::Memory), "10.0.7.51:*", 1000);
    assert_eq!(agent.sees(0, &[memory(6387, 83)]), NOTHING);
    assert_eq!(agent.sees(400, &[memory(6387, 83)]), NOTHING);
    assert_eq!(agent.sees(800, &[memory(6387, 83)]), NOTHING);
    let record = agent.records.values().next().unwrap();
    assert!(matches!(standing(record, &agent.silences, 800_000), Standing::Silenced(_)));
    assert_eq!(agent.sees(1100, &[memory(6387, 83)]), ["fired memory:10.0.7.51:6387 4"]);
    agent.sees(1101, &[]);
    assert_eq!(agent.sees(1111, &[]), ["recovered memory:10.0.7.51:6387 4"]);

    // Over before anybody heard of it: nobody hears of its end.
    agent.silence(None, "*", 2000);
    agent.sees(1200, &[memory(6387, 83)]);
    agent.sees(1201, &[]);
    assert_eq!(agent.sees(1990, &[]), NOTHING);
    assert_eq!(agent.sees(2010, &[]), NOTHING);

    let silence = |subject: &str| Silence { subject: subject.into(), ..agent.silences[0].clone() };
    let id = memory(6387, 0).id();
    for (pattern, covers) in
        [("*", true), ("*:6387", true), ("10.*.51:*", true), ("10.0.7.51", false), ("*52*", false)]
    {
        assert_eq!(silence(pattern).covers(&id, 0), covers, "{pattern}");
    }
    assert!(!Silence { kind: Some(Kind::Slow), ..silence("*") }.covers(&id, 0));
}

#[test]
fn an_event_is_told_once_however_often_it_is_reported() {
    let mut agent = Agent::default();
    let report = |agent: &mut Agent, at, since| {
        told(&agent.round(at, Round { alerts: vec![test_event(since)], ..Round::default() }))
    };
    assert_eq!(report(&mut agent, 0, 5), ["fired test:mail 1"]);
    assert_eq!(report(&mut agent, 1, 5), NOTHING);
    assert_eq!(report(&mut agent, 1000, 5), NOTHING, "no repeats");
    assert_eq!(report(&mut agent, 2000, 6), ["fired test:mail 1"], "another one");
    let mut looked = Round::default();
    looked.looked_for([Kind::Test], []);
    assert_eq!(told(&agent.round(2020, looked.clone())), NOTHING, "no recovery");
    assert_eq!(agent.records.len(), 1);
    agent.round(2000 + 86_400, looked);
    assert!(agent.records.is_empty(), "forgotten after a day");
}

#[test]
fn a_clock_that_was_set_back_does_not_make_alerts_mute() {
    let mut agent = Agent::default();
    agent.sees(100_000, &[memory(6387, 83)]);
    assert_eq!(agent.sees(1000, &[memory(6387, 83)]), ["repeated memory:10.0.7.51:6387 2"]);
}

#[test]
fn kinds_and_values_survive_as_text() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
    }
    let loss = Some(Loss { bytes: 7, writes: None });
    let addr = |port: u16| format!("[::1]:{port}").parse::<codis_core::Addr>().unwrap();
    let group = codis_core::GroupId(5);
    let trouble = |trouble| Facts::Replication {
        group,
        slave: addr(1),
        master: addr(2),
        trouble,
        lag_ms: None,
        lag_bytes: Some(0),
        line_ms: 30_000,
    };
    let all = [
        Facts::FailoverDone {
            group,
            from: addr(1),
            to: addr(2),
            planned: false,
            down_ms: 6000,
            agents_agree: 3,
            agents: 3,
            proxies_agree: 6,
            proxies: 6,
            switched_ms: 400,
            loss,
            confirmed: 5,
            silent: vec!["px 4".into(), "px=5".into()],
            followers: vec![],
        },
        trouble(Trouble::LinkDown),
        trouble(Trouble::Resyncs(4)),
        trouble(Trouble::Follows(addr(9))),
        trouble(Trouble::Master),
        memory(6387, 83).facts,
    ];
    for facts in all {
        let fields: BTreeMap<&str, String> = facts.fields().into_iter().collect();
        let read = |fields: &BTreeMap<&str, String>| {
            Facts::from_fields(facts.kind(), |name| fields.get(name).map(String::as_str))
        };
        assert_eq!(read(&fields), Ok(facts.clone()));
        let mut damaged = fields.clone();
        let group = damaged.get_mut("group").unwrap();
        *group = "five".into();
        assert_eq!(read(&damaged), Err("group"));
        damaged.remove("group");
        assert_eq!(read(&damaged), Err("group"));
    }
    let id: AlertId = "memory:10.0.7.51:6387".parse().unwrap();
    assert_eq!((id.kind, id.subject.as_str()), (Kind::Memory, "10.0.7.51:6387"));
    assert!("memory".parse::<AlertId>().is_err());
    assert!("weather:x".parse::<AlertId>().is_err());
}

proptest! {
    /// Three servers that fill up and empty at random, rounds of 1 to 20 s, some of which look at nothing.
    #[test]
    fn no_lasting_alert_is_silent_for_long_and_each_beginning_has_one_end(
        rounds in prop::collection::vec((1u64..20, any::<[bool; 3]>(), prop::bool::weighted(0.9)), 1..200),
        keep in 2usize..30,
    ) {
        let mut agent = Agent::default();
        let (mut now, mut last_ms) = (0, [None::<u64>; 3]);
        for (n, (pause, _, looked)) in rounds.iter().enumerate() {
            now += pause;
            // States last for some rounds, so that intervals pass.
            let found = rounds[n / keep * keep].1;
            let alerts: Vec<Alert> =
                (0..3u16).filter(|i| found[usize::from(*i)]).map(|i| memory(i + 1, 90)).collect();
            let mut round = Round::default();
            if *looked {
                round.looked_for([Kind::Memory], alerts);
            }
            let notices = agent.round(now, round);
            for (i, last) in last_ms.iter_mut().enumerate() {
                let id = memory(u16::try_from(i).unwrap() + 1, 0).id();
                let own: Vec<_> = notices.iter().filter(|notice| notice.alert.id() == id).collect();
                prop_assert!(own.len() <= 1, "two notices of one round");
                let open = agent.records.contains_key(&id);
                match own.first().map(|notice| notice.kind) {
                    Some(NoticeKind::Fired) => {
                        prop_assert!(last.is_none(), "two beginnings without an end");
                        *last = Some(now);
                    }
                    Some(NoticeKind::Repeated) => {
                        let before = last.unwrap();
                        prop_assert!(now - before >= 300, "repeated after {} s", now - before);
                        *last = Some(now);
                    }
                    Some(NoticeKind::Recovered) => {
                        prop_assert!(last.is_some(), "an end without a beginning");
                        *last = None;
                    }
                    None => {}
                }
                prop_assert_eq!(open, last.is_some(), "told of what is remembered, and of nothing else");
                let found_now = *looked && found[i];
                if let Some(last) = *last && found_now {
                    prop_assert!(now - last < 300, "silent for {} s", now - last);
                }
                prop_assert!(!found_now || open, "found and not remembered");
            }
        }
    }
}

//! `failover/group_G` as whoever changes a master writes it, `agents/ID` and `ha`, all ours.
//!
//! What proxies go by is in the journal's first fields ([`super::switch`]); they keep the others when they give a planned
//! switch up, and the step that they write then is what counts.

use std::collections::BTreeMap;

use codis_core::ha::{AgentView, Demoted, Loss, Pause, Receipt, Saga, SagaKind, Seen, Stage};
use codis_core::{Addr, Extra, GroupId, SwitchStep};
use serde_json::value::RawValue;

use super::json::{Fields, Object, Result, WireError, text};

/// Reads a journal.
pub(crate) fn saga_from(group: GroupId, data: &[u8]) -> Result<Saga> {
    let mut fields = Fields::of(data)?;
    let step: SwitchStep = fields.take_as("step", str::parse)?;
    let old = fields.take_as("from", str::parse)?;
    let new = fields.take_as("to", str::parse)?;
    let owner = fields.take("owner")?;
    let epoch = fields.take("epoch")?;
    let begun_ms = fields.take("begun_ms")?;
    let hold_ms = fields.take("hold_ms")?;
    fields.take_raw("group_id");
    // One of before there were failovers has neither.
    let kind = take_word(&mut fields, "kind")?.unwrap_or(SagaKind::Planned);
    let stage = take_word(&mut fields, "stage")?.unwrap_or(Stage::Ended);
    let stage = match step {
        SwitchStep::Aborted => Stage::Aborted,
        SwitchStep::Hold => Stage::Hold,
        SwitchStep::Switching => Stage::Promote,
        SwitchStep::Done => stage,
    };
    let run_id = fields.take_if_there("run_id")?.unwrap_or_default();
    let why = fields.take_if_there("why")?.unwrap_or_default();
    let receipt = match fields.take_raw("receipt") {
        Some(raw) => receipt_from(raw)?,
        None => Receipt::default(),
    };
    let demoted: Vec<&RawValue> = fields.take_if_there("demoted")?.unwrap_or_default();
    let demoted = demoted.into_iter().map(|raw| demoted_from(raw.get())).collect::<Result<_>>()?;
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    let extra = Extra(extra);
    Ok(Saga {
        group,
        kind,
        stage,
        old,
        new,
        owner,
        epoch,
        begun_ms,
        hold_ms,
        run_id,
        why,
        receipt,
        demoted,
        extra,
    })
}

/// Writes it.
pub(crate) fn saga_json(saga: &Saga) -> String {
    let demoted: Vec<String> = saga.demoted.iter().map(demoted_json).collect();
    Object::new()
        .field("group_id", &saga.group.0)
        .field("step", saga.step().as_str())
        .field("from", saga.old.as_str())
        .field("to", saga.new.as_str())
        .field("owner", &saga.owner)
        .field("epoch", &saga.epoch)
        .field("begun_ms", &saga.begun_ms)
        .field("hold_ms", &saga.hold_ms)
        .field("kind", saga.kind.as_str())
        .field("stage", saga.stage.as_str())
        .field("run_id", &saga.run_id)
        .field("why", &saga.why)
        .raw("receipt", &receipt_json(&saga.receipt))
        .raw("demoted", &format!("[{}]", demoted.join(",")))
        .extra("", &saga.extra.0, &[])
        .finish()
}

fn receipt_from(raw: &str) -> Result<Receipt> {
    let mut fields = Fields::of(raw.as_bytes())?;
    let mut ms = |name: &str| Ok(fields.take_if_there::<u64>(name)?.unwrap_or_default());
    let (last_good_ms, decided_ms, stored_ms) = (ms("last_good_ms")?, ms("decided_ms")?, ms("stored_ms")?);
    let (followed_ms, ended_ms) = (ms("followed_ms")?, ms("ended_ms")?);
    let bytes: Option<u64> = fields.take_if_there("lost_bytes")?;
    let writes = fields.take_if_there("lost_writes")?;
    let unconfirmed = fields.take_if_there("unconfirmed")?.unwrap_or_default();
    let candidates = fields.take_if_there("candidates")?.unwrap_or_default();
    let lost = bytes.map(|bytes| Loss { bytes, writes });
    let agents = fields.take_if_there("agents")?.unwrap_or_default();
    let proxies = fields.take_if_there("proxies")?.unwrap_or_default();
    let confirmed = fields.take_if_there("confirmed")?.unwrap_or_default();
    let old_offset = fields.take_if_there("old_offset")?.unwrap_or_default();
    let old_history = fields.take_if_there("old_history")?.filter(|text: &String| !text.is_empty());
    Ok(Receipt {
        last_good_ms,
        decided_ms,
        stored_ms,
        followed_ms,
        ended_ms,
        lost,
        unconfirmed,
        candidates,
        agents,
        proxies,
        confirmed,
        old_offset,
        old_history,
    })
}

fn receipt_json(receipt: &Receipt) -> String {
    let object = Object::new()
        .field("last_good_ms", &receipt.last_good_ms)
        .field("decided_ms", &receipt.decided_ms)
        .field("stored_ms", &receipt.stored_ms)
        .field("followed_ms", &receipt.followed_ms)
        .field("ended_ms", &receipt.ended_ms);
    let object = match &receipt.lost {
        Some(Loss { bytes, writes: Some(writes) }) => {
            object.field("lost_bytes", bytes).field("lost_writes", writes)
        }
        Some(Loss { bytes, writes: None }) => object.field("lost_bytes", bytes),
        None => object,
    };
    object
        .field("unconfirmed", &receipt.unconfirmed)
        .field("candidates", &receipt.candidates)
        .field("agents", &receipt.agents)
        .field("proxies", &receipt.proxies)
        .field("confirmed", &receipt.confirmed)
        .field("old_offset", &receipt.old_offset)
        .field("old_history", receipt.old_history.as_deref().unwrap_or_default())
        .finish()
}

fn demoted_from(raw: &str) -> Result<Demoted> {
    let mut fields = Fields::of(raw.as_bytes())?;
    Ok(Demoted {
        addr: fields.take_as("addr", str::parse)?,
        history: fields.take_if_there("history")?.filter(|text: &String| !text.is_empty()),
        offset: fields.take_if_there("offset")?.unwrap_or_default(),
        open: fields.take_if_there("open")?.unwrap_or_default(),
        asked: fields.take_if_there("asked")?.unwrap_or_default(),
        missed: fields.take_if_there("missed")?,
        kept: fields.take_if_there("kept")?,
    })
}

fn demoted_json(server: &Demoted) -> String {
    let mut object = Object::new()
        .field("addr", server.addr.as_str())
        .field("history", server.history.as_deref().unwrap_or_default())
        .field("offset", &server.offset)
        .field("open", &server.open)
        .field("asked", &server.asked);
    if let Some(missed) = &server.missed {
        object = object.field("missed", missed);
    }
    if let Some(kept) = &server.kept {
        object = object.field("kept", kept);
    }
    object.finish()
}

/// Reads what an agent says.
pub(crate) fn agent_from(data: &[u8]) -> Result<AgentView> {
    let mut fields = Fields::of(data)?;
    let id = fields.take("id")?;
    let observe_only = fields.take_if_there("observe_only")?.unwrap_or_default();
    let ts_ms = fields.take("ts_ms")?;
    let offset = fields.position("silent");
    let mut listed = Vec::new();
    fields.take_object("silent")?.rest("", &mut listed);
    let mut silent = BTreeMap::new();
    for (addr, raw) in listed {
        let wrong = |why: String| WireError::new(offset, format!("silent: {addr}: {why}"));
        let key: Addr = addr.parse().map_err(|error: codis_core::ParseError| wrong(error.to_string()))?;
        let mut seen = Fields::of(raw.as_bytes()).map_err(|error| wrong(error.reason))?;
        let ms = seen.take("ms").map_err(|error| wrong(error.reason))?;
        let down = seen.take("down").map_err(|error| wrong(error.reason))?;
        silent.insert(key, Seen { ms, down });
    }
    Ok(AgentView { id, observe_only, ts_ms, silent })
}

/// Writes it.
pub(crate) fn agent_json(agent: &AgentView) -> String {
    let silent = agent.silent.iter().fold(Object::new(), |object, (addr, seen)| {
        let seen = Object::new().field("ms", &seen.ms).field("down", &seen.down);
        object.raw(addr.as_str(), &seen.finish())
    });
    Object::new()
        .field("id", &agent.id)
        .field("observe_only", &agent.observe_only)
        .field("ts_ms", &agent.ts_ms)
        .raw("silent", &silent.finish())
        .finish()
}

/// Reads whether failovers are suspended: what people have asked for, and other fields.
pub(crate) fn ha_from(data: &[u8]) -> Result<(Option<Pause>, Extra)> {
    let mut fields = Fields::of(data)?;
    let pause = match fields.take_raw("pause") {
        None | Some("null") => None,
        Some(raw) => {
            let mut pause = Fields::of(raw.as_bytes())?;
            Some(Pause {
                by: pause.take("by")?,
                why: pause.take_if_there("why")?.unwrap_or_default(),
                since_ms: pause.take_if_there("since_ms")?.unwrap_or_default(),
                until_ms: pause.take_if_there("until_ms")?,
            })
        }
    };
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    Ok((pause, Extra(extra)))
}

/// Writes it.
pub(crate) fn ha_json(pause: Option<&Pause>, extra: &Extra) -> String {
    let object = match pause {
        None => Object::new().raw("pause", "null"),
        Some(pause) => {
            let record = Object::new()
                .field("by", &pause.by)
                .field("why", &pause.why)
                .field("since_ms", &pause.since_ms);
            let record = match pause.until_ms {
                Some(until) => record.raw("until_ms", &text(&until)),
                None => record,
            };
            Object::new().raw("pause", &record.finish())
        }
    };
    object.extra("", &extra.0, &[]).finish()
}

fn take_word<T: std::str::FromStr<Err: std::fmt::Display>>(
    fields: &mut Fields<'_>,
    name: &str,
) -> Result<Option<T>> {
    let offset = fields.position(name);
    let Some(word) = fields.take_if_there::<String>(name)? else { return Ok(None) };
    word.parse().map(Some).map_err(|error| WireError::new(offset, format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::switch::{switch_from, switch_json};
    use super::*;

    fn journal() -> Saga {
        let addr = |port: u16| format!("10.0.0.1:{port}").parse().unwrap();
        Saga {
            group: GroupId(1),
            kind: SagaKind::Planned,
            stage: Stage::Hold,
            old: addr(6379),
            new: addr(6380),
            owner: "host:17".to_owned(),
            epoch: 3,
            begun_ms: 5,
            hold_ms: 5000,
            run_id: "abc".to_owned(),
            why: "asked for".to_owned(),
            receipt: Receipt {
                last_good_ms: 1,
                lost: Some(Loss { bytes: 7, writes: None }),
                unconfirmed: vec!["px-2".to_owned()],
                ..Receipt::default()
            },
            demoted: vec![Demoted {
                open: true,
                asked: true,
                missed: Some(5),
                kept: Some("/kept/6381.rdb".into()),
                ..Demoted::new(addr(6381), None, 9)
            }],
            extra: Extra(vec![("later".to_owned(), "[1]".to_owned())]),
        }
    }

    #[test]
    fn a_journal_survives_a_round_trip_and_a_proxy_that_gives_it_up() {
        for (kind, stage) in [
            (SagaKind::Planned, Stage::Asked),
            (SagaKind::Planned, Stage::Hold),
            (SagaKind::Planned, Stage::Promote),
            (SagaKind::Planned, Stage::Follow),
            (SagaKind::Failover, Stage::Intent),
            (SagaKind::Failover, Stage::Promote),
            (SagaKind::Failover, Stage::Ended),
            (SagaKind::Failover, Stage::Aborted),
        ] {
            let saga = Saga { kind, stage, ..journal() };
            let text = saga_json(&saga);
            assert_eq!(saga_from(GroupId(1), text.as_bytes()).unwrap(), saga, "{text}");
        }
        let mut seen = switch_from(GroupId(1), saga_json(&journal()).as_bytes()).unwrap();
        assert!(seen.step.holds());
        seen.step = SwitchStep::Aborted;
        let given_up = saga_from(GroupId(1), switch_json(&seen).as_bytes()).unwrap();
        assert_eq!(given_up, Saga { stage: Stage::Aborted, ..journal() });
    }

    #[test]
    fn a_failover_never_makes_proxies_hold() {
        for stage in [Stage::Asked, Stage::Intent, Stage::Promote, Stage::Follow, Stage::Attach, Stage::Ended]
        {
            let text = saga_json(&Saga { kind: SagaKind::Failover, stage, ..journal() });
            assert!(!switch_from(GroupId(1), text.as_bytes()).unwrap().step.holds(), "{text}");
        }
    }

    #[test]
    fn a_switch_of_before_there_were_failovers_is_read() {
        let text = r#"{"group_id":1,"step":"done","from":"h:1","to":"h:2","owner":"o","epoch":1,"begun_ms":2,"hold_ms":3}"#;
        let saga = saga_from(GroupId(1), text.as_bytes()).unwrap();
        assert_eq!((saga.kind, saga.stage), (SagaKind::Planned, Stage::Ended));
    }

    #[test]
    fn what_agents_see_and_that_they_shall_not_act() {
        let text = r#"{"id":"h:7","observe_only":false,"ts_ms":5,"silent":{"10.0.0.1:6379":{"ms":1000,"down":false}}}"#;
        let agent = agent_from(text.as_bytes()).unwrap();
        assert_eq!(agent.silent.values().next(), Some(&Seen { ms: 1000, down: false }));
        assert_eq!(agent_json(&agent), text);
        assert!(agent_from(br#"{"id":"h","ts_ms":1,"silent":{"x":{}}}"#).is_err());

        let text = r#"{"pause":{"by":"li@ops","why":"OPS-7","since_ms":5,"until_ms":9},"later":1}"#;
        let (pause, extra) = ha_from(text.as_bytes()).unwrap();
        assert!(pause.as_ref().is_some_and(|pause| pause.holds(8) && !pause.holds(9)));
        assert_eq!(ha_json(pause.as_ref(), &extra), text);
        assert_eq!(ha_from(ha_json(None, &extra).as_bytes()).unwrap().0, None);
    }
}

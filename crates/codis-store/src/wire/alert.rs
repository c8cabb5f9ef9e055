//! `alerts/KIND:SUBJECT` and `silences/KIND:SUBJECT`, ours.

use codis_core::Extra;
use codis_core::notice::{Ack, Alert, Facts, Kind, Record, Silence};

use super::json::{Fields, Object, Result, WireError, text};

/// Reads what is remembered of an alert.
pub(crate) fn alert_from(data: &[u8]) -> Result<Record> {
    let mut fields = Fields::of(data)?;
    let kind: Kind = fields.take_as("kind", str::parse)?;
    let subject = fields.take("subject")?;
    let severity = fields.take_as("severity", str::parse)?;
    let since_ms = fields.take("since_ms")?;
    let first_ms = fields.take("first_ms")?;
    let last_ms = fields.take("last_ms")?;
    let count = fields.take("count")?;
    let told_ms = fields.take("told_ms")?;
    let said = fields.take("said")?;
    let gone_ms = fields.take_if_there::<Option<u64>>("gone_ms")?.flatten();
    let ack = match fields.take_if_there::<Option<Raw<'_>>>("ack")?.flatten() {
        None => None,
        Some(raw) => {
            let mut ack = Fields::of(raw.get().as_bytes())?;
            Some(Ack { by: ack.take("by")?, ts_ms: ack.take("ts_ms")?, why: ack.take("why")? })
        }
    };
    let offset = fields.position("facts");
    let mut listed = Vec::new();
    fields.take_object("facts")?.rest("", &mut listed);
    let wrong = |name: &str| WireError::new(offset, format!("facts: {name} is missing or of another type"));
    let mut texts = Vec::with_capacity(listed.len());
    for (name, raw) in &listed {
        let text: String = serde_json::from_str(raw).map_err(|_| wrong(name))?;
        texts.push((name.as_str(), text));
    }
    let get = |name: &str| texts.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str());
    let facts = Facts::from_fields(kind, get).map_err(wrong)?;
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    let alert = Alert { subject, severity, since_ms, facts };
    Ok(Record { alert, first_ms, last_ms, count, told_ms, said, gone_ms, ack, extra: Extra(extra) })
}

type Raw<'a> = &'a serde_json::value::RawValue;

/// Writes it.
pub(crate) fn alert_json(record: &Record) -> String {
    let ack = record.ack.as_ref().map_or_else(
        || "null".to_owned(),
        |ack| Object::new().field("by", &ack.by).field("ts_ms", &ack.ts_ms).field("why", &ack.why).finish(),
    );
    let facts = record.alert.facts.fields().into_iter();
    let facts = facts.fold(Object::new(), |object, (name, value)| object.raw(name, &text(&value)));
    Object::new()
        .field("kind", record.alert.kind().as_str())
        .field("subject", &record.alert.subject)
        .field("severity", record.alert.severity.as_str())
        .field("since_ms", &record.alert.since_ms)
        .field("first_ms", &record.first_ms)
        .field("last_ms", &record.last_ms)
        .field("count", &record.count)
        .field("told_ms", &record.told_ms)
        .field("said", &record.said)
        .field("gone_ms", &record.gone_ms)
        .raw("ack", &ack)
        .raw("facts", &facts.finish())
        .extra("", &record.extra.0, &[])
        .finish()
}

/// Stands for any kind.
const ANY: &str = "*";

/// Reads a silence.
pub(crate) fn silence_from(data: &[u8]) -> Result<Silence> {
    let mut fields = Fields::of(data)?;
    let kind = fields.take_as("kind", |text| match text {
        ANY => Ok(None),
        text => text.parse().map(Some),
    })?;
    let subject = fields.take("subject")?;
    let until_ms = fields.take("until_ms")?;
    let by = fields.take("by")?;
    let why = fields.take("why")?;
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    Ok(Silence { kind, subject, until_ms, by, why, extra: Extra(extra) })
}

/// Writes it.
pub(crate) fn silence_json(silence: &Silence) -> String {
    Object::new()
        .field("kind", silence.kind.map_or(ANY, Kind::as_str))
        .field("subject", &silence.subject)
        .field("until_ms", &silence.until_ms)
        .field("by", &silence.by)
        .field("why", &silence.why)
        .extra("", &silence.extra.0, &[])
        .finish()
}

/// Name of a silence's node, before it is made fit for one.
pub(crate) fn silence_name(silence: &Silence) -> String {
    format!("{}:{}", silence.kind.map_or(ANY, Kind::as_str), silence.subject)
}

#[cfg(test)]
mod tests {
    use codis_core::Severity;

    use super::*;

    #[test]
    fn every_kind_survives_a_round_trip() {
        for kind in Kind::ALL {
            let alert = Alert::new("10.0.7.51:6387", 5, Facts::example(*kind));
            let record = Record {
                alert,
                first_ms: 1,
                last_ms: 2,
                count: 3,
                told_ms: 4,
                said: true,
                gone_ms: Some(6),
                ack: Some(Ack { by: "li".into(), ts_ms: 7, why: "<known>".into() }),
                extra: Extra(vec![("later".into(), "[1]".into())]),
            };
            assert_eq!(alert_from(alert_json(&record).as_bytes()), Ok(record));
        }
    }

    #[test]
    fn a_record_is_written_as_documented() {
        let text = r#"{"kind":"test","subject":"mail","severity":"info","since_ms":1,"first_ms":1,"last_ms":1,"count":1,"told_ms":1,"said":true,"gone_ms":null,"ack":null,"facts":{"by":"li@ops"},"later":{}}"#;
        let record = alert_from(text.as_bytes()).unwrap();
        assert_eq!((record.alert.severity, record.ack.is_none()), (Severity::Info, true));
        assert_eq!(alert_json(&record), text);
        let error = alert_from(text.replace("\"li@ops\"", "7").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "facts: by is missing or of another type (byte 156)");
        assert!(alert_from(text.replace("\"test\"", "\"weather\"").as_bytes()).is_err());

        let text = r#"{"kind":"*","subject":"10.*","until_ms":9,"by":"li","why":"OPS-812","later":1}"#;
        let silence = silence_from(text.as_bytes()).unwrap();
        assert_eq!((silence_json(&silence).as_str(), silence_name(&silence).as_str()), (text, "*:10.*"));
    }
}

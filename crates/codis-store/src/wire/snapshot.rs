//! `snapshots/ADDR`, ours: settings of a server from before it was taken over.

use codis_core::Extra;
use codis_core::duty::snapshots::{Kept, Settings};

use super::json::{Fields, Object, Result, WireError};

/// Reads it.
pub(crate) fn kept_from(addr: &str, data: &[u8]) -> Result<Kept> {
    let mut fields = Fields::of(data)?;
    let addr = addr.parse().map_err(|error| WireError::new(0, format!("the node's name: {error}")))?;
    let standing = fields.take("standing")?;
    let by = fields.take("by")?;
    let ts_ms = fields.take("ts_ms")?;
    let offset = fields.position("settings");
    let mut listed = Vec::new();
    fields.take_object("settings")?.rest("", &mut listed);
    let mut settings = Settings::new();
    for (name, raw) in listed {
        let value = serde_json::from_str(&raw)
            .map_err(|_| WireError::new(offset, format!("settings: {name} is not text")))?;
        settings.insert(name, value);
    }
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    Ok(Kept { addr, settings, standing, by, ts_ms, extra: Extra(extra) })
}

/// Writes it.
pub(crate) fn kept_json(kept: &Kept) -> String {
    let settings = kept.settings.iter().fold(Object::new(), |all, (name, value)| all.field(name, value));
    Object::new()
        .field("standing", &kept.standing)
        .field("by", &kept.by)
        .field("ts_ms", &kept.ts_ms)
        .raw("settings", &settings.finish())
        .extra("", &kept.extra.0, &[])
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_documented() {
        let text = r#"{"standing":true,"by":"ops-1:4711","ts_ms":5,"settings":{"auto-aof-rewrite-percentage":"100","save":"900 1"},"later":[1]}"#;
        let kept = kept_from("10.0.7.51:6381", text.as_bytes()).unwrap();
        assert_eq!((kept.addr.as_str(), kept.settings["save"].as_str()), ("10.0.7.51:6381", "900 1"));
        assert_eq!(kept_json(&kept), text);
        let error = kept_from("h:1", text.replace("\"900 1\"", "7").as_bytes()).unwrap_err();
        assert_eq!(error.reason, "settings: save is not text");
        assert!(kept_from("nowhere", text.as_bytes()).is_err());
    }
}

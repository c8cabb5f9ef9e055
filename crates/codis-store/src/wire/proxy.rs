//! `proxy/ID`.

use codis_core::{Addr, Extra, Proxy, ProxyId};

use super::json::{Fields, Object, Result};

/// Fields that the original writes and never uses, with what it writes there.
const UNUSED: [(&str, &str); 3] = [("last_event", "\"\""), ("last_event_ts", "0"), ("description", "\"\"")];

/// Reads a proxy.
pub(crate) fn proxy_from(data: &[u8]) -> Result<Proxy> {
    let mut fields = Fields::of(data)?;
    let id: ProxyId = fields.take_as("id", str::parse)?;
    let addr: Addr = fields.take_as("addr", str::parse)?;
    let state = fields.take_as("state", str::parse)?;
    let debug_var_addr = fields.take_if_there("debug_var_addr")?.unwrap_or_default();
    let pid = fields.take_if_there("pid")?.unwrap_or_default();
    let start_at = fields.take_if_there("start_at")?.unwrap_or_default();
    let mut extra = Vec::new();
    for (name, usual) in UNUSED {
        match fields.take_raw(name) {
            Some(value) if value != usual => extra.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    fields.rest("", &mut extra);
    Ok(Proxy { id, addr, state, debug_var_addr, pid, start_at, extra: Extra(extra) })
}

/// Writes a proxy.
pub(crate) fn proxy_json(proxy: &Proxy) -> String {
    let extra = &proxy.extra.0;
    let [last_event, last_event_ts, description] = UNUSED.map(|(name, usual)| {
        extra.iter().find(|(field, _)| field == name).map_or(usual, |(_, value)| value.as_str())
    });
    Object::new()
        .field("id", proxy.id.as_str())
        .field("addr", proxy.addr.as_str())
        .raw("last_event", last_event)
        .raw("last_event_ts", last_event_ts)
        .field("state", proxy.state.as_str())
        .raw("description", description)
        .field("debug_var_addr", &proxy.debug_var_addr)
        .field("pid", &proxy.pid)
        .field("start_at", &proxy.start_at)
        .extra("", extra, &UNUSED.map(|(name, _)| name))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_written_as_the_original_writes_it() {
        let text = r#"{"id":"p","addr":"h:1","last_event":"","last_event_ts":0,"state":"online","description":"","debug_var_addr":"h:2","pid":32604,"start_at":"2026-11-22 08:00:59 +0000 UTC m=+0.04"}"#;
        assert_eq!(proxy_json(&proxy_from(text.as_bytes()).unwrap()), text);
        let odd = text.replace("\"last_event_ts\":0", "\"last_event_ts\":5").replace("}", ",\"x\":1}");
        assert_eq!(proxy_json(&proxy_from(odd.as_bytes()).unwrap()), odd);
    }
}

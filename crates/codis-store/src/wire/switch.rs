//! `failover/group_G` and `witness/PROXY`, ours.

use std::collections::BTreeMap;

use codis_core::{Addr, Extra, GroupId, Sight, Switch, Witness};

use super::json::{Fields, Object, Result, WireError};

/// Reads the journal of a planned switch.
pub(crate) fn switch_from(group: GroupId, data: &[u8]) -> Result<Switch> {
    let mut fields = Fields::of(data)?;
    let step = fields.take_as("step", str::parse)?;
    let from = fields.take_as("from", str::parse)?;
    let to = fields.take_as("to", str::parse)?;
    let owner = fields.take("owner")?;
    let epoch = fields.take("epoch")?;
    let begun_ms = fields.take("begun_ms")?;
    let hold_ms = fields.take("hold_ms")?;
    // The node's name says it.
    fields.take_raw("group_id");
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    Ok(Switch { group, step, from, to, owner, epoch, begun_ms, hold_ms, extra: Extra(extra) })
}

/// Writes it.
pub(crate) fn switch_json(switch: &Switch) -> String {
    Object::new()
        .field("group_id", &switch.group.0)
        .field("step", switch.step.as_str())
        .field("from", switch.from.as_str())
        .field("to", switch.to.as_str())
        .field("owner", &switch.owner)
        .field("epoch", &switch.epoch)
        .field("begun_ms", &switch.begun_ms)
        .field("hold_ms", &switch.hold_ms)
        .extra("", &switch.extra.0, &[])
        .finish()
}

/// Reads what a proxy sees.
pub(crate) fn witness_from(data: &[u8]) -> Result<Witness> {
    let mut fields = Fields::of(data)?;
    let proxy = fields.take_as("proxy_id", str::parse)?;
    let ts_ms = fields.take("ts_ms")?;
    let offset = fields.position("servers");
    let mut listed = Vec::new();
    fields.take_object("servers")?.rest("", &mut listed);
    let mut servers = BTreeMap::new();
    for (addr, text) in listed {
        let wrong = |why: String| WireError::new(offset, format!("servers: {addr}: {why}"));
        let key: Addr = addr.parse().map_err(|error: codis_core::ParseError| wrong(error.to_string()))?;
        let mut sight = Fields::of(text.as_bytes()).map_err(|error| wrong(error.reason))?;
        let connections = sight.take("connections").map_err(|error| wrong(error.reason))?;
        let failing = sight.take("failing").map_err(|error| wrong(error.reason))?;
        servers.insert(key, Sight { connections, failing });
    }
    Ok(Witness { proxy, ts_ms, servers })
}

/// Writes it.
pub(crate) fn witness_json(witness: &Witness) -> String {
    let servers = witness.servers.iter().fold(Object::new(), |object, (addr, sight)| {
        let sight = Object::new().field("connections", &sight.connections).field("failing", &sight.failing);
        object.raw(addr.as_str(), &sight.finish())
    });
    Object::new()
        .field("proxy_id", witness.proxy.as_str())
        .field("ts_ms", &witness.ts_ms)
        .raw("servers", &servers.finish())
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_and_witnesses_survive_a_round_trip() {
        let text = r#"{"group_id":1,"step":"hold","from":"10.0.0.1:6379","to":"10.0.0.2:6379","owner":"ops@h","epoch":3,"begun_ms":5,"hold_ms":5000,"later":[1]}"#;
        let switch = switch_from(GroupId(1), text.as_bytes()).unwrap();
        assert_eq!((switch.epoch, switch.step.holds()), (3, true));
        assert_eq!(switch_json(&switch), text);

        let text =
            r#"{"proxy_id":"px-1","ts_ms":7,"servers":{"10.0.0.1:6379":{"connections":2,"failing":1}}}"#;
        let witness = witness_from(text.as_bytes()).unwrap();
        assert_eq!(witness.servers.values().next(), Some(&Sight { connections: 2, failing: 1 }));
        assert_eq!(witness_json(&witness), text);
        assert!(witness_from(br#"{"proxy_id":"p","ts_ms":7,"servers":{"x":{}}}"#).is_err());
    }
}

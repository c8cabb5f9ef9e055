//! `actions/SEQ` and its twin `ActionResponse/SEQ`.

use codis_core::{Action, ActionKind, GroupId, Server, SlotSet, SlotStatus};
use serde_json::value::RawValue;

use super::json::{Fields, Object, Result, text};
use super::server::{server_json, server_of};
use super::slot::{group_number, slot_json, slot_of, take_group, take_slot, take_some_group};

/// Reads an action. A type that we do not know is no error: the proxy skips it.
pub(crate) fn action_from(seq: u64, data: &[u8]) -> Result<Action> {
    let mut fields = Fields::of(data)?;
    let name: String = fields.take("type")?;
    let kind = match name.as_str() {
        "slot_changed" => ActionKind::SlotChanged(slot_of(fields.take_object("target")?)?),
        "slot_premigrate" => ActionKind::SlotPreMigrate(slot_of(fields.take_object("target")?)?),
        "slot_migrate" => ActionKind::SlotMigrate(slot_of(fields.take_object("target")?)?),
        "multi_slot_changed" => multi(&mut fields.take_object("target")?)?,
        "group_changed" => {
            let mut target = fields.take_object("target")?;
            let group = take_some_group(&mut target, "id")?;
            ActionKind::GroupChanged { group, servers: servers(group, &mut target)? }
        }
        "group_remove" => ActionKind::GroupRemove(take_some_group(&mut fields.take_object("target")?, "id")?),
        "slots_changed" => {
            let mut target = fields.take_object("target")?;
            let slots: SlotSet = target.take_as("slots", str::parse)?;
            ActionKind::Wave { slots, status: target.take_as("status", str::parse)? }
        }
        _ => ActionKind::Unknown(name),
    };
    // For people; an odd one is no reason not to act.
    let ts = fields.take::<String>("ts").ok().and_then(|ts| ts.parse().ok()).unwrap_or_default();
    let receivers = fields.take_if_there::<Option<Vec<String>>>("receivers")?.flatten().unwrap_or_default();
    Ok(Action { seq: Some(seq), kind, ts, receivers })
}

/// Writes an action.
pub(crate) fn action_json(product: &str, action: &Action) -> String {
    let target = match &action.kind {
        ActionKind::SlotChanged(slot) | ActionKind::SlotPreMigrate(slot) | ActionKind::SlotMigrate(slot) => {
            slot_json(product, slot)
        }
        ActionKind::MultiSlotChanged { from, to, status, group } => Object::new()
            .field("from", &from.get())
            .field("to", &to.get())
            .field("status", status.as_str())
            .field("group_id", &group_number(*group))
            .finish(),
        ActionKind::GroupChanged { group, servers } => group_json(product, *group, servers.as_deref()),
        ActionKind::GroupRemove(group) => group_json(product, *group, None),
        ActionKind::Wave { slots, status } => {
            Object::new().field("slots", &slots.to_string()).field("status", status.as_str()).finish()
        }
        ActionKind::Unknown(_) => "null".to_owned(),
    };
    let receivers = if action.receivers.is_empty() { "null".to_owned() } else { text(&action.receivers) };
    Object::new()
        .field("type", action.kind.type_name())
        .field("desc", "")
        .raw("target", &target)
        .field("ts", &action.ts.to_string())
        .raw("receivers", &receivers)
        .finish()
}

fn group_json(product: &str, group: GroupId, servers: Option<&[Server]>) -> String {
    let servers = match servers {
        Some(servers) => format!("[{}]", servers.iter().map(server_json).collect::<Vec<_>>().join(",")),
        None => "null".to_owned(),
    };
    Object::new().field("id", &group.0).field("product_name", product).raw("servers", &servers).finish()
}

fn multi(target: &mut Fields<'_>) -> Result<ActionKind> {
    Ok(ActionKind::MultiSlotChanged {
        from: take_slot(target, "from")?,
        to: take_slot(target, "to")?,
        status: target.take_as::<SlotStatus, _>("status", str::parse)?,
        group: take_group(target, "group_id")?,
    })
}

fn servers(group: GroupId, target: &mut Fields<'_>) -> Result<Option<Vec<Server>>> {
    let Some(Some(list)) = target.take_if_there::<Option<Vec<&RawValue>>>("servers")? else {
        return Ok(None);
    };
    let read = |raw: &RawValue| server_of(group, Fields::of(raw.get().as_bytes())?);
    list.into_iter().map(read).collect::<Result<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_written_as_the_original_writes_them() {
        for text in [
            r#"{"type":"group_changed","desc":"","target":{"id":1,"product_name":"spec","servers":null},"ts":"1795334419","receivers":null}"#,
            r#"{"type":"group_changed","desc":"","target":{"id":1,"product_name":"spec","servers":[{"type":"master","group_id":1,"addr":"127.0.0.1:7001"}]},"ts":"1795334423","receivers":["{\"id\":\"p\"}"]}"#,
            r#"{"type":"multi_slot_changed","desc":"","target":{"from":0,"to":511,"status":"online","group_id":1},"ts":"1795334439","receivers":null}"#,
            r#"{"type":"group_remove","desc":"","target":{"id":3,"product_name":"spec","servers":null},"ts":"1795334673","receivers":null}"#,
            r#"{"type":"slot_premigrate","desc":"","target":{"product_name":"spec","id":7,"group_id":1,"state":{"status":"pre_migrate","migrate_status":{"from":-1,"to":-1},"last_op_ts":"0"}},"ts":"1795334673","receivers":null}"#,
            r#"{"type":"slots_changed","desc":"","target":{"slots":"0-63","status":"migrate"},"ts":"1795334673","receivers":null}"#,
        ] {
            let action = action_from(4, text.as_bytes()).unwrap();
            assert_eq!(action.seq, Some(4));
            assert_eq!(action_json("spec", &action), text);
        }
    }

    #[test]
    fn an_unknown_action_is_read_as_such() {
        let text = br#"{"type":"from_the_future","desc":"","target":{"a":1},"ts":"?","receivers":null}"#;
        let action = action_from(4, text).unwrap();
        assert_eq!((action.kind, action.ts), (ActionKind::Unknown("from_the_future".to_owned()), 0));
    }
}

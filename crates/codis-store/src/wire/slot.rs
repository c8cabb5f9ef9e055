//! `slots/slot_N`.

use codis_core::{Extra, GroupId, Slot, SlotId, SlotStatus};

use super::json::{Fields, LEVEL, Object, Result, WireError};

/// Fields of `state` that we write but do not use: kept as they were, else as the original writes them.
const LAST_OP: &str = "last_op_ts";

/// Reads a slot; `id` is what its node is named after.
pub(crate) fn slot_from(id: SlotId, data: &[u8]) -> Result<Slot> {
    let fields = Fields::of(data)?;
    let place = fields.position("id");
    let slot = slot_of(fields)?;
    if slot.id == id {
        Ok(slot)
    } else {
        Err(WireError::new(place, format!("id: the record is slot {}'s", slot.id)))
    }
}

/// Reads a slot that is a field of something else, or a record of its own.
pub(super) fn slot_of(mut fields: Fields<'_>) -> Result<Slot> {
    let id = take_slot(&mut fields, "id")?;
    fields.take_raw("product_name");
    let group = take_group(&mut fields, "group_id")?;
    let mut state = fields.take_object("state")?;
    let status: SlotStatus = state.take_as("status", str::parse)?;
    let mut migrate = state.take_object("migrate_status")?;
    let from = take_group(&mut migrate, "from")?;
    let to = take_group(&mut migrate, "to")?;
    let mut extra = Vec::new();
    migrate.rest(&format!("state{LEVEL}migrate_status{LEVEL}"), &mut extra);
    // Always "0" in practice; anything else is kept.
    match state.take_raw(LAST_OP) {
        Some("\"0\"") | None => {}
        Some(other) => extra.push((format!("state{LEVEL}{LAST_OP}"), other.to_owned())),
    }
    state.rest(&format!("state{LEVEL}"), &mut extra);
    fields.rest("", &mut extra);
    Ok(Slot { id, group, status, from, to, extra: Extra(extra) })
}

/// Writes a slot.
pub(crate) fn slot_json(product: &str, slot: &Slot) -> String {
    let extra = &slot.extra.0;
    let last_op_name = format!("state{LEVEL}{LAST_OP}");
    let last_op = extra.iter().find(|(name, _)| *name == last_op_name).map_or("\"0\"", |(_, raw)| raw);
    let migrate = Object::new()
        .field("from", &group_number(slot.from))
        .field("to", &group_number(slot.to))
        .extra(&format!("state{LEVEL}migrate_status{LEVEL}"), extra, &[])
        .finish();
    let state = Object::new()
        .field("status", slot.status.as_str())
        .raw("migrate_status", &migrate)
        .raw(LAST_OP, last_op)
        .extra(&format!("state{LEVEL}"), extra, &[LAST_OP])
        .finish();
    Object::new()
        .field("product_name", product)
        .field("id", &slot.id.get())
        .field("group_id", &group_number(slot.group))
        .raw("state", &state)
        .extra("", extra, &[])
        .finish()
}

/// A slot's number.
pub(super) fn take_slot(fields: &mut Fields<'_>, name: &str) -> Result<SlotId> {
    let place = fields.position(name);
    let number: i64 = fields.take(name)?;
    let id = u16::try_from(number).ok().and_then(SlotId::new);
    id.ok_or_else(|| WireError::new(place, format!("{name}: {number} is not a slot (0-1023)")))
}

/// A group's number; -1 is none.
pub(super) fn take_group(fields: &mut Fields<'_>, name: &str) -> Result<Option<GroupId>> {
    let place = fields.position(name);
    let number: i64 = fields.take(name)?;
    match u32::try_from(number) {
        Ok(id) if number <= i64::from(i32::MAX) => Ok(Some(GroupId(id))),
        _ if number == -1 => Ok(None),
        _ => Err(WireError::new(place, format!("{name}: {number} is not a group"))),
    }
}

/// A group's number where there must be one.
pub(super) fn take_some_group(fields: &mut Fields<'_>, name: &str) -> Result<GroupId> {
    let place = fields.position(name);
    take_group(fields, name)?.ok_or_else(|| WireError::new(place, format!("{name}: -1 is not a group")))
}

pub(super) fn group_number(group: Option<GroupId>) -> i64 {
    group.map_or(-1, |group| i64::from(group.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"product_name":"spec","id":7,"group_id":1,"state":{"status":"online","migrate_status":{"from":-1,"to":-1},"last_op_ts":"0"}}"#;

    fn seven() -> SlotId {
        SlotId::new(7).unwrap()
    }

    #[test]
    fn a_slot_is_written_as_the_original_writes_it() {
        let slot = slot_from(seven(), PLAIN.as_bytes()).unwrap();
        assert_eq!((slot.group, slot.status, slot.from), (Some(GroupId(1)), SlotStatus::Online, None));
        assert!(slot.extra.is_empty());
        assert_eq!(slot_json("spec", &slot), PLAIN);
    }

    #[test]
    fn unknown_fields_are_kept_on_every_level() {
        let text = r#"{"product_name":"spec","id":7,"group_id":2,"state":{"status":"migrate","migrate_status":{"from":1,"to":2,"m":[1, 2]},"last_op_ts":"9","s":{"a":"<"}},"x":null,"y":"z"}"#;
        let slot = slot_from(seven(), text.as_bytes()).unwrap();
        assert_eq!(slot_json("spec", &slot), text);
        let online = slot_json("spec", &slot.online_at(GroupId(2)));
        assert!(online.contains(r#""m":[1, 2]"#) && online.contains(r#""y":"z""#), "{online}");
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (from, to, byte, reason) in [
            ("\"id\":7", "\"id\":8", 28, "slot 8"),
            ("\"id\":7", "\"id\":1024", 28, "0-1023"),
            ("\"group_id\":1", "\"group_id\":-2", 41, "-2"),
            ("online", "gone", 61, "slot status"),
            ("\"to\":-1", "\"to\":x", 103, "expected value"),
            ("\"from\":-1,", "", 96, "from is missing"),
        ] {
            let error = slot_from(seven(), PLAIN.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.reason.contains(reason), "{to}: {error}");
            assert_eq!(error.offset, byte, "{to}: {error}");
        }
    }
}

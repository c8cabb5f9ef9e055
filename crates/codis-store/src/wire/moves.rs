//! `moves/SEQ`, ours: one slot to move. The fields that the original's tasks have are named as there.

use codis_core::{Extra, Move};

use super::json::{Fields, Object, Result};
use super::slot::{take_slot, take_some_group};

/// Reads a task; its number is the sequence of its node.
pub(crate) fn move_from(task: u64, data: &[u8]) -> Result<Move> {
    let mut fields = Fields::of(data)?;
    let slot = take_slot(&mut fields, "slot_id")?;
    let from = take_some_group(&mut fields, "from")?;
    let to = take_some_group(&mut fields, "new_group")?;
    let state = fields.take_as("status", str::parse)?;
    let wave = fields.take("wave")?;
    let created = fields.take_as("create_at", str::parse)?;
    let keys_total = fields.take_if_there::<Option<u64>>("keys_total")?.flatten();
    let keys_moved = fields.take_if_there("keys_moved")?.unwrap_or_default();
    // For people who look at the node; it follows from the two above.
    fields.take_raw("percent");
    let held = fields.take_if_there("held")?.unwrap_or_default();
    let note = fields.take_if_there("note")?.unwrap_or_default();
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    let extra = Extra(extra);
    Ok(Move { task, slot, from, to, state, wave, created, keys_total, keys_moved, held, note, extra })
}

/// Writes a task.
pub(crate) fn move_json(task: &Move) -> String {
    let object = Object::new()
        .field("slot_id", &task.slot.get())
        .field("from", &task.from.0)
        .field("new_group", &task.to.0)
        .field("status", task.state.as_str())
        .field("wave", &task.wave)
        .field("create_at", &task.created.to_string())
        .field("percent", &task.percent())
        .field("keys_total", &task.keys_total)
        .field("keys_moved", &task.keys_moved);
    let object = if task.held { object.field("held", &true) } else { object };
    object.field("note", &task.note).extra("", &task.extra.0, &[]).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_a_round_trip_with_what_a_later_version_added() {
        let text = r#"{"slot_id":7,"from":1,"new_group":2,"status":"migrating","wave":3,"create_at":"1795334475","percent":25,"keys_total":8,"keys_moved":2,"note":"a \u0026 b","hold":["k"]}"#;
        let task = move_from(5, text.as_bytes()).unwrap();
        assert_eq!((task.task, task.slot.get(), task.created, task.percent()), (5, 7, 1_795_334_475, 25));
        assert_eq!(task.note, "a & b");
        assert_eq!(move_json(&task), text);
    }
}

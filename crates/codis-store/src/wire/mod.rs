//! What is written in the nodes, one file per record.
//!
//! Records of the original are written byte for byte as its programs write them, ours in the same manner.

mod action;
mod alert;
mod json;
mod moves;
mod proxy;
mod saga;
mod server;
mod slot;
mod small;
mod snapshot;
mod switch;

pub(crate) use action::{action_from, action_json};
pub(crate) use alert::{alert_from, alert_json, silence_from, silence_json, silence_name};
pub(crate) use json::WireError;
pub(crate) use moves::{move_from, move_json};
pub(crate) use proxy::{proxy_from, proxy_json};
pub(crate) use saga::{agent_from, agent_json, ha_from, ha_json, saga_from, saga_json};
pub(crate) use server::{server_from, server_json};
pub(crate) use slot::{slot_from, slot_json};
pub use small::AuditRecord;
pub(crate) use small::{
    audit_from, audit_json, dashboard_from, dashboard_json, go_task_from, go_task_json, lock_from, lock_json,
    mover_from, mover_json,
};
pub(crate) use snapshot::{kept_from, kept_json};
pub(crate) use switch::{switch_from, switch_json, witness_from, witness_json};

#[cfg(test)]
mod tests {
    use codis_core::{Extra, GroupId, Slot, SlotId, SlotStatus};
    use proptest::prelude::*;

    use super::json::{LEVEL, WireError};
    use super::*;

    /// Every reader, given the same bytes.
    fn read_all(data: &[u8]) -> Vec<Option<WireError>> {
        let id = SlotId::all().next().unwrap();
        vec![
            slot_from(id, data).err(),
            server_from(GroupId(1), "h:1", data).err(),
            proxy_from(data).err(),
            action_from(0, data).err(),
            move_from(0, data).err(),
            lock_from(data).err(),
            dashboard_from(true, data).err(),
            mover_from(data).err(),
            go_task_from("0", data).err(),
            audit_from(data).err(),
            alert_from(data).err(),
            silence_from(data).err(),
            saga_from(GroupId(1), data).err(),
            agent_from(data).err(),
            kept_from("h:1", data).err(),
        ]
    }

    /// One record of every kind.
    fn records() -> Vec<String> {
        let slot = r#"{"product_name":"spec","id":0,"group_id":1,"state":{"status":"migrate","migrate_status":{"from":2,"to":1},"last_op_ts":"0"}}"#;
        let server = r#"{"type":"master","group_id":1,"addr":"h:1"}"#;
        let proxy = r#"{"id":"p1","addr":"h:1","last_event":"","last_event_ts":0,"state":"online","description":"","debug_var_addr":"h:2","pid":3,"start_at":"2026-11-22 m=+0.04"}"#;
        let action = |kind: &str, target: &str| {
            let proxy = serde_json::to_string(proxy).unwrap();
            format!(r#"{{"type":"{kind}","desc":"","target":{target},"ts":"1","receivers":[{proxy}]}}"#)
        };
        let group = format!(r#"{{"id":1,"product_name":"spec","servers":[{server}]}}"#);
        let multi = r#"{"from":0,"to":511,"status":"online","group_id":1}"#;
        vec![
            slot.to_owned(),
            server.to_owned(),
            proxy.to_owned(),
            action("slot_changed", slot),
            action("group_changed", &group),
            action("group_remove", &group),
            action("multi_slot_changed", multi),
            action("slots_changed", r#"{"slots":"0-63,99","status":"migrate"}"#),
            r#"{"slot_id":7,"from":1,"new_group":2,"status":"migrating","wave":3,"create_at":"9","percent":25,"keys_total":8,"keys_moved":2,"note":"a"}"#.to_owned(),
            r#"{"desc":"promote","hostname":"HOST","pid":1}"#.to_owned(),
            r#"{"addr":"h:1","pid":1}"#.to_owned(),
            r#"{"owner":"me@here","pid":1,"epoch":4}"#.to_owned(),
            r#"{"slot_id":7,"new_group":2,"delay":1500,"create_at":"9","percent":0,"status":"pending"}"#.to_owned(),
            r#"{"ts_ms":1,"who":"me","consent":"asked","argv":"x","plan":"y","outcome":"done","took_ms":2,"pid":3}"#.to_owned(),
        ]
    }

    /// Damages a record: a byte replaced, put in or left out, or a piece of it twice.
    fn damage(data: &mut Vec<u8>, how: u8, at: usize, byte: u8) {
        let at = at % data.len().max(1);
        match how % 4 {
            0 if at < data.len() => data[at] = byte,
            1 if at < data.len() => drop(data.remove(at)),
            2 => {
                let piece = data[at..(at + usize::from(byte)).min(data.len())].to_vec();
                data.splice(at..at, piece);
            }
            _ => data.insert(at, byte),
        }
    }

    /// Reads and writes a record as each kind that it can be read as; the first that does not survive it.
    fn lost(data: &[u8]) -> Option<String> {
        let id = SlotId::all().next().unwrap();
        let mut texts = Vec::new();
        texts.extend(slot_from(id, data).map(|slot| {
            let text = slot_json("spec", &slot);
            (slot_from(id, text.as_bytes()) == Ok(slot), text)
        }));
        texts.extend(server_from(GroupId(1), "h:1", data).map(|server| {
            let text = server_json(&server);
            (server_from(GroupId(1), "h:1", text.as_bytes()) == Ok(server), text)
        }));
        texts.extend(proxy_from(data).map(|proxy| {
            let text = proxy_json(&proxy);
            (proxy_from(text.as_bytes()) == Ok(proxy), text)
        }));
        texts.extend(move_from(0, data).map(|task| {
            let text = move_json(&task);
            (move_from(0, text.as_bytes()) == Ok(task), text)
        }));
        texts.extend(go_task_from("0", data).map(|task| {
            let text = go_task_json(&task);
            (go_task_from("0", text.as_bytes()) == Ok(task), text)
        }));
        texts.into_iter().find(|(same, _)| !same).map(|(_, text)| text)
    }

    fn group() -> impl Strategy<Value = Option<GroupId>> {
        proptest::option::of((0..=i32::MAX as u32).prop_map(GroupId))
    }

    prop_compose! {
        fn slots()(
            number in 0u16..1024,
            group in group(),
            from in group(),
            to in group(),
            status in proptest::sample::select(vec![
                SlotStatus::Offline, SlotStatus::Online, SlotStatus::PreMigrate, SlotStatus::Migrate,
            ]),
            extra in proptest::collection::vec(("x[a-z]{0,5}", "[0-9]{1,3}|\"[<>&a-z ]{0,6}\""), 0..4),
            inner in "y[a-z]{0,5}",
        ) -> Slot {
            let mut extra: Vec<(String, String)> = extra;
            extra.sort();
            extra.dedup_by(|a, b| a.0 == b.0);
            extra.insert(0, (format!("state{LEVEL}{inner}"), "[1]".to_owned()));
            // Numbers have no leading zeros in JSON.
            extra.retain(|(_, value)| value.len() == 1 || !value.starts_with('0'));
            Slot { id: SlotId::new(number).unwrap(), group, status, from, to, extra: Extra(extra) }
        }
    }

    proptest! {
        #[test]
        fn a_slot_reads_back_as_it_was_written(slot in slots()) {
            let text = slot_json("spec", &slot);
            prop_assert_eq!(slot_from(slot.id, text.as_bytes()).unwrap(), slot);
        }

        #[test]
        fn damage_is_refused_inside_the_record_and_never_a_panic(
            record in proptest::sample::select(records()),
            blows in proptest::collection::vec((any::<u8>(), 0usize..400, any::<u8>()), 1..4),
        ) {
            let mut data = record.as_bytes().to_vec();
            for (how, at, byte) in blows {
                damage(&mut data, how, at, byte);
            }
            for error in read_all(&data).into_iter().flatten() {
                prop_assert!(error.offset <= data.len(), "{} in {}", error, String::from_utf8_lossy(&data));
                prop_assert!(error.reason.len() < 200, "{}", error);
            }
            // What is understood all the same is kept by a rewrite.
            prop_assert_eq!(lost(&data), None);
        }

        #[test]
        fn a_record_that_ends_too_early_is_refused_there(
            record in proptest::sample::select(records()), at in 0usize..400,
        ) {
            let at = at % record.len();
            for error in read_all(&record.as_bytes()[..at]) {
                prop_assert!(error.is_some_and(|error| error.offset <= at));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            for error in read_all(&data).into_iter().flatten() {
                prop_assert!(error.offset <= data.len(), "{}", error);
            }
        }
    }
}

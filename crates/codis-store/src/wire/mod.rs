//! What is written in the nodes, one file per record.
//!
//! Records of the original are written byte for byte as its programs write them, ours in the same manner.

mod action;
mod json;
mod moves;
mod proxy;
mod server;
mod slot;
mod small;

pub(crate) use action::{action_from, action_json};
pub(crate) use json::WireError;
pub(crate) use moves::{move_from, move_json};
pub(crate) use proxy::{proxy_from, proxy_json};
pub(crate) use server::{server_from, server_json};
pub(crate) use slot::{slot_from, slot_json};
pub use small::AuditRecord;
pub(crate) use small::{
    audit_from, audit_json, dashboard_from, dashboard_json, go_task_from, go_task_json, lock_from, lock_json,
    mover_from, mover_json,
};

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
            lock_from("lock-", 0, false, data).err(),
            dashboard_from(true, data).err(),
            mover_from(data).err(),
            go_task_from("0", data).err(),
            audit_from(data).err(),
        ]
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
        fn damage_is_refused_inside_the_record_and_never_a_panic(slot in slots(), at in 0usize..400, byte: u8) {
            let mut data = slot_json("spec", &slot).into_bytes();
            let at = at % data.len();
            data[at] = byte;
            for error in read_all(&data).into_iter().flatten() {
                prop_assert!(error.offset <= data.len(), "{}", error);
            }
            data.truncate(at);
            let cut = slot_from(slot.id, &data).unwrap_err();
            prop_assert!(cut.offset <= at, "{}", cut);
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            for error in read_all(&data).into_iter().flatten() {
                prop_assert!(error.offset <= data.len(), "{}", error);
            }
        }
    }
}

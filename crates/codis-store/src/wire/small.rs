//! The records of a few fields: locks, dashboards, movers, the original's tasks, audit records.

use codis_core::{Dashboard, Extra, GoTask, MoverLease};

use super::json::{Fields, Object, Result};
use super::slot::{take_slot, take_some_group};

/// One change, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it began, Unix milliseconds.
    pub ts_ms: u64,
    /// `user@host`.
    pub who: String,
    /// How the person agreed: asked, by a flag ...
    pub consent: String,
    /// The command line, without secrets.
    pub argv: String,
    /// The plan as it was shown.
    pub plan: String,
    /// `done`, or the failure in one line.
    pub outcome: String,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Process that made it.
    pub pid: u32,
}

pub(crate) fn audit_from(data: &[u8]) -> Result<AuditRecord> {
    let mut fields = Fields::of(data)?;
    Ok(AuditRecord {
        ts_ms: fields.take("ts_ms")?,
        who: fields.take("who")?,
        consent: fields.take_if_there("consent")?.unwrap_or_default(),
        argv: fields.take("argv")?,
        plan: fields.take("plan")?,
        outcome: fields.take("outcome")?,
        took_ms: fields.take("took_ms")?,
        pid: fields.take_if_there("pid")?.unwrap_or_default(),
    })
}

pub(crate) fn audit_json(record: &AuditRecord) -> String {
    Object::new()
        .field("ts_ms", &record.ts_ms)
        .field("who", &record.who)
        .field("consent", &record.consent)
        .field("argv", &record.argv)
        .field("plan", &record.plan)
        .field("outcome", &record.outcome)
        .field("took_ms", &record.took_ms)
        .field("pid", &record.pid)
        .finish()
}

/// What its owner does, the owner's host and process.
pub(crate) fn lock_from(data: &[u8]) -> Result<(String, String, i64)> {
    let mut fields = Fields::of(data)?;
    Ok((
        fields.take_if_there("desc")?.unwrap_or_default(),
        fields.take_if_there("hostname")?.unwrap_or_default(),
        fields.take_if_there("pid")?.unwrap_or_default(),
    ))
}

/// The original sorts these keys; so the order is its.
pub(crate) fn lock_json(desc: &str, hostname: &str, pid: u32) -> String {
    Object::new().field("desc", desc).field("hostname", hostname).field("pid", &pid).finish()
}

pub(crate) fn dashboard_from(ephemeral: bool, data: &[u8]) -> Result<Dashboard> {
    let mut fields = Fields::of(data)?;
    Ok(Dashboard {
        addr: fields.take("addr")?,
        pid: fields.take_if_there("pid")?.unwrap_or_default(),
        ephemeral,
    })
}

pub(crate) fn dashboard_json(addr: &str, pid: u32) -> String {
    Object::new().field("addr", addr).field("pid", &pid).finish()
}

pub(crate) fn mover_from(data: &[u8]) -> Result<MoverLease> {
    let mut fields = Fields::of(data)?;
    Ok(MoverLease { owner: fields.take("owner")?, pid: fields.take("pid")?, epoch: fields.take("epoch")? })
}

pub(crate) fn mover_json(lease: &MoverLease) -> String {
    Object::new().field("owner", &lease.owner).field("pid", &lease.pid).field("epoch", &lease.epoch).finish()
}

pub(crate) fn go_task_from(name: &str, data: &[u8]) -> Result<GoTask> {
    let mut fields = Fields::of(data)?;
    let slot = take_slot(&mut fields, "slot_id")?;
    let to = take_some_group(&mut fields, "new_group")?;
    // The original never counts: it is always 0. Neither of the other two says what is to be done.
    fields.take_raw("percent");
    let delay_ms = fields.take("delay").unwrap_or_default();
    let created = fields.take_as("create_at", str::parse).unwrap_or_default();
    let status = fields.take("status")?;
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    Ok(GoTask { name: name.to_owned(), slot, to, delay_ms, created, status, extra: Extra(extra) })
}

pub(crate) fn go_task_json(task: &GoTask) -> String {
    Object::new()
        .field("slot_id", &task.slot.get())
        .field("new_group", &task.to.0)
        .field("delay", &task.delay_ms)
        .field("create_at", &task.created.to_string())
        .field("percent", &0)
        .field("status", &task.status)
        .extra("", &task.extra.0, &[])
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_the_original_is_written_as_the_original_writes_it() {
        let text = r#"{"slot_id":7,"new_group":2,"delay":1500,"create_at":"1795334475","percent":0,"status":"pending"}"#;
        let task = go_task_from("0000000003", text.as_bytes()).unwrap();
        assert_eq!((task.slot.get(), task.to.0, task.delay_ms, task.created), (7, 2, 1500, 1_795_334_475));
        assert_eq!(go_task_json(&task), text);
    }
}

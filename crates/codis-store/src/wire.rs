//! The records of a product as JSON: Codis 2's fields in Codis 2's order, and the fields that we do
//! not know kept in [`Extra`].
//!
//! The Go encoder writes compact JSON and escapes `<`, `>` and `&`; so do we, so that trees can be
//! compared byte for byte.

use codis_core::{
    Action, ActionKind, Addr, Dashboard, Extra, GoTask, GroupId, LockEntry, Move, MoveState, MoverLease,
    ParseError, ProductName, Proxy, ProxyId, ProxyState, Role, Server, Slot, SlotId, SlotSet, SlotStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

/// Why the content of a node is not the record it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (byte {offset})")]
pub(crate) struct WireError {
    /// Where reading stopped.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) reason: String,
}

impl WireError {
    fn json(data: &[u8], error: &serde_json::Error) -> Self {
        let before = data.split(|&b| b == b'\n').take(error.line().saturating_sub(1));
        let offset = before.map(|line| line.len() + 1).sum::<usize>() + error.column().saturating_sub(1);
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
        Self { offset: offset.min(data.len()), reason }
    }

    /// A field that is there but means nothing; the offset is that of its value, if it can be found.
    fn field(data: &[u8], name: &str, error: &ParseError) -> Self {
        let quoted = format!("\"{name}\"");
        let offset = data.windows(quoted.len()).position(|window| window == quoted.as_bytes());
        Self { offset: offset.unwrap_or(0), reason: format!("field {name}: {error}") }
    }
}

type Read<T> = Result<T, WireError>;

fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Read<T> {
    serde_json::from_slice(data).map_err(|error| WireError::json(data, &error))
}

/// Compact JSON with the escapes of the Go encoder.
fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Our records are maps with text keys and plain values, which always encode.
    let plain = serde_json::to_string(record).unwrap_or_default();
    plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").into_bytes()
}

/// Unknown fields, in stored order.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Rest(Map<String, Value>);

impl Rest {
    fn extra(self) -> Extra {
        Extra(self.0.into_iter().map(|(name, value)| (name, value.to_string())).collect())
    }

    fn of(extra: &Extra) -> Self {
        let known = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Self(extra.0.iter().map(|(name, text)| (name.clone(), known(text))).collect())
    }
}

fn group_id(number: i64) -> Option<GroupId> {
    u32::try_from(number).ok().map(GroupId)
}

fn number(group: Option<GroupId>) -> i64 {
    group.map_or(-1, |group| i64::from(group.0))
}

// === Slot ===

#[derive(Serialize, Deserialize)]
struct SlotWire {
    #[serde(default)]
    product_name: String,
    id: u16,
    group_id: i64,
    state: SlotStateWire,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Serialize, Deserialize)]
struct SlotStateWire {
    status: String,
    migrate_status: MigrateWire,
    #[serde(default = "zero")]
    last_op_ts: String,
}

#[derive(Serialize, Deserialize)]
struct MigrateWire {
    from: i64,
    to: i64,
}

fn zero() -> String {
    "0".to_owned()
}

pub(crate) fn slot(data: &[u8]) -> Read<Slot> {
    let wire: SlotWire = parse(data)?;
    wire.into_slot().map_err(|(name, error)| WireError::field(data, name, &error))
}

pub(crate) fn slot_json(product: &ProductName, slot: &Slot) -> Vec<u8> {
    encode(&SlotWire::of(product, slot))
}

impl SlotWire {
    fn of(product: &ProductName, slot: &Slot) -> Self {
        Self {
            product_name: product.as_str().to_owned(),
            id: slot.id.get(),
            group_id: number(slot.group),
            state: SlotStateWire {
                status: slot.status.as_str().to_owned(),
                migrate_status: MigrateWire { from: number(slot.from), to: number(slot.to) },
                last_op_ts: zero(),
            },
            rest: Rest::of(&slot.extra),
        }
    }

    fn into_slot(self) -> Result<Slot, (&'static str, ParseError)> {
        Ok(Slot {
            id: self.id.to_string().parse().map_err(|error| ("id", error))?,
            group: group_id(self.group_id),
            status: self.state.status.parse().map_err(|error| ("status", error))?,
            from: group_id(self.state.migrate_status.from),
            to: group_id(self.state.migrate_status.to),
            extra: self.rest.extra(),
        })
    }
}

// === Server ===

#[derive(Serialize, Deserialize)]
struct ServerWire {
    #[serde(rename = "type")]
    role: String,
    group_id: i64,
    addr: String,
    #[serde(flatten)]
    rest: Rest,
}

/// A server's node. Its group is that of the node's parent: the originals store other numbers now and then.
pub(crate) fn server(data: &[u8], group: GroupId) -> Read<Server> {
    let wire: ServerWire = parse(data)?;
    Ok(Server {
        addr: wire.addr.parse().map_err(|error| WireError::field(data, "addr", &error))?,
        group,
        role: wire.role.parse().map_err(|error| WireError::field(data, "type", &error))?,
        extra: wire.rest.extra(),
    })
}

pub(crate) fn server_json(server: &Server) -> Vec<u8> {
    encode(&ServerWire::of(server))
}

impl ServerWire {
    fn of(server: &Server) -> Self {
        Self {
            role: server.role.as_str().to_owned(),
            group_id: i64::from(server.group.0),
            addr: server.addr.as_str().to_owned(),
            rest: Rest::of(&server.extra),
        }
    }
}

// === Proxy ===

#[derive(Serialize, Deserialize)]
struct ProxyWire {
    id: String,
    addr: String,
    #[serde(default)]
    last_event: String,
    #[serde(default)]
    last_event_ts: i64,
    state: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    debug_var_addr: String,
    #[serde(default)]
    pid: i64,
    #[serde(default)]
    start_at: String,
    #[serde(flatten)]
    rest: Rest,
}

/// Fields that every proxy writes and nobody uses; they travel in [`Extra`] like unknown ones.
const UNUSED: [&str; 3] = ["last_event", "last_event_ts", "description"];

pub(crate) fn proxy(data: &[u8]) -> Read<Proxy> {
    let wire: ProxyWire = parse(data)?;
    let field = |name: &'static str| move |error: ParseError| WireError::field(data, name, &error);
    let mut extra = wire.rest.extra();
    let unused = [Value::from(wire.last_event), wire.last_event_ts.into(), wire.description.into()];
    let defaults = [Value::from(""), Value::from(0), Value::from("")];
    for ((name, value), default) in UNUSED.iter().zip(unused).zip(defaults) {
        if value != default {
            extra.0.push(((*name).to_owned(), value.to_string()));
        }
    }
    Ok(Proxy {
        id: wire.id.parse::<ProxyId>().map_err(field("id"))?,
        addr: wire.addr.parse().map_err(field("addr"))?,
        state: wire.state.parse::<ProxyState>().map_err(field("state"))?,
        debug_var_addr: wire.debug_var_addr,
        pid: wire.pid,
        start_at: wire.start_at,
        extra,
    })
}

pub(crate) fn proxy_json(proxy: &Proxy) -> Vec<u8> {
    let mut rest = Rest::of(&proxy.extra).0;
    let mut text = |name| {
        let value = rest.shift_remove(name);
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let (last_event, description) = (text("last_event"), text("description"));
    let last_event_ts = rest.shift_remove("last_event_ts").and_then(|value| value.as_i64()).unwrap_or(0);
    encode(&ProxyWire {
        id: proxy.id.as_str().to_owned(),
        addr: proxy.addr.as_str().to_owned(),
        last_event,
        last_event_ts,
        state: proxy.state.as_str().to_owned(),
        description,
        debug_var_addr: proxy.debug_var_addr.clone(),
        pid: proxy.pid,
        start_at: proxy.start_at.clone(),
        rest: Rest(rest),
    })
}

// === Action ===

#[derive(Serialize, Deserialize)]
struct ActionWire<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    desc: String,
    #[serde(borrow)]
    target: &'a RawValue,
    #[serde(default)]
    ts: String,
    #[serde(default)]
    receivers: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct MultiWire {
    from: u16,
    to: u16,
    status: String,
    group_id: i64,
}

#[derive(Serialize, Deserialize)]
struct GroupWire {
    id: i64,
    #[serde(default)]
    product_name: String,
    #[serde(default)]
    servers: Option<Vec<ServerWire>>,
}

#[derive(Serialize, Deserialize)]
struct WaveWire {
    slots: String,
    status: String,
}

pub(crate) fn action(data: &[u8], seq: u64) -> Read<Action> {
    let wire: ActionWire<'_> = parse(data)?;
    let target = wire.target.get().as_bytes();
    let field = |name: &'static str| move |error: ParseError| WireError::field(data, name, &error);
    let slot = || slot(target);
    let kind = match wire.kind.as_str() {
        "slot_changed" => ActionKind::SlotChanged(slot()?),
        "slot_premigrate" => ActionKind::SlotPreMigrate(slot()?),
        "slot_migrate" => ActionKind::SlotMigrate(slot()?),
        "multi_slot_changed" => {
            let multi: MultiWire = parse(target)?;
            ActionKind::MultiSlotChanged {
                from: multi.from.to_string().parse::<SlotId>().map_err(field("from"))?,
                to: multi.to.to_string().parse::<SlotId>().map_err(field("to"))?,
                status: multi.status.parse::<SlotStatus>().map_err(field("status"))?,
                group: group_id(multi.group_id),
            }
        }
        "group_changed" | "group_remove" => {
            let group: GroupWire = parse(target)?;
            let missing =
                || ParseError { text: group.id.to_string(), expected: "a group number (0 or more)" };
            let id = group_id(group.id).ok_or_else(missing).map_err(field("id"))?;
            if wire.kind == "group_remove" {
                ActionKind::GroupRemove(id)
            } else {
                ActionKind::GroupChanged { group: id, servers: servers(group.servers, id, data)? }
            }
        }
        "slots_changed" => {
            let wave: WaveWire = parse(target)?;
            ActionKind::Wave {
                slots: wave.slots.parse::<SlotSet>().map_err(field("slots"))?,
                status: wave.status.parse::<SlotStatus>().map_err(field("status"))?,
            }
        }
        other => ActionKind::Unknown(other.to_owned()),
    };
    let ts = wire.ts.parse().unwrap_or(0);
    Ok(Action { seq: Some(seq), kind, ts, receivers: wire.receivers.unwrap_or_default() })
}

fn servers(wires: Option<Vec<ServerWire>>, group: GroupId, data: &[u8]) -> Read<Option<Vec<Server>>> {
    let one = |wire: ServerWire| {
        Ok(Server {
            addr: wire.addr.parse::<Addr>().map_err(|error| WireError::field(data, "addr", &error))?,
            group,
            role: wire.role.parse::<Role>().map_err(|error| WireError::field(data, "type", &error))?,
            extra: wire.rest.extra(),
        })
    };
    wires.map(|wires| wires.into_iter().map(one).collect()).transpose()
}

pub(crate) fn action_json(product: &ProductName, action: &Action) -> Vec<u8> {
    let target = target_json(product, &action.kind);
    let receivers = (!action.receivers.is_empty()).then(|| action.receivers.clone());
    // The target is JSON of our own making.
    let target = serde_json::from_slice::<&RawValue>(&target).unwrap_or(RawValue::NULL);
    encode(&ActionWire {
        kind: action.kind.type_name().to_owned(),
        desc: String::new(),
        target,
        ts: action.ts.to_string(),
        receivers,
    })
}

fn target_json(product: &ProductName, kind: &ActionKind) -> Vec<u8> {
    let group = |id: GroupId, servers: Option<&Vec<Server>>| {
        encode(&GroupWire {
            id: i64::from(id.0),
            product_name: product.as_str().to_owned(),
            servers: servers.map(|servers| servers.iter().map(ServerWire::of).collect()),
        })
    };
    match kind {
        ActionKind::SlotChanged(slot) | ActionKind::SlotPreMigrate(slot) | ActionKind::SlotMigrate(slot) => {
            slot_json(product, slot)
        }
        ActionKind::MultiSlotChanged { from, to, status, group } => encode(&MultiWire {
            from: from.get(),
            to: to.get(),
            status: status.as_str().to_owned(),
            group_id: number(*group),
        }),
        ActionKind::GroupChanged { group: id, servers } => group(*id, servers.as_ref()),
        ActionKind::GroupRemove(id) => group(*id, None),
        ActionKind::Wave { slots, status } => {
            encode(&WaveWire { slots: slots.to_string(), status: status.as_str().to_owned() })
        }
        ActionKind::Unknown(_) => b"null".to_vec(),
    }
}

// === Queues, locks, leases ===

#[derive(Serialize, Deserialize)]
struct MoveWire {
    slot_id: u16,
    from: u32,
    new_group: u32,
    status: String,
    wave: u64,
    create_at: String,
    percent: u8,
    keys_total: Option<u64>,
    keys_moved: u64,
    note: String,
    #[serde(flatten)]
    rest: Rest,
}

pub(crate) fn task(data: &[u8], number: u64) -> Read<Move> {
    let wire: MoveWire = parse(data)?;
    let field = |name: &'static str| move |error: ParseError| WireError::field(data, name, &error);
    Ok(Move {
        task: number,
        slot: wire.slot_id.to_string().parse().map_err(field("slot_id"))?,
        from: GroupId(wire.from),
        to: GroupId(wire.new_group),
        state: wire.status.parse::<MoveState>().map_err(field("status"))?,
        wave: wire.wave,
        created: wire.create_at.parse().unwrap_or(0),
        keys_total: wire.keys_total,
        keys_moved: wire.keys_moved,
        note: wire.note,
        extra: wire.rest.extra(),
    })
}

pub(crate) fn task_json(task: &Move) -> Vec<u8> {
    encode(&MoveWire {
        slot_id: task.slot.get(),
        from: task.from.0,
        new_group: task.to.0,
        status: task.state.as_str().to_owned(),
        wave: task.wave,
        create_at: task.created.to_string(),
        percent: task.percent(),
        keys_total: task.keys_total,
        keys_moved: task.keys_moved,
        note: task.note.clone(),
        rest: Rest::of(&task.extra),
    })
}

#[derive(Deserialize)]
struct GoTaskWire {
    slot_id: u16,
    new_group: u32,
    status: String,
}

pub(crate) fn go_task(data: &[u8], name: &str) -> Read<GoTask> {
    let wire: GoTaskWire = parse(data)?;
    Ok(GoTask {
        name: name.to_owned(),
        slot: wire.slot_id.to_string().parse().map_err(|error| WireError::field(data, "slot_id", &error))?,
        to: GroupId(wire.new_group),
        status: wire.status,
    })
}

#[derive(Serialize, Deserialize)]
struct DashboardWire {
    addr: String,
    pid: i64,
}

pub(crate) fn dashboard(data: &[u8], ephemeral: bool) -> Read<Dashboard> {
    let wire: DashboardWire = parse(data)?;
    Ok(Dashboard { addr: wire.addr, pid: wire.pid, ephemeral })
}

pub(crate) fn dashboard_json(addr: &str, pid: i64) -> Vec<u8> {
    encode(&DashboardWire { addr: addr.to_owned(), pid })
}

#[derive(Serialize, Deserialize)]
struct LockWire {
    #[serde(default)]
    desc: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    pid: i64,
}

pub(crate) fn lock(data: &[u8], name: &str, created_ms: u64) -> Read<LockEntry> {
    let wire: LockWire = parse(data)?;
    Ok(LockEntry {
        name: name.to_owned(),
        desc: wire.desc,
        hostname: wire.hostname,
        pid: wire.pid,
        created_ms,
    })
}

pub(crate) fn lock_json(desc: &str, hostname: &str, pid: i64) -> Vec<u8> {
    encode(&LockWire { desc: desc.to_owned(), hostname: hostname.to_owned(), pid })
}

#[derive(Serialize, Deserialize)]
struct MoverWire {
    owner: String,
    pid: i64,
    epoch: u64,
}

pub(crate) fn mover(data: &[u8]) -> Read<MoverLease> {
    let wire: MoverWire = parse(data)?;
    Ok(MoverLease { owner: wire.owner, pid: wire.pid, epoch: wire.epoch })
}

pub(crate) fn mover_json(lease: &MoverLease) -> Vec<u8> {
    encode(&MoverWire { owner: lease.owner.clone(), pid: lease.pid, epoch: lease.epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> ProductName {
        "spec".parse().unwrap()
    }

    fn text(json: Vec<u8>) -> String {
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn records_are_written_as_the_originals_write_them() {
        let json = r#"{"product_name":"spec","id":7,"group_id":2,"state":{"status":"migrate","migrate_status":{"from":1,"to":2},"last_op_ts":"0"}}"#;
        assert_eq!(text(slot_json(&product(), &slot(json.as_bytes()).unwrap())), json);
        let json = r#"{"type":"slave","group_id":1,"addr":"127.0.0.1:7002"}"#;
        assert_eq!(text(server_json(&server(json.as_bytes(), GroupId(1)).unwrap())), json);
        let json = r#"{"id":"proxy_1","addr":"127.0.1.1:19001","last_event":"","last_event_ts":0,"state":"online","description":"","debug_var_addr":"127.0.1.1:11001","pid":10003,"start_at":"2026-11-22 08:00:59.158684094 +0000 UTC m=+0.047548512"}"#;
        assert_eq!(text(proxy_json(&proxy(json.as_bytes()).unwrap())), json);
        for json in [
            r#"{"type":"group_changed","desc":"","target":{"id":1,"product_name":"spec","servers":null},"ts":"1795334419","receivers":null}"#,
            r#"{"type":"group_changed","desc":"","target":{"id":1,"product_name":"spec","servers":[{"type":"master","group_id":1,"addr":"127.0.0.1:7001"}]},"ts":"1795334423","receivers":["{\"id\":\"p\"}"]}"#,
            r#"{"type":"multi_slot_changed","desc":"","target":{"from":0,"to":511,"status":"online","group_id":1},"ts":"1795334439","receivers":null}"#,
            r#"{"type":"group_remove","desc":"","target":{"id":3,"product_name":"spec","servers":null},"ts":"1795334673","receivers":null}"#,
            r#"{"type":"slots_changed","desc":"","target":{"slots":"0-63","status":"migrate"},"ts":"1795334673","receivers":null}"#,
        ] {
            assert_eq!(text(action_json(&product(), &action(json.as_bytes(), 2).unwrap())), json);
        }
    }

    #[test]
    fn html_sensitive_characters_are_escaped() {
        let json = lock_json("promote <a> & b", "host", 1);
        assert_eq!(text(json), r#"{"desc":"promote \u003ca\u003e \u0026 b","hostname":"host","pid":1}"#);
    }

    #[test]
    fn fields_of_other_versions_survive_a_rewrite() {
        let json = r#"{"product_name":"spec","id":7,"group_id":-1,"state":{"status":"offline","migrate_status":{"from":-1,"to":-1},"last_op_ts":"0"},"later":{"a":[1,2.5]},"x":null}"#;
        assert_eq!(text(slot_json(&product(), &slot(json.as_bytes()).unwrap())), json);
        let json = r#"{"id":"p","addr":"h:1","last_event":"e","last_event_ts":5,"state":"offline","description":"d","debug_var_addr":"","pid":1,"start_at":"","rack":"r1"}"#;
        assert_eq!(text(proxy_json(&proxy(json.as_bytes()).unwrap())), json);
    }

    #[test]
    fn damage_is_named_with_its_byte() {
        let error = slot(br#"{"product_name":"spec","id":7,"group_id":x"#).unwrap_err();
        assert_eq!((error.offset, error.reason.as_str()), (41, "expected value"));
        let error = slot(
            br#"{"id":1024,"group_id":1,"state":{"status":"online","migrate_status":{"from":-1,"to":-1}}}"#,
        );
        assert_eq!(error.unwrap_err().reason, "field id: `1024` is not a slot (0-1023)");
        let error = server(br#"{"type":"boss","group_id":1,"addr":"h:1"}"#, GroupId(1)).unwrap_err();
        assert_eq!(
            (error.offset, error.reason.as_str()),
            (1, "field type: `boss` is not a role (master, slave, offline)")
        );
    }

    #[test]
    fn an_unknown_action_is_read_as_such() {
        let json = br#"{"type":"from_the_future","desc":"","target":{"a":1},"ts":"1","receivers":null}"#;
        assert_eq!(action(json, 4).unwrap().kind, ActionKind::Unknown("from_the_future".to_owned()));
    }
}

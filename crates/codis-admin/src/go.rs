//! Pages in the shapes that tools of the Go proxy read: `/debug/vars`, `/MoniData`, `/slotsinfo`.
//!
//! The order of the fields is that of the originals, because some readers are not JSON parsers.

use serde::{Deserialize, Serialize};

/// `/debug/vars`. The Go dashboard computes its operations per second from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugVars {
    /// The counters.
    pub router: Ops,
}

/// Counters in [`DebugVars`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ops {
    /// Requests answered without an error since the start.
    pub ops: u64,
}

/// `/MoniData`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoniData {
    /// The counters.
    pub router: Router,
}

/// Counters in [`MoniData`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// By command.
    pub cmd_proxy: Vec<OpStats>,
    /// By server and command.
    pub cmd_redis: Vec<RedisStats>,
    /// Clients that failed.
    pub conn_fail_num: u64,
    /// Clients accepted.
    pub conn_num: u64,
    /// Requests answered with an error.
    pub op_fail_num: u64,
    /// Requests read.
    pub op_num: u64,
    /// Requests answered without an error.
    pub op_succ_num: u64,
}

/// One server in [`Router`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RedisStats {
    /// Its address.
    pub redis_addr: String,
    /// Requests.
    pub calls: u64,
    /// Of these, how many failed.
    pub fail_calls: u64,
    /// By command.
    pub cmdmap: Vec<OpStats>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpStats {
    /// Requests.
    pub calls: u64,
    /// Its name in upper case.
    pub cmd: String,
    /// Requests that failed.
    pub fail_calls: u64,
    /// Their time, microseconds.
    pub fail_usecs: u64,
    /// Time of all requests, microseconds.
    pub usecs: u64,
    /// Mean time of a request, microseconds.
    pub usecs_percall: u64,
}

impl OpStats {
    /// The counters of a command; times in microseconds.
    pub fn new(cmd: &str, calls: u64, usecs: u64, fail_calls: u64, fail_usecs: u64) -> Self {
        let usecs_percall = usecs.checked_div(calls).unwrap_or(0);
        Self { calls, cmd: cmd.to_owned(), fail_calls, fail_usecs, usecs, usecs_percall }
    }
}

/// `/slotsinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsInfo {
    /// The list.
    pub slots: SlotList,
}

/// The list in [`SlotsInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotList {
    /// 1024 entries in order.
    pub sinfo: Vec<SlotInfo>,
}

/// One slot. That it is held back before a move does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotInfo {
    /// Number of the slot.
    pub slotid: u16,
    /// Its master; empty without one.
    pub master: String,
    /// 1 while it moves, else 0.
    pub ismgrt: u8,
    /// The master that keys are fetched from while it moves, else empty.
    pub mgrtfrom: String,
}

/// A page as the Go proxy prints it: the outer object has a blank after each of its two braces and colon.
pub fn text(name: &str, inner: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(format!("{{ \"{name}\": {}}}", serde_json::to_string(inner)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_look_as_the_go_proxy_prints_them() {
        assert_eq!(text("router", &Ops { ops: 5 }).unwrap(), r#"{ "router": {"ops":5}}"#);
        let ping = OpStats::new("PING", 47, 4934, 0, 0);
        assert_eq!(
            serde_json::to_string(&ping).unwrap(),
            r#"{"calls":47,"cmd":"PING","fail_calls":0,"fail_usecs":0,"usecs":4934,"usecs_percall":104}"#
        );
        let redis = RedisStats { redis_addr: "h:1".into(), calls: 1, fail_calls: 0, cmdmap: vec![] };
        assert_eq!(
            serde_json::to_string(&redis).unwrap(),
            r#"{"RedisAddr":"h:1","Calls":1,"FailCalls":0,"Cmdmap":[]}"#
        );
        let slot = SlotInfo { slotid: 0, master: "h:1".into(), ismgrt: 0, mgrtfrom: String::new() };
        assert_eq!(
            text("slots", &SlotList { sinfo: vec![slot] }).unwrap(),
            r#"{ "slots": {"sinfo":[{"slotid":0,"master":"h:1","ismgrt":0,"mgrtfrom":""}]}}"#
        );
        assert_eq!(OpStats::new("GET", 0, 0, 0, 0).usecs_percall, 0);
    }

    #[test]
    fn pages_read_back() {
        let page: DebugVars = serde_json::from_str(r#"{ "router": {"ops":12}}"#).unwrap();
        assert_eq!(page.router.ops, 12);
    }
}

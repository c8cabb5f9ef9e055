//! `servers/group_N/HOST:PORT`.

use codis_core::{Addr, Extra, GroupId, Server};

use super::json::{Fields, Object, Result, WireError};

/// Reads a server; group and address are what its node and the node above are named after. The group in the record is
/// not looked at: the original takes it from requests, where it may be anything.
pub(crate) fn server_from(group: GroupId, addr: &str, data: &[u8]) -> Result<Server> {
    let fields = Fields::of(data)?;
    let place = fields.position("addr");
    let server = server_of(group, fields)?;
    if server.addr.as_str() == addr {
        Ok(server)
    } else {
        Err(WireError::new(place, format!("addr: the record is of {}", server.addr)))
    }
}

/// Reads a server that is part of something else, or a record of its own.
pub(super) fn server_of(group: GroupId, mut fields: Fields<'_>) -> Result<Server> {
    fields.take_raw("group_id");
    let role = fields.take_as("type", str::parse)?;
    let addr: Addr = fields.take_as("addr", str::parse)?;
    let mut extra = Vec::new();
    fields.rest("", &mut extra);
    Ok(Server { addr, group, role, extra: Extra(extra) })
}

/// Writes a server.
pub(crate) fn server_json(server: &Server) -> String {
    Object::new()
        .field("type", server.role.as_str())
        .field("group_id", &server.group.0)
        .field("addr", server.addr.as_str())
        .extra("", &server.extra.0, &[])
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_written_as_the_original_writes_it() {
        let text = r#"{"type":"slave","group_id":1,"addr":"127.0.0.1:7002"}"#;
        let server = server_from(GroupId(1), "127.0.0.1:7002", text.as_bytes()).unwrap();
        assert_eq!(server_json(&server), text);
        let error = server_from(GroupId(1), "127.0.0.1:7003", text.as_bytes()).unwrap_err();
        assert_eq!((error.offset, error.reason.as_str()), (36, "addr: the record is of 127.0.0.1:7002"));
        let boss = text.replace("slave", "boss");
        let error = server_from(GroupId(1), "127.0.0.1:7002", boss.as_bytes()).unwrap_err();
        assert_eq!(error.reason, "type: `boss` is not a role (master, slave, offline)");
        assert_eq!(error.offset, 8);
    }
}

//! Where a Codis 2 product keeps what: the paths, ours beside the original's.

use codis_core::{GroupId, ProductName, ProxyId, SlotId};

/// Below it lie the products, each as `db_NAME`.
pub(crate) const PRODUCTS: &str = "/zk/codis";
/// What precedes the name of a product.
pub(crate) const PRODUCT_PREFIX: &str = "db_";

/// Paths of one product.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    pub(crate) fn new(product: &ProductName) -> Self {
        Self { root: format!("{PRODUCTS}/{PRODUCT_PREFIX}{product}") }
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    fn under(&self, rest: impl std::fmt::Display) -> String {
        format!("{}/{rest}", self.root)
    }

    pub(crate) fn slots(&self) -> String {
        self.under("slots")
    }

    pub(crate) fn slot(&self, id: SlotId) -> String {
        self.under(format_args!("slots/slot_{id}"))
    }

    pub(crate) fn groups(&self) -> String {
        self.under("servers")
    }

    pub(crate) fn group(&self, id: GroupId) -> String {
        self.under(format_args!("servers/group_{id}"))
    }

    pub(crate) fn server(&self, group: GroupId, addr: &str) -> String {
        self.under(format_args!("servers/group_{group}/{addr}"))
    }

    pub(crate) fn proxies(&self) -> String {
        self.under("proxy")
    }

    pub(crate) fn proxy(&self, id: &ProxyId) -> String {
        self.under(format_args!("proxy/{id}"))
    }

    pub(crate) fn fences(&self) -> String {
        self.under("fence")
    }

    pub(crate) fn fence(&self, addr: &str) -> String {
        self.under(format_args!("fence/{addr}"))
    }

    pub(crate) fn suspensions(&self) -> String {
        self.under("proxy_suspend")
    }

    pub(crate) fn suspension(&self, id: &ProxyId) -> String {
        self.under(format_args!("proxy_suspend/{id}"))
    }

    pub(crate) fn actions(&self) -> String {
        self.under("actions")
    }

    pub(crate) fn action(&self, seq: u64) -> String {
        self.under(format_args!("actions/{seq:010}"))
    }

    pub(crate) fn responses(&self) -> String {
        self.under("ActionResponse")
    }

    pub(crate) fn response(&self, seq: u64) -> String {
        self.under(format_args!("ActionResponse/{seq:010}"))
    }

    pub(crate) fn ack(&self, seq: u64, id: &ProxyId) -> String {
        self.under(format_args!("ActionResponse/{seq:010}/{id}"))
    }

    pub(crate) fn go_tasks(&self) -> String {
        self.under("migrate_tasks")
    }

    pub(crate) fn go_task(&self, name: &str) -> String {
        self.under(format_args!("migrate_tasks/{name}"))
    }

    pub(crate) fn locks(&self) -> String {
        self.under("LOCK")
    }

    pub(crate) fn lock(&self, name: &str) -> String {
        self.under(format_args!("LOCK/{name}"))
    }

    pub(crate) fn dashboard(&self) -> String {
        self.under("dashboard")
    }

    // Ours, which the original's programs never look at.

    pub(crate) fn moves(&self) -> String {
        self.under("moves")
    }

    pub(crate) fn task(&self, task: u64) -> String {
        self.under(format_args!("moves/{task:010}"))
    }

    pub(crate) fn mover(&self) -> String {
        self.under("mover")
    }

    pub(crate) fn mover_epoch(&self) -> String {
        self.under("mover_epoch")
    }

    pub(crate) fn switches(&self) -> String {
        self.under("failover")
    }

    pub(crate) fn switch(&self, id: GroupId) -> String {
        self.under(format_args!("failover/group_{id}"))
    }

    pub(crate) fn agents(&self) -> String {
        self.under("agents")
    }

    pub(crate) fn agent(&self, id: &str) -> String {
        self.under(format_args!("agents/{id}"))
    }

    pub(crate) fn agent_leader(&self) -> String {
        self.under("agent_leader")
    }

    pub(crate) fn agent_epoch(&self) -> String {
        self.under("agent_epoch")
    }

    pub(crate) fn ha(&self) -> String {
        self.under("ha")
    }

    pub(crate) fn witnesses(&self) -> String {
        self.under("witness")
    }

    pub(crate) fn witness(&self, id: &ProxyId) -> String {
        self.under(format_args!("witness/{id}"))
    }

    pub(crate) fn alerts(&self) -> String {
        self.under("alerts")
    }

    pub(crate) fn alert(&self, id: &str) -> String {
        self.under(format_args!("alerts/{}", node_name(id)))
    }

    pub(crate) fn silences(&self) -> String {
        self.under("silences")
    }

    pub(crate) fn silence(&self, name: &str) -> String {
        self.under(format_args!("silences/{}", node_name(name)))
    }

    pub(crate) fn snapshots(&self) -> String {
        self.under("snapshots")
    }

    pub(crate) fn snapshot(&self, addr: &str) -> String {
        self.under(format_args!("snapshots/{}", node_name(addr)))
    }

    pub(crate) fn governors(&self) -> String {
        self.under("governors")
    }

    pub(crate) fn governor(&self, host: &str) -> String {
        self.under(format_args!("governors/{}", node_name(host)))
    }

    pub(crate) fn governor_epoch(&self) -> String {
        self.under("governor_epoch")
    }

    pub(crate) fn audit(&self) -> String {
        self.under("audit")
    }

    pub(crate) fn audit_record(&self, name: &str) -> String {
        self.under(format_args!("audit/{name}"))
    }
}

/// Text as the name of a node: without slashes and what else no name may hold, each such byte as `%2F`.
fn node_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '/' || c == '%' || c.is_control() || ('\u{e000}'..='\u{f8ff}').contains(&c) || c >= '\u{fff0}'
        {
            let mut bytes = [0; 4];
            name.extend(c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            name.push(c);
        }
    }
    name
}

/// The digits that a store appends to the name of a sequential node.
pub(crate) fn sequence(path: &str) -> Option<u64> {
    let digits = path.len().checked_sub(10).and_then(|at| path.get(at..))?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_name() {
        let names = ["memory:10.0.7.51:6387", "proxy_ops:a/b%c\n", "slow:代理", "slow:\u{f900}\u{fffd}"]
            .map(node_name);
        let expected =
            ["memory:10.0.7.51:6387", "proxy_ops:a%2Fb%25c%0A", "slow:代理", "slow:\u{f900}%EF%BF%BD"];
        assert_eq!(names, expected);
    }
}

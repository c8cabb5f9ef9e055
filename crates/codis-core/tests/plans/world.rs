//! Products to plan on.

use std::collections::BTreeSet;

use codis_core::plan::{self, Plan, Refusal, RefusalKind};
use codis_core::{Addr, Cluster, Extra, GroupId, Proxy, ProxyState, SlotSet, Versioned};

pub(crate) fn addr(port: u16) -> Addr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

pub(crate) fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

/// No group is known to have a native server.
pub(crate) fn stock() -> BTreeSet<GroupId> {
    BTreeSet::new()
}

#[track_caller]
pub(crate) fn refused(result: Result<Plan, Refusal>, kind: RefusalKind, why: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.kind, kind, "{refusal:?}");
    assert!(refusal.why.contains(why), "{refusal:?} should say {why:?}");
    assert!(!refusal.next.is_empty(), "{refusal:?} says what to do next");
}

pub(crate) fn run(cluster: &mut Cluster, plan: Result<Plan, Refusal>) {
    for step in plan.unwrap().steps {
        cluster.apply(&step);
    }
}

/// Groups 1 and 2 with a slave each; slots 0-511 at 1, 512-1023 at 2.
pub(crate) fn product() -> Cluster {
    let mut cluster = Cluster::empty("test".parse().unwrap());
    let plan = plan::init(&cluster);
    run(&mut cluster, plan);
    for (group, port) in [(1, 7001), (2, 7003)] {
        let plan = plan::add_group(&cluster, GroupId(group), Some(&addr(port)), &[addr(port + 1)]);
        run(&mut cluster, plan);
    }
    for (range, group) in [("0-511", 1), ("512-1023", 2)] {
        let plan = plan::assign(&cluster, &slots(range), GroupId(group));
        run(&mut cluster, plan);
    }
    cluster
}

pub(crate) fn proxy(cluster: &mut Cluster, id: &str, state: ProxyState, start_at: &str) {
    let port = 19000 + cluster.proxies.len();
    let addr: Addr = format!("127.0.0.1:{port}").parse().unwrap();
    cluster.fences.insert(addr.as_str().to_owned());
    let proxy = Proxy {
        id: id.parse().unwrap(),
        addr,
        state,
        debug_var_addr: String::new(),
        pid: 1,
        start_at: start_at.to_owned(),
        extra: Extra::default(),
    };
    cluster.proxies.insert(proxy.id.clone(), Versioned::new(proxy, 0));
}

//! A product in a local store: group 1 with all slots and some keys, group 2 with none.

use std::{collections::BTreeSet, time::Duration};

use codis_core::{Addr, Cluster, GroupId, Slot, SlotSet, SlotStatus, plan, plan::Plan, slot_of_key};
use codis_ops::{
    Consent, Context, Events, Failure, Permit, Secret, Target, apply,
    mover::{RunOptions, RunReport, run},
};
use codis_testkit::{RedisServer, RespClient, eventually};
use tempfile::TempDir;

pub(crate) const S: GroupId = GroupId(1);
pub(crate) const D: GroupId = GroupId(2);

pub(crate) struct Scene {
    dir: TempDir,
    pub(crate) s: RedisServer,
    pub(crate) d: RedisServer,
    pub(crate) keys: usize,
}

impl Scene {
    /// Servers keep an append-only file, so that a killed one comes back with its keys.
    pub(crate) async fn set(keys: usize) -> Self {
        let start = || RedisServer::builder().durable().start();
        let scene = Self { dir: TempDir::new().unwrap(), s: start(), d: start(), keys };
        let script = "for i=0,tonumber(ARGV[1])-1 do redis.call('SET','k:'..i,'value-'..i) end";
        scene.s.client().call(&["EVAL", script, "0", &keys.to_string()]).unwrap();
        let cx = scene.open().await;
        change(&cx, plan::init).await;
        for (group, server) in [(S, &scene.s), (D, &scene.d)] {
            let addr = addr(server);
            change(&cx, |cluster| plan::add_group(cluster, group, Some(&addr), &[])).await;
        }
        change(&cx, |cluster| plan::assign(cluster, &all(), S)).await;
        cx.close().await;
        scene
    }

    /// A session of its own, as another process would have.
    pub(crate) async fn open(&self) -> Context {
        let target = Target {
            store: format!("local:{}", self.dir.path().join("store.db").display()).parse().unwrap(),
            product: "test".parse().unwrap(),
            timeout: Duration::from_secs(5),
            password: Secret::none(),
        };
        Context::connect_any(&target).await.unwrap()
    }

    pub(crate) async fn queue(&self, slots: &SlotSet) {
        let cx = self.open().await;
        change(&cx, |cluster| plan::migrate(cluster, slots, D, &BTreeSet::new(), 1_000)).await;
        cx.close().await;
    }

    pub(crate) async fn run(&self, options: &RunOptions) -> Result<RunReport, Failure> {
        let cx = self.open().await;
        let report = Box::pin(run(&cx, options, &Events::none())).await;
        cx.close().await;
        report
    }

    pub(crate) async fn load(&self) -> Cluster {
        let cx = self.open().await;
        let cluster = cx.load().await.unwrap();
        cx.close().await;
        cluster
    }

    /// Each key is on one server, or on both while it is being handed over, with its value.
    pub(crate) fn assert_no_key_is_lost(&self) {
        let (mut s, mut d) = (self.s.client(), self.d.client());
        for n in 0..self.keys {
            let words = ["GET", &format!("k:{n}")];
            let copies = [&mut s, &mut d].map(|client| client.call(&words).unwrap().text());
            assert!(copies.contains(&format!("value-{n}")), "{}: {copies:?}", words[1]);
        }
    }

    /// The slots are online at D, nothing of them is on S, and the rest is as it was.
    pub(crate) async fn assert_moved(&self, slots: &SlotSet) {
        let cluster = self.load().await;
        for slot in cluster.known_slots() {
            let owner = if slots.contains(slot.id) { D } else { S };
            let expected = Slot::unassigned(slot.id).online_at(owner);
            assert_eq!(slot.value, expected);
        }
        assert_eq!(cluster.moves, []);
        assert_eq!((cluster.mover, cluster.dashboard), (None, None), "held by a run that has ended");
        assert_eq!(cluster.locks, []);
        let (mut s, mut d) = (self.s.client(), self.d.client());
        for n in 0..self.keys {
            let key = format!("k:{n}");
            let moved = slots.contains(slot_of_key(key.as_bytes()));
            let (has, has_not) = if moved { (&mut d, &mut s) } else { (&mut s, &mut d) };
            assert_eq!(has.call(&["GET", &key]).unwrap().text(), format!("value-{n}"));
            assert_eq!(has_not.call(&["EXISTS", &key]).unwrap().text(), "0", "{key}");
        }
    }

    pub(crate) async fn assert_untouched(&self, slots: &SlotSet) {
        let cluster = self.load().await;
        for id in slots.iter() {
            let slot = &cluster.slot(id).unwrap().value;
            assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(S)));
        }
        assert_eq!(dbsize(&mut self.s.client()), self.keys);
    }
}

pub(crate) async fn change(cx: &Context, planned: impl FnOnce(&Cluster) -> Result<Plan, plan::Refusal>) {
    let plan = planned(&cx.load().await.unwrap()).unwrap();
    let permit = Permit::new(&plan, Consent::Policy);
    Box::pin(apply(cx, &plan, permit, &Events::none())).await.unwrap();
}

pub(crate) fn quick() -> RunOptions {
    RunOptions {
        ack_patience: Duration::from_millis(500),
        wait_timeout: Duration::from_millis(300),
        attempts: 4,
        ..RunOptions::default()
    }
}

pub(crate) fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

pub(crate) fn all() -> SlotSet {
    slots("0-1023")
}

pub(crate) fn addr(server: &RedisServer) -> Addr {
    server.addr().parse().unwrap()
}

pub(crate) fn dbsize(client: &mut RespClient) -> usize {
    client.call(&["DBSIZE"]).unwrap().text().parse().unwrap()
}

pub(crate) fn await_keys(server: &RedisServer, at_least: usize) {
    let mut client = server.client();
    eventually(Duration::from_secs(20), || dbsize(&mut client) >= at_least);
}

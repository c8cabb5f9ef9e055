//! The ways to lose a key that models of the moving protocol have found, staged on real servers.
//!
//! Each case is an order of events in which leaving out one rule loses, hides or revives a key. The tests
//! stage that order and expect the rule to hold. Cases with a mover in them are among the stories of all
//! programs (`tests/tests/stories/cases.rs`).
//!
//! | case | what happens | staged |
//! |---|---|---|
//! | A1 | a copy fails, with or without effect | `moving/tests.rs`: dead, hanging and cut servers |
//! | A2, A3, G9 | a timed-out RESTORE runs late | here, against a write and against a DEL; a dead mover's: stories |
//! | A4, A5 | a broken connection counts as finished | here |
//! | A6 | a stray lies on D before | stories |
//! | A7 | all of A together | the cases above |
//! | B1, B2 | a silent proxy in pre_migrate | here (what proxies do), stories `go.rs` (what the mover does) |
//! | C1, C2, C3 | D fails over | here |
//! | C4, C5 | a proxy that has not heard of it moves a key to the replaced D | here |
//! | D1, D2, D3 | S fails over to a slave that missed the UNLINK | here, against a write and against a DEL |
//! | D3b | another proxy finds nothing on S and does not wait for its slave | here |
//! | D4 | the scan goes on at the cursor of the old S | stories |
//! | E1, E2, E3 | a mover that died or slept acts after its successor | stories (without a cancel) |
//! | E4 | pre_migrate of a cancel is not acknowledged | `tests/tests/stories/cancel.rs` |
//! | E5 | a cancel, and an UNLINK of the old direction in S's queue | here: the way back by hand |
//! | E6, E8 | a cancel with failures, with S's failover | `tests/tests/stories/cancel.rs` |
//! | E7 | a cancel after S failed over without WAIT | here: the way back by hand |
//! | G1 .. G8 | one rule left out, and the others carry it | nothing to stage: they hold |
//! | G10 | both fail over | here |
//! | G11, G12 | as E8 and E6 | as those |
//! | G13 | both fail over within one replication lag | no: a double fault, accepted |
//! | F1 | a proxy dies in the middle of a hand-over | here |
//! | F2 | everything but failovers | the cases above |
//! | I1 | two hand-overs of one key overlap, and it is deleted in between | here; with a mover: `codis-redis/tests/real/handover.rs` |

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codis_core::{GroupId, Slot, SlotId, slot_of_key};
use codis_testkit::{ProxyProcess, RedisServer, Relay, Reply, RespClient, eventually_async, need};

use crate::fixture::{Place, SOON, Servers, ask, ask_soon, local_store, run};

/// The key that everything is about, and its slot's other key.
const KEY: &str = "{t}k";
const OTHER: &str = "{t}other";
const S: GroupId = GroupId(1);
const D: GroupId = GroupId(2);

/// Two groups whose masters are reached through relays: by everybody, and by their slaves.
struct Scene {
    place: Place,
    s: Servers,
    d: Servers,
    to_s: Relay,
    to_d: Relay,
    s_to_slave: Relay,
    d_to_slave: Relay,
    _store: codis_testkit::Sandbox,
}

impl Scene {
    async fn start() -> Self {
        let (store, url) = local_store();
        let ((s, s_to_slave), (d, d_to_slave)) = (Servers::start_relayed(), Servers::start_relayed());
        let (to_s, to_d) = (Relay::to(s.master.port()), Relay::to(d.master.port()));
        let listed = [vec![to_s.addr(), s.slave.addr()], vec![to_d.addr(), d.slave.addr()]];
        let place = Place::new(&url, &listed).await;
        Self { place, s, d, to_s, to_d, s_to_slave, d_to_slave, _store: store }
    }

    fn proxy(&self, id: &str) -> ProxyProcess {
        self.place.start(id)
    }

    /// The group's master dies, what its slave has not seen is lost, the slave takes over, and everybody
    /// is told.
    async fn fail_over(&self, group: GroupId) {
        let (servers, relay) =
            if group == S { (&self.s, &self.s_to_slave) } else { (&self.d, &self.d_to_slave) };
        servers.master.kill();
        relay.cut();
        self.promote_quietly(group).await;
        self.place.tell_group(group).await;
    }

    /// The slave takes over; proxies are not told.
    async fn promote_quietly(&self, group: GroupId) {
        let servers = if group == S { &self.s } else { &self.d };
        ask(&mut servers.slave.client(), "REPLICAOF NO ONE");
        self.place.name_master(group, &servers.slave.addr()).await;
    }

    /// The slot goes back to S, as a cancelled move does.
    async fn turn_back(&self) {
        self.place.change(slot(), Slot::pre_migrate).await;
        self.place.change(slot(), |slot| slot.migrate(D, S)).await;
    }
}

fn slot() -> SlotId {
    slot_of_key(KEY.as_bytes())
}

/// The answer must be an error that says so.
#[track_caller]
fn ask_refused(client: &mut RespClient, line: &str, why: &str) {
    let reply = client.call(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert!(reply.is_error() && reply.text().contains(why), "{line}: {reply:?}");
}

fn on(server: &RedisServer, line: &str) -> Reply {
    ask(&mut server.client(), line)
}

/// Waits until the slave has everything.
fn replicated(master: &RedisServer) {
    let mut client = master.client();
    // WAIT is about the writes of its own connection.
    ask(&mut client, "PUBLISH nobody listens");
    assert_eq!(ask(&mut client, "WAIT 1 20000"), Reply::Int(1));
}

/// A RESTORE is given up and held on its way; the key then moves after all.
async fn a_restore_is_late(scene: &Scene, client: &mut RespClient) {
    ask(client, &format!("SET {KEY} old"));
    scene.place.migrate(slot()).await;
    scene.to_d.delay_next(b"RESTORE");
    ask_refused(client, &format!("GET {KEY}"), "no answer within");
    assert_eq!(scene.to_d.delayed(), 1, "the RESTORE is on its way");
    assert_eq!(on(&scene.s.master, &format!("EXISTS {KEY}")), Reply::Int(1));
    assert_eq!(ask_soon(client, &format!("GET {KEY}")).text(), "old");
    assert_eq!(on(&scene.s.master, &format!("EXISTS {KEY}")), Reply::Int(0));
}

#[test]
fn case_a2_g9_a_late_restore_does_not_overwrite_what_was_written_since() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        a_restore_is_late(&scene, &mut client).await;
        ask(&mut client, &format!("SET {KEY} new"));
        scene.to_d.release();
        scene.to_d.wait_late_ended();
        assert_eq!(ask(&mut client, &format!("GET {KEY}")).text(), "new");
    });
}

#[test]
fn case_a3_a_late_restore_does_not_revive_what_was_deleted_since() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        a_restore_is_late(&scene, &mut client).await;
        assert_eq!(ask(&mut client, &format!("DEL {KEY}")), Reply::Int(1));
        scene.to_d.release();
        scene.to_d.wait_late_ended();
        assert_eq!(ask(&mut client, &format!("EXISTS {KEY}")), Reply::Int(0));
        assert_eq!(on(&scene.d.master, "DBSIZE"), Reply::Int(0));
    });
}

/// Two proxies hand the same key over. The first has read it from S when the second one completes its hand-over and deletes the key
/// on D; then the first one's RESTORE arrives. (In the models the copy is one step, as MIGRATE was; DUMP and RESTORE are two.)
#[test]
fn case_i1_a_slow_hand_over_does_not_revive_what_was_deleted_meanwhile() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let (slow, quick) = (scene.proxy("p1"), scene.proxy("p2"));
        let (mut client, mut other) = (slow.client(), quick.client());
        ask(&mut client, &format!("SET {KEY} old"));
        scene.place.migrate(slot()).await;
        scene.to_d.delay_next(b"RESTORE");
        let reading = std::thread::spawn(move || client.call(&["GET", KEY]).unwrap());
        scene.to_d.wait_held();
        assert_eq!(ask_soon(&mut other, &format!("DEL {KEY}")), Reply::Int(1));
        scene.to_d.release();
        let read = reading.join().unwrap();
        assert_eq!(read, Reply::Bulk(None), "the key has been deleted");
        assert_eq!(ask(&mut other, &format!("EXISTS {KEY}")), Reply::Int(0));
        assert_eq!(on(&scene.d.master, "DBSIZE"), Reply::Int(0));
    });
}

/// A key that has arrived is written all the time; a request needs it together with one that has not.
#[test]
fn a_busy_key_that_has_arrived_does_not_hold_up_others() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} old"));
        scene.place.migrate(slot()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writing = std::thread::spawn({
            let (mut busy, stop) = (scene.d.master.client(), stop.clone());
            let write = format!("*2\r\n$4\r\nINCR\r\n${}\r\n{OTHER}\r\n", OTHER.len());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    busy.send(write.repeat(50).as_bytes()).unwrap();
                    (0..50).for_each(|_| drop(busy.read().unwrap()));
                }
            }
        });
        eventually_async(SOON, async || on(&scene.d.master, &format!("EXISTS {OTHER}")) == Reply::Int(1))
            .await;
        assert_eq!(ask(&mut client, &format!("EXISTS {KEY} {OTHER}")), Reply::Int(2));
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
    });
}

#[test]
fn case_a4_a5_a_broken_connection_is_finished_only_when_the_server_has_ended_it() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} old"));
        // A write is on its way to S when the connection breaks, and S cannot be reached.
        scene.to_s.delay_next(b"late-write");
        let mut writer = proxy.client();
        let writing = std::thread::spawn(move || writer.call(&["SET", KEY, "late-write"]).unwrap());
        scene.to_s.wait_held();
        scene.to_s.hold_requests();
        scene.to_s.cut_clients();
        assert!(writing.join().unwrap().is_error(), "nobody knows whether it has run");

        let changed = scene.place.rewrite(slot(), Slot::pre_migrate).await;
        let published = scene.place.publish(codis_core::ActionKind::SlotPreMigrate(changed)).await;
        let wait = |time| scene.place.product.await_acks(published.seq, &published.receivers, time);
        let acks = wait(Duration::from_secs(1)).await.unwrap();
        assert!(acks.acked.is_empty(), "the write may still run: {acks:?}");
        scene.to_s.unhold();
        let acks = wait(SOON).await.unwrap();
        assert_eq!(acks.acked.len(), 1, "{acks:?}");

        scene.place.change(slot(), |slot| slot.migrate(S, D)).await;
        assert_eq!(ask_soon(&mut client, &format!("GET {KEY}")).text(), "old");
        ask(&mut client, &format!("SET {KEY} new"));
        scene.to_s.release();
        scene.to_s.wait_late_ended();
        assert_eq!(on(&scene.s.master, &format!("EXISTS {KEY}")), Reply::Int(0), "it never ran");
        assert_eq!(ask(&mut client, &format!("GET {KEY}")).text(), "new");
    });
}

#[test]
fn case_b1_b2_a_silent_proxy_does_not_keep_the_others_from_going_back() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let (proxy, silent) = (scene.proxy("p1"), scene.proxy("p2"));
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} old"));
        // Stopped in the middle of a write it would hold the local store's lock.
        let told = async || scene.place.product.witnesses().await.unwrap().found.len() == 2;
        eventually_async(SOON, told).await;
        silent.process().stop();
        let changed = scene.place.rewrite(slot(), Slot::pre_migrate).await;
        let published = scene.place.publish(codis_core::ActionKind::SlotPreMigrate(changed)).await;
        let acks =
            scene.place.product.await_acks(published.seq, &published.receivers, Duration::from_secs(3));
        let acks = acks.await.unwrap();
        assert_eq!(acks.acked.iter().map(ToString::to_string).collect::<Vec<_>>(), ["p1"]);

        // The queue is bounded in time, whatever becomes of the change.
        let begun = std::time::Instant::now();
        ask_refused(&mut client, &format!("GET {KEY}"), "TRYAGAIN");
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        let mut waiting = proxy.client();
        let waiting = std::thread::spawn(move || ask(&mut waiting, &format!("GET {KEY}")));

        // The way back is told to those that hear it; nobody's answer is waited for.
        let back = scene.place.rewrite(slot(), |slot| slot.online_at(S)).await;
        scene.place.publish(codis_core::ActionKind::SlotChanged(back)).await;
        assert_eq!(waiting.join().unwrap().text(), "old");
        ask(&mut client, &format!("SET {KEY} new"));
        silent.process().cont();
        assert_eq!(ask_soon(&mut silent.client(), &format!("GET {KEY}")).text(), "new");
    });
}

#[test]
fn case_c1_c3_no_key_is_on_a_destination_alone_whose_slave_lacks_it() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} v"));
        ask(&mut client, &format!("SET {OTHER} w"));
        scene.place.migrate(slot()).await;
        assert_eq!(ask(&mut client, &format!("GET {OTHER}")).text(), "w");
        scene.d_to_slave.hold_replies();
        ask_refused(&mut client, &format!("GET {KEY}"), "0 of 1 slaves confirmed");
        assert_eq!(on(&scene.s.master, &format!("GET {KEY}")).text(), "v", "it has not left S");

        // Its master dies before the slave has seen the key.
        scene.fail_over(D).await;
        assert_eq!(ask_soon(&mut client, &format!("GET {KEY}")).text(), "v");
        assert_eq!(ask(&mut client, &format!("GET {OTHER}")).text(), "w", "moved before, and waited for");
        assert_eq!(on(&scene.d.slave, "DBSIZE"), Reply::Int(2));
    });
}

#[test]
fn case_c4_c5_a_replaced_destination_gets_no_key_for_good() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} v"));
        scene.place.migrate(slot()).await;
        // D is replaced, lives on, and this proxy has not heard of it.
        scene.promote_quietly(D).await;
        ask_refused(&mut client, &format!("GET {KEY}"), "0 of 1 slaves confirmed");
        assert_eq!(on(&scene.s.master, &format!("GET {KEY}")).text(), "v", "it has not left S");
        scene.place.tell_group(D).await;
        assert_eq!(ask_soon(&mut client, &format!("GET {KEY}")).text(), "v");
        ask(&mut client, &format!("SET {KEY} new"));
        assert_eq!(on(&scene.d.slave, &format!("GET {KEY}")).text(), "new");
        assert_eq!(on(&scene.s.master, &format!("EXISTS {KEY}")), Reply::Int(0));
    });
}

/// S's slave misses what `request` moves; then it takes over. What was refused has not happened.
async fn s_fails_over_after(scene: &Scene, client: &mut RespClient, request: &str) {
    ask(client, &format!("SET {KEY} old"));
    replicated(&scene.s.master);
    scene.place.migrate(slot()).await;
    scene.s_to_slave.hold_replies();
    ask_refused(client, request, "0 of 1 slaves confirmed");
    assert_eq!(
        on(&scene.s.master, &format!("EXISTS {KEY}")),
        Reply::Int(0),
        "S has let it go, its slave not"
    );
    scene.fail_over(S).await;
    assert_eq!(on(&scene.s.slave, &format!("EXISTS {KEY}")), Reply::Int(1), "the new S has it again");
}

#[test]
fn case_d1_a_source_that_has_the_key_again_does_not_overwrite_a_write() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        s_fails_over_after(&scene, &mut client, &format!("SET {KEY} new")).await;
        ask_soon(&mut client, &format!("SET {KEY} newer"));
        assert_eq!(ask(&mut client, &format!("GET {KEY}")).text(), "newer");
        assert_eq!(on(&scene.s.slave, "DBSIZE"), Reply::Int(0));
    });
}

#[test]
fn case_d2_d3_a_source_that_has_the_key_again_does_not_revive_it() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        s_fails_over_after(&scene, &mut client, &format!("DEL {KEY}")).await;
        assert_eq!(ask_soon(&mut client, &format!("DEL {KEY}")), Reply::Int(1));
        assert_eq!(ask(&mut client, &format!("EXISTS {KEY}")), Reply::Int(0));
        assert_eq!(on(&scene.s.slave, "DBSIZE"), Reply::Int(0));
        assert_eq!(on(&scene.d.master, "DBSIZE"), Reply::Int(0));
    });
}

#[test]
fn case_d3b_a_key_that_is_not_there_is_settled_only_when_the_slave_knows() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let (first, second) = (scene.proxy("p1"), scene.proxy("p2"));
        let (mut client, mut other) = (first.client(), second.client());
        ask(&mut client, &format!("SET {KEY} old"));
        replicated(&scene.s.master);
        scene.place.migrate(slot()).await;
        scene.s_to_slave.hold_replies();
        ask_refused(&mut client, &format!("GET {KEY}"), "0 of 1 slaves confirmed");
        // The second proxy finds nothing on S. That S's slave has the key is what it must not ignore.
        ask_refused(&mut other, &format!("DEL {KEY}"), "0 of 1 slaves confirmed");
        scene.fail_over(S).await;
        assert_eq!(ask_soon(&mut other, &format!("DEL {KEY}")), Reply::Int(1));
        assert_eq!(ask_soon(&mut client, &format!("EXISTS {KEY}")), Reply::Int(0));
    });
}

#[test]
fn case_e5_an_unlink_that_was_given_up_does_not_run_after_the_way_back() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} v"));
        scene.place.migrate(slot()).await;
        scene.to_s.delay_next(b"UNLINK");
        ask_refused(&mut client, &format!("GET {KEY}"), "no answer within");
        assert_eq!(scene.to_s.delayed(), 1, "the UNLINK is on its way");
        scene.turn_back().await;
        assert_eq!(ask_soon(&mut client, &format!("GET {KEY}")).text(), "v");
        assert_eq!(on(&scene.d.master, "DBSIZE"), Reply::Int(0), "S has the only copy");
        scene.to_s.release();
        scene.to_s.wait_late_ended();
        assert_eq!(ask(&mut client, &format!("GET {KEY}")).text(), "v");
    });
}

#[test]
fn case_e7_the_way_back_to_a_source_that_has_an_old_copy_again() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        s_fails_over_after(&scene, &mut client, &format!("SET {KEY} new")).await;
        // Nothing was acknowledged that the old copy lacks; now something is.
        ask_soon(&mut client, &format!("SET {KEY} newer"));
        scene.turn_back().await;
        assert_eq!(ask_soon(&mut client, &format!("GET {KEY}")).text(), "newer");
        assert_eq!(on(&scene.s.slave, &format!("GET {KEY}")).text(), "newer");
        assert_eq!(on(&scene.d.master, "DBSIZE"), Reply::Int(0));
    });
}

#[test]
fn case_f1_a_proxy_that_dies_in_a_hand_over_leaves_the_key_to_the_others() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let (dying, proxy) = (scene.proxy("p1"), scene.proxy("p2"));
        let mut client = proxy.client();
        ask(&mut client, &format!("SET {KEY} v"));
        scene.place.migrate(slot()).await;
        scene.to_s.delay_next(b"UNLINK");
        let mut asking = dying.client();
        let asked = std::thread::spawn(move || asking.call(&["GET", KEY]));
        scene.to_s.wait_held();
        dying.kill();
        assert!(asked.join().unwrap().is_err(), "its clients see the connection close");
        assert_eq!(on(&scene.d.master, &format!("EXISTS {KEY}")), Reply::Int(1), "both have it");
        assert_eq!(ask(&mut client, &format!("APPEND {KEY} !")), Reply::Int(2));
        scene.to_s.release();
        scene.to_s.wait_late_ended();
        assert_eq!(ask(&mut client, &format!("GET {KEY}")).text(), "v!");
        assert_eq!(on(&scene.s.master, "DBSIZE"), Reply::Int(0));
    });
}

#[test]
fn case_g10_both_ends_fail_over() {
    need!("redis");
    const KEYS: u32 = 20;
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        for key in 0..KEYS {
            ask(&mut client, &format!("SET {{t}}{key} {key}"));
        }
        replicated(&scene.s.master);
        scene.place.migrate(slot()).await;
        for key in 0..KEYS / 2 {
            ask(&mut client, &format!("APPEND {{t}}{key} !"));
        }
        ask(&mut client, "DEL {t}0");
        replicated(&scene.d.master);
        scene.fail_over(S).await;
        scene.fail_over(D).await;
        assert_eq!(ask_soon(&mut client, "EXISTS {t}0"), Reply::Int(0));
        for key in 1..KEYS {
            let mark = if key < KEYS / 2 { "!" } else { "" };
            assert_eq!(ask_soon(&mut client, &format!("GET {{t}}{key}")).text(), format!("{key}{mark}"));
        }
        assert_eq!(on(&scene.s.slave, "DBSIZE"), Reply::Int(0));
        assert_eq!(on(&scene.d.slave, "DBSIZE"), Reply::Int(i64::from(KEYS) - 1));
    });
}

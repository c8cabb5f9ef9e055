//! Changing the master of a group while somebody writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codis_core::plan::{self, Step};
use codis_core::{Addr, GroupId, Role};
use codis_ops::LiveRole;
use codis_testkit::{Reply, RespClient, eventually, need};

use crate::world::{World, on_both_stores};

const GROUP: GroupId = GroupId(1);
/// How long the writer may take to begin.
const SOON: Duration = Duration::from_secs(20);

async fn group_of_three(world: &mut World) -> Vec<Addr> {
    let servers = world.servers(3);
    world.run(plan::init).await;
    world.run(|cluster| plan::add_group(cluster, GROUP, Some(&servers[0]), &servers[1..])).await;
    for slave in &servers[1..] {
        world.await_info(slave, "linked", |info| info.link_up == Some(true)).await;
    }
    servers
}

/// INCR as fast as it goes until told to stop; returns how many were acknowledged.
fn count_up(mut client: RespClient, stop: &AtomicBool) -> u64 {
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        match client.call(&["INCR", "counter"]) {
            Ok(reply) if reply.text().parse::<u64>().is_ok() => acknowledged += 1,
            _ => std::thread::yield_now(),
        }
    }
    acknowledged
}

#[test]
fn no_acknowledged_write_is_lost_by_a_promotion() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = group_of_three(&mut world).await;
        let stop = Arc::new(AtomicBool::new(false));
        let plan = plan::promote(&world.load().await, GROUP, &servers[1], false).unwrap();
        let writer = {
            let (client, stop) = (world.redis[0].client(), stop.clone());
            std::thread::spawn(move || count_up(client, &stop))
        };
        let mut reader = world.redis[0].client();
        eventually(SOON, || reader.call(&["GET", "counter"]).unwrap().text().parse::<u64>().is_ok());
        let outcome = world.apply(&plan).await;
        stop.store(true, Ordering::Relaxed);
        let acknowledged = writer.join().unwrap();
        outcome.unwrap();
        assert!(acknowledged > 0);
        let kept: u64 =
            world.redis[1].client().call(&["GET", "counter"]).unwrap().text().parse().unwrap_or(0);
        assert!(kept >= acknowledged, "{acknowledged} writes were acknowledged, {kept} are there");
        assert_eq!(world.info(&servers[1]).await.role, LiveRole::Master);
        for follower in [&servers[0], &servers[2]] {
            let new = Some(servers[1].clone());
            world.await_info(follower, "following the new master", |info| info.master == new).await;
        }
        let cluster = world.load().await;
        let role = |addr: &Addr| cluster.server(addr).unwrap().role;
        assert_eq!([role(&servers[0]), role(&servers[1])], [Role::Offline, Role::Master]);
        assert_eq!(needed_slaves(&world, 0), "0", "the write stop is lifted");
    });
}

/// `min-replicas-to-write` of a server.
fn needed_slaves(world: &World, server: usize) -> String {
    let reply = world.redis[server].client().call(&["CONFIG", "GET", "min-replicas-to-write"]).unwrap();
    let Reply::Array(Some(reply)) = reply else { panic!("{reply:?}") };
    reply[1].text().to_owned()
}

#[test]
fn what_people_had_set_outlives_the_write_stop_and_a_crash_in_it() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = group_of_three(&mut world).await;
        world.redis[0].client().call(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
        let whole = plan::promote(&world.load().await, GROUP, &servers[1], false).unwrap();
        let mut prefix = whole.clone();
        // Stopped twice while writes are stopped: the second time must not take the stop for a setting.
        prefix.steps.truncate(1);
        for _ in 0..2 {
            world.apply(&prefix).await.unwrap();
            let refused = world.redis[0].client().call(&["SET", "k", "v"]).unwrap();
            assert!(refused.text().starts_with("NOREPLICAS"), "{refused:?}");
        }
        world.run(|cluster| plan::promote(cluster, GROUP, &servers[1], false)).await;
        assert_eq!(needed_slaves(&world, 0), "1");
    });
}

#[test]
fn a_promotion_stopped_after_any_step_is_completed_by_asking_again() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = group_of_three(&mut world).await;
        let (mut master, mut next) = (0, 1);
        let steps = plan::promote(&world.load().await, GROUP, &servers[next], false).unwrap().steps;
        assert!(matches!(steps[0], Step::CatchUp { .. }));
        for stop in 0..steps.len() {
            let mut prefix = plan::promote(&world.load().await, GROUP, &servers[next], false).unwrap();
            prefix.steps.truncate(stop);
            world.apply(&prefix).await.unwrap();
            world.run(|cluster| plan::promote(cluster, GROUP, &servers[next], false)).await;
            let written = world.redis[next].client().call(&["SET", "after", "x"]).unwrap();
            assert_eq!(written.text(), "OK", "stopped after {stop} steps: the new master takes writes");
            // Back into the group, so that the next round starts from a whole one.
            world.run(|cluster| plan::add_server(cluster, GROUP, &servers[master], Role::Slave)).await;
            for slave in (0..3).filter(|n| *n != next) {
                let new = Some(servers[next].clone());
                let linked = |info: &codis_ops::ServerInfo| info.master == new && info.link_up == Some(true);
                world.await_info(&servers[slave], "linked", linked).await;
            }
            (master, next) = (next, master);
        }
    });
}

#[test]
fn a_dead_master_is_replaced_by_force_only() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = group_of_three(&mut world).await;
        world.redis[0].kill();
        let plan = plan::promote(&world.load().await, GROUP, &servers[1], false).unwrap();
        let failure = world.apply(&plan).await.unwrap_err();
        assert!(failure.next.contains("--force"), "{failure:?}");
        assert_eq!(world.load().await.groups[&GROUP].master().unwrap().addr, servers[0]);
        world.run(|cluster| plan::promote(cluster, GROUP, &servers[1], true)).await;
        assert_eq!(world.info(&servers[1]).await.role, LiveRole::Master);
        let new = Some(servers[1].clone());
        world.await_info(&servers[2], "following the new master", |info| info.master == new).await;
    });
}

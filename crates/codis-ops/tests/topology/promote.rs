//! Changing the master of a group while somebody writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codis_core::plan;
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
        assert_eq!([role(&servers[0]), role(&servers[1])], [Role::Slave, Role::Master]);
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
        let mut master = world.redis[0].client();
        for (before, lag, stopped) in [("1", "10", "1000001"), ("1", "0", "2000001")] {
            // As a program leaves it that was killed while it had stopped writes.
            master.call(&["CONFIG", "SET", "min-replicas-to-write", stopped]).unwrap();
            master.call(&["CONFIG", "SET", "min-replicas-max-lag", "10"]).unwrap();
            let refused = master.call(&["SET", "k", "v"]).unwrap();
            assert!(refused.text().starts_with("NOREPLICAS"), "{refused:?}");
            world.run(|cluster| plan::promote(cluster, GROUP, &servers[1], false)).await;
            assert_eq!((needed_slaves(&world, 0), max_lag(&world, 0)), (before.to_owned(), lag.to_owned()));
            world.run(|cluster| plan::promote(cluster, GROUP, &servers[0], false)).await;
        }
    });
}

/// `min-replicas-max-lag` of a server.
fn max_lag(world: &World, server: usize) -> String {
    let reply = world.redis[server].client().call(&["CONFIG", "GET", "min-replicas-max-lag"]).unwrap();
    let Reply::Array(Some(reply)) = reply else { panic!("{reply:?}") };
    reply[1].text().to_owned()
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

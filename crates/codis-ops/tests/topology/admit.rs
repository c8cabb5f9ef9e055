//! Which servers may be listed.

use codis_core::plan;
use codis_core::{Addr, GroupId, Role};
use codis_ops::{Failure, FailureKind, admit};
use codis_testkit::{PortLease, need};

use crate::world::{World, on_both_stores};

const GROUP: GroupId = GroupId(1);

async fn look(world: &World, addr: &Addr, role: Role) -> Result<Vec<String>, Failure> {
    admit(&world.cx, &world.load().await, GROUP, addr, role).await
}

#[track_caller]
fn refused(outcome: Result<Vec<String>, Failure>, kind: FailureKind, why: &str) {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert!(failure.why.contains(why) && !failure.next.is_empty(), "{failure:?} should say {why:?}");
}

#[test]
fn a_server_is_looked_at_before_it_is_listed() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = world.servers(3);
        world.run(plan::init).await;
        let slaves = [servers[1].clone()];
        world.run(|cluster| plan::add_group(cluster, GROUP, Some(&servers[0]), &slaves)).await;

        let lease = PortLease::take().unwrap();
        let nobody = lease.addr().parse().unwrap();
        refused(look(&world, &nobody, Role::Slave).await, FailureKind::Unreachable, "cannot connect");

        assert_eq!(look(&world, &servers[2], Role::Slave).await.unwrap(), [""; 0]);
        world.redis[2].client().call(&["SET", "k", "v"]).unwrap();
        let notes = look(&world, &servers[2], Role::Slave).await.unwrap();
        assert_eq!(notes, ["it holds 1 key, replaced by those of the master"]);
        assert_eq!(look(&world, &servers[2], Role::Master).await.unwrap(), ["it holds 1 key already"]);

        // What is listed already is a copy: coming back loses nothing.
        world.redis[0].client().call(&["SET", "k", "v"]).unwrap();
        assert_eq!(look(&world, &servers[1], Role::Slave).await.unwrap(), [""; 0]);
        refused(look(&world, &servers[1], Role::Master).await, FailureKind::Unsafe, "it is a slave of");

        let alias: Addr = format!("localhost:{}", servers[0].port()).parse().unwrap();
        let same = format!("it is the server that group 1 lists as {}", servers[0]);
        refused(look(&world, &alias, Role::Slave).await, FailureKind::Unsafe, &same);

        world.redis[0].kill();
        let alone = "the master of group 1 does not answer";
        refused(look(&world, &servers[2], Role::Slave).await, FailureKind::Unreachable, alone);
    });
}

#[test]
fn a_server_of_another_product_is_left_to_it() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = world.servers(1);
        world.run(plan::init).await;
        let store = world.cx.product().store();
        let dir = "/zk/codis/db_other/servers/group_7";
        store.ensure_dir(dir).await.unwrap();
        let record = format!(r#"{{"type":"master","group_id":7,"addr":"{}"}}"#, servers[0]);
        let path = format!("{dir}/{}", servers[0]);
        let (mode, acl) = (codis_store::CreateMode::Persistent, codis_store::Acl::File);
        store.create(&path, record.as_bytes(), mode, acl).await.unwrap();
        let why = "product other lists it in group 7 as master";
        refused(look(&world, &servers[0], Role::Master).await, FailureKind::Unsafe, why);
    });
}

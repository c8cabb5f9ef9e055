//! Trees of real Codis 2 clusters: what we read in each of them is what its note says.

use std::collections::BTreeMap;

use codis_core::{ActionKind, Cluster, Finding, Group, SlotId, SlotSet, findings};
use codis_store::{Product, Store};

use crate::common::{Ground, on_both_stores};
use crate::recorded::steps;

on_both_stores! {
    every_recorded_tree_is_read_as_its_note_says,
}

const ROOT: &str = "/zk/codis/db_spec";

/// What a recorded step changes in what we read, one aspect each; everything else is as in the step before.
type Changes = &'static [(&'static str, &'static str)];

/// The recordings hold 17 of the slots; the finding that the others are missing is left out.
const STEPS: [Changes; 50] = [
    // 00-empty
    &[("findings", "warning the slots are not initialised")],
    // 01-dashboard-started
    &[
        ("dashboard", "127.0.0.1:18087 pid 10001, stays"),
        ("findings", "warning the slots are not initialised; warning a Go dashboard is at 127.0.0.1"),
    ],
    // 02-slot-init
    &[
        ("findings", "warning 17 slots are not served; warning a Go dashboard is at 127.0.0.1"),
        ("newest", "2046 slot_changed, asked nobody"),
        ("slots", "offline -: 0-2,7-10,20,99-100,511-512,587-589,1022-1023"),
    ],
    // 03-add-group-1
    &[
        (
            "findings",
            "warning 17 slots are not served; warning group 1 has no master; warning a Go dashboard is at 127.0.0.1",
        ),
        ("groups", "1: "),
        ("newest", "2048 group_changed, asked nobody"),
    ],
    // 04-add-master-g1
    &[
        ("findings", "warning 17 slots are not served; warning a Go dashboard is at 127.0.0.1"),
        ("groups", "1: 7001 master"),
        ("newest", "2050 group_changed, asked nobody"),
    ],
    // 05-add-slave-g1
    &[("groups", "1: 7001 master, 7002 slave")],
    // 06-add-server-autogroup-g2
    &[
        ("groups", "1: 7001 master, 7002 slave; 2: 7003 master"),
        ("newest", "2054 group_changed, asked nobody"),
    ],
    // 07-add-slave-g2
    &[("groups", "1: 7001 master, 7002 slave; 2: 7003 master, 7004 slave")],
    // 08-range-set-0-511-g1
    &[
        ("findings", "warning 6 slots are not served; warning a Go dashboard is at 127.0.0.1"),
        ("newest", "2056 multi_slot_changed, asked nobody"),
        ("slots", "offline -: 512,587-589,1022-1023; online 1: 0-2,7-10,20,99-100,511"),
    ],
    // 09-range-set-512-1023-g2
    &[
        ("findings", "warning a Go dashboard is at 127.0.0.1"),
        ("newest", "2058 multi_slot_changed, asked nobody"),
        ("slots", "online 1: 0-2,7-10,20,99-100,511; online 2: 512,587-589,1022-1023"),
    ],
    // 10-proxy3-registered-offline
    &[
        ("fences", "127.0.1.3:19003"),
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning no proxy is online; warning a Go dashboard is at 127.0.0.1",
        ),
        ("proxies", "proxy_3 offline"),
        ("stale", "127.0.1.3:19003"),
    ],
    // 11-proxy3-online
    &[("findings", "warning a Go dashboard is at 127.0.0.1"), ("proxies", "proxy_3 online"), ("stale", "")],
    // 12-proxies-1-2-online
    &[
        ("fences", "127.0.1.1:19001 127.0.1.2:19002 127.0.1.3:19003"),
        ("proxies", "proxy_1 online; proxy_2 online; proxy_3 online"),
    ],
    // 13-promote-in-progress-lock-held
    &[
        ("findings", "warning a Go dashboard is at 127.0.0.1; info a server of group 1 is listed as offline"),
        ("groups", "1: 7001 offline, 7002 master; 2: 7003 master, 7004 slave"),
        (
            "locks",
            "lock-0000000013 pid 10001 on HOST, stays: promote server {Type: GroupId:1 Addr:127.0.0.1:7002}",
        ),
        ("newest", "2060 group_changed, asked proxy_3 proxy_1 proxy_2, answered proxy_1 proxy_2"),
    ],
    // 14-promote-done
    &[
        ("newest", "2060 group_changed, asked proxy_3 proxy_1 proxy_2, answered proxy_3 proxy_1 proxy_2"),
        ("locks", ""),
    ],
    // 15-old-master-readded-as-slave
    &[
        ("findings", "warning a Go dashboard is at 127.0.0.1"),
        ("groups", "1: 7001 slave, 7002 master; 2: 7003 master, 7004 slave"),
    ],
    // 16-add-group3-acks
    &[
        ("findings", "warning group 3 has no master; warning a Go dashboard is at 127.0.0.1"),
        ("groups", "1: 7001 slave, 7002 master; 2: 7003 master, 7004 slave; 3: "),
        ("newest", "2062 group_changed, asked proxy_3 proxy_1 proxy_2, answered proxy_3 proxy_1 proxy_2"),
    ],
    // 17-migrate-task-posted
    &[
        (
            "findings",
            "warning group 3 has no master; warning a Go dashboard is at 127.0.0.1; info the queue of the Go tools has 1 task",
        ),
        ("tasks", "0000000000: slot 7 to 2 every 1500 ms pending"),
    ],
    // 18-pre-migrate-two-of-three-acked
    &[
        ("newest", "2064 slot_premigrate, asked proxy_3 proxy_1 proxy_2, answered proxy_1 proxy_2"),
        ("slots", "online 1: 0-2,8-10,20,99-100,511; online 2: 512,587-589,1022-1023; pre_migrate 1: 7"),
        ("tasks", "0000000000: slot 7 to 2 every 1500 ms migrating"),
    ],
    // 19-migrating
    &[
        ("newest", "2066 slot_migrate, asked proxy_3 proxy_1 proxy_2, answered proxy_3 proxy_1 proxy_2"),
        ("slots", "migrate 2 1>2: 7; online 1: 0-2,8-10,20,99-100,511; online 2: 512,587-589,1022-1023"),
    ],
    // 20-migrate-done
    &[
        ("findings", "warning group 3 has no master; warning a Go dashboard is at 127.0.0.1"),
        ("newest", "2068 slot_changed, asked proxy_3 proxy_1 proxy_2, answered proxy_3 proxy_1 proxy_2"),
        ("slots", "online 1: 0-2,8-10,20,99-100,511; online 2: 7,512,587-589,1022-1023"),
        ("tasks", ""),
    ],
    // 21-proxy3-mark-offline
    &[
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning group 3 has no master; warning a Go dashboard is at 127.0.0.1; info proxy proxy_3 was asked to leave and is still there",
        ),
        ("proxies", "proxy_1 online; proxy_2 online; proxy_3 mark_offline"),
        ("stale", "127.0.1.3:19003"),
    ],
    // 22-proxy3-reregistered
    &[
        ("findings", "warning group 3 has no master; warning a Go dashboard is at 127.0.0.1"),
        ("proxies", "proxy_1 online; proxy_2 online; proxy_3 online"),
        ("stale", ""),
    ],
    // 23-remove-slave-g2
    &[
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning group 3 has no master; warning a Go dashboard is at 127.0.0.1",
        ),
        ("groups", "1: 7001 slave, 7002 master; 2: 7003 master; 3: "),
        ("newest", "2070 group_changed, asked proxy_1 proxy_2, answered proxy_1 proxy_2"),
        ("proxies", "proxy_1 online; proxy_2 online"),
        ("stale", "127.0.1.3:19003"),
    ],
    // 24-remove-group-3
    &[
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning a Go dashboard is at 127.0.0.1",
        ),
        ("groups", "1: 7001 slave, 7002 master; 2: 7003 master"),
        ("newest", "2072 group_remove, asked proxy_1 proxy_2, answered proxy_1 proxy_2"),
    ],
    // 25-action-gc-n-100
    &[("newest", "2074 group_remove, asked proxy_1 proxy_2, answered proxy_1 proxy_2")],
    // 26-proxy2-killed-9
    &[],
    // 27-proxy2-session-expired-stale-fence
    &[
        (
            "findings",
            "critical 2 fences were left by a proxy that is not online; warning a Go dashboard is at 127.0.0.1",
        ),
        ("proxies", "proxy_1 online"),
        ("stale", "127.0.1.2:19002 127.0.1.3:19003"),
    ],
    // 28-promote-refused-by-stale-fence
    &[
        (
            "findings",
            "critical 2 fences were left by a proxy that is not online; warning a Go dashboard is at 127.0.0.1; info a server of group 1 is listed as offline",
        ),
        ("groups", "1: 7001 master, 7002 offline; 2: 7003 master"),
    ],
    // 29-remove-fence
    &[
        ("fences", "127.0.1.1:19001"),
        ("findings", "warning a Go dashboard is at 127.0.0.1; info a server of group 1 is listed as offline"),
        ("stale", ""),
    ],
    // 30-promote-again
    &[
        ("groups", "1: 7001 offline, 7002 master; 2: 7003 master"),
        ("newest", "2076 group_changed, asked proxy_1, answered proxy_1"),
    ],
    // 31-premigrate-silent-proxy
    &[
        ("fences", "127.0.1.1:19001 127.0.1.2:19002"),
        ("findings", "warning a Go dashboard is at 127.0.0.1; info the queue of the Go tools has 1 task"),
        ("groups", "1: 7001 slave, 7002 master; 2: 7003 master"),
        ("newest", "2078 slot_premigrate, asked proxy_1 proxy_2, answered proxy_1"),
        ("proxies", "proxy_1 online; proxy_2 online"),
        ("slots", "online 1: 0-2,9-10,20,99-100,511; online 2: 7,512,587-589,1022-1023; pre_migrate 1: 8"),
        ("tasks", "0000000001: slot 8 to 2 every 0 ms migrating"),
    ],
    // 32-premigrate-timeout-rolled-back
    &[
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning a Go dashboard has told proxy proxy_2 to stop; warning a Go dashboard is at 127.0.0.1",
        ),
        ("proxies", "proxy_1 online"),
        ("slots", "online 1: 0-2,8-10,20,99-100,511; online 2: 7,512,587-589,1022-1023"),
        ("stale", "127.0.1.2:19002"),
        ("suspended", "proxy_2"),
        ("tasks", ""),
    ],
    // 33-silent-proxy-resumed
    &[
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning a Go dashboard is at 127.0.0.1",
        ),
        ("suspended", ""),
    ],
    // 34-suspended-proxy-exited
    &[
        ("findings", "warning a Go dashboard is at 127.0.0.1"),
        ("proxies", "proxy_1 online; proxy_2 online"),
        ("stale", ""),
    ],
    // 35-cleaned
    &[("fences", "127.0.1.1:19001"), ("proxies", "proxy_1 online")],
    // 36-remigrated-slot8
    &[
        ("newest", "2084 slot_changed, asked proxy_1, answered proxy_1"),
        ("slots", "online 1: 0-2,9-10,20,99-100,511; online 2: 7-8,512,587-589,1022-1023"),
    ],
    // 37-proxy2-plain-offline
    &[("fences", "127.0.1.1:19001 127.0.1.2:19002"), ("proxies", "proxy_1 online; proxy_2 online")],
    // 38-proxy2-sigterm
    &[("fences", "127.0.1.1:19001"), ("proxies", "proxy_1 online")],
    // 39-migrate-failed-rolled-back-on-target-group
    &[
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning a Go dashboard is at 127.0.0.1",
        ),
        ("newest", "2090 slot_changed, asked proxy_1, answered proxy_1"),
        ("slots", "online 1: 0-2,9-10,99-100,511; online 2: 7-8,512,587-589,1022-1023; online 2 1>2: 20"),
    ],
    // 40-rebalance-tasks
    &[
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning a Go dashboard is at 127.0.0.1; info the queue of the Go tools has 3 tasks",
        ),
        (
            "tasks",
            "0000000004: slot 589 to 1 every 0 ms pending; 0000000005: slot 588 to 1 every 0 ms pending; 0000000006: slot 587 to 1 every 0 ms pending",
        ),
    ],
    // 41-rebalance-done
    &[
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning a Go dashboard is at 127.0.0.1",
        ),
        ("newest", "2108 slot_changed, asked proxy_1, answered proxy_1"),
        ("slots", "online 1: 0-2,9-10,99-100,511,587-589; online 2: 7-8,512,1022-1023; online 2 1>2: 20"),
        ("tasks", ""),
    ],
    // 42-proxy2-session-expired
    &[
        ("fences", "127.0.1.1:19001 127.0.1.2:19002"),
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning 1 slot is online at group 2 after a move from group 1 was broken off; warning a Go dashboard is at 127.0.0.1",
        ),
        ("stale", "127.0.1.2:19002"),
    ],
    // 43-proxy2-reregistered
    &[
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning a Go dashboard is at 127.0.0.1",
        ),
        ("proxies", "proxy_1 online; proxy_2 online"),
        ("stale", ""),
    ],
    // 44-action-after-reregister
    &[
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning group 5 has no master; warning a Go dashboard is at 127.0.0.1",
        ),
        ("groups", "1: 7001 slave, 7002 master; 2: 7003 master; 5: "),
        ("newest", "2110 group_changed, asked proxy_1 proxy_2, answered proxy_1 proxy_2"),
    ],
    // 45-dashboard-sigterm
    &[
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning group 5 has no master",
        ),
        ("dashboard", ""),
    ],
    // 46-dashboard-killed-9
    &[
        ("dashboard", "127.0.0.1:18087 pid 10008, stays"),
        (
            "findings",
            "warning 1 slot is online at group 2 after a move from group 1 was broken off; warning group 5 has no master; warning a Go dashboard is at 127.0.0.1",
        ),
    ],
    // 47-dashboard-restarted
    &[("dashboard", "127.0.0.1:18087 pid 10009, stays")],
    // 48-proxies-exited-role-check
    &[("fences", ""), ("proxies", "")],
    // 49-slot-init-force-with-proxy
    &[
        ("fences", "127.0.1.1:19001"),
        (
            "findings",
            "critical 1 fence was left by a proxy that is not online; warning 1 slot is not served; warning 1 slot is online at group 2 after a move from group 1 was broken off; warning group 5 has no master; warning a Go dashboard has told proxy proxy_1 to stop; warning a Go dashboard is at 127.0.0.1",
        ),
        ("newest", "2112 slot_changed, asked proxy_1, answered "),
        (
            "slots",
            "offline -: 0; online 1: 1-2,9-10,99-100,511,587-589; online 2: 7-8,512,1022-1023; online 2 1>2: 20",
        ),
        ("stale", "127.0.1.1:19001"),
        ("suspended", "proxy_1"),
    ],
];

fn words<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

fn lines(list: impl IntoIterator<Item = String>) -> String {
    list.into_iter().collect::<Vec<_>>().join("; ")
}

fn slots(cluster: &Cluster) -> String {
    let mut found: BTreeMap<String, Vec<SlotId>> = BTreeMap::new();
    for slot in cluster.known_slots() {
        let group = slot.group.map_or_else(|| "-".to_owned(), |group| group.to_string());
        let way = slot.from.zip(slot.to).map(|(from, to)| format!(" {from}>{to}")).unwrap_or_default();
        found.entry(format!("{} {group}{way}", slot.status)).or_default().push(slot.id);
    }
    lines(
        found
            .into_iter()
            .map(|(state, slots)| format!("{state}: {}", slots.into_iter().collect::<SlotSet>())),
    )
}

fn group(group: &Group) -> String {
    let servers = group.servers.iter().map(|server| format!("{} {}", server.addr.port(), server.role));
    format!("{}: {}", group.id, servers.collect::<Vec<_>>().join(", "))
}

/// The newest action: its number, what it is, who is asked and who has answered.
async fn newest(store: &Store, product: &Product) -> String {
    let names = store.children_many(&[format!("{ROOT}/actions")]).await.unwrap().remove(0);
    let mut text = String::new();
    for name in names.unwrap_or_default() {
        let seq = name.parse().unwrap();
        let action = product.action(seq).await.unwrap().unwrap();
        assert!(!matches!(action.kind, ActionKind::Unknown(_)) && action.ts > 1_795_000_000, "{action:?}");
        let asked: Vec<codis_core::ProxyId> = action
            .receivers
            .iter()
            .map(|text| {
                serde_json::from_str::<serde_json::Value>(text).unwrap()["id"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        let acks = product.acks(seq, &asked).await.unwrap();
        let answers = match asked.as_slice() {
            [] => "asked nobody".to_owned(),
            asked => format!("asked {}, answered {}", words(asked), words(&acks.acked)),
        };
        text = format!("{seq} {}, {answers}", action.kind.type_name());
    }
    text
}

/// What we have read, aspect by aspect; what is empty is left out.
async fn read(store: &Store, product: &Product) -> BTreeMap<&'static str, String> {
    let cluster = product.load().await.unwrap();
    let proxies = cluster.proxies.values().map(|proxy| format!("{} {}", proxy.id, proxy.state));
    let locks = cluster.locks.iter().map(|lock| {
        format!(
            "{} pid {} on {}, {}: {}",
            lock.name,
            lock.pid,
            lock.hostname,
            if lock.ephemeral { "ours" } else { "stays" },
            lock.desc
        )
    });
    let tasks = cluster.go_tasks.iter().map(|task| {
        format!("{}: slot {} to {} every {} ms {}", task.name, task.slot, task.to, task.delay_ms, task.status)
    });
    let dashboard = cluster.dashboard.iter().map(|found| {
        format!("{} pid {}, {}", found.addr, found.pid, if found.ephemeral { "ours" } else { "stays" })
    });
    let found = findings(&cluster);
    let said = found.iter().filter(|finding| !finding.what.ends_with("slot nodes are missing"));
    let texts = [
        ("slots", slots(&cluster)),
        ("groups", lines(cluster.groups.values().map(group))),
        ("proxies", lines(proxies)),
        ("fences", words(&cluster.fences)),
        ("stale", words(cluster.stale_fences())),
        ("suspended", words(&cluster.suspended)),
        ("tasks", lines(tasks)),
        ("locks", lines(locks)),
        ("dashboard", lines(dashboard)),
        ("newest", newest(store, product).await),
        ("findings", lines(said.map(said_of))),
        ("gaps", lines(cluster.gaps.iter().map(|gap| format!("{} {}", gap.path, gap.why)))),
        ("moves", words(cluster.moves.iter().map(|task| task.task))),
        ("mover", words(cluster.mover.map(|mover| mover.owner))),
    ];
    texts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// How bad it is and what is wrong, up to the reason.
fn said_of(finding: &Finding) -> String {
    format!("{} {}", finding.severity.as_str(), finding.what.split(':').next().unwrap_or_default())
}

async fn every_recorded_tree_is_read_as_its_note_says(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/").await.unwrap();
    let product = Product::new(store.clone(), "spec".parse().unwrap());
    let mut expected = BTreeMap::new();
    for (step, changes) in steps().into_iter().zip(STEPS) {
        step.apply_to(&store).await;
        for (aspect, text) in changes {
            match text.is_empty() {
                true => drop(expected.remove(aspect)),
                false => drop(expected.insert(*aspect, (*text).to_owned())),
            }
        }
        let found = read(&store, &product).await;
        assert_eq!(found, expected, "{}", step.name);
    }
}

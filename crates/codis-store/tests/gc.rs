//! Old actions go by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use codis_core::ActionKind;
use codis_store::{Acl, CreateMode, Op, Product};

use crate::common::{Ground, PATIENCE, on_both_stores};
use crate::product::{ROOT, group_action, product, proxy, put, register_online};

on_both_stores! {
    thousands_of_actions_leave_at_most_a_thousand,
    a_backlog_of_the_go_tools_goes_bit_by_bit,
    responses_without_actions_are_bounded_too,
    publishers_and_collectors_do_not_disturb_each_other,
    an_action_of_a_go_dashboard_is_there_as_long_as_it_is_waited_for,
}

/// Most nodes that may ever lie in either folder.
const LIMIT: usize = 1000;

async fn counts(product: &Product) -> (usize, usize) {
    let dirs = [format!("{ROOT}/actions"), format!("{ROOT}/ActionResponse")];
    let lists = product.store().children_many(&dirs).await.unwrap();
    let count = |at: usize| lists[at].as_ref().map_or(0, Vec::len);
    (count(0), count(1))
}

/// Publishes `count` actions from two sessions, while proxy 1 answers all and proxy 2 every third; says their numbers,
/// ascending.
async fn publish_answered(ground: &Ground, count: u64) -> Vec<u64> {
    let answering = product(ground).await;
    register_online(&answering, 1).await;
    register_online(&answering, 2).await;
    let left = Arc::new(AtomicU64::new(count));
    let mut publishers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (publishing, answering, left) = (product(ground).await, answering.clone(), Arc::clone(&left));
        publishers.spawn(async move {
            let mut numbers = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let published = publishing.publish(&group_action(1)).await.unwrap();
                numbers.push(published.seq);
                answering.acknowledge(published.seq, &proxy(1)).await.unwrap();
                if published.seq % 3 == 0 {
                    answering.acknowledge(published.seq, &proxy(2)).await.unwrap();
                }
                let acks = publishing.acks(published.seq, &published.receivers).await.unwrap();
                assert_eq!(acks.acked.len(), if published.seq % 3 == 0 { 2 } else { 1 });
                if left.load(Ordering::Relaxed) % 50 == 0 {
                    let (actions, responses) = counts(&publishing).await;
                    assert!(
                        actions <= LIMIT && responses <= LIMIT,
                        "{actions} actions, {responses} responses"
                    );
                }
            }
            numbers
        });
    }
    let mut numbers = publishers.join_all().await.concat();
    numbers.sort_unstable();
    numbers
}

async fn thousands_of_actions_leave_at_most_a_thousand(ground: Ground) {
    let begun = Instant::now();
    let published = publish_answered(&ground, 10_000).await;
    assert_eq!(published.len(), 10_000);
    let product = product(&ground).await;
    let (actions, responses) = counts(&product).await;
    println!(
        "{}: 10,000 actions in {:.1?}, {actions} actions and {responses} responses are left",
        ground.addr,
        begun.elapsed()
    );
    assert!((500..=LIMIT).contains(&actions) && (500..=LIMIT).contains(&responses), "{actions}, {responses}");
    let (left, _) = product.watch_actions().await.unwrap();
    assert_eq!(left, published[published.len() - left.len()..], "only the oldest have gone");
}

async fn a_backlog_of_the_go_tools_goes_bit_by_bit(ground: Ground) {
    let product = product(&ground).await;
    for dir in ["actions", "ActionResponse"] {
        product.store().ensure_dir(&format!("{ROOT}/{dir}")).await.unwrap();
    }
    let create =
        |path: String| Op::Create { path, data: b"{}".to_vec(), mode: CreateMode::Persistent, acl: Acl::Dir };
    for page in (0..3000u64).collect::<Vec<_>>().chunks(100) {
        let nodes = |seq: &u64| {
            let response = format!("{ROOT}/ActionResponse/{seq:010}");
            [
                create(response.clone()),
                create(format!("{response}/p1")),
                create(format!("{ROOT}/actions/{seq:010}")),
            ]
        };
        product.store().commit(page.iter().flat_map(nodes).collect()).await.unwrap();
    }
    // A name that is no number stays.
    put(product.store(), &format!("{ROOT}/actions/note"), "").await;
    let mut published = 0;
    let last = loop {
        let seq = product.publish(&group_action(1)).await.unwrap().seq;
        published += 1;
        let (actions, responses) = counts(&product).await;
        if actions <= LIMIT && responses <= LIMIT {
            break seq;
        }
        assert!(published < 100, "{actions} actions, {responses} responses");
    };
    println!("{}: 3,000 old actions were gone after {published} publications", ground.addr);
    let (left, _) = product.watch_actions().await.unwrap();
    assert_eq!(left.last(), Some(&last));
    assert!(left.len() >= 500 && left.contains(&2_999) && !left.contains(&0));
    product.store().get(&format!("{ROOT}/actions/note")).await.unwrap();
    // What was asked for can still be read.
    let action = product.action(last).await.unwrap().unwrap();
    assert!(matches!(action.kind, ActionKind::GroupChanged { .. }));
}

async fn responses_without_actions_are_bounded_too(ground: Ground) {
    let product = product(&ground).await;
    product.store().ensure_dir(&format!("{ROOT}/ActionResponse")).await.unwrap();
    // Publishers that died after they had drawn their number.
    let lost = Op::Create {
        path: format!("{ROOT}/ActionResponse/"),
        data: Vec::new(),
        mode: CreateMode::PersistentSequential,
        acl: Acl::File,
    };
    for _ in 0..12 {
        product.store().commit(vec![lost.clone(); 100]).await.unwrap();
    }
    let published = product.publish(&group_action(1)).await.unwrap();
    assert_eq!(counts(&product).await, (1, 501));
    assert_eq!(product.watch_actions().await.unwrap().0, [published.seq]);
    // An action whose response is gone goes too.
    let response = format!("{ROOT}/ActionResponse/{:010}", published.seq);
    product.store().delete(&response, None).await.unwrap();
    let newest = product.publish(&group_action(2)).await.unwrap();
    assert_eq!(product.gc_actions(1).await.unwrap(), 1);
    assert_eq!(product.watch_actions().await.unwrap().0, [newest.seq]);
}

async fn publishers_and_collectors_do_not_disturb_each_other(ground: Ground) {
    let publishing = product(&ground).await;
    let collecting = [product(&ground).await, product(&ground).await];
    let publisher = tokio::spawn(async move {
        let mut newest = Vec::new();
        for group in 0..150 {
            newest.push(publishing.publish(&group_action(group)).await.unwrap().seq);
        }
        newest
    });
    let mut collected = 0;
    while !publisher.is_finished() {
        let [one, two] = &collecting;
        let (one, two) = tokio::join!(one.gc_actions(20), two.gc_actions(20));
        collected += one.unwrap() + two.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let published = tokio::time::timeout(PATIENCE, publisher).await.unwrap().unwrap();
    let product = product(&ground).await;
    product.gc_actions(20).await.unwrap();
    assert!(collected > 0);
    assert_eq!(product.watch_actions().await.unwrap().0, published[130..]);
    assert_eq!(counts(&product).await, (20, 20));
}

async fn an_action_of_a_go_dashboard_is_there_as_long_as_it_is_waited_for(ground: Ground) {
    let ours = product(&ground).await;
    let dashboard = ground.connect().await;
    for action in 0..880 {
        ours.publish(&group_action(action)).await.unwrap();
    }
    // In the order of the original: a number, the response anew, the action.
    let responses = format!("{ROOT}/ActionResponse");
    let data = br#"{"type":"group_changed","desc":"","target":{"id":1,"product_name":"test","servers":null},"ts":"1","receivers":null}"#;
    let (sequential, plain) = (CreateMode::PersistentSequential, CreateMode::Persistent);
    let drawn = dashboard.create(&format!("{responses}/"), data, sequential, Acl::File).await.unwrap();
    let seq: u64 = drawn.rsplit('/').next().unwrap().parse().unwrap();
    dashboard.delete(&drawn, None).await.unwrap();
    dashboard.create(&drawn, data, plain, Acl::Dir).await.unwrap();
    dashboard.create(&format!("{ROOT}/actions/{seq:010}"), data, plain, Acl::File).await.unwrap();

    // It waits while we publish hundreds, and collect meanwhile.
    let before = counts(&ours).await.0;
    for action in 0..400 {
        ours.publish(&group_action(action)).await.unwrap();
    }
    assert!(counts(&ours).await.0 < before + 400, "nothing was collected");
    assert!(ours.action(seq).await.unwrap().is_some());
    ours.acknowledge(seq, &proxy(1)).await.unwrap();
    assert_eq!(dashboard.children(&drawn).await.unwrap(), ["p1"]);
    // Numbers go on for both.
    let next = dashboard.create(&format!("{responses}/"), data, sequential, Acl::File).await.unwrap();
    assert!(next.rsplit('/').next().unwrap().parse::<u64>().unwrap() > seq + 800);
}

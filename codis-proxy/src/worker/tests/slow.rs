//! What the slow log says of requests that waited for a slot.

use super::*;

#[tokio::test]
async fn waiting_for_a_slot_is_a_part_of_its_own() {
    need!("redis");
    let server = RedisServer::start();
    let mut fixture = Fixture::start(Limits::default(), online(&server)).await;
    fixture.install("k", blocked(&server)).await;
    let mut client = fixture.client();
    client.send(&[request(&["SET", "k", "1"]), request(&["GET", "k"])].concat()).unwrap();
    fixture.parked(1).await;
    tokio::time::sleep(A_WHILE).await;
    fixture.install("k", online(&server)).await;
    beside(move || {
        assert_eq!(client.read().unwrap().text(), "OK");
        assert_eq!(client.read().unwrap().text(), "1");
        // A request that finds its slot open is not slow.
        assert_eq!(client.call(&["STRLEN", "k"]).unwrap(), Reply::Int(1));
    })
    .await;
    codis_testkit::eventually_async(DEADLINE, || async { fixture.workers.journal().slow_len() == 2 }).await;
    let page = fixture.workers.journal().slow_page();
    for (entry, command) in page.entries.iter().zip(["GET", "SET"]) {
        assert_eq!((entry.command.as_str(), entry.key.as_deref()), (command, Some("k")));
        assert!(entry.migration_wait_us >= A_WHILE.as_micros() as u64, "{entry:?}");
        let parts = entry.queue_us + entry.migration_wait_us + entry.backend_us + entry.flush_us;
        assert_eq!(parts, entry.took_us, "{entry:?}");
    }
    // Times by command count the wait, too: it is what the client has seen.
    let stats = fixture.workers.stats().await;
    assert!(stats.commands["GET"].latency.max() >= A_WHILE.as_micros() as u64 * 9 / 10);
}

//! What is written down of requests that failed because of their slot.

use super::*;

/// Sends a request that must fail; what is written down about it.
async fn failure(fixture: &Fixture, args: &'static [&'static str]) -> (String, codis_admin::FailedOp) {
    let mut client = fixture.client();
    let reply = beside(move || client.call(args).unwrap()).await;
    assert!(reply.is_error(), "{reply:?}");
    let failed = fixture.workers.journal().errors().errors.remove(0);
    assert_eq!((failed.command.as_deref(), failed.key.as_deref()), (Some(args[0]), Some("k")));
    assert_eq!(failed.slot, Some(slot_of_key(b"k").get()));
    (reply.text(), failed)
}

#[tokio::test]
async fn a_slot_that_is_switching_nowhere_or_stuck_is_told_as_such() {
    need!("redis");
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let park_timeout = Duration::from_millis(200);
    let mut fixture = Fixture::start(Limits { park_timeout, ..Limits::default() }, online(&server)).await;
    fixture.install("k", blocked(&server)).await;
    let (reply, failed) = failure(&fixture, &["GET", "k"]).await;
    assert_eq!((failed.cause.as_str(), &failed.why), ("try_again", &reply));
    assert!(failed.took_us >= park_timeout.as_micros() as u64, "{failed:?}");
    assert!(!failed.sent);

    fixture.install("k", Route::Unassigned).await;
    let (reply, failed) = failure(&fixture, &["SET", "k", "v"]).await;
    assert_eq!((failed.cause.as_str(), &failed.why), ("no_master", &reply));
    assert!(failure(&fixture, &["MGET", "k", "another"]).await.1.cause == "no_master");

    server.kill();
    fixture.install("k", migrate(&server, &other)).await;
    let (reply, failed) = failure(&fixture, &["GET", "k"]).await;
    assert_eq!((failed.cause.as_str(), &failed.why), ("move_failed", &reply));
    let counts = fixture.workers.stats().await.failures;
    let told: Vec<_> = counts.iter().map(|one| (one.cause.as_str(), one.count)).collect();
    assert_eq!(told, [("try_again", 1), ("move_failed", 1), ("no_master", 2)]);
}

//! Servers that no client asks anything.

use codis_testkit::eventually_async;

use crate::fixture::{Fixture, SOON, stats};

pub(crate) async fn servers_are_asked_whether_they_live_and_nobody_counts_that(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let server = &fixture.groups[0].master;
    let pings = || {
        let counted = server.client().call(&["INFO", "commandstats"]).unwrap().text();
        let calls = counted.split_once("cmdstat_ping:calls=").and_then(|(_, rest)| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    let before = pings();
    eventually_async(SOON, || async { pings() > before + 1 }).await;
    let said = stats(&proxy).await;
    assert!(said.backends.iter().any(|backend| backend.addr == fixture.groups[0].master.addr()), "{said:?}");
    assert!(said.backends.iter().all(|backend| backend.calls == 0), "{said:?}");
}

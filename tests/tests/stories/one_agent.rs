//! A single agent: its word about a master counts only if the proxies have trouble with it, too. They must know of masters
//! that no client asks anything.

use codis_testkit::need;
use codis_tests::{Product, Store};

use crate::failover::{QUICK, addr, group_of, until_ended, until_led, until_settled};
use crate::support::until_copied;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_nobody_asks_is_replaced_when_it_dies_and_when_it_hangs() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(1), 1);
    until_copied(&product);
    let agent = product.agent(QUICK, &[]);
    until_led(&product).await;
    let (first, second) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    product.groups[0].master.kill();
    until_ended(&product, &second).await;

    product.groups[0].master.restart();
    let group = &product.groups[0];
    until_settled(&product, &[&group.master, &group.slaves[0]]).await;
    group.slaves[0].stop();
    let done = until_ended(&product, &first).await;
    assert_eq!(done.receipt.proxies, (1, 1), "{done:?}\n{}", agent.log());
}

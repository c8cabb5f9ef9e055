//! The proxy follows a store: real proxies, real servers, the local store and ZooKeeper.
//!
//! Each story runs against a product of its own on the local store; [`on_zookeeper`] tells them all
//! again on one ZooKeeper.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test says what it found by panicking")]

mod blocking;
mod cases;
#[path = "../common/certs.rs"]
mod certs;
mod fixture;
mod hold;
mod idle;
mod kills;
mod native;
mod pubsub;
mod refused;
mod resp3;
mod restart;
mod slaves;
mod stories;
mod tls;
mod transactions;
mod trouble;

use codis_testkit::{ZooKeeper, need};
use fixture::{local_store, run};

/// A test on the local store for each story.
macro_rules! on_local_store {
    ($($module:ident::$story:ident),+ $(,)?) => {
        $(#[test]
        fn $story() {
            need!("redis");
            let (_sandbox, store) = local_store();
            run($module::$story(&store));
        })+

        #[test]
        fn on_zookeeper() {
            need!("redis", "zookeeper");
            let zookeeper = ZooKeeper::start();
            $(
                eprintln!("story: {}", stringify!($story));
                run($module::$story(&zookeeper.url()));
            )+
        }
    };
}

on_local_store![
    idle::servers_are_asked_whether_they_live_and_nobody_counts_that,
    resp3::order_is_kept_in_both_versions_while_a_slot_moves,
    resp3::a_lost_request_in_resp3_holds_its_slot_back,
    stories::registers_as_the_originals_do,
    stories::acknowledges_every_action_in_one_go,
    stories::follows_an_action_that_comes_after_a_later_one,
    stories::holds_a_slot_back_and_lets_it_go,
    stories::what_a_killed_client_has_asked_for_is_not_done,
    stories::moves_keys_on_demand,
    stories::two_proxies_want_the_same_keys,
    stories::a_wave_switches_many_slots_in_one_action,
    stories::follows_a_new_master,
    stories::leaves_when_marked_offline,
    stories::leaves_on_sigterm,
    blocking::waiting_clients_go_where_the_slot_goes,
    blocking::what_was_not_sent_yet_holds_nothing_up,
    blocking::each_element_arrives_once_while_the_slot_moves,
    pubsub::each_message_arrives_once_while_the_slot_moves,
    pubsub::listeners_follow_a_planned_promotion,
    pubsub::no_message_is_lost_while_a_group_is_held_back,
    pubsub::listeners_to_a_slot_that_is_taken_away_are_disconnected,
    pubsub::listeners_at_a_dead_master_are_disconnected,
    restart::no_client_notices,
    restart::a_successor_that_dies_changes_nothing,
    restart::a_predecessor_that_dies_is_not_waited_for,
    transactions::are_taken_back_before_a_slot_moves,
    transactions::count_right_while_a_slot_moves_to_and_fro,
    refused::writes_wait_for_the_new_master,
    refused::a_server_that_became_a_slave_makes_the_store_be_read,
    refused::order_stays_while_writes_are_stopped,
    refused::what_was_carried_out_behind_a_refused_write_is_not_overtaken,
    refused::nobody_takes_them_in_time,
    refused::the_wish_of_an_operator_is_answered_at_once,
    refused::parts_of_split_requests_wait_alone,
    refused::what_blocks_waits_too,
    refused::scripts_and_transactions_are_not_sent_again,
    hold::requests_of_a_group_wait_until_its_journal_says_so,
    hold::a_hold_that_takes_too_long_is_given_up_in_the_journal,
    hold::what_is_irrevocable_is_held_through_a_restart,
    hold::what_fails_is_witnessed,
    slaves::no_read_is_older_than_allowed_while_the_slave_hangs,
    slaves::no_read_is_older_than_allowed_while_the_stream_of_writes_stalls,
    slaves::clients_read_what_they_have_written_and_in_order,
    slaves::a_lost_slave_is_not_noticed,
    slaves::a_slave_is_read_only_when_it_has_what_a_move_brought,
    tls::keys_move_over_tls,
    trouble::warns_of_admin_pages_that_other_hosts_cannot_read,
    trouble::waits_until_all_slots_are_ready,
    trouble::waits_to_be_told_to_go_online,
    trouble::registers_again_after_a_suspension,
    trouble::replaces_its_dead_predecessor,
    trouble::keeps_serving_what_it_cannot_understand,
    trouble::a_dead_destination_hides_nothing,
    trouble::refuses_to_start_in_vain,
];

#[test]
fn the_store_goes_away_and_comes_back() {
    need!("redis", "zookeeper");
    let zookeeper = ZooKeeper::start();
    run(trouble::serves_without_the_store(&zookeeper));
}

#[test]
fn a_proxy_fences_itself_without_its_store() {
    need!("redis", "zookeeper");
    let zookeeper = ZooKeeper::start();
    run(hold::a_proxy_that_shall_not_serve_without_the_store(&zookeeper));
}

#[test]
fn a_session_expires() {
    need!("redis", "zookeeper");
    let zookeeper = ZooKeeper::start();
    run(trouble::comes_back_after_an_expired_session(&zookeeper.url()));
}

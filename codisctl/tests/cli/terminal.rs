//! At a terminal: questions, their answers, and colours.

use std::time::Duration;

use codis_testkit::{Tmux, eventually, need};

use crate::support::{Desk, PRODUCT, program};

/// `codisctl` in a terminal of this size.
pub(crate) fn terminal(desk: &Desk, columns: u16, args: &[&str]) -> Tmux {
    let program = program().display().to_string();
    let mut argv =
        vec!["env", "LC_ALL=C.UTF-8", program.as_str(), "--store", desk.store(), "--product", PRODUCT];
    argv.extend(args);
    Tmux::start(columns, 30, &argv)
}

fn wait_for(terminal: &Tmux, text: &str) {
    eventually(Duration::from_secs(20), || terminal.screen().contains(text));
}

#[test]
fn a_plan_is_shown_and_agreed_to() {
    need!("tmux");
    let desk = Desk::new().with_product();
    let tmux = terminal(&desk, 100, &["group", "add", "1"]);
    wait_for(&tmux, "Add group 1? [y/N]");
    assert!(tmux.screen().contains("writes 1  servers/group_1: created"), "{}", tmux.screen());
    tmux.keys(&["y", "Enter"]);
    wait_for(&tmux, "done      add group 1");
    eventually(Duration::from_secs(20), || tmux.exit_status() == Some(0));
    let audit = desk.run(&["audit", "--last", "1", "--output", "json"]).json();
    assert_eq!(audit["records"][0]["consent"], "prompt");
}

#[test]
fn anything_but_yes_is_no() {
    need!("tmux");
    let desk = Desk::new().with_product();
    let tmux = terminal(&desk, 100, &["group", "add", "1"]);
    wait_for(&tmux, "[y/N]");
    tmux.keys(&["Enter"]);
    wait_for(&tmux, "nothing was written");
    eventually(Duration::from_secs(20), || tmux.exit_status() == Some(1));
    assert_eq!(desk.run(&["group", "list"]).ok().out, "0 groups\n");
}

#[test]
fn what_cannot_be_undone_wants_the_name() {
    need!("tmux");
    let desk = Desk::new().with_product();
    desk.run(&["group", "add", "1", "--yes"]).ok();
    let tmux = terminal(&desk, 120, &["group", "remove", "1"]);
    wait_for(&tmux, "Type the product's name (feed):");
    tmux.keys(&["y", "Enter"]);
    wait_for(&tmux, "nothing was written");
    let tmux = terminal(&desk, 120, &["group", "remove", "1"]);
    wait_for(&tmux, "Type the product's name (feed):");
    tmux.keys(&["feed", "Enter"]);
    wait_for(&tmux, "done      remove group 1");
    assert_eq!(desk.run(&["group", "list"]).ok().out, "0 groups\n");
    let tmux = terminal(&desk, 120, &["product", "remove", PRODUCT]);
    wait_for(&tmux, "Remove product feed? It cannot be undone. Type the product's name (feed):");
    tmux.keys(&["feed", "Enter"]);
    wait_for(&tmux, "done      remove product feed");
    assert_eq!(desk.run(&["product", "list", "--output", "plain"]).ok().out, "");
}

#[test]
fn the_map_has_colours_only_at_a_terminal() {
    need!("tmux");
    let desk = Desk::new().with_product();
    desk.write("slots/slot_0", "{\"product_name\":\"feed\",\"id\":0,\"group_id\":1,\"state\":{\"status\":\"online\",\"migrate_status\":{\"from\":-1,\"to\":-1},\"last_op_ts\":\"0\"}}");
    let tmux = terminal(&desk, 100, &["slot", "map"]);
    wait_for(&tmux, "no group 1023");
    assert!(tmux.screen().contains("» migrate 0"), "{}", tmux.screen());
    assert!(tmux.screen_with_colours().contains("48;5;226m"), "{}", tmux.screen_with_colours());
    assert!(!desk.run(&["slot", "map"]).ok().out.contains('\x1b'));
}

#[test]
fn a_terminal_that_draws_ascii_gets_ascii() {
    need!("tmux");
    let desk = Desk::new().with_product();
    let (program, store) = (program().display().to_string(), desk.store().to_owned());
    let argv = ["env", "LC_ALL=C", &program, "--store", &store, "--product", PRODUCT, "slot", "map"];
    let tmux = Tmux::start(100, 30, &argv);
    wait_for(&tmux, "> migrate 0   = pre_migrate 0");
}

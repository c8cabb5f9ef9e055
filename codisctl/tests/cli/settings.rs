//! Flags over environment over file, and what is wrong with a file.

use std::os::unix::fs::PermissionsExt as _;

use codis_testkit::{RedisServer, need};

use crate::support::{Desk, PRODUCT};

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let desk = Desk::new();
    desk.run(&["--product", "flag", "product", "init", "--yes"]).ok();
    desk.run(&["--product", "env", "product", "init", "--yes"]).ok();
    desk.run(&["--product", "file", "product", "init", "--yes"]).ok();
    let file = format!("product = \"file\"\noutput = \"json\"\n[store]\naddress = \"{}\"\n", desk.store());
    desk.sandbox.write("codis.toml", &file).unwrap();
    let product = |env: Option<&str>, args: &[&str]| {
        let mut command = desk.command(args);
        command.envs(env.map(|product| ("CODIS_PRODUCT", product)));
        let output = command.output().unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        shown["product"].as_str().unwrap().to_owned()
    };
    assert_eq!(product(None, &["product", "show"]), "file");
    assert_eq!(product(Some("env"), &["product", "show"]), "env");
    assert_eq!(product(Some("env"), &["--product", "flag", "product", "show"]), "flag");
}

#[test]
fn a_wrong_key_is_2_with_file_line_and_key() {
    let desk = Desk::new();
    desk.sandbox.write("codis.toml", "product = \"feed\"\n\n[store]\nadress = \"local:x\"\n").unwrap();
    insta::assert_snapshot!(desk.bare(&["status"]).all(), @r#"
    --- 2
    error: codis.toml line 4: unknown key `store.adress`
      where  codis.toml:4:1   adress = "local:x"
      why    the table [store] has: address
      next   write `address`
    "#);
}

#[test]
fn a_wrong_type_is_2_with_what_to_write() {
    let desk = Desk::new();
    let path = desk.sandbox.write("other.toml", "timeout = 10\n").unwrap();
    insta::assert_snapshot!(desk.bare(&["--config", path.to_str().unwrap(), "status"]).all(), @r#"
    --- 2
    error: other.toml line 1: wrong value for `timeout`
      where  DIR/other.toml:1:1   timeout = 10
      why    it takes a duration in double quotes: a number with ms, s or m, not a number
      next   write `timeout = "10s"`
    "#);
    desk.sandbox.write("other.toml", "[store]\naddress = \"redis://x\"\n").unwrap();
    insta::assert_snapshot!(desk.bare(&["--config", path.to_str().unwrap(), "status"]).all(), @r#"
    --- 2
    error: other.toml line 2: wrong value for `store.address`
      where  DIR/other.toml:2:1   address = "redis://x"
      why    "redis://x" is not a store address: it begins with neither zk:// nor local:; write zk://HOST:PORT[,HOST:PORT][/CHROOT] or local:PATH
      next   write e.g. `address = "zk://10.0.7.11:2181,10.0.7.12:2181"`
    "#);
}

#[test]
fn a_file_that_is_asked_for_must_be_there() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.bare(&["--config", "no.toml", "status"]).all(), @"
    --- 2
    error: cannot read the configuration
      where  no.toml
      why    no such file or directory
      next   codisctl --config FILE, or no --config to do without
    ");
}

#[test]
fn the_password_comes_from_a_file_that_only_its_owner_reads() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let server = RedisServer::builder().password("s3cret").start();
    desk.name(&server.addr(), "SERVER");
    let secret = desk.sandbox.write("password", "s3cret\n").unwrap();
    let config = format!("password_file = \"{}\"\n", secret.display());
    desk.sandbox.write("codis.toml", &config).unwrap();

    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(desk.run(&["server", "info", &server.addr()]).all(), @"
    --- 2
    error: cannot use the password file
      where  DIR/password
      why    its mode is 0644: others can read it
      next   chmod 600 DIR/password
    ");

    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let shown = desk.run(&["server", "info", &server.addr()]).ok();
    assert!(shown.out.contains("role      master\n"), "{}", shown.out);

    desk.sandbox.write("codis.toml", "").unwrap();
    let refused = desk.run(&["server", "info", &server.addr()]);
    assert_eq!(refused.status, 5, "{}", refused.all());
    let mut command = desk.command(&["server", "info", &server.addr()]);
    command.env("CODIS_STORE", desk.store()).env("CODIS_PRODUCT", PRODUCT).env("CODIS_PASSWORD", "s3cret");
    let output = command.output().unwrap();
    assert!(output.status.success());
    let all = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&all).contains("s3cret"));
}

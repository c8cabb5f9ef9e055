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
      why    it takes a duration in double quotes: a number with ms, s, m, h or d, not a number
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

#[test]
fn every_setting_is_shown_with_where_it_comes_from_and_no_password() {
    let desk = Desk::new();
    desk.sandbox.write("codis.toml", "product = \"file\"\ntimeout = \"3s\"\n[ha]\ndown_after = \"4s\"\n[alert.webhook]\nurl = \"https://chat.example.com/t0ken\"\n[duty.memory]\nline = 70\n").unwrap();
    let mut command = desk.command(&["--output", "plain", "config", "show", "--product", "flag"]);
    command.env("CODIS_STORE", "zk://10.0.7.11:2181").env("CODIS_PASSWORD", "s3cret");
    let output = command.output().unwrap();
    insta::assert_snapshot!(desk.steady(&output.stdout).replace('\t', " | "), @"
    config | codis.toml | it is in this directory
    store.address | zk://10.0.7.11:2181 | CODIS_STORE
    product | flag | --product
    output | plain | --output
    timeout | 3s | codis.toml line 2
    password | set, and not shown | CODIS_PASSWORD
    ha.down_after | 4s | codis.toml line 4
    alert.webhook.url | set, and not shown | codis.toml line 6
    duty.memory.line | 70 | codis.toml line 8
    ");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
    let json = desk.bare(&["config", "show", "--output", "json"]).json();
    assert_eq!(
        (&json["settings"][2]["value"], &json["settings"][2]["from"]),
        (&"file".into(), &"file".into())
    );
    assert_eq!(
        (&json["settings"][1]["value"], &json["settings"][1]["from"]),
        (&().into(), &"default".into())
    );
}

#[test]
fn an_agent_that_cannot_go_by_its_settings_does_not_start_and_says_which_key_and_why() {
    let desk = Desk::new().with_product();
    desk.sandbox.write("texts.toml", "[memory]\nsubject = \"{{ sever }}\"\n").unwrap();
    let mail = |lines: &str| {
        format!(
            "[alert.mail]\nserver = \"smtp.example.com\"\nfrom = \"codis@example.com\"\nto = \"li@example.com\"\n{lines}"
        )
    };
    let cases = [
        ("[duty.memory]\nline = 0\n".to_owned(), "`duty.memory.line`"),
        ("[duty.memory]\nline = 150\n".to_owned(), "a whole number from 1 to 100"),
        ("[duty.tasks]\nafter = \"soon\"\n".to_owned(), "`duty.tasks.after`"),
        ("[duty.tasks]\nrate = 0\n".to_owned(), "`duty.tasks.rate`"),
        ("[ha]\ndown_after = \"1s\"\n".to_owned(), "`ha.down_after`"),
        ("[alert]\ntexts = \"no.toml\"\n".to_owned(), "`alert.texts`"),
        ("[alert]\ntexts = \"texts.toml\"\n".to_owned(), "texts.toml line 2"),
        ("[alert.mail]\nserver = \"smtp.example.com:mail\"\nfrom = \"a@b.example\"\nto = \"c@d.example\"\n".to_owned(), "`alert.mail.server`"),
        ("[alert.mail]\nserver = \"smtp.example.com\"\nto = \"c@d.example\"\n".to_owned(), "alert.mail.from is missing"),
        (mail("user = \"codis\"\n"), "`alert.mail.user`"),
        (mail("security = \"ssl\"\n"), "`alert.mail.security`"),
        (mail("ca_file = \"no.pem\"\n"), "`alert.mail.ca_file`"),
    ];
    for (text, words) in cases {
        desk.sandbox.write("codis.toml", &text).unwrap();
        let refused = desk.run(&["agent", "run"]);
        assert_eq!(refused.status, 2, "{text}: {}", refused.all());
        assert!(refused.err.contains(words) && refused.err.contains("why"), "{text}: {}", refused.all());
    }
}

#[test]
fn the_config_ini_of_go_programs_is_read_as_it_is() {
    need!("redis", "zookeeper");
    let mut desk = Desk::zk().with_product();
    let server = RedisServer::builder().password("s3cret").start();
    desk.name(&server.addr(), "SERVER");
    let zk = desk.store().trim_start_matches("zk://").to_owned();
    let file = format!(
        "# codis\ncoordinator=zookeeper\nzk={zk}\nproduct={PRODUCT}\ndashboard_addr=10.0.7.20:18087\n\
         password=s3cret\nproxy_id=proxy_1\nsession_max_timeout=1800\nnosie=1\n"
    );
    desk.sandbox.write("config.ini", &file).unwrap();
    let info = desk.bare(&["--config", "config.ini", "server", "info", &server.addr()]).ok();
    assert!(info.out.contains("role      master\n"), "{}", info.out);
    assert_eq!(info.err, "warning   config.ini line 9: unknown key `nosie` is not used\n");
    let mut command = desk.command(&["config", "show"]);
    let output = command.env("CODIS_CONFIG", "config.ini").env("CODIS_OUTPUT", "plain").output().unwrap();
    insta::assert_snapshot!(desk.steady(&output.stdout).replace('\t', " | "), @"
    config | config.ini | CODIS_CONFIG
    store.address | zk://ZK | config.ini line 3
    product | feed | config.ini line 4
    output | plain | CODIS_OUTPUT
    timeout | 10s | the default
    password | set, and not shown | config.ini line 6
    ");
}

#[test]
fn a_config_ini_that_cannot_be_used_is_2_with_its_line() {
    let desk = Desk::new();
    let refused = |text: &str| {
        desk.sandbox.write("config.ini", text).unwrap();
        desk.bare(&["--config", "config.ini", "status"]).all()
    };
    insta::assert_snapshot!(refused("coordinator=etcd\nzk=http://10.0.7.11:2379\n"), @"
    --- 2
    error: config.ini line 1: wrong value for `coordinator`
      where  config.ini:1
      why    the state of a product is read from ZooKeeper, not from etcd
      next   coordinator=zookeeper, with zk=HOST:PORT of the ensemble that has the product
    ");
    insta::assert_snapshot!(refused("zk=h:2181\nsession_max_timeout=-1\n"), @"
    --- 2
    error: config.ini line 2: wrong value for `session_max_timeout`
      where  config.ini:2
      why    it is negative
      next   write a number without a unit: session_max_timeout=30
    ");
    let cut = refused("zk=h:2181\npassword s3cret\n");
    assert!(cut.contains("error: config.ini line 2: not a setting\n") && !cut.contains("s3cret"), "{cut}");
}

#[test]
fn completion_scripts_are_what_their_shells_read() {
    let desk = Desk::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = desk.bare(&["completion", shell]).ok().out;
        for word in ["promote", "fence", "--dry-run"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
        let path = desk.sandbox.write(shell, &script).unwrap();
        match std::process::Command::new(shell).arg(check).arg(path).output() {
            Ok(output) => {
                assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
            }
            // A shell that is not here cannot say; bash always is.
            Err(error) => assert!(shell != "bash" && error.kind() == std::io::ErrorKind::NotFound, "{error}"),
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let desk = Desk::new();
    let page = desk.bare(&["man"]).ok().out;
    assert!(page.contains(".TH codisctl 1") && page.contains("codisctl\\-lock(1)"), "{page}");
    desk.bare(&["man", "pages"]).ok();
    let dir = desk.sandbox.path().join("pages");
    for name in ["codisctl.1", "codisctl-lock.1", "codisctl-lock-clear.1", "codisctl-proxy-fence-clear.1"] {
        let page = std::fs::read_to_string(dir.join(name)).unwrap();
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(page.contains(part), "{name}: {part}");
        }
    }
    let pages: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let checked =
        std::process::Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).args(pages).output();
    if let Ok(checked) = checked {
        assert_eq!(String::from_utf8_lossy(&checked.stderr), "", "groff understands every page");
    }
    desk.sandbox.write("file", "").unwrap();
    let refused = desk.bare(&["man", "file"]);
    assert_eq!(refused.status, 1, "{}", refused.all());
    assert!(refused.err.contains("  where  file\n"), "{}", refused.err);
}

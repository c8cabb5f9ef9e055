use std::fs;

use clap::Parser as _;

use super::{keys::KEYS, *};

fn config(argv: &[&str]) -> Result<Config, ConfigError> {
    configure(Args::try_parse_from([&["codis-proxy"], argv].concat()).unwrap())
}

/// What is said about a file with this text; its path is shortened.
fn refuse(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codis.toml");
    fs::write(&path, text).unwrap();
    let error = config(&["--static", "x", "--config", path.to_str().unwrap()]).unwrap_err().to_string();
    error.replace(dir.path().to_str().unwrap(), "/etc")
}

#[test]
fn flags_go_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codis.toml");
    let text = "timeout = \"5s\"\n[store]\naddress = \"local:/x\"\n\
                [proxy]\nid = \"p1\"\nlisten = \"h:1\"\nmax_clients = 7\nidle_timeout = 2.5\nallow_flush = true\n";
    fs::write(&path, text).unwrap();
    let config =
        config(&["--config", path.to_str().unwrap(), "--product", "shop", "--listen", "h:2"]).unwrap();
    assert_eq!((config.listen.as_str(), config.limits.max_clients), ("h:2", 7));
    assert_eq!((config.limits.idle_timeout, config.limits.allow_flush), (Duration::from_millis(2500), true));
    let Mode::Follow(follow) = config.mode else { panic!("{:?}", config.mode) };
    assert_eq!((follow.store.as_str(), follow.id.as_str()), ("local:/x", "p1"));
}

#[test]
fn the_file_of_the_go_proxy_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.ini");
    fs::write(
        &path,
        "coordinator=zookeeper\nzk=h1:2181,h2\nproduct=feed\npassword=hush\nproxy_id=proxy_1\n\
         session_max_timeout=600\nsession_max_pipeline=64\nnosie=1\n",
    )
    .unwrap();
    let argv = ["--config", path.to_str().unwrap(), "--listen", "h:2"];
    let followed = config(&argv).unwrap();
    assert_eq!(followed.limits.idle_timeout, Duration::from_secs(600));
    assert_eq!(followed.limits.max_pipeline, 64);
    assert!(followed.limits.password.as_ref().is_some_and(|secret| secret.reveal() == b"hush"));
    let Mode::Follow(follow) = followed.mode else { panic!("{:?}", followed.mode) };
    assert_eq!((follow.store.as_str(), follow.id.as_str()), ("zk://h1:2181,h2:2181", "proxy_1"));
    assert_eq!(follow.product.as_str(), "feed");

    fs::write(&path, "zk=h\nproxy_id=p\ncoordinator=etcd\n").unwrap();
    let report = config(&argv).unwrap_err().report();
    assert!(report.what.contains("`coordinator`") && report.place.ends_with("config.ini:3"), "{report}");
    fs::write(&path, "zk=h\n").unwrap();
    assert!(config(&argv).unwrap_err().to_string().starts_with("the proxy's id is not given"));
    fs::write(&path, "proxy_id=p\n").unwrap();
    assert!(config(&argv).unwrap_err().to_string().starts_with("the store is not given"));
    fs::write(&path, "zk=h\n\nproxy_id=a/b\n").unwrap();
    let report = config(&argv).unwrap_err().report();
    assert!(report.what.contains("line 3: wrong value for `proxy.id`"), "{report}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_right_one() {
    let told = refuse("product = \"a\"\n[proxy]\n  workerz = 1\n");
    let start = "codis.toml line 3: unknown key `proxy.workerz`\n  where  /etc/codis.toml:3:3   workerz = 1\n  \
                 why    the table [proxy] has: id, listen, admin, ";
    assert!(told.starts_with(start) && told.ends_with("\n  next   write `workers`"), "{told}");
    let told = refuse("stor = 1\n");
    assert!(told.starts_with("codis.toml line 1: unknown key `stor`\n"), "{told}");
    assert!(told.contains("the tables [store] and [proxy]"), "{told}");
    let told = refuse("workers = 1\n");
    assert!(told.ends_with("next   move `workers` to the table [proxy]"), "{told}");
    let told = refuse("proxy = 1\n");
    assert!(told.ends_with("next   write `[proxy]`, and its keys on lines below it"), "{told}");
}

#[test]
fn a_wrong_value_says_what_may_stand_there() {
    assert_eq!(
        refuse("[proxy]\n\nworkers = \"two\"\n"),
        "codis.toml line 3: wrong value for `proxy.workers`\n  where  /etc/codis.toml:3:1   workers = \"two\"\n  \
         why    it takes a whole number from 1 to 256, not the text \"two\"\n  next   write e.g. `workers = 2`"
    );
    for (line, why) in [
        ("workers = 0", "a whole number from 1 to 256, not 0"),
        ("max_clients = -1", "a whole number from 1 to 10000000, not -1"),
        ("max_clients = 1.5", "a whole number from 1 to 10000000, not 1.5"),
        ("connect_timeout = 0", "a number of seconds from 0.001 to 86400, not 0"),
        ("idle_timeout = \"30s\"", "a number of seconds from 0 to 31536000, not the text \"30s\""),
        ("idle_timeout = nan", "a number of seconds from 0 to 31536000, not nan"),
        ("allow_flush = 1", "true or false, not 1"),
        ("listen = \"h\"", "an address in double quotes: host:port, not the text \"h\""),
        ("id = [1]", "text in double quotes, not a list"),
    ] {
        let told = refuse(&format!("[proxy]\n{line}\n"));
        assert!(
            told.contains("line 2: wrong value") && told.contains(&format!("it takes {why}\n")),
            "{told}"
        );
    }
}

#[test]
fn text_that_is_not_toml_is_shown_with_its_line() {
    let told = refuse("product = \"feed\"\nproduct\n");
    assert!(
        told.starts_with("codis.toml line 2: not TOML\n  where  /etc/codis.toml:2:8   product\n"),
        "{told}"
    );
}

#[test]
fn what_is_missing_is_said() {
    let told = config(&[]).unwrap_err().to_string();
    assert!(told.starts_with("the store is not given\n  where  the command line"), "{told}");
    for argv in [["--listen", "h"], ["--workers", "0"], ["--start-timeout", "soon"], ["--id", "a/b"]] {
        assert!(Args::try_parse_from([&["codis-proxy"], &argv[..]].concat()).is_err(), "{argv:?}");
    }
}

#[test]
fn every_example_is_what_its_key_takes() {
    for key in KEYS {
        let table = if key.table.is_empty() { String::new() } else { format!("[{}]\n", key.table) };
        file::parse(&format!("{table}{}\n", key.example), "codis.toml")
            .unwrap_or_else(|report| panic!("{report}"));
    }
}

#[test]
fn every_key_is_described_for_people() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let (shared, own) = page.split_once("### `[proxy]`").unwrap();
    for key in KEYS {
        let (page, name) =
            if key.table == "proxy" { (own, key.name.to_owned()) } else { (shared, key.path()) };
        assert!(page.contains(&format!("`{name}`")), "{name} is not described");
    }
}

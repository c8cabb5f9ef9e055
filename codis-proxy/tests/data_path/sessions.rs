//! Commands that the proxy answers itself, and those that it refuses.

use std::process::Command;

use codis_testkit::{Process, ProxyProcess, RedisServer, Reply, RespClient, Sandbox, need};

use crate::{Cluster, DEADLINE};

#[test]
fn session_commands_answer_as_a_server_does() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let mut server = cluster.servers[0].client();
    for args in [
        &["PING"][..],
        &["PING", "hi"],
        &["ping", "a", "b"],
        &["ECHO", "x"],
        &["ECHO"],
        &["SELECT", "0"],
        &["SELECT"],
        &["CLIENT", "SETNAME", "me"],
        &["CLIENT", "GETNAME"],
        &["CLIENT", "SETNAME", "a b"],
        &["CLIENT", "GETNAME"],
        &["HELLO", "4"],
        &["HELLO", "x"],
        &["RESET"],
        &["CLIENT", "GETNAME"],
        &["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"],
        &["COMMAND", "GETKEYS", "PING"],
        &["COMMAND", "GETKEYS", "PING", "x"],
        &["QUIT"],
    ] {
        let (ours, theirs) = (client.call(args).unwrap(), server.call(args).unwrap());
        assert_eq!(ours, theirs, "{args:?}");
    }
    assert!(client.read().is_err(), "QUIT closes");
}

#[test]
fn what_only_a_proxy_says() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let mut say = |args: &[&str]| client.call(args).unwrap();
    assert_eq!(say(&["SELECT", "1"]).text(), "ERR invalid DB index, only accept DB 0");
    assert_eq!(
        say(&["CONFIG", "SET", "a", "b"]).text(),
        "ERR command 'config|set' is not allowed through codis-proxy"
    );
    assert_eq!(say(&["FLUSHALL"]).text(), "ERR command 'flushall' is not allowed through codis-proxy");
    assert_eq!(say(&["XREAD", "STREAMS", "block", "0"]), Reply::Array(None));
    assert_eq!(say(&["SUNION", "a", "b"]).text(), "CROSSSLOT Keys in request don't hash to the same slot");
    assert_eq!(say(&["SADD", "{t}a", "1"]), Reply::Int(1));
    assert_eq!(say(&["SUNIONSTORE", "{t}c", "{t}a", "{t}b"]), Reply::Int(1));
    assert_eq!(say(&["OBJECT", "ENCODING", "{t}a"]).text(), "intset");
    assert!(say(&["OBJECT", "NOSUCH", "a"]).text().starts_with("ERR unknown subcommand 'NOSUCH'"));
    assert!(say(&["NOSUCH", "a"]).text().starts_with("ERR unknown command 'NOSUCH'"));
    let nested = Reply::Array(Some(vec![Reply::Int(2), Reply::Bulk(Some(b"k".to_vec()))]));
    let eval = say(&["EVAL", "return {1,{2,KEYS[1]}}", "1", "k"]);
    assert_eq!(eval, Reply::Array(Some(vec![Reply::Int(1), nested])));
    assert!(say(&["INFO"]).text().contains("redis_mode:standalone"));
    assert!(matches!(say(&["CLIENT", "ID"]), Reply::Int(1..)));
    assert!(say(&["CLIENT", "LIST"]).text().contains("addr=127.0.0.1:"));
    assert!(matches!(say(&["COMMAND", "COUNT"]), Reply::Int(200..)));
    let Reply::Array(Some(all)) = say(&["COMMAND"]) else { panic!() };
    assert!(all.len() > 200);
    assert!(matches!(say(&["HELLO", "2", "SETNAME", "x"]), Reply::Array(Some(_))));
    assert_eq!(say(&["CLIENT", "GETNAME"]).text(), "x");
}

#[test]
fn clients_and_servers_are_given_the_same_password() {
    need!("redis");
    let server = RedisServer::builder().password("hush").start();
    let sandbox = Sandbox::create("password").unwrap();
    let map = format!("[{{\"id\":0,\"backend_addr\":\"{}\"}}]", server.addr());
    let map = sandbox.write("map.json", &map).unwrap();
    let (port, admin) =
        (codis_testkit::PortLease::take().unwrap(), codis_testkit::PortLease::take().unwrap());
    let args = ["--static", map.to_str().unwrap(), "--listen", &port.addr(), "--admin", &admin.addr()];
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_codis-proxy"));
    let proxy = Process::start("proxy", program, args, &[("CODIS_PASSWORD", "hush")], &sandbox).unwrap();
    proxy.wait_ready(DEADLINE, || RespClient::connect(port.port(), DEADLINE).is_ok()).unwrap();
    let mut client = RespClient::connect(port.port(), DEADLINE).unwrap();
    // The empty tag hashes to slot 0, the only one that is assigned.
    let mut say = |args: &[&str]| client.call(args).unwrap().text();
    assert_eq!(say(&["GET", "{}a"]), "NOAUTH Authentication required.");
    assert_eq!(say(&["PING"]), "NOAUTH Authentication required.");
    assert!(say(&["AUTH", "wrong"]).starts_with("WRONGPASS"));
    assert!(say(&["AUTH", "other", "hush"]).starts_with("WRONGPASS"));
    assert!(say(&["HELLO", "2"]).starts_with("NOAUTH"));
    assert_eq!(say(&["AUTH", "hush"]), "OK");
    assert_eq!(say(&["SET", "{}a", "1"]), "OK");
    assert!(say(&["AUTH", "wrong"]).starts_with("WRONGPASS"));
    assert_eq!(say(&["GET", "{}a"]), "1", "who fails stays who he was, as at a server");
    assert_eq!(say(&["AUTH", "default", "hush"]), "OK");
    assert_eq!(say(&["GET", "{}a"]), "1");
    assert_eq!(say(&["GET", "a"]), "ERR slot 579 is not assigned to a group with a master");
    assert!(!proxy.log().contains("hush"));
    assert_eq!(say(&["ACL", "WHOAMI"]), "default");
    let help = Command::new(program).arg("--help").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("--password"));
}

#[test]
fn a_wrong_password_in_the_words_of_codis_2() {
    use std::os::unix::fs::PermissionsExt as _;
    need!("redis");
    let server = RedisServer::builder().password("hush").start();
    let dir = tempfile::tempdir().unwrap();
    let (settings, password) = (dir.path().join("codis.toml"), dir.path().join("password"));
    std::fs::write(&password, "hush\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("password_file = \"{}\"\n[proxy]\ncompat = \"codis2\"\n", password.display());
    std::fs::write(&settings, text).unwrap();
    let proxy = ProxyProcess::fixed(&[server.addr()])
        .program(env!("CARGO_BIN_EXE_codis-proxy"))
        .arg("--config")
        .arg(settings.to_str().unwrap())
        .start();
    let mut client = proxy.client();
    for (args, reply) in [
        (&["GET", "a"][..], "NOAUTH Authentication required."),
        (&["AUTH", "x"], "ERR invalid password"),
        (&["AUTH", "default", "hush"], "ERR wrong number of arguments for 'AUTH' command"),
        (&["AUTH", "hush"], "OK"),
        (&["GET", "a"], ""),
        (&["AUTH", "x"], "ERR invalid password"),
        (&["GET", "a"], "NOAUTH Authentication required."),
    ] {
        assert_eq!(client.call(args).unwrap().text(), reply, "{args:?}");
    }
    client.send(b"KEYS *\r\n").unwrap();
    assert!(client.read().is_err(), "closed, whether it has logged in or not");
}

#[test]
fn clients_log_in_as_users_and_the_proxy_as_one_of_the_servers() {
    use std::os::unix::fs::PermissionsExt as _;
    need!("redis");
    let server = RedisServer::start();
    let mut admin = server.client();
    for args in [
        &["ACL", "SETUSER", "codis", "on", ">backend-secret", "~*", "&*", "+@all"][..],
        &["ACL", "SETUSER", "default", "off"],
    ] {
        assert_eq!(admin.call(args).unwrap().text(), "OK");
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let users = write("users", "alice alice-secret\nbob bob-secret\n");
    let password = write("password", "backend-secret\n");
    let settings = format!(
        "password_file = \"{password}\"\n[proxy]\nusers_file = \"{users}\"\nbackend_user = \"codis\"\n"
    );
    let settings = write("codis.toml", &settings);
    let proxy = ProxyProcess::fixed(&[server.addr()])
        .program(env!("CARGO_BIN_EXE_codis-proxy"))
        .arg("--config")
        .arg(settings)
        .start();
    let mut client = proxy.client();
    let mut say = |args: &[&str]| client.call(args).unwrap().text();
    assert_eq!(say(&["GET", "a"]), "NOAUTH Authentication required.");
    for wrong in [
        &["AUTH", "backend-secret"][..],
        &["AUTH", "default", "backend-secret"],
        &["AUTH", "alice", "bob-secret"],
        &["AUTH", "nobody", "alice-secret"],
        &["AUTH", "alice", ""],
        &["HELLO", "3", "AUTH", "alice", "x"],
    ] {
        assert_eq!(say(wrong), "WRONGPASS invalid username-password pair or user is disabled.", "{wrong:?}");
        assert_eq!(say(&["GET", "a"]), "NOAUTH Authentication required.");
    }
    assert_eq!(say(&["AUTH", "alice", "alice-secret"]), "OK");
    assert_eq!(say(&["SET", "a", "1"]), "OK");
    assert_eq!(say(&["ACL", "WHOAMI"]), "alice");
    assert!(say(&["CLIENT", "INFO"]).contains(" user=alice "));
    let mut other = proxy.client();
    let hello = other.call(&["HELLO", "3", "AUTH", "bob", "bob-secret", "SETNAME", "b"]).unwrap();
    assert!(matches!(hello, Reply::Map(_)), "{hello:?}");
    assert_eq!(other.call(&["GET", "a"]).unwrap().text(), "1", "over a RESP3 connection, logged in as well");
    assert_eq!(say(&["CLIENT", "KILL", "USER", "bob"]), "1");
    assert!(other.read().is_err());
    assert_eq!(say(&["RESET"]), "RESET");
    assert_eq!(say(&["GET", "a"]), "NOAUTH Authentication required.");
    assert!(!proxy.process().log().contains("-secret"));
}

//! CLIENT, INFO, CONFIG GET, COMMAND and the other commands that clients and monitoring ask a server.

use std::time::Instant;

use codis_testkit::{ProxyBuilder, Reply, RespClient, need};

use crate::{Cluster, DEADLINE, request};

fn int(reply: &Reply) -> i64 {
    let Reply::Int(number) = reply else { panic!("{reply:?}") };
    *number
}

/// The fields of the line of CLIENT LIST that begins with this id.
fn line(list: &str, id: i64) -> Vec<(&str, &str)> {
    let line =
        list.lines().find(|line| line.starts_with(&format!("id={id} "))).unwrap_or_else(|| panic!("{list}"));
    line.split(' ').map(|field| field.split_once('=').unwrap()).collect()
}

fn field<'a>(line: &[(&str, &'a str)], name: &str) -> &'a str {
    line.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("{name}: {line:?}")).1
}

/// Reads until the proxy has closed the connection.
fn is_closed(client: &mut RespClient) -> bool {
    client.read().is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
}

/// Asks until the answer is what is waited for.
fn until(mut answer: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + DEADLINE;
    while !answer() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn all_clients_of_all_workers_are_listed() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut clients: Vec<RespClient> = (0..4).map(|_| cluster.client()).collect();
    let ids: Vec<i64> = clients.iter_mut().map(|c| int(&c.call(&["CLIENT", "ID"]).unwrap())).collect();
    clients[1].call(&["CLIENT", "SETNAME", "second"]).unwrap();
    clients[1].call(&["CLIENT", "SETINFO", "LIB-NAME", "test-lib"]).unwrap();
    clients[1].call(&["CLIENT", "SETINFO", "lib-ver", "1.2"]).unwrap();
    clients[2].call(&["HELLO", "3"]).unwrap();
    clients[2].call(&["MULTI"]).unwrap();
    clients[3].call(&["GET", "k"]).unwrap();
    let list = clients[0].call(&["CLIENT", "LIST"]).unwrap().text();
    assert_eq!(list.lines().count(), 4, "{list}");
    let listed: Vec<i64> = ids.iter().map(|id| field(&line(&list, *id), "id").parse().unwrap()).collect();
    assert_eq!(listed, ids);
    let me = line(&list, ids[0]);
    assert!(field(&me, "addr").starts_with("127.0.0.1:"));
    assert_eq!(field(&me, "laddr"), cluster.proxy.addr());
    for (name, value) in [
        ("name", ""),
        ("flags", "N"),
        ("db", "0"),
        ("user", "default"),
        ("resp", "2"),
        ("cmd", "client"),
        ("lib-name", ""),
    ] {
        assert_eq!(field(&me, name), value, "{name}");
    }
    let second = line(&list, ids[1]);
    assert_eq!(
        (field(&second, "name"), field(&second, "lib-name"), field(&second, "lib-ver")),
        ("second", "test-lib", "1.2")
    );
    let third = line(&list, ids[2]);
    assert_eq!((field(&third, "resp"), field(&third, "flags"), field(&third, "cmd")), ("3", "x", "multi"));
    assert_eq!(field(&line(&list, ids[3]), "cmd"), "get");
    let mut say = |args: &[&str]| clients[0].call(args).unwrap();
    let two = say(&["CLIENT", "LIST", "ID", &ids[1].to_string(), &ids[3].to_string(), "99999"]).text();
    assert_eq!(two.lines().count(), 2, "{two}");
    assert_eq!(say(&["CLIENT", "LIST", "TYPE", "normal"]).text().lines().count(), 4);
    assert_eq!(say(&["CLIENT", "LIST", "TYPE", "replica"]).text(), "");
    assert_eq!(say(&["CLIENT", "LIST", "TYPE", "x"]).text(), "ERR Unknown client type 'x'");
    assert_eq!(say(&["CLIENT", "LIST", "ID", "x"]).text(), "ERR Invalid client ID");
    let info = say(&["CLIENT", "INFO"]).text();
    assert_eq!(info.lines().count(), 1);
    assert_eq!(field(&line(&info, ids[0]), "cmd"), "client");
    assert!(say(&["CLIENT", "SETINFO", "x", "y"]).text().starts_with("ERR Unrecognized option"));
    assert!(say(&["CLIENT", "SETINFO", "lib-ver", "a b"]).text().starts_with("ERR lib-ver cannot contain"));
}

#[test]
fn clients_are_killed_on_any_worker() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut me = cluster.client();
    let fresh = || {
        let mut client = cluster.client();
        let id = int(&client.call(&["CLIENT", "ID"]).unwrap()).to_string();
        let info = client.call(&["CLIENT", "INFO"]).unwrap().text();
        let addr = field(&line(&info, id.parse().unwrap()), "addr").to_owned();
        (client, id, addr)
    };
    for _ in 0..2 {
        let (mut client, id, _) = fresh();
        assert_eq!(me.call(&["CLIENT", "KILL", "ID", &id]).unwrap(), Reply::Int(1));
        assert!(is_closed(&mut client));
        assert_eq!(me.call(&["CLIENT", "KILL", "ID", &id]).unwrap(), Reply::Int(0));
        let (mut client, _, addr) = fresh();
        assert_eq!(me.call(&["CLIENT", "KILL", &addr]).unwrap().text(), "OK");
        assert!(is_closed(&mut client));
        assert_eq!(me.call(&["CLIENT", "KILL", &addr]).unwrap().text(), "ERR No such client");
        let (mut client, _, addr) = fresh();
        assert_eq!(me.call(&["CLIENT", "KILL", "ADDR", &addr, "USER", "default"]).unwrap(), Reply::Int(1));
        assert!(is_closed(&mut client));
    }
    let (mut one, id, _) = fresh();
    assert_eq!(me.call(&["CLIENT", "KILL", "ID", &id, "MAXAGE", "1000"]).unwrap(), Reply::Int(0));
    assert_eq!(me.call(&["CLIENT", "KILL", "LADDR", "127.0.0.1:1"]).unwrap(), Reply::Int(0));
    let (mut two, ..) = fresh();
    assert_eq!(me.call(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap(), Reply::Int(0));
    assert_eq!(me.call(&["CLIENT", "KILL", "LADDR", &cluster.proxy.addr()]).unwrap(), Reply::Int(2));
    assert!(is_closed(&mut one) && is_closed(&mut two));
    for (args, error) in [
        (&["CLIENT", "KILL", "ID", "0"][..], "ERR client-id should be greater than 0"),
        (&["CLIENT", "KILL", "USER", "nobody"], "ERR No such user 'nobody'"),
        (&["CLIENT", "KILL", "ID", "1", "SKIPME"], "ERR syntax error"),
        (&["CLIENT", "KILL", "ID", "1", "SKIPME", "maybe"], "ERR syntax error"),
    ] {
        assert_eq!(me.call(args).unwrap().text(), error);
    }
    assert_eq!(me.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"]).unwrap(), Reply::Int(1));
    assert!(is_closed(&mut me), "after its reply");
}

#[test]
fn a_client_that_blocks_is_freed_or_killed() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut me = cluster.client();
    for (how, expected) in [
        (&[][..], Reply::Array(None)),
        (&["TIMEOUT"], Reply::Array(None)),
        (&["ERROR"], Reply::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".to_owned())),
    ] {
        for _ in 0..2 {
            let mut blocked = cluster.client();
            let id = int(&blocked.call(&["CLIENT", "ID"]).unwrap()).to_string();
            assert_eq!(me.call(&["CLIENT", "UNBLOCK", &id]).unwrap(), Reply::Int(0), "it does not block");
            blocked.send(&request(&["BLPOP", "list", "0"])).unwrap();
            let unblock = [&["CLIENT", "UNBLOCK", &id], how].concat();
            until(|| me.call(&unblock).unwrap() == Reply::Int(1), "it blocks");
            assert_eq!(blocked.read().unwrap(), expected);
            assert_eq!(blocked.call(&["PING"]).unwrap().text(), "PONG");
        }
    }
    let mut blocked = cluster.client();
    let id = int(&blocked.call(&["CLIENT", "ID"]).unwrap());
    blocked.send(&request(&["BLPOP", "list", "0"])).unwrap();
    let flags = |me: &mut RespClient| {
        let list = me.call(&["CLIENT", "LIST"]).unwrap().text();
        field(&line(&list, id), "flags").to_owned()
    };
    until(|| flags(&mut me) == "b", "it is shown as blocked");
    assert_eq!(me.call(&["CLIENT", "KILL", "ID", &id.to_string()]).unwrap(), Reply::Int(1));
    assert!(is_closed(&mut blocked));
    // Its request is taken out of the server: nobody is there to be given the element.
    until(|| stat_pinned(&cluster) == 0, "its connection is free again");
    assert_eq!(me.call(&["RPUSH", "list", "x"]).unwrap(), Reply::Int(1));
    assert_eq!(me.call(&["LLEN", "list"]).unwrap(), Reply::Int(1));
    assert!(me.call(&["CLIENT", "UNBLOCK", "x"]).unwrap().is_error());
    assert!(me.call(&["CLIENT", "UNBLOCK", "1", "x"]).unwrap().is_error());
}

fn stat_pinned(cluster: &Cluster) -> u64 {
    crate::stat(cluster, "pinned")
}

#[test]
fn replies_that_are_not_wanted_are_left_out() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let keys: Vec<String> = (0..3).map(|at| cluster.key_on(at, 0)).collect();
    let mget = ["MGET", &keys[0], &keys[1], &keys[2]];
    let mut requests = Vec::new();
    for _ in 0..20 {
        for args in [
            &["CLIENT", "REPLY", "SKIP"][..],
            &["ECHO", "skipped"],
            &["GET", &keys[1]],
            &["ECHO", "one"],
            &["CLIENT", "REPLY", "OFF"],
            &["GET", &keys[0]],
            &mget,
            &["NO-SUCH-COMMAND"],
            &["CLIENT", "REPLY", "SKIP"],
            &["CLIENT", "LIST"],
            &["SET", &keys[2], "v"],
            &["CLIENT", "REPLY", "ON"],
            &["GET", &keys[2]],
            &["CLIENT", "REPLY", "SKIP"],
            &mget,
            &["CLIENT", "REPLY", "SKIP"],
            &["GET", &keys[2]],
            &["ECHO", "two"],
        ] {
            requests.extend(request(args));
        }
    }
    client.send(&requests).unwrap();
    for round in 0..20 {
        assert_eq!(client.read().unwrap(), Reply::Bulk(None), "{round}");
        for expected in ["one", "OK", "v", "two"] {
            assert_eq!(client.read().unwrap().text(), expected, "{round}");
        }
    }
    assert!(client.call(&["CLIENT", "REPLY", "MAYBE"]).unwrap().is_error());
}

#[test]
fn what_cannot_be_had_on_shared_connections_is_refused_with_the_reason() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let mut say = |args: &[&str]| client.call(args).unwrap();
    for args in [
        &["CLIENT", "TRACKING", "ON"][..],
        &["CLIENT", "TRACKING", "ON", "BCAST"],
        &["CLIENT", "CACHING", "YES"],
        &["CLIENT", "NO-TOUCH", "ON"],
    ] {
        let error = say(args).text();
        assert!(
            error.starts_with("ERR CLIENT ") && error.ends_with("share the connections to the servers"),
            "{error}"
        );
    }
    for args in
        [&["CLIENT", "TRACKING", "OFF"][..], &["CLIENT", "NO-TOUCH", "OFF"], &["CLIENT", "NO-EVICT", "on"]]
    {
        assert_eq!(say(args).text(), "OK", "{args:?}");
    }
    assert_eq!(say(&["CLIENT", "GETREDIR"]), Reply::Int(-1));
    assert!(say(&["CLIENT", "NO-EVICT", "maybe"]).is_error());
    for (args, name) in [
        (&["CLIENT", "PAUSE", "1"][..], "client|pause"),
        (&["CLIENT", "UNPAUSE"], "client|unpause"),
        (&["CONFIG", "SET", "maxmemory", "1"], "config|set"),
        (&["CONFIG", "REWRITE"], "config|rewrite"),
        (&["CONFIG", "RESETSTAT"], "config|resetstat"),
        (&["ACL", "SETUSER", "x"], "acl|setuser"),
        (&["MEMORY", "PURGE"], "memory|purge"),
        (&["LASTSAVE"], "lastsave"),
        (&["WAIT", "0", "0"], "wait"),
    ] {
        assert_eq!(say(args).text(), format!("ERR command '{name}' is not allowed through codis-proxy"));
    }
    assert!(
        say(&["CLIENT", "NO-SUCH"]).text().starts_with("ERR unknown subcommand 'NO-SUCH'. Try CLIENT HELP.")
    );
    assert!(say(&["CLIENT", "KILL"]).text().starts_with("ERR wrong number of arguments for 'client|kill'"));
}

#[test]
fn help_is_there_for_every_container() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    for name in
        ["ACL", "CLIENT", "COMMAND", "CONFIG", "FUNCTION", "MEMORY", "OBJECT", "SCRIPT", "XGROUP", "XINFO"]
    {
        let Reply::Array(Some(lines)) = client.call(&[name, "HELP"]).unwrap() else { panic!("{name}") };
        assert!(lines[0].text().starts_with(name), "{lines:?}");
    }
}

#[test]
fn info_sums_up_workers_and_masters() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut clients: Vec<RespClient> = (0..4).map(|_| cluster.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        for key in 0..3 {
            client.call(&["SET", &cluster.key_on(key, at), "v"]).unwrap();
        }
    }
    clients[0].call(&["EXPIRE", &cluster.key_on(0, 0), "1000"]).unwrap();
    let mget = ["MGET", &cluster.key_on(0, 0), &cluster.key_on(1, 0), &cluster.key_on(2, 0)];
    clients[0].call(&mget).unwrap();
    let client = &mut clients[3];
    let mut info = |args: &[&str]| client.call(&[&["INFO"], args].concat()).unwrap().text();
    let number = |text: &str, name: &str| -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        found.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    };
    let text = info(&[]);
    for section in [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Cluster",
        "Keyspace",
        "Codis",
    ] {
        assert!(text.contains(&format!("# {section}\r\n")), "{section}: {text}");
    }
    assert!(!text.contains("cmdstat_"));
    assert_eq!(number(&text, "connected_clients"), 4.0);
    let run_id = text.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap();
    assert_eq!(run_id.len(), 40, "as sentinels and their clients expect it");
    assert_eq!(number(&text, "loading"), 0.0, "ioredis waits until it is");
    assert!(number(&text, "total_commands_processed") >= 15.0, "those of all workers: {text}");
    assert_eq!(number(&text, "tcp_port"), f64::from(cluster.proxy.port()));
    assert!(number(&text, "used_memory") > 1e6);
    assert_eq!(number(&text, "backends"), 3.0);
    let keys = text.lines().find_map(|line| line.strip_prefix("db0:")).unwrap();
    assert!(keys.starts_with("keys=12,expires=1,avg_ttl="), "{keys}");
    until(|| number(&info(&["stats"]), "instantaneous_ops_per_sec") > 0.0, "requests come all the time");
    let some = info(&["keyspace", "CLIENTS"]);
    assert!(some.starts_with("# Clients\r\n") && some.contains("\r\n\r\n# Keyspace\r\ndb0:"), "{some}");
    assert!(!some.contains("# Server"));
    assert_eq!(info(&["nosuch"]), "");
    let all = info(&["all"]);
    assert!(all.contains("cmdstat_set:calls=12,usec="), "{all}");
    assert!(all.contains("cmdstat_mget:calls=1,usec="), "a request over three servers is one call: {all}");
    cluster.servers[1].kill();
    assert!(info(&["keyspace"]).contains("keys=8,"), "a master that is away is not in the sum");
}

#[test]
fn config_get_tells_what_programs_ask_for() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let mut get = |args: &[&str]| -> Vec<(String, String)> {
        match client.call(&[&["CONFIG", "GET"], args].concat()).unwrap() {
            Reply::Array(Some(items)) => {
                items.chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
            }
            Reply::Map(entries) => entries.iter().map(|(name, value)| (name.text(), value.text())).collect(),
            other => panic!("{other:?}"),
        }
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(get(&["maxmemory"]), [pair("maxmemory", "0")]);
    assert_eq!(get(&["SAVE", "appendonly"]), [pair("appendonly", "no"), pair("save", "")]);
    assert_eq!(get(&["maxmem*y"]), [pair("maxmemory", "0"), pair("maxmemory-policy", "noeviction")]);
    assert_eq!(get(&["nosuch"]), []);
    assert_eq!(get(&["proto-max-bulk-len"]), [pair("proto-max-bulk-len", "536870912")]);
    assert!(get(&["*"]).len() > 10);
}

#[test]
fn command_tells_what_a_server_tells() {
    need!("redis");
    let cluster = Cluster::start(1);
    let (mut client, mut server) = (cluster.client(), cluster.servers[0].client());
    for args in [
        &["COMMAND", "DOCS", "get"][..],
        &["COMMAND", "GETKEYSANDFLAGS", "SET", "k", "v"],
        &["COMMAND", "GETKEYS", "ZUNIONSTORE", "d", "2", "a", "b"],
        &["COMMAND", "GETKEYS", "NOSUCH", "a"],
        &["COMMAND", "GETKEYS", "SET", "a"],
        &["COMMAND", "LIST", "FILTERBY", "PATTERN", "xr*"],
        &["COMMAND", "LIST", "FILTERBY", "MODULE", "none"],
        &["COMMAND", "LIST", "x"],
        &["ROLE"],
    ] {
        let sorted = |reply: Reply| match reply {
            Reply::Array(Some(mut items)) if args[1..].first() == Some(&"LIST") => {
                items.sort_by_key(Reply::text);
                Reply::Array(Some(items))
            }
            other => other,
        };
        let (ours, theirs) = (sorted(client.call(args).unwrap()), sorted(server.call(args).unwrap()));
        assert_eq!(ours, theirs, "{args:?}");
    }
    let Reply::Array(Some(writes)) =
        client.call(&["COMMAND", "LIST", "FILTERBY", "ACLCAT", "write"]).unwrap()
    else {
        panic!()
    };
    let names: Vec<String> = writes.iter().map(Reply::text).collect();
    assert!(names.contains(&"set".to_owned()) && !names.contains(&"get".to_owned()));
    let Reply::Array(Some(rows)) = client.call(&["COMMAND", "INFO", "get", "xinfo"]).unwrap() else {
        panic!()
    };
    let Reply::Array(Some(get)) = &rows[0] else { panic!() };
    assert_eq!(get.len(), 10, "as from version 7 on");
    let Reply::Array(Some(xinfo)) = &rows[1] else { panic!() };
    let Reply::Array(Some(subcommands)) = &xinfo[9] else { panic!() };
    assert!(!subcommands.is_empty());
}

#[test]
fn a_script_that_runs_too_long_is_ended() {
    need!("redis");
    let cluster = Cluster::with(2, |proxy: ProxyBuilder| proxy);
    for server in &cluster.servers {
        server.client().call(&["CONFIG", "SET", "busy-reply-threshold", "1"]).unwrap();
    }
    let (mut me, mut busy) = (cluster.client(), cluster.client());
    for container in ["SCRIPT", "FUNCTION"] {
        assert!(me.call(&[container, "KILL"]).unwrap().text().starts_with("NOTBUSY"));
    }
    busy.send(&request(&["EVAL", "while true do end", "1", &cluster.key_on(1, 0)])).unwrap();
    until(|| me.call(&["SCRIPT", "KILL"]).unwrap().text() == "OK", "it runs");
    assert!(busy.read().unwrap().is_error());
    assert_eq!(busy.call(&["PING"]).unwrap().text(), "PONG");
}

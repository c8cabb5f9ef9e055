//! Channels: what is published at any proxy reaches everybody who listens at any of them.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use codis_testkit::{ProxyProcess, RedisServer, Reply, RespClient, eventually, need};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{Cluster, DEADLINE, config, fixed, request, stat};

/// Must get the same replies as from a server. One connection for each line; `;` ends a request.
const SEQUENCES: &[&str] = &[
    "SUBSCRIBE a b a c; PING; PING x; UNSUBSCRIBE b; UNSUBSCRIBE nosuch a; UNSUBSCRIBE; PING; SET k v; DEL k",
    "PSUBSCRIBE p* q*; SUBSCRIBE a; PUNSUBSCRIBE p*; UNSUBSCRIBE; PUNSUBSCRIBE q*; PUNSUBSCRIBE; UNSUBSCRIBE",
    "SSUBSCRIBE s t; SUBSCRIBE a; SUNSUBSCRIBE s; SUNSUBSCRIBE; SUNSUBSCRIBE; UNSUBSCRIBE; GET k",
    "SUBSCRIBE a; GET k; MULTI; HELLO; OBJECT FREQ x; nosuch; SUBSCRIBE; PUBLISH a; UNSUBSCRIBE a; GET k",
    "UNSUBSCRIBE; PUNSUBSCRIBE; SUNSUBSCRIBE; UNSUBSCRIBE x y; PSUBSCRIBE; PUBLISH a; PUBLISH nobody x; SPUBLISH nobody x",
    "SUBSCRIBE a b; RESET; GET k; SUBSCRIBE a; RESET; PING; SUBSCRIBE a; QUIT",
    "SET k v; SUBSCRIBE a; PING; UNSUBSCRIBE; GET k; SUBSCRIBE a; UNSUBSCRIBE a; DEL k",
    "PUBSUB NUMSUB; PUBSUB CHANNELS nosuch*; PUBSUB NUMPAT; PUBSUB SHARDCHANNELS; PUBSUB SHARDNUMSUB x; PUBSUB NUMSUB x y; PUBSUB NUMPAT x",
    "MULTI; PUBLISH a x; EXEC; MULTI; SET {a}k v; PUBLISH a x; SPUBLISH a x; EXEC; MULTI; PUBLISH a; EXEC; DEL {a}k",
];

/// Everything until the connection is closed.
fn all(client: &mut RespClient) -> Vec<Reply> {
    std::iter::from_fn(|| client.read().ok()).collect()
}

#[test]
fn replies_are_those_of_a_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let single = RedisServer::start();
    let both = SEQUENCES.iter().flat_map(|sequence| [(sequence, "2"), (sequence, "3")]);
    // In RESP3 that one is inside MULTI, where the proxy refuses more than a server.
    for (sequence, proto) in both.filter(|(sequence, proto)| *proto == "2" || !sequence.contains("HELLO")) {
        let (mut ours, mut theirs) = (cluster.client(), single.client());
        let steps = sequence.split(';').map(|step| step.trim().split(' ').collect::<Vec<_>>());
        let mut bytes: Vec<u8> = steps.flat_map(|step| request(&step)).collect();
        bytes.extend(request(&["QUIT"]));
        for client in [&mut ours, &mut theirs] {
            assert!(!client.call(&["HELLO", proto]).unwrap().is_error());
            client.send(&bytes).unwrap();
        }
        assert_eq!(all(&mut ours), all(&mut theirs), "RESP{proto}: {sequence}");
    }
}

#[test]
fn in_resp3_messages_come_between_replies() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut clients = [cluster.client(), cluster.client()];
    for client in &mut clients {
        client.call(&["HELLO", "3"]).unwrap();
        client.send(&request(&["SUBSCRIBE", "c"])).unwrap();
        assert!(matches!(client.read().unwrap(), Reply::Push(_)));
    }
    let mut old = cluster.client();
    listen(&mut old, "SUBSCRIBE c");
    let push = |text: &str| {
        let words = ["message", "c", text];
        Reply::Push(words.iter().map(|word| Reply::Bulk(Some(word.as_bytes().to_vec()))).collect())
    };
    let big = "b".repeat(50_000);
    let [client, other] = &mut clients;
    for body in ["x", &big] {
        client.send(&[request(&["SET", "k", body]), request(&["PUBLISH", "c", body])].concat()).unwrap();
        let mut got: Vec<Reply> = (0..3).map(|_| client.read().unwrap()).collect();
        let pushed = got.iter().position(|reply| *reply == push(body)).unwrap();
        got.remove(pushed);
        assert_eq!(got[0].text(), "OK");
        assert!(matches!(got[1], Reply::Int(1..=2)));
        assert_eq!(client.call(&["GET", "k"]).unwrap().text(), body);
        assert_eq!(other.read().unwrap(), push(body));
        assert_eq!(message(&mut old), ["message", "c", body]);
    }
    client.send(&[request(&["UNSUBSCRIBE", "c"]), request(&["GET", "k"])].concat()).unwrap();
    assert!(matches!(client.read().unwrap(), Reply::Push(_)));
    assert_eq!(client.read().unwrap().text(), big);
}

/// Subscribes and reads the confirmations.
fn listen(client: &mut RespClient, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    client.send(&request(&words)).unwrap();
    for name in &words[1..] {
        let Reply::Array(Some(reply)) = client.read().unwrap() else { panic!("{line}: no confirmation") };
        assert_eq!((reply[0].text(), reply[1].text()), (words[0].to_ascii_lowercase(), (*name).to_owned()));
    }
}

/// The next message: its kind, and what follows.
fn message(client: &mut RespClient) -> Vec<String> {
    match client.read().unwrap() {
        Reply::Array(Some(parts)) => parts.iter().map(Reply::text).collect(),
        other => panic!("no message: {other:?}"),
    }
}

/// Connections that listen at a server.
fn listening(server: &RedisServer) -> usize {
    let list = server.client().call(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).unwrap().text();
    list.lines().count()
}

#[test]
fn each_message_reaches_everybody_once_and_in_order() {
    need!("redis");
    const LISTENERS: usize = 300;
    const CHANNELS: usize = 30;
    const MESSAGES: usize = 40;
    let cluster = Cluster::start(3);
    let other = fixed(&cluster.servers).start();
    let proxies: [&ProxyProcess; 2] = [&cluster.proxy, &other];
    let mut clients: Vec<RespClient> = (0..LISTENERS).map(|at| proxies[at % 2].client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        listen(client, &format!("SUBSCRIBE ch-{} all", at % CHANNELS));
    }
    let mut patterns: Vec<RespClient> = (0..4).map(|at| proxies[at % 2].client()).collect();
    patterns.iter_mut().for_each(|client| listen(client, "PSUBSCRIBE ch-*"));
    // All clients of a worker share one connection.
    for server in &cluster.servers {
        assert!(listening(server) <= 4, "{}", listening(server));
    }
    let publishing: Vec<_> = (0..4)
        .map(|thread| {
            let mut client = proxies[thread % 2].client();
            std::thread::spawn(move || {
                for channel in (0..CHANNELS).filter(|channel| channel % 4 == thread) {
                    let publish =
                        |number| request(&["PUBLISH", &format!("ch-{channel}"), &format!("{number}")]);
                    client.send(&(0..MESSAGES).flat_map(publish).collect::<Vec<u8>>()).unwrap();
                    for _ in 0..MESSAGES {
                        assert!(matches!(client.read().unwrap(), Reply::Int(1..)));
                    }
                }
            })
        })
        .collect();
    publishing.into_iter().for_each(|thread| thread.join().unwrap());
    cluster.client().call(&["PUBLISH", "all", "end"]).unwrap();
    for (at, client) in clients.iter_mut().enumerate() {
        let channel = format!("ch-{}", at % CHANNELS);
        for number in 0..MESSAGES {
            assert_eq!(message(client), ["message", &channel, &number.to_string()]);
        }
        assert_eq!(message(client), ["message", "all", "end"], "and nothing else");
    }
    for client in &mut patterns {
        let mut next = [0; CHANNELS];
        for _ in 0..CHANNELS * MESSAGES {
            let got = message(client);
            let channel: usize = got[2].strip_prefix("ch-").unwrap().parse().unwrap();
            assert_eq!((got[0].as_str(), got[1].as_str()), ("pmessage", "ch-*"));
            assert_eq!(got[3], next[channel].to_string());
            next[channel] += 1;
        }
        client.send(&request(&["PING", "end"])).unwrap();
        assert_eq!(message(client), ["pong", "end"], "and nothing else");
    }
}

#[test]
fn a_servers_own_publish_arrives_and_so_do_big_messages() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    listen(&mut client, "SSUBSCRIBE shard");
    listen(&mut client, "SUBSCRIBE \u{e9}\u{0}x");
    let mut publisher = cluster.client();
    for size in [0, 1, 20_000, 40_000, 3_000_000] {
        let body = "b".repeat(size);
        assert_eq!(publisher.call(&["PUBLISH", "\u{e9}\u{0}x", &body]).unwrap(), Reply::Int(1));
        assert_eq!(message(&mut client), ["message", "\u{e9}\u{0}x", &body]);
        publisher.call(&["SPUBLISH", "shard", &body]).unwrap();
        assert_eq!(message(&mut client), ["smessage", "shard", &body]);
    }
    let slot = usize::from(codis_core::slot_of_key(b"shard").get());
    cluster.servers[slot * 2 / 1024].client().call(&["SPUBLISH", "shard", "direct"]).unwrap();
    assert_eq!(message(&mut client)[2], "direct");
    assert_eq!(
        publisher.call(&["PUBSUB", "SHARDCHANNELS", "sh*"]).unwrap(),
        Reply::Array(Some(vec![Reply::Bulk(Some(b"shard".to_vec()))]))
    );
}

#[test]
fn publishing_is_part_of_a_transaction_on_its_slot() {
    need!("redis");
    let cluster = Cluster::start(3);
    let (mut listener, mut client) = (cluster.client(), cluster.client());
    listen(&mut listener, "SUBSCRIBE news:{t}");
    let mut run = |lines: &[&str]| -> Vec<String> {
        lines.iter().map(|line| client.call(&line.split(' ').collect::<Vec<_>>()).unwrap().text()).collect()
    };
    run(&["MULTI", "SET {t}k v", "PUBLISH news:{t} done", "EXEC"]);
    assert_eq!(message(&mut listener), ["message", "news:{t}", "done"]);
    let crossed = run(&["MULTI", "SET {t}k w", "PUBLISH elsewhere done", "EXEC"]);
    assert!(crossed[2].starts_with("CROSSSLOT"), "{crossed:?}");
    assert!(crossed[3].starts_with("EXECABORT"), "{crossed:?}");
    let refused = run(&["MULTI", "SUBSCRIBE news:{t}", "EXEC"]);
    assert!(refused[1].contains("not allowed inside MULTI"), "{refused:?}");
}

#[test]
fn nothing_stays_behind_when_nobody_listens() {
    need!("redis");
    let cluster = Cluster::start(2);
    let counts = |channel: &str| {
        let mut client = cluster.client();
        let channels = client.call(&["PUBSUB", "NUMSUB", channel]).unwrap();
        let patterns = client.call(&["PUBSUB", "NUMPAT"]).unwrap();
        let Reply::Array(Some(channels)) = channels else { panic!("{channels:?}") };
        (channels[1].clone(), patterns)
    };
    let mut clients: Vec<RespClient> = (0..10).map(|_| cluster.client()).collect();
    for client in &mut clients {
        listen(client, "SUBSCRIBE here");
        listen(client, "PSUBSCRIBE h*");
    }
    assert!(matches!(counts("here"), (Reply::Int(1..=2), Reply::Int(1))), "{:?}", counts("here"));
    // Some say so, some just go.
    for client in &mut clients[..5] {
        client.send(&[request(&["UNSUBSCRIBE"]), request(&["PUNSUBSCRIBE"])].concat()).unwrap();
    }
    clients.drain(5..);
    eventually(DEADLINE, || counts("here") == (Reply::Int(0), Reply::Int(0)));
    assert_eq!(cluster.client().call(&["PUBLISH", "here", "x"]).unwrap(), Reply::Int(0));
}

#[test]
fn who_may_have_missed_something_is_disconnected() {
    need!("redis");
    let mut cluster = Cluster::start(2);
    let name_on = |at: usize| cluster.key_on(at, 0);
    let (lost, kept) = (name_on(0), name_on(1));
    let mut losers: Vec<RespClient> = (0..8).map(|_| cluster.client()).collect();
    losers.iter_mut().for_each(|client| listen(client, &format!("SUBSCRIBE {kept} {lost}")));
    let mut keepers: Vec<RespClient> = (0..8).map(|_| cluster.client()).collect();
    keepers.iter_mut().for_each(|client| listen(client, &format!("SUBSCRIBE {kept}")));
    let mut patterns = cluster.client();
    listen(&mut patterns, "PSUBSCRIBE *");
    cluster.servers[0].kill();
    losers.iter_mut().chain([&mut patterns]).for_each(|client| assert!(client.read().is_err()));

    let mut client = cluster.client();
    let refused =
        |client: &mut RespClient, line: &str| client.call(&line.split(' ').collect::<Vec<_>>()).unwrap();
    eventually(DEADLINE, || refused(&mut client, &format!("SUBSCRIBE {kept} {lost}")).is_error());
    let error = refused(&mut client, "PSUBSCRIBE *").text();
    assert!(error.starts_with(&format!("ERR backend {}: ", cluster.servers[0].addr())), "{error}");
    assert_eq!(client.call(&["GET", &kept]).unwrap(), Reply::Bulk(None), "it listens to nothing");

    cluster.servers[0].restart();
    eventually(DEADLINE, || {
        client.send(&request(&["SUBSCRIBE", &lost])).unwrap();
        !client.read().unwrap().is_error()
    });
    let mut publisher = cluster.client();
    for name in [&lost, &kept] {
        eventually(DEADLINE, || !publisher.call(&["PUBLISH", name, "again"]).unwrap().is_error());
    }
    assert_eq!(message(&mut client)[1..], [lost, "again".to_owned()]);
    for client in &mut keepers {
        assert_eq!(message(client)[1..], [kept.clone(), "again".to_owned()], "and nothing before it");
    }
}

#[test]
fn a_server_that_does_not_answer_holds_nobody_else_up() {
    need!("redis");
    let (_dir, path) = config("backend_timeout = 0.5\nidle_timeout = 0.3");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let (silent, well) = (cluster.key_on(0, 0), cluster.key_on(1, 0));
    let mut client = cluster.client();
    listen(&mut client, &format!("SUBSCRIBE {silent} {well}"));
    cluster.servers[0].stop();
    let mut late = cluster.client();
    late.send(&request(&["SUBSCRIBE", &well, &format!("{silent}-2{{{silent}}}")])).unwrap();
    // Silence is no reason to be disconnected; nor does it keep messages from elsewhere.
    std::thread::sleep(Duration::from_millis(400));
    cluster.client().call(&["PUBLISH", &well, "x"]).unwrap();
    assert_eq!(message(&mut client)[2], "x");
    // It has asked for something that nobody confirms.
    let reply = late.read().unwrap().text();
    assert!(reply.contains("ERR backend"), "{reply}");
    cluster.servers[0].cont();
}

#[test]
fn who_takes_no_messages_is_disconnected_and_nobody_else() {
    need!("redis");
    let (_dir, path) = config("subscriber_output = 1000000");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let (mut lazy, mut eager, mut publisher) = (cluster.client(), cluster.client(), cluster.client());
    listen(&mut lazy, "SUBSCRIBE c");
    listen(&mut eager, "SUBSCRIBE c");
    let body = "x".repeat(100_000);
    let mut published = 0;
    eventually(DEADLINE, || {
        for _ in 0..20 {
            publisher.call(&["PUBLISH", "c", &body]).unwrap();
            assert_eq!(message(&mut eager)[2].len(), body.len());
            published += 1;
        }
        stat(&cluster, "clients_dropped") == 1
    });
    let got = all(&mut lazy).len();
    assert!(got < published, "{got} of {published}");
    publisher.call(&["PUBLISH", "c", "end"]).unwrap();
    assert_eq!(message(&mut eager)[2], "end");
}

#[test]
fn one_client_may_listen_to_very_much() {
    need!("redis");
    const CHANNELS: usize = 60_000;
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let names: Vec<String> = (0..CHANNELS).map(|number| format!("c{number}")).collect();
    let subscribe: Vec<&str> = ["SUBSCRIBE"].into_iter().chain(names.iter().map(String::as_str)).collect();
    client.send(&request(&subscribe)).unwrap();
    for (count, name) in (1..).zip(&names) {
        assert_eq!(message(&mut client), ["subscribe", name, &count.to_string()]);
    }
    assert_eq!(cluster.client().call(&["PUBLISH", &names[CHANNELS - 1], "x"]).unwrap(), Reply::Int(1));
    assert_eq!(message(&mut client)[2], "x");
    client.send(&request(&subscribe)).unwrap();
    let refused = client.read().unwrap().text();
    assert!(refused.contains("100000 channels and patterns at most"), "{refused}");
    client.send(&[request(&["UNSUBSCRIBE"]), request(&["PING"])].concat()).unwrap();
    for count in (0..CHANNELS).rev() {
        assert_eq!(message(&mut client)[2], count.to_string());
    }
    assert_eq!(client.read().unwrap().text(), "PONG");
    let count = || cluster.client().call(&["PUBSUB", "CHANNELS"]).unwrap();
    eventually(DEADLINE, || count() == Reply::Array(Some(vec![])));
}

#[test]
fn a_thousand_clients_listen_and_the_proxy_stops() {
    need!("redis");
    const CLIENTS: usize = 1000;
    let cluster = Cluster::start(1);
    let mut clients: Vec<RespClient> = (0..CLIENTS).map(|_| cluster.client()).collect();
    for client in &mut clients {
        client.send(&request(&["SUBSCRIBE", "c"])).unwrap();
    }
    clients.iter_mut().for_each(|client| assert_eq!(message(client), ["subscribe", "c", "1"]));
    assert_eq!(listening(&cluster.servers[0]), 2, "one connection for each worker");
    assert_eq!(cluster.client().call(&["PUBLISH", "c", "x"]).unwrap(), Reply::Int(2));
    clients.iter_mut().for_each(|client| assert_eq!(message(client), ["message", "c", "x"]));
    assert_eq!((stat(&cluster, "listeners"), stat(&cluster, "messages")), (CLIENTS as u64, CLIENTS as u64));
    cluster.proxy.process().terminate();
    clients.iter_mut().for_each(|client| assert!(client.read().is_err()));
    assert_eq!(cluster.proxy.process().wait(DEADLINE).unwrap().code(), Some(0));
}

#[test]
fn whatever_listeners_and_servers_do_nothing_stays_behind() {
    need!("redis");
    const STEPS: usize = 6000;
    let mut cluster = Cluster::start(3);
    let mut chance = StdRng::seed_from_u64(7);
    let connect = |cluster: &Cluster| {
        let stream = TcpStream::connect(cluster.proxy.addr()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut clients: Vec<TcpStream> = (0..30).map(|_| connect(&cluster)).collect();
    let mut scratch = vec![0; 1 << 16];
    for step in 0..STEPS {
        let at = chance.random_range(0..clients.len());
        let names: Vec<String> =
            (0..chance.random_range(1..6)).map(|_| format!("n{}", chance.random_range(0..40))).collect();
        let verb = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]
            [chance.random_range(0..6)];
        let words: Vec<&str> = match chance.random_range(0..12) {
            0 => vec!["PUBLISH", &names[0], "x"],
            1 => vec!["RESET"],
            2 => vec!["HELLO", "3"],
            3 if verb.contains("UN") => vec![verb],
            _ => [verb].into_iter().chain(names.iter().map(String::as_str)).collect(),
        };
        let sent = clients[at].write_all(&request(&words)).is_ok();
        // Read what has come; some do not, for a while.
        let open = chance.random_ratio(1, 4)
            || loop {
                match clients[at].read(&mut scratch) {
                    Ok(0) => break false,
                    Ok(_) => {}
                    Err(error) => break error.kind() == ErrorKind::WouldBlock,
                }
            };
        if !sent || !open || chance.random_ratio(1, 40) {
            clients[at] = connect(&cluster);
        }
        match step % 1500 {
            500 => cluster.servers[step / 1500 % 3].kill(),
            800 => cluster.servers[step / 1500 % 3].restart(),
            _ => {}
        }
    }
    drop(clients);
    let mut client = cluster.client();
    let nothing = Reply::Array(Some(vec![]));
    for question in ["CHANNELS", "SHARDCHANNELS"] {
        eventually(DEADLINE, || client.call(&["PUBSUB", question]).unwrap() == nothing);
    }
    eventually(DEADLINE, || client.call(&["PUBSUB", "NUMPAT"]).unwrap() == Reply::Int(0));
    assert_eq!(stat(&cluster, "listeners"), 0);
    // A server that was killed last is connected to again after a growing pause; until then it is an error.
    let mut listener = None;
    eventually(DEADLINE, || {
        let mut fresh = cluster.client();
        fresh.send(&request(&["SUBSCRIBE", "n1", "n2", "n3"])).unwrap();
        let confirmed = (0..3).all(|_| matches!(fresh.read(), Ok(Reply::Array(Some(_)))));
        listener = confirmed.then_some(fresh);
        confirmed
    });
    let mut client = listener.unwrap();
    for name in ["n1", "n2", "n3"] {
        cluster.client().call(&["PUBLISH", name, "x"]).unwrap();
        assert_eq!(message(&mut client), ["message", name, "x"]);
    }
}

//! `compat = "codis2"`: refused commands close the connection, as the Go proxy of Codis 2 does it.

use std::io::ErrorKind;

use codis_testkit::{Reply, need};

use crate::{Cluster, config, request};

fn strict(settings: &str) -> (Cluster, tempfile::TempDir) {
    let (dir, path) = config(&format!("compat = \"codis2\"\n{settings}"));
    (Cluster::with(2, |proxy| proxy.arg("--config").arg(path)), dir)
}

#[test]
fn what_codis_2_refuses_closes_the_connection() {
    need!("redis");
    let (cluster, _dir) = strict("");
    for refused in [
        &b"KEYS *\r\n"[..],
        b"*1\r\n$5\r\nMULTI\r\n",
        b"client id\r\n",
        b"SUBSCRIBE a\r\n",
        b"SCAN 0\r\n",
        b"SLOTSINFO\r\n",
        b"\r\n",
        b"*0\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n$0\r\n\r\n",
        &[&b"x".repeat(65)[..], b"\r\n"].concat(),
    ] {
        let mut client = cluster.client();
        let before = [request(&["SET", "a", "1"]), request(&["GET", "b"])].concat();
        client.send(&[&before, refused, &request(&["GET", "a"])[..]].concat()).unwrap();
        let what = String::from_utf8_lossy(refused);
        assert_eq!(client.read().unwrap().text(), "OK", "{what}");
        assert_eq!(client.read().unwrap(), Reply::Bulk(None), "earlier replies are not lost: {what}");
        let error = client.read().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{what}: {error}"
        );
    }
}

#[test]
fn replies_of_the_proxy_are_in_the_words_of_codis_2() {
    need!("redis");
    let (cluster, _dir) = strict("");
    let mut client = cluster.client();
    for (args, reply) in [
        (&["PING"][..], "PONG"),
        (&["PING", "x"], "ERR wrong number of arguments for 'PING' command"),
        (&["AUTH", "x"], "ERR Client sent AUTH, but no password is set"),
        (&["SELECT", "x"], "ERR invalid DB index"),
        (&["SELECT", "3"], "ERR invalid DB index, only accept DB 0"),
        (&["SELECT", "0"], "OK"),
        (&["MSET", "a", "1", "b"], "ERR wrong number of arguments for 'MSET' command"),
        (&["MSET", "a"], "ERR wrong number of arguments for 'mset' command"),
        (&["HELLO", "3"], "ERR unknown command 'HELLO'"),
        (&["ECHO", "x"], "x"),
        (&["MSET", "a", "1", "b", "2"], "OK"),
        (&["DEL", "a", "b", "c"], "2"),
        (&["EVAL", "return 7", "0"], "7"),
    ] {
        assert_eq!(client.call(args).unwrap().text(), reply, "{args:?}");
    }
    assert_eq!(client.call(&["QUIT"]).unwrap().text(), "OK");
}

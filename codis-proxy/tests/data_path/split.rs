//! Commands that are split by server.

use codis_testkit::{Reply, need};

use crate::Cluster;

#[test]
fn parts_are_put_together_in_the_order_of_the_keys() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let keys: Vec<String> = (0..60).map(|i| format!("k{i}")).collect();
    let mut mset = vec!["MSET".to_owned()];
    mset.extend(keys.iter().flat_map(|key| [key.clone(), format!("v-{key}")]));
    assert_eq!(client.call(&mset).unwrap().text(), "OK");
    for server in &cluster.servers {
        let size = server.client().call(&["DBSIZE"]).unwrap();
        assert!(matches!(size, Reply::Int(5..60)), "{size:?}");
    }
    let mut mget = vec!["MGET".to_owned(), "none".to_owned()];
    mget.extend(keys.iter().rev().cloned());
    mget.extend([keys[5].clone(), keys[5].clone()]);
    let Reply::Array(Some(values)) = client.call(&mget).unwrap() else { panic!() };
    assert_eq!(values[0], Reply::Bulk(None));
    assert_eq!(values.len(), mget.len() - 1);
    for (key, value) in mget[2..].iter().zip(&values[1..]) {
        assert_eq!(value.text(), format!("v-{key}"));
    }
    let mut count = |command: &str, keys: &[&str]| client.call(&[&[command], keys].concat()).unwrap();
    let first: Vec<&str> = keys[..20].iter().map(String::as_str).collect();
    assert_eq!(count("EXISTS", &first), Reply::Int(20));
    assert_eq!(count("EXISTS", &["k1", "k1", "none"]), Reply::Int(2));
    assert_eq!(count("TOUCH", &first), Reply::Int(20));
    assert_eq!(count("DEL", &first[..10]), Reply::Int(10));
    assert_eq!(count("UNLINK", &first), Reply::Int(10));
    assert_eq!(count("DEL", &first), Reply::Int(0));
}

#[test]
fn one_key_or_one_server_is_no_special_case() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    assert_eq!(client.call(&["MSET", "{t}a", "1", "{t}b", "2"]).unwrap().text(), "OK");
    let both = Reply::Array(Some(vec![Reply::Bulk(Some(b"2".to_vec())), Reply::Bulk(Some(b"1".to_vec()))]));
    assert_eq!(client.call(&["MGET", "{t}b", "{t}a"]).unwrap(), both);
    assert_eq!(
        client.call(&["mget", "{t}b"]).unwrap(),
        Reply::Array(Some(vec![Reply::Bulk(Some(b"2".to_vec()))]))
    );
    assert_eq!(client.call(&["DEL", "{t}a"]).unwrap(), Reply::Int(1));
    // A thousand keys, so that no buffer of the usual size is enough.
    let keys: Vec<String> = (0..20_000).map(|i| format!("key:{i}")).collect();
    let mut mset = vec!["MSET"];
    mset.extend(keys.iter().flat_map(|key| [key.as_str(), key.as_str()]));
    assert_eq!(client.call(&mset).unwrap().text(), "OK");
    let mut mget = vec!["MGET"];
    mget.extend(keys.iter().map(String::as_str));
    let Reply::Array(Some(values)) = client.call(&mget).unwrap() else { panic!() };
    assert!(values.iter().map(Reply::text).eq(keys.iter().cloned()));
}

#[test]
fn wrong_counts_of_arguments_are_refused_as_the_server_does() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let mut server = cluster.servers[0].client();
    for args in [
        &["MGET"][..],
        &["MSET", "a"],
        &["MSET", "a", "1", "b"],
        &["DEL"],
        &["GET"],
        &["OBJECT", "FREQ"],
        &["EXISTS"],
    ] {
        assert_eq!(client.call(args).unwrap(), server.call(args).unwrap(), "{args:?}");
    }
}

#[test]
fn a_server_that_is_gone_fails_the_whole_request_and_no_other() {
    need!("redis");
    let cluster = Cluster::start(2);
    let (here, gone) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    let mut client = cluster.client();
    assert_eq!(client.call(&["MSET", &here, "1", &gone, "1"]).unwrap().text(), "OK");
    cluster.servers[1].kill();
    for args in [vec!["MGET", &here, &gone], vec!["DEL", &gone, &here], vec!["MSET", &here, "2", &gone, "2"]]
    {
        let reply = client.call(&args).unwrap();
        assert!(
            reply.text().starts_with(&format!("ERR backend {}: ", cluster.servers[1].addr())),
            "{reply:?}"
        );
        let alone = client.call(&["EXISTS", &here, &here]).unwrap();
        assert!(matches!(alone, Reply::Int(_)), "{alone:?}");
    }
}

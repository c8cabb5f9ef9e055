//! The admin pages as a whole: which there are, and that they only look.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use codis_testkit::need;

use crate::{Cluster, DEADLINE, http_get};

/// The first line of the answer to this request.
fn status(addr: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {addr}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.lines().next().unwrap().to_owned()
}

#[test]
fn every_page_can_be_read_and_nothing_be_changed() {
    need!("redis");
    let cluster = Cluster::start(1);
    let addr = cluster.proxy.admin_addr();
    let index = http_get(&addr, "/");
    let pages: Vec<&str> = index.split_whitespace().filter(|word| word.starts_with('/')).collect();
    for page in [
        "/commands",
        "/debug/vars",
        "/errors",
        "/healthz",
        "/hotkeys",
        "/metrics",
        "/MoniData",
        "/readyz",
        "/slots",
        "/slotsinfo",
        "/slowlog",
        "/stats",
    ] {
        assert!(pages.contains(&page), "{page} is not in {index}");
        assert!(status(&addr, "GET", page).ends_with("200 OK"), "{page}");
        for method in ["POST", "PUT", "DELETE"] {
            assert!(status(&addr, method, page).contains(" 405 "), "{method} {page}");
        }
    }
    assert_eq!(pages.len(), 12, "{index}");
    assert!(status(&addr, "GET", "/setloglevel?level=error").contains(" 404 "));
}

#[test]
fn tools_of_the_go_proxy_find_the_text_that_they_look_for() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    (0..3).for_each(|_| assert_eq!(client.call(&["SET", "a", "b"]).unwrap().text(), "OK"));
    let addr = cluster.proxy.admin_addr();
    let ops = http_get(&addr, "/debug/vars");
    assert!(ops.starts_with("{ \"router\": {\"ops\":"), "{ops}");
    let moni = http_get(&addr, "/MoniData");
    assert!(moni.starts_with("{ \"router\": {\"cmd_proxy\":[{\"calls\":"), "{moni}");
    assert!(
        moni.contains("\"calls\":3,\"cmd\":\"SET\",\"fail_calls\":0,\"fail_usecs\":0,\"usecs\":"),
        "{moni}"
    );
    let slots = http_get(&addr, "/slotsinfo");
    let first = format!(
        "{{ \"slots\": {{\"sinfo\":[{{\"slotid\":0,\"master\":\"{}\",\"ismgrt\":0,\"mgrtfrom\":\"\"}},",
        cluster.servers[0].addr()
    );
    assert!(slots.starts_with(&first), "{slots}");
}

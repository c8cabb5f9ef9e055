//! A server that answers with what is no reply, or with too much.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use codis_testkit::{RespClient, need};

use crate::{DEADLINE, Siege};

/// Answers what opens a connection; everything else with `reply`, then again and again.
fn hostile(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let reply = reply.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &reply));
        }
    });
    addr
}

fn serve(mut stream: TcpStream, reply: &[u8]) {
    let mut seen = vec![0; 64 << 10];
    while let Ok(read) = stream.read(&mut seen) {
        let opening = seen[..read].windows(6).any(|word| word == b"CLIENT");
        let answer: &[u8] = if opening { b":1\r\n" } else { reply };
        if read == 0 || stream.write_all(answer).is_err() {
            return;
        }
    }
}

#[test]
fn replies_that_are_none() {
    need!("redis");
    let deep = b"*1\r\n".repeat(2_000_000);
    for (what, reply) in [
        ("deep nesting", deep),
        ("overflowing lengths", b"*9223372036854775807\r\n*9223372036854775807\r\n".to_vec()),
        ("a wrong type", b"?1\r\n".to_vec()),
        ("an endless line", vec![b'+'; 4 << 20]),
        ("half a gigabyte announced", [&b"$536870912\r\n"[..], &[b'x'; 3 << 20]].concat()),
        ("replies that nobody asked for", b"+OK\r\n".repeat(100_000)),
    ] {
        let siege = Siege::with_backend("backend_timeout = 1", |server| vec![server.addr(), hostile(reply)]);
        let mut client = RespClient::connect(siege.proxy.port(), DEADLINE).unwrap();
        for _ in 0..5 {
            let reply = client.call(&["GET", "{b0}x"]).unwrap();
            let text = reply.text();
            let told = text.starts_with("ERR backend ") || text == "OK";
            assert!(told, "{what}: {}", &text[..text.len().min(200)]);
        }
        siege.survived(what);
    }
}

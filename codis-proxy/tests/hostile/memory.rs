//! Clients that want the proxy to hold much for them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use codis_testkit::{Reply, RespClient, eventually, need};

use crate::{DEADLINE, Siege, push, request, until_closed};

/// How long an attack that does not end by itself goes on.
const ATTACK: Duration = Duration::from_secs(2);

#[test]
fn half_a_gigabyte_announced_by_fifty() {
    need!("redis");
    let siege = Siege::lay("");
    let mut gigabyte = siege.connect();
    assert!(push(&mut gigabyte, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1073741824\r\n"));
    assert_eq!(until_closed(&mut gigabyte), "-ERR Protocol error: invalid bulk length\r\n");

    let announce = b"*3\r\n$3\r\nSET\r\n$5\r\n{a1}h\r\n$536870912\r\n";
    let mut sockets: Vec<TcpStream> = (0..50).map(|_| siege.connect()).collect();
    for socket in &mut sockets {
        assert!(push(socket, announce));
        socket.set_nonblocking(true).unwrap();
    }
    // Nor does it help to send what has been announced: 50 senders, each as much as is taken from it.
    let piece = vec![b'x'; 256 << 10];
    let mut sent = vec![0; sockets.len()];
    let begun = Instant::now();
    while begun.elapsed() < ATTACK {
        let mut idle = true;
        for (socket, sent) in sockets.iter_mut().zip(&mut sent) {
            if *sent < 100 << 20
                && let Ok(n) = socket.write(&piece)
            {
                *sent += n;
                idle = false;
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    println!("they have sent {} MiB", sent.iter().sum::<usize>() >> 20);
    siege.survived("50 x 512 MiB announced");
}

#[test]
fn a_million_elements() {
    need!("redis");
    let siege = Siege::lay("");
    let head = b"*1048576\r\n$3\r\nDEL\r\n".to_vec();
    let elements = b"$1\r\na\r\n".repeat(1_048_575);
    let senders: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = siege.connect();
            let (head, elements) = (head.clone(), elements.clone());
            std::thread::spawn(move || {
                // Half of them never send the last element.
                let cut = elements.len() - 5 * (number % 2);
                let _ = push(&mut stream, &head) && push(&mut stream, &elements[..cut]);
                if number % 2 == 0 {
                    let mut reply = [0; 3];
                    // The number of keys deleted, or that there is no room for so many requests at a time.
                    stream.read_exact(&mut reply).map(|()| reply[0]).ok()
                } else {
                    None
                }
            })
        })
        .collect();
    let replies: Vec<u8> = senders.into_iter().filter_map(|sender| sender.join().unwrap()).collect();
    assert!(replies.contains(&b':'), "not one of the requests was carried out: {replies:?}");
    siege.survived("arrays of a million elements");
}

#[test]
fn readers_that_never_read() {
    need!("redis");
    let siege = Siege::lay("max_memory = 67108864");
    let mut client = RespClient::connect(siege.proxy.port(), DEADLINE).unwrap();
    for (key, size) in [("{a1}small", 2000), ("{a1}one", 1 << 20), ("{a1}big", 4 << 20)] {
        assert_eq!(client.call(&["SET", key, &"x".repeat(size)]).unwrap().text(), "OK");
    }
    let mut sockets = Vec::new();
    for number in 0..60 {
        let mut stream = siege.connect();
        let get = match number % 3 {
            0 => request(&[b"GET", b"{a1}big"]).repeat(4),
            1 => request(&[b"GET", b"{a1}one"]).repeat(200),
            _ => request(&[b"GET", b"{a1}small"]).repeat(5000),
        };
        stream.set_nonblocking(true).unwrap();
        // What does not fit into the socket is not sent: the proxy has stopped reading.
        let _ = stream.write(&get);
        sockets.push(stream);
    }
    let begun = Instant::now();
    while begun.elapsed() < ATTACK {
        // Somebody who does read gets a big value all the same.
        let big = client.call(&["GET", "{a1}one"]).unwrap();
        assert_eq!(big.text().len(), 1 << 20);
        std::thread::sleep(Duration::from_millis(20));
    }
    siege.survived("60 readers that never read");
}

#[test]
fn a_value_above_the_whole_budget_passes() {
    need!("redis");
    let siege = Siege::lay("max_memory = 16777216");
    let value: String = (0..64 << 20).map(|at| char::from(b'a' + (at / 1000 % 26) as u8)).collect();
    let mut client = RespClient::connect(siege.proxy.port(), DEADLINE).unwrap();
    assert_eq!(client.call(&["SET", "{a1}64", &value]).unwrap().text(), "OK");
    assert!(client.call(&["GET", "{a1}64"]).unwrap().text() == value, "another value came back");
    siege.survived("a value of 64 MiB with 16 MiB allowed");
}

#[test]
fn listeners_that_never_read() {
    need!("redis");
    const LAZY: usize = 60;
    // More than sockets hold.
    const BYTES: usize = 80 << 20;
    let siege = Siege::lay("");
    let mut lazy: Vec<TcpStream> = (0..LAZY).map(|_| siege.connect()).collect();
    for stream in &mut lazy {
        assert!(push(stream, &request(&[b"SUBSCRIBE", b"news"])));
    }
    let mut eager = siege.proxy.client();
    eager.send(&request(&[b"SUBSCRIBE", b"news", b"end"])).unwrap();
    (0..2).for_each(|_| drop(eager.read().unwrap()));
    let got = Arc::new(AtomicUsize::new(0));
    let listening = std::thread::spawn({
        let got = got.clone();
        move || loop {
            match eager.read().unwrap() {
                Reply::Array(Some(parts)) if parts[1].text() == "end" && parts[0].text() == "message" => {
                    return;
                }
                Reply::Array(Some(parts)) => {
                    got.fetch_add(usize::from(parts[0].text() == "message"), Ordering::Relaxed);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let mut publisher = siege.proxy.client();
    let (mut published, mut bytes) = (0, 0);
    while bytes < BYTES {
        // Copied for each listener, and shared by all of them.
        for size in [20_000, 100_000] {
            let reply = publisher.call(&["PUBLISH", "news", &"n".repeat(size)]).unwrap();
            assert!(!reply.is_error(), "{reply:?}");
            published += 1;
            bytes += size;
            // On a busy machine it could fall behind by as much as those who do not read at all.
            eventually(DEADLINE, || published - got.load(Ordering::Relaxed) <= 10);
        }
    }
    publisher.call(&["PUBLISH", "end", ""]).unwrap();
    listening.join().unwrap();
    assert_eq!(got.load(Ordering::Relaxed), published, "who reads misses nothing");
    println!("{published} messages to {LAZY} who do not read: {} MiB for each", bytes >> 20);
    siege.survived("listeners that never read");
}

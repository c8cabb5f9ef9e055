//! Bytes that are no requests, requests that never end, connections that end in the middle.

use std::{io::Write, net::TcpStream, time::Instant};

use codis_testkit::need;

use crate::{DEADLINE, Siege, push, request, until_closed};

#[test]
fn malformed_and_overflowing_lengths() {
    need!("redis");
    let siege = Siege::lay("");
    let nested = b"*1\r\n".repeat(100_000);
    for round in 0..20 {
        for bytes in [
            &b"*1073741824\r\n"[..],
            b"*9223372036854775808\r\n",
            b"*-2147483649\r\n$1\r\n",
            b"*2\r\n$3\r\nGET\r\n$1073741824\r\n",
            b"*2\r\n$3\r\nGET\r\n$18446744073709551616\r\n",
            b"*2\r\n$3\r\nGET\r\n$-1\r\n",
            b"*2\r\n$3\r\nGET\r\n$00000000000000000000000000000000000000001\r\na\r\n",
            b"*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n",
            b"$5\r\nhello\r\n\x00\x01\x02\xff\r\n\"",
            &nested,
            &[0xff; 100_000],
        ] {
            let mut stream = siege.connect();
            // It may have been closed before all has gone.
            let _ = push(&mut stream, bytes);
            let _ = push(&mut stream, b"\r\n*\r\n");
            let told = until_closed(&mut stream);
            let reset = told.is_empty() && bytes.len() > 50_000;
            assert!(
                told.contains("-ERR") || reset,
                "round {round}: {:?}: {told}",
                &bytes[..bytes.len().min(60)]
            );
        }
    }
    siege.survived("malformed and overflowing lengths");
}

#[test]
fn a_thousand_that_send_a_byte_now_and_then() {
    need!("redis");
    let siege = Siege::lay("request_timeout = 1.5");
    let request = request(&[b"SET", b"{a1}loris", &[b'x'; 300]]);
    let mut sockets: Vec<TcpStream> = (0..1000).map(|_| siege.connect()).collect();
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
    }
    let begun = Instant::now();
    let mut at = 0;
    while !sockets.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "{} are still served", sockets.len());
        let byte = request[at % 200];
        at += 1;
        // Told and closed: a write fails once the end has been noticed.
        sockets.retain_mut(|socket| socket.write(&[byte]).is_ok());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(at > 20, "they were dropped after {at} bytes already");
    let mut late = siege.connect();
    assert!(push(&mut late, b"*2\r\n$3\r\nGET\r\n$10\r\nab"));
    let told = until_closed(&mut late);
    assert_eq!(told, "-ERR Protocol error: the request was not complete within 1.5 s\r\n");
    siege.survived("1000 slow senders");
}

#[test]
fn connections_reset_in_the_middle_of_a_request() {
    need!("redis");
    let siege = Siege::lay("");
    let value = vec![b'x'; 200_000];
    let whole = [request(&[b"SET", b"{a1}reset", &value]), request(&[b"GET", b"{a1}reset"])].concat();
    for round in 0..400 {
        let mut stream = siege.connect();
        let cut = round * 1021 % whole.len();
        // Asked for and never taken, then a request cut anywhere, then a reset: unread bytes make one of a close.
        assert!(push(&mut stream, &b"*1\r\n$4\r\nPING\r\n".repeat(1 + round % 50)));
        let _ = push(&mut stream, &whole[..cut]);
        if round % 2 == 0 {
            stream.peek(&mut [0]).unwrap();
        }
        drop(stream);
    }
    siege.survived("resets in the middle of requests");
}

//! A server that is none: it answers what nobody can understand, at once or after a while.

use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use codis_store::{Acl, ConnectOptions, CreateMode, ErrorKind, SessionState, Store, StoreAddr};
use codis_testkit::{ZooKeeper, eventually_async, need};

use crate::common::PATIENCE;

/// Answers that are none. The first four bytes are the length of a record.
const GARBAGE: [&[u8]; 6] = [
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"\x00\x00\x00\x04\xde\xad\xbe\xef",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"-ERR unknown command\r\n",
];

/// Stands in front of a server, or of nothing, and answers garbage when told to.
struct Fool {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    fooling: Arc<AtomicBool>,
}

impl Fool {
    /// `garbage` is what it answers instead of the bytes of `server`.
    fn start(server: Option<u16>, garbage: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let fool =
            Self { addr, accepted: Arc::default(), fooling: Arc::new(AtomicBool::new(server.is_none())) };
        let (accepted, fooling) = (Arc::clone(&fool.accepted), Arc::clone(&fool.fooling));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepted.fetch_add(1, Ordering::SeqCst);
                let fooling = Arc::clone(&fooling);
                std::thread::spawn(move || drop(answer(client, server, garbage, &fooling)));
            }
        });
        fool
    }

    fn url(&self) -> StoreAddr {
        format!("zk://{}", self.addr).parse().unwrap()
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn answer(
    mut client: TcpStream,
    server: Option<u16>,
    garbage: &[u8],
    fooling: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let Some(port) = server else {
        let _ = client.read(&mut buffer)?;
        client.write_all(garbage)?;
        // Stays open: what comes next is up to the other side.
        while client.read(&mut buffer)? > 0 {}
        return Ok(());
    };
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut requests, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(size @ 1..) = requests.read(&mut buffer) {
            if to.write_all(&buffer[..size]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut fooled = false;
    loop {
        let size = server.read(&mut buffer)?;
        let fooling = fooling.load(Ordering::SeqCst);
        // Who mends it ends the connections that are out of step.
        if size == 0 || (fooled && !fooling) {
            let _ = server.shutdown(Shutdown::Both);
            return client.shutdown(Shutdown::Both);
        }
        fooled = fooling;
        client.write_all(if fooling { garbage } else { &buffer[..size] })?;
    }
}

#[tokio::test]
async fn a_stranger_at_the_address_is_told_from_a_store_in_time() {
    for garbage in GARBAGE {
        let fool = Fool::start(None, garbage);
        let options = ConnectOptions { connect_timeout: Duration::from_secs(2), ..ConnectOptions::control() };
        let begun = Instant::now();
        let error = Store::connect(&fool.url(), &options).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{garbage:?}");
        assert!(begun.elapsed() < PATIENCE, "{garbage:?}: {:?}", begun.elapsed());
        let text = format!("{error}: {}", error.source().unwrap());
        assert!(
            text.contains(&fool.url().to_string())
                && (text.contains("does not answer as ZooKeeper")
                    || text.contains("no answer within 2000 ms")),
            "{text}"
        );
        // One try, and the knock that finds the reason.
        assert!(fool.accepted() <= 2, "{garbage:?}: {}", fool.accepted());
    }
}

#[tokio::test]
async fn a_store_that_answers_garbage_for_a_while_is_waited_for() {
    need!("zookeeper");
    let server = ZooKeeper::start();
    let port = server.port();
    let stories = GARBAGE.into_iter().enumerate().map(|(number, garbage)| async move {
        let fool = Fool::start(Some(port), garbage);
        let options = ConnectOptions {
            session_timeout: Duration::from_secs(10),
            connect_timeout: PATIENCE,
            op_timeout: Duration::from_secs(2),
            create_local: false,
        };
        let store = Store::connect(&fool.url(), &options).await.unwrap();
        let path = format!("/n{number}");
        store.create(&path, b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
        let id = store.session_id();

        fool.fooling.store(true, Ordering::SeqCst);
        let accepted = fool.accepted();
        let begun = Instant::now();
        let written = store.set(&path, b"1", 0).await.unwrap_err();
        assert_eq!(written.kind, ErrorKind::Ambiguous, "{garbage:?}: {written:?}");
        let read = store.get(&path).await.unwrap_err();
        assert!(matches!(read.kind, ErrorKind::Unreachable | ErrorKind::Timeout), "{garbage:?}: {read:?}");
        assert!(begun.elapsed() < PATIENCE);
        // Not again and again without a pause.
        let tries = fool.accepted() - accepted;
        assert!(tries < 20, "{garbage:?}: {tries} connections in {:?}", begun.elapsed());

        fool.fooling.store(false, Ordering::SeqCst);
        eventually_async(PATIENCE, async || store.get(&path).await.is_ok()).await;
        let node = store.get(&path).await.unwrap();
        assert_eq!((node.owner, store.session_id()), (id, id), "{garbage:?}: the session was resumed");
        assert_eq!(*store.session().borrow(), SessionState::Connected);
        assert_eq!((node.version, node.data.as_slice()), (1, b"1".as_slice()), "it had been written");
    });
    futures::future::join_all(stories).await;
}

//! Who is connected to the stand-in: for CLIENT LIST and CLIENT KILL, and for closing all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One client connection and its twin to the server behind.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) addr: SocketAddr,
    /// Its twin's address, as the server behind sees it.
    pub(super) behind: SocketAddr,
    pub(super) streams: [TcpStream; 2],
    /// Nothing that it has sent may be executed any more.
    pub(super) killed: AtomicBool,
    pub(super) db: AtomicU32,
    pub(super) is_slave: AtomicBool,
    pub(super) since: Instant,
    /// Its name and its last command.
    pub(super) words: Mutex<(String, String)>,
}

impl Client {
    /// Ends it: nothing it has sent is executed after this.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn line(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let flags = if self.is_slave.load(Ordering::SeqCst) { "S" } else { "N" };
        format!(
            "id={} addr={} fd=0 name={} age={} idle=0 flags={flags} db={} sub=0 psub=0 multi=-1 qbuf=0 \
             qbuf-free=0 obl=0 oll=0 omem=0 events=r cmd={}\n",
            self.id,
            self.addr,
            words.0,
            self.since.elapsed().as_secs(),
            self.db.load(Ordering::SeqCst),
            words.1,
        )
    }
}

/// What a filter of CLIENT KILL says about a client.
type Filter = Box<dyn Fn(&Client) -> bool>;

/// All that are connected, by id.
#[derive(Debug, Default)]
pub(super) struct Clients {
    next: u64,
    open: BTreeMap<u64, Arc<Client>>,
}

impl Clients {
    pub(super) fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn add(&mut self, client: Arc<Client>) {
        self.open.insert(client.id, client);
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// Closes every connection.
    pub(super) fn kill_all(&mut self) {
        self.open.values().for_each(|client| client.kill());
        self.open.clear();
    }

    /// The answer to CLIENT LIST.
    pub(super) fn list(&self) -> String {
        self.open.values().fold(String::new(), |mut text, client| {
            let _ = text.write_str(&client.line());
            text
        })
    }

    /// The clients that a CLIENT KILL with these words means, or the error reply. Taken off the list.
    pub(super) fn condemn(&mut self, words: &[String], own: u64) -> Result<Vec<Arc<Client>>, String> {
        let syntax = || "-ERR syntax error\r\n".to_owned();
        let matching: Filter = match words {
            [addr] => {
                let addr = addr.clone();
                Box::new(move |client| client.addr.to_string() == addr)
            }
            filters => {
                let mut wanted: Vec<Filter> = Vec::new();
                let mut skip_own = true;
                for pair in filters.chunks(2) {
                    let [name, value] = pair else { return Err(syntax()) };
                    let value = value.clone();
                    match name.to_ascii_lowercase().as_str() {
                        "id" => {
                            let id: u64 =
                                value.parse().map_err(|_| "-ERR Invalid client ID\r\n".to_owned())?;
                            wanted.push(Box::new(move |client| client.id == id));
                        }
                        "addr" => wanted.push(Box::new(move |client| client.addr.to_string() == value)),
                        "type" => {
                            let slaves = value.eq_ignore_ascii_case("slave");
                            wanted.push(Box::new(move |c| c.is_slave.load(Ordering::SeqCst) == slaves));
                        }
                        "skipme" => skip_own = value.eq_ignore_ascii_case("yes"),
                        _ => return Err(syntax()),
                    }
                }
                Box::new(move |client| {
                    !(skip_own && client.id == own) && wanted.iter().all(|matches| matches(client))
                })
            }
        };
        let ids: Vec<u64> =
            self.open.values().filter(|client| matching(client)).map(|client| client.id).collect();
        Ok(ids.iter().filter_map(|id| self.open.remove(id)).collect())
    }
}

//! Clients: single-key requests are forwarded to the master of their slot, a few commands are split or answered here,
//! and whatever goes wrong closes the connection, as in the original.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    rc::Rc,
};

use codis_core::slot_of_key;
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    routes::{Route, Routes},
    wire,
};

/// Time-out that the original gives SLOTSMGRTTAGONE, milliseconds.
const FETCH_MS: &str = "3000";

/// Commands that close the connection; those that tests or clients might send.
const REFUSED: [&str; 14] = [
    "KEYS",
    "SCAN",
    "RENAME",
    "MIGRATE",
    "RESTORE",
    "BLPOP",
    "BRPOP",
    "SUBSCRIBE",
    "PUBLISH",
    "MULTI",
    "EXEC",
    "WATCH",
    "CLIENT",
    "CONFIG",
];

/// Accepts clients until it is aborted.
pub(crate) async fn serve(listener: TcpListener, routes: Rc<Routes>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let routes = routes.clone();
        tokio::task::spawn_local(async move {
            let client = Client { routes: &routes, servers: HashMap::new() };
            if let Err(error) = client.run(stream).await {
                tracing::info!(%error, "a client's connection is closed");
            }
        });
    }
}

struct Client<'a> {
    routes: &'a Routes,
    servers: HashMap<String, BufReader<TcpStream>>,
}

impl Client<'_> {
    async fn run(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(words) = wire::request(&mut stream).await? {
            let reply = self.answer(words).await?;
            stream.write_all(&reply).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, words: Vec<Vec<u8>>) -> io::Result<Vec<u8>> {
        let name = words.first().map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default();
        if name.is_empty() || REFUSED.contains(&name.as_str()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("command <{name}> is not allowed")));
        }
        match (name.as_str(), words.len()) {
            ("PING", 1) => Ok(b"+PONG\r\n".to_vec()),
            ("MGET", 3..) => {
                let mut merged = format!("*{}\r\n", words.len() - 1).into_bytes();
                for key in &words[1..] {
                    let one = self.forward(key, &[b"MGET".to_vec(), key.clone()]).await?;
                    merged.extend_from_slice(one.strip_prefix(b"*1\r\n").ok_or(ErrorKind::InvalidData)?);
                }
                Ok(merged)
            }
            ("DEL", 3..) => {
                let mut sum = 0;
                for key in &words[1..] {
                    let one = self.forward(key, &[b"DEL".to_vec(), key.clone()]).await?;
                    sum += wire::number(&one, b':')?;
                }
                Ok(format!(":{sum}\r\n").into_bytes())
            }
            ("MSET", 5..) if words.len() % 2 == 1 => {
                let mut last = Vec::new();
                for pair in words[1..].chunks(2) {
                    let one = [b"MSET".to_vec(), pair[0].clone(), pair[1].clone()];
                    last = self.forward(&pair[0], &one).await?;
                }
                Ok(last)
            }
            // No key: slot 0.
            _ => {
                let place = if matches!(name.as_str(), "EVAL" | "EVALSHA") { 3 } else { 1 };
                let key = words.get(place).cloned().unwrap_or_default();
                self.forward(&key, &words).await
            }
        }
    }

    /// Sends one request to the master of its slot, once its key is there.
    async fn forward(&mut self, key: &[u8], words: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        let routes = self.routes;
        let (entered, route) = routes.enter(slot_of_key(key).get()).await;
        let Route { backend: Some(backend), from, .. } = route else {
            return Err(io::Error::new(ErrorKind::NotConnected, "slot is not ready, can not connect redis"));
        };
        if let Some(from) = from.filter(|_| !key.is_empty()) {
            let (host, port) = backend.rsplit_once(':').ok_or(ErrorKind::InvalidData)?;
            let fetch: [&[u8]; 5] =
                [b"SLOTSMGRTTAGONE", host.as_bytes(), port.as_bytes(), FETCH_MS.as_bytes(), key];
            let fetched = self.ask(&from, &fetch).await?;
            if fetched.first() != Some(&b':') {
                let text = String::from_utf8_lossy(&fetched).into_owned();
                return Err(io::Error::new(ErrorKind::InvalidData, format!("error resp: {text}")));
            }
        }
        let reply = self.ask(&backend, words).await;
        drop(entered);
        reply
    }

    async fn ask<W: AsRef<[u8]>>(&mut self, addr: &str, words: &[W]) -> io::Result<Vec<u8>> {
        let mut server = match self.servers.remove(addr) {
            Some(server) => server,
            None => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        wire::send(&mut server, words).await?;
        let reply = wire::reply(&mut server).await?;
        self.servers.insert(addr.to_owned(), server);
        Ok(reply)
    }
}

//! One client of the stand-in: its requests go on byte for byte, unless a codis-server answers them
//! differently.

use std::io::{self, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, poll};

use super::clients::Client;
use super::commands;
use super::front::{Shared, Turn};
use crate::resp::{encode, read_request};
use crate::{Reply, RespClient};

/// The version that the stand-in claims to be.
const VERSION: &str = "2.8.21";

/// What is left to do for a request when the server's turn is over.
enum After {
    /// The client gets these bytes.
    Answer(Vec<u8>),
    /// The same, and the connection ends.
    Last(Vec<u8>),
    /// The server answers some time later; others are served meanwhile.
    Blocked,
    /// From now on bytes go both ways without being looked at.
    Pipe,
}

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) me: Arc<Client>,
    client: BufReader<TcpStream>,
    pub(super) server: RespClient,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, me: Arc<Client>, client: TcpStream, server: RespClient) -> Self {
        Self { shared, me, client: BufReader::new(client), server }
    }

    /// Serves the client until one side closes.
    pub(super) fn run(mut self) {
        let _ = self.serve();
        self.me.kill();
        self.shared.clients().remove(self.me.id);
    }

    fn serve(&mut self) -> io::Result<()> {
        while let Some(args) = read_request(&mut self.client)? {
            let shared = self.shared.clone();
            let mut turn = shared.turn();
            if self.me.killed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let after = self.execute(&mut turn, &args)?;
            drop(turn);
            match after {
                After::Answer(bytes) => self.client.get_mut().write_all(&bytes)?,
                After::Last(bytes) => return self.client.get_mut().write_all(&bytes),
                After::Blocked => {
                    self.wait_or_leave()?;
                    let bytes = self.server.raw()?;
                    self.client.get_mut().write_all(&bytes)?;
                }
                After::Pipe => return self.pipe(),
            }
        }
        Ok(())
    }

    fn execute(&mut self, turn: &mut Turn, args: &[Vec<u8>]) -> io::Result<After> {
        if let Some(refusal) = commands::refusal(args) {
            return Ok(After::Answer(refusal.into_bytes()));
        }
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        self.note(|words| words.1.clone_from(&name));
        if matches!(name.as_str(), "command" | "client") || name.starts_with("slots") {
            // A server that is stopped or asks for a password does not answer these either.
            let ping = self.forward(&[b"PING".to_vec()])?;
            if ping.starts_with(b"-") {
                return Ok(After::Answer(ping));
            }
        }
        let answer = match name.as_str() {
            "quit" => return Ok(After::Last(b"+OK\r\n".to_vec())),
            "blpop" | "brpop" | "brpoplpush" => {
                self.server.send(&encode(args))?;
                return Ok(After::Blocked);
            }
            "subscribe" | "psubscribe" | "monitor" | "sync" | "psync" => {
                self.me.is_slave.store(name.ends_with("sync"), Ordering::SeqCst);
                self.server.send(&encode(args))?;
                return Ok(After::Pipe);
            }
            "command" => self.command(args)?,
            "client" => self.client_command(args)?,
            "info" => {
                let text = self.forward(args)?;
                self.info(turn, text)
            }
            "select" => {
                let reply = self.forward(args)?;
                let db = String::from_utf8_lossy(&args[1]).parse();
                if let (b"+OK\r\n", Ok(db)) = (&reply[..], db) {
                    self.me.db.store(db, Ordering::SeqCst);
                }
                reply
            }
            slots if slots.starts_with("slots") => {
                *turn.calls.entry(name.clone()).or_default() += 1;
                self.slots(turn, slots, args)?.unwrap_or_else(String::into_bytes)
            }
            _ => self.forward(args)?,
        };
        Ok(After::Answer(answer))
    }

    /// Has the server behind execute it.
    pub(super) fn forward(&mut self, args: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        self.server.send(&encode(args))?;
        self.server.raw()
    }

    fn note(&self, change: impl FnOnce(&mut (String, String))) {
        change(&mut self.me.words.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// COMMAND, COMMAND COUNT, COMMAND INFO; in the form of 2.8.
    fn command(&mut self, args: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        let words: Vec<String> =
            args[1..].iter().map(|arg| String::from_utf8_lossy(arg).to_ascii_lowercase()).collect();
        let names: Vec<String> = match words.first().map(String::as_str) {
            None => commands::all().map(|(name, _)| name.to_owned()).collect(),
            Some("info") => words[1..].to_vec(),
            Some("count") => return Ok(format!(":{}\r\n", commands::all().count()).into_bytes()),
            Some(_) => return self.forward(args),
        };
        let mut answer = format!("*{}\r\n", names.len());
        for name in names {
            let Some(arity) = commands::arity(&name) else {
                answer.push_str("$-1\r\n");
                continue;
            };
            let flags = commands::SLOTS.iter().find(|row| row.0 == name).map_or(&[][..], |row| row.2);
            answer.push_str(&format!("*6\r\n${}\r\n{name}\r\n:{arity}\r\n*{}\r\n", name.len(), flags.len()));
            flags.iter().for_each(|flag| answer.push_str(&format!("+{flag}\r\n")));
            answer.push_str(":0\r\n:0\r\n:0\r\n");
        }
        Ok(answer.into_bytes())
    }

    fn client_command(&mut self, args: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        let words: Vec<String> =
            args[1..].iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        match (words[0].to_ascii_lowercase().as_str(), &words[1..]) {
            ("list", []) => {
                let text = self.shared.clients().list();
                Ok(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
            }
            ("setname", [name]) => {
                self.note(|words| words.0.clone_from(name));
                self.forward(args)
            }
            ("getname", []) => self.forward(args),
            ("kill", filters @ [_, ..]) => self.kill(filters),
            _ => {
                let forms = "LIST | KILL ip:port | GETNAME | SETNAME connection-name";
                Ok(format!("-ERR Syntax error, try CLIENT ({forms})\r\n").into_bytes())
            }
        }
    }

    /// Ends connections; what they have sent and was not executed will never be.
    fn kill(&mut self, filters: &[String]) -> io::Result<Vec<u8>> {
        let condemned = match self.shared.clients().condemn(filters, self.me.id) {
            Ok(condemned) => condemned,
            Err(refusal) => return Ok(refusal.into_bytes()),
        };
        for client in &condemned {
            // The twin first: a blocked pop must not run after the answer.
            self.server.call(&["CLIENT", "KILL", "ADDR", &client.behind.to_string(), "SKIPME", "yes"])?;
            if client.id != self.me.id {
                client.kill();
            }
        }
        Ok(match (filters, condemned.len()) {
            ([_], 0) => b"-ERR No such client\r\n".to_vec(),
            ([_], _) => b"+OK\r\n".to_vec(),
            (_, count) => format!(":{count}\r\n").into_bytes(),
        })
    }

    /// The answer to INFO with the version and the port that clients see.
    fn info(&self, turn: &Turn, raw: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let Some((_, body)) = text.strip_prefix('$').and_then(|rest| rest.split_once("\r\n")) else {
            return raw;
        };
        let mut lines: Vec<String> = body.trim_end().split("\r\n").map(str::to_owned).collect();
        for line in &mut lines {
            if line.starts_with("redis_version:") {
                *line = format!("redis_version:{VERSION}");
            } else if line.starts_with("tcp_port:") {
                *line = format!("tcp_port:{}", self.shared.port);
            }
        }
        if let Some(at) = lines.iter().position(|line| line == "# Commandstats") {
            let calls = turn
                .calls
                .iter()
                .map(|(name, calls)| format!("cmdstat_{name}:calls={calls},usec=0,usec_per_call=0.00"));
            lines.splice(at + 1..at + 1, calls);
        }
        let body = lines.join("\r\n") + "\r\n";
        format!("${}\r\n{body}\r\n", body.len()).into_bytes()
    }

    /// Waits for the server's answer; fails when the client closes first.
    fn wait_or_leave(&mut self) -> io::Result<()> {
        let mut listen = true;
        loop {
            let client = self.client.get_ref();
            let server = self.server.stream();
            if !server.buffer().is_empty() {
                return Ok(());
            }
            let mut fds = vec![PollFd::new(server.get_ref(), PollFlags::IN)];
            if listen {
                fds.push(PollFd::new(client, PollFlags::IN));
            }
            poll(&mut fds, None)?;
            let (answered, heard) =
                (!fds[0].revents().is_empty(), fds.len() > 1 && !fds[1].revents().is_empty());
            drop(fds);
            if answered {
                return Ok(());
            }
            if heard && client.peek(&mut [0])? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // The client has sent the next request already; its end cannot be seen behind that.
            listen = !heard;
        }
    }

    /// Carries bytes both ways until one side closes.
    fn pipe(&mut self) -> io::Result<()> {
        let (mut client, mut server) =
            (self.client.get_ref().try_clone()?, self.server.stream().get_ref().try_clone()?);
        server.write_all(self.client.buffer())?;
        client.write_all(self.server.stream().buffer())?;
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        let me = self.me.clone();
        let there = std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            me.kill();
        });
        let _ = io::copy(&mut server, &mut client);
        self.me.kill();
        let _ = there.join();
        Ok(())
    }

    /// One command on the server behind, its answer decoded.
    pub(super) fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.server.call(args)
    }
}

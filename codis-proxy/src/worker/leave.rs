//! Clients that come, and clients that change hands between processes, see [`restart`](crate::restart).
//!
//! A session can go once it is owed nothing and has nothing open: no transaction, no subscription. What it has
//! sent and what has not been done goes along, also when it waits for a slot. The socket is not closed, so what
//! is on its way to it is not lost.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;

use tokio::{net::TcpStream, task::spawn_local, time::timeout};

use super::{
    Worker,
    proto::Proto,
    session::{Library, Mute, Session, SessionId},
};
use crate::{
    restart::{Handed, Muted},
    stream::Stream,
    tls::ServerTls,
};

/// How long a client may take to agree on TLS.
const AGREEING: Duration = Duration::from_secs(10);

/// A client on its way to another process.
#[derive(Debug)]
pub(crate) struct Leaver {
    /// Its connection.
    pub(crate) stream: std::net::TcpStream,
    /// What is known about it.
    pub(crate) state: Handed,
    /// What it has sent.
    pub(crate) unread: Vec<u8>,
}

impl Worker {
    /// Serves a new client; nothing if its socket cannot be used.
    pub(super) fn accept(
        &mut self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        client: u64,
    ) -> Option<SessionId> {
        self.look_at_clock();
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) if !self.stopping => stream,
            Ok(_) => {
                self.registry.remove(client);
                return None;
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "a client's socket cannot be used");
                self.registry.remove(client);
                return None;
            }
        };
        Some(self.serve_session(Stream::Plain(stream), client))
    }

    /// Serves a new client that has to agree on TLS first.
    pub(super) fn accept_tls(
        &mut self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        client: u64,
        tls: ServerTls,
    ) {
        let me = self.me.clone();
        spawn_local(async move {
            let agreeing = async { tls.accept(TcpStream::from_std(stream)?).await };
            let agreed = timeout(AGREEING, agreeing).await.unwrap_or_else(|late| Err(late.into()));
            let Some(worker) = me.upgrade() else { return };
            let mut worker = worker.borrow_mut();
            match agreed {
                Ok(stream) if !worker.stopping => {
                    worker.look_at_clock();
                    worker.serve_session(stream, client);
                }
                Ok(_) => worker.registry.remove(client),
                Err(error) => {
                    tracing::debug!(%peer, %error, "a client could not agree on TLS");
                    worker.tls_failed(&peer, &error);
                    worker.registry.remove(client);
                }
            }
        });
    }

    fn serve_session(&mut self, stream: Stream, client: u64) -> SessionId {
        let open = self.limits.is_open();
        let id = self.sessions.insert(Box::new(Session::new(stream, client, open, self.now)));
        if let Some(me) = self.me.upgrade() {
            spawn_local(std::future::poll_fn(move |cx| me.borrow_mut().poll_session(id, cx)));
        }
        id
    }

    /// Takes out the clients that can go now. One that is new since then can go the next time.
    pub(super) fn give_away(&mut self) -> Vec<Leaver> {
        let ready: Vec<SessionId> =
            self.sessions.iter().map(|(id, _)| id).filter(|id| self.can_leave(*id)).collect();
        ready.into_iter().filter_map(|id| self.take_away(id)).collect()
    }

    fn can_leave(&self, id: SessionId) -> bool {
        let session = &self.sessions[id];
        let plain = session.stream.as_ref().is_some_and(|stream| !stream.is_tls());
        let settling = session.parked.as_ref().is_some_and(|parked| parked.settling);
        let open = session.pinning.is_some() || session.subs.is_some() || settling;
        plain && session.is_done() && !session.closing && !open
    }

    fn take_away(&mut self, id: SessionId) -> Option<Leaver> {
        let session = &mut self.sessions[id];
        let unread = session.partial.take().map_or_else(Vec::new, |partial| partial.buf.to_vec());
        let state = Handed {
            authenticated: session.authenticated,
            resp3: session.proto == Proto::Resp3,
            user: session.user.and_then(|at| Some(self.limits.users.get(usize::from(at))?.name.clone())),
            mute: session.mutes(),
            library: session
                .library
                .as_ref()
                .map(|library| (library.name.to_string(), library.version.to_string())),
            name: self.registry.name(session.client).unwrap_or_default(),
            unread: unread.len() as u64,
        };
        let stream = session.stream.take()?.into_std();
        // Its task ends it.
        session.wake();
        match stream {
            Ok(stream) => Some(Leaver { stream, state, unread }),
            Err(error) => {
                tracing::warn!(%error, "a client's socket cannot be given to another process");
                None
            }
        }
    }

    /// Serves a client that another process has served before.
    pub(super) fn adopt(&mut self, leaver: Leaver, peer: SocketAddr, client: u64) {
        let Some(id) = self.accept(leaver.stream, peer, client) else { return };
        let session = &mut self.sessions[id];
        session.authenticated |= leaver.state.authenticated;
        if let Some(name) = &leaver.state.user {
            // Who does not exist any more has to log in anew.
            let place = self.limits.users.iter().position(|user| user.name == *name);
            session.user = place.and_then(|place| u16::try_from(place).ok());
            session.authenticated = session.user.is_some();
        }
        session.mute = match leaver.state.mute {
            Muted::No => Mute::Nothing,
            Muted::Next => Mute::Only(0),
            Muted::All => Mute::From(0),
        };
        session.library = leaver
            .state
            .library
            .map(|(name, version)| Box::new(Library { name: name.into(), version: version.into() }));
        if leaver.state.resp3 {
            session.proto = Proto::Resp3;
        }
        self.registry.set_name(client, &leaver.state.name);
        if !leaver.unread.is_empty() {
            self.hold(id, BytesMut::from(&leaver.unread[..]));
        }
    }
}

//! Questions about clients, which any worker may ask all workers: CLIENT LIST, KILL, UNBLOCK, and the
//! sums of INFO.
//!
//! Whoever asks does not wait: a task collects what the workers tell, and the reply takes its turn among
//! those of the session. A client that has been asked to go is gone for good: no request of it is sent
//! any more.

use std::{collections::BTreeMap, os::fd::AsRawFd as _, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::{mpsc::WeakSender, oneshot},
    task::spawn_local,
    time::timeout,
};

use super::{
    Order, Worker,
    backend::{KillName, State},
    connect::unblock_one,
    dispatch::{Frame, printable},
    proto::Proto,
    session::SessionId,
};
use crate::{config::Limits, registry::Registry};

/// Longest wait for what the other workers tell. One that is busy for so long is not in the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a client is freed from a blocking command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Freed {
    /// As if its time were over.
    Timeout,
    /// With an error.
    Error,
}

/// What workers are asked.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// The lines of CLIENT LIST.
    List(Filter),
    /// To end connections.
    Kill(KillFilter),
    /// To free the client of this number.
    Unblock(u64, Freed),
    /// What has been counted; the calls of each command, too, or not.
    Counts { commands: bool },
}

/// Calls of a command: how many, microseconds, failed.
pub(crate) type CallSums = (u64, u64, u64);

/// What workers tell, added up.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Lines of CLIENT LIST by the clients' numbers.
    pub(super) lines: Vec<(u64, String)>,
    /// Clients that were found.
    pub(super) count: usize,
    pub(super) counts: Counts,
}

/// Sums for INFO.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) requests_per_second: u64,
    pub(super) errors: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) blocked: u64,
    pub(super) parked: u64,
    pub(super) pinned: u64,
    pub(super) commands: BTreeMap<&'static str, CallSums>,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.count += other.count;
        let (sums, more) = (&mut self.counts, other.counts);
        for (sum, more) in [
            (&mut sums.requests, more.requests),
            (&mut sums.requests_per_second, more.requests_per_second),
            (&mut sums.errors, more.errors),
            (&mut sums.bytes_in, more.bytes_in),
            (&mut sums.bytes_out, more.bytes_out),
            (&mut sums.blocked, more.blocked),
            (&mut sums.parked, more.parked),
            (&mut sums.pinned, more.pinned),
        ] {
            *sum += more;
        }
        for (name, (calls, usecs, failed)) in more.commands {
            let sum = sums.commands.entry(name).or_default();
            *sum = (sum.0 + calls, sum.1 + usecs, sum.2 + failed);
        }
    }
}

/// Kinds of clients, as TYPE names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Pubsub,
    /// Servers, of which none is a client here.
    Server,
}

impl Kind {
    fn parse(word: &[u8]) -> Result<Self, String> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Self::Normal),
            b"pubsub" => Ok(Self::Pubsub),
            b"master" | b"slave" | b"replica" => Ok(Self::Server),
            _ => Err(format!("ERR Unknown client type '{}'", printable(word))),
        }
    }
}

/// Which clients are listed: all for which everything that is given holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    ids: Option<Vec<u64>>,
    kind: Option<Kind>,
}

impl Filter {
    /// That of CLIENT LIST.
    pub(super) fn for_list(frame: Frame<'_>) -> Result<Self, String> {
        let mut filter = Self::default();
        let words: Vec<&[u8]> = frame.args[2..].iter().map(|arg| arg.of(frame.bytes)).collect();
        match words.as_slice() {
            [] => {}
            [word, kind] if word.eq_ignore_ascii_case(b"TYPE") => filter.kind = Some(Kind::parse(kind)?),
            [word, ids @ ..] if word.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
                let ids = ids.iter().map(|id| positive(id)).collect::<Option<Vec<u64>>>();
                filter.ids = Some(ids.ok_or("ERR Invalid client ID")?);
            }
            _ => return Err("ERR syntax error".to_owned()),
        }
        Ok(filter)
    }
}

/// Which clients are killed.
#[derive(Debug, Clone, Default)]
pub(crate) struct KillFilter {
    basics: Filter,
    addr: Option<String>,
    laddr: Option<String>,
    user: Option<String>,
    max_age: Option<u64>,
    /// Who asks.
    me: u64,
    skip_me: bool,
}

impl KillFilter {
    /// The one from this address.
    pub(super) fn of_addr(me: u64, addr: &[u8]) -> Self {
        Self { addr: Some(text(addr)), me, ..Self::default() }
    }

    /// Names of what must hold, each with its value.
    pub(super) fn parse(me: u64, frame: Frame<'_>, limits: &Limits) -> Result<Self, String> {
        let mut filter = Self { me, skip_me: true, ..Self::default() };
        let words: Vec<&[u8]> = frame.args[2..].iter().map(|arg| arg.of(frame.bytes)).collect();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err("ERR syntax error".to_owned()) };
            match (name.to_ascii_uppercase().as_slice(), *value) {
                (b"ID", id) => {
                    let id = positive(id).ok_or("ERR client-id should be greater than 0")?;
                    filter.basics.ids.get_or_insert_default().push(id);
                }
                (b"TYPE", kind) => filter.basics.kind = Some(Kind::parse(kind)?),
                (b"ADDR", addr) => filter.addr = Some(text(addr)),
                (b"LADDR", addr) => filter.laddr = Some(text(addr)),
                (b"USER", user) => {
                    let name = text(user);
                    if name != "default" && !limits.users.iter().any(|user| user.name == name) {
                        return Err(format!("ERR No such user '{}'", printable(user)));
                    }
                    filter.user = Some(name);
                }
                (b"MAXAGE", age) => {
                    let age = positive(age).ok_or("ERR maxage is not an integer or out of range")?;
                    filter.max_age = Some(age);
                }
                (b"SKIPME", word) if word.eq_ignore_ascii_case(b"yes") => filter.skip_me = true,
                (b"SKIPME", word) if word.eq_ignore_ascii_case(b"no") => filter.skip_me = false,
                _ => return Err("ERR syntax error".to_owned()),
            }
        }
        Ok(filter)
    }
}

fn positive(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number| *number > 0)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Registry {
    /// Asks all workers, and adds up what they tell.
    pub(super) fn ask_workers(&self, ask: Ask) -> impl Future<Output = Told> + 'static {
        let workers: Vec<WeakSender<Order>> = self.workers().to_vec();
        async move {
            let answers = workers.iter().map(|worker| {
                let ask = ask.clone();
                async move {
                    let (sender, answer) = oneshot::channel();
                    // One that has ended has no clients any more.
                    worker.upgrade()?.send(Order::Ask(ask, sender)).await.ok()?;
                    answer.await.ok()
                }
            });
            let answers = answers.map(|answer| async { timeout(PATIENCE, answer).await.ok().flatten() });
            let mut sum = Told::default();
            join_all(answers).await.into_iter().flatten().for_each(|told| sum.add(told));
            sum
        }
    }
}

impl Worker {
    /// Tells what a worker, maybe this one, asks.
    pub(super) fn be_asked(&mut self, ask: Ask, answer: oneshot::Sender<Told>) {
        self.look_at_clock();
        let told = match ask {
            Ask::List(filter) => {
                let chosen = self.clients(|worker, id| worker.suits(id, &filter));
                let line = |id: &SessionId| (self.sessions[*id].client, self.describe(*id));
                Told { lines: chosen.iter().map(line).collect(), ..Told::default() }
            }
            Ask::Kill(filter) => {
                let chosen = self.clients(|worker, id| worker.is_to_go(id, &filter));
                chosen.iter().for_each(|id| self.end_client(*id, filter.me));
                Told { count: chosen.len(), ..Told::default() }
            }
            Ask::Unblock(client, how) => return self.free(client, how, answer),
            Ask::Counts { commands } => Told { counts: self.counts(commands), ..Told::default() },
        };
        // Whoever has asked may have gone.
        let _ = answer.send(told);
    }

    fn clients(&self, which: impl Fn(&Self, SessionId) -> bool) -> Vec<SessionId> {
        let open = self.sessions.iter().filter(|(_, session)| session.stream.is_some());
        open.map(|(id, _)| id).filter(|id| which(self, *id)).collect()
    }

    fn suits(&self, id: SessionId, filter: &Filter) -> bool {
        let client = self.sessions[id].client;
        filter.ids.as_ref().is_none_or(|ids| ids.contains(&client))
            && filter.kind.is_none_or(|kind| kind == self.kind(id))
    }

    fn kind(&self, id: SessionId) -> Kind {
        if self.sessions[id].subs.is_some() { Kind::Pubsub } else { Kind::Normal }
    }

    fn is_to_go(&self, id: SessionId, filter: &KillFilter) -> bool {
        let session = &self.sessions[id];
        let local = || session.stream.as_ref().and_then(|stream| stream.tcp().local_addr().ok());
        self.suits(id, &filter.basics)
            && !(filter.skip_me && session.client == filter.me)
            && filter.addr.as_ref().is_none_or(|addr| *addr == self.registry.peer(session.client))
            && filter.laddr.as_ref().is_none_or(|addr| local().is_some_and(|own| own.to_string() == *addr))
            && filter.user.as_ref().is_none_or(|user| user == self.user_name(id))
            && filter.max_age.is_none_or(|age| self.registry.age_of(session.client) >= age)
    }

    /// Ends a connection; that of the one who asks, after its reply.
    fn end_client(&mut self, id: SessionId, me: u64) {
        let session = &mut self.sessions[id];
        // What it has sent and what waits is not sent on any more.
        session.closing = true;
        if session.client != me {
            session.stream = None;
        }
        session.wake();
    }

    /// Lets a client go that waits in a blocking command on a server.
    fn free(&mut self, client: u64, how: Freed, answer: oneshot::Sender<Told>) {
        let found = self.sessions.iter().find(|(_, session)| session.client == client).map(|(id, _)| id);
        let backend = found.and_then(|id| self.pin_of(id)).map(|pin| &mut self.backends[pin.backend]);
        let blocked = backend.and_then(|backend| {
            let State::Up(link) = &backend.state else { return None };
            let KillName::Id(name) = link.name.kill else { return None };
            let blocked = backend.pinned.as_mut()?.blocked.as_mut()?;
            blocked.freed = true;
            Some((backend.addr.clone(), name))
        });
        let Some((addr, name)) = blocked else {
            let _ = answer.send(Told::default());
            return;
        };
        let limits = self.limits.clone();
        spawn_local(async move {
            let count = match unblock_one(&addr, name, matches!(how, Freed::Error), &limits).await {
                Ok(freed) => usize::from(freed),
                Err(error) => {
                    tracing::warn!(backend = %addr, error = crate::report::causes(&error), "cannot free a blocked client");
                    0
                }
            };
            let _ = answer.send(Told { count, ..Told::default() });
        });
    }

    /// The user that a client has logged in as.
    pub(super) fn user_name(&self, id: SessionId) -> &str {
        let user = self.sessions[id].user.and_then(|user| self.limits.users.get(usize::from(user)));
        user.map_or("default", |user| &user.name)
    }

    /// A client as CLIENT LIST shows it.
    pub(super) fn describe(&self, id: SessionId) -> String {
        let session = &self.sessions[id];
        let Some((addr, name, age)) = self.registry.client(session.client) else { return String::new() };
        let local = session.stream.as_ref().and_then(|stream| stream.tcp().local_addr().ok());
        let laddr = local.map(|addr| addr.to_string()).unwrap_or_default();
        let fd = session.stream.as_ref().map_or(-1, |stream| stream.tcp().as_raw_fd());
        let idle = self.now.saturating_sub(session.heard) / 1_000_000;
        let multi = session.pinning.as_ref().is_some_and(|pinning| pinning.transaction.is_multi());
        let subs = session.subs.as_ref().map(|subs| subs.counts());
        let [sub, psub, ssub] = subs.unwrap_or_default();
        let mut flags: String =
            [(subs.is_some(), 'P'), (self.is_blocked(id), 'b'), (session.closing, 'c'), (multi, 'x')]
                .iter()
                .filter_map(|(holds, flag)| holds.then_some(*flag))
                .collect();
        if flags.is_empty() {
            flags.push('N');
        }
        let qbuf = session.partial.as_ref().map_or(0, |partial| partial.buf.len());
        let omem = session.out.len();
        let events = if session.want_write { "rw" } else { "r" };
        let command =
            session.last.map_or_else(|| "NULL".to_owned(), |id| id.command().name.to_ascii_lowercase());
        let (lib, version) =
            session.library.as_ref().map_or(("", ""), |library| (&library.name, &library.version));
        let resp = if session.proto == Proto::Resp3 { 3 } else { 2 };
        format!(
            "id={} addr={addr} laddr={laddr} fd={fd} name={name} age={age} idle={idle} flags={flags} db=0 \
             sub={sub} psub={psub} ssub={ssub} qbuf={qbuf} omem={omem} events={events} cmd={command} user={} redir=-1 resp={resp} \
             lib-name={lib} lib-ver={version}\n",
            session.client,
            self.user_name(id),
        )
    }
}

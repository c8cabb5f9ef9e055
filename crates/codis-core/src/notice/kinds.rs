//! Every kind of alert with its values. What they are called in a mail is decided where mails are written.

use std::{fmt, str::FromStr};

use super::fact::{Fact, Trouble, Unsaved};
use crate::{Addr, GroupId, ParseError, Role, Severity, ha::Loss};

/// Makes the enum of the kinds, the enum of their values, and the way to text and back from one list.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident $name:literal $severity:ident $once:literal {
        $($(#[$field_doc:meta])+ $field:ident: $type:ty,)*
    })+) => {
        /// What an alert is about: the first half of its identity, and its name for people and in the store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])+ $kind,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Its name: `memory`, `failover_done` ...
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// True if it tells what has happened instead of what lasts: told once, and never over.
            pub fn is_event(self) -> bool {
                match self {
                    $(Self::$kind => $once,)+
                }
            }

            /// The names of its values, in order.
            pub fn fields(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => &[$(stringify!($field)),*],)+
                }
            }

            /// How much it matters, unless whoever raises it knows better.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$kind => Severity::$severity,)+
                }
            }
        }

        /// The values of an alert.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Facts {
            $($(#[$doc])+ $kind {
                $($(#[$field_doc])+ $field: $type,)*
            },)+
        }

        impl Facts {
            /// Of which kind they are.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind { .. } => Kind::$kind,)+
                }
            }

            /// Their names and texts, in order.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                match self {
                    $(Self::$kind { $($field,)* } => vec![$((stringify!($field), $field.text()),)*],)+
                }
            }

            /// Some values of a kind, to try texts with.
            pub fn example(kind: Kind) -> Self {
                match kind {
                    $(Kind::$kind => Self::$kind { $($field: Fact::example(),)* },)+
                }
            }

            /// The values of which `get` knows the texts.
            ///
            /// # Errors
            /// The name of the first one that is missing or of another type.
            pub fn from_fields<'a>(
                kind: Kind,
                get: impl Fn(&str) -> Option<&'a str>,
            ) -> Result<Self, &'static str> {
                Ok(match kind {
                    $(Kind::$kind => Self::$kind {
                        $($field: get(stringify!($field)).and_then(Fact::read).ok_or(stringify!($field))?,)*
                    },)+
                })
            }
        }
    };
}

kinds! {
    /// A slave has taken the place of its master.
    FailoverDone "failover_done" Warning true {
        /// The group.
        group: GroupId,
        /// The master before.
        from: Addr,
        /// The master now.
        to: Addr,
        /// True if a person asked for it and the old master was well.
        planned: bool,
        /// How long the old master had been down, milliseconds.
        down_ms: u64,
        /// Agents that saw it down.
        agents_agree: u64,
        /// Agents there are.
        agents: u64,
        /// Proxies that saw it down.
        proxies_agree: u64,
        /// Proxies that were asked.
        proxies: u64,
        /// From the decision until the new master served, milliseconds.
        switched_ms: u64,
        /// Writes lost; nothing: nobody can tell.
        loss: Option<Loss>,
        /// Proxies that confirmed.
        confirmed: u64,
        /// Proxies that did not.
        silent: Vec<String>,
        /// Slaves that follow the new master.
        followers: Vec<String>,
    }
    /// A master is down and no slave may take its place.
    FailoverRefused "failover_refused" Critical false {
        /// The group.
        group: GroupId,
        /// The master that is down.
        master: Addr,
        /// Slots that answer errors meanwhile.
        slots: u64,
        /// What stands in the way, if it is not the slaves.
        why: Option<String>,
        /// Each slave with what is wrong with it.
        refused: Vec<String>,
        /// The slave that would lose least.
        best: Option<Addr>,
    }
    /// A server that had failed is back and waits for a person.
    RejoinWaiting "rejoin_waiting" Warning false {
        /// The group.
        group: GroupId,
        /// The server.
        server: Addr,
        /// The master now.
        master: Addr,
        /// Why it does not rejoin by itself.
        why: String,
    }
    /// A server that had failed replicates again.
    RejoinDone "rejoin_done" Info true {
        /// The group.
        group: GroupId,
        /// The server.
        server: Addr,
        /// The master it follows.
        master: Addr,
        /// Where writes that only it had were kept.
        kept: Option<String>,
        /// Writes lost at the failover, as is known now; nothing: nobody can tell.
        loss: Option<Loss>,
    }
    /// A master restarted with nothing in it.
    EmptyMaster "empty_master" Critical false {
        /// The group.
        group: GroupId,
        /// The master.
        master: Addr,
        /// Keys it had.
        keys_before: u64,
        /// Keys it has.
        keys: u64,
        /// The slave that still has its keys, and takes its place.
        slave: Option<Addr>,
        /// Why it does not.
        why: Option<String>,
    }
    /// A server fills its memory.
    Memory "memory" Warning false {
        /// The group.
        group: GroupId,
        /// The server.
        server: Addr,
        /// Its role.
        role: Role,
        /// Bytes used.
        used: u64,
        /// Bytes it may use.
        max: u64,
        /// The line, percent.
        line: u64,
        /// Bytes that come a day, if they do.
        growth: Option<u64>,
        /// When it will be full, Unix milliseconds.
        full_ms: Option<u64>,
    }
    /// The servers of a host use more than it has.
    HostMemory "host_memory" Warning false {
        /// The host.
        host: String,
        /// Servers on it.
        servers: u64,
        /// Bytes they use.
        used: u64,
        /// Bytes the host has.
        total: u64,
        /// The line, percent.
        line: u64,
    }
    /// A slave does not follow its master as it should.
    Replication "replication" Warning false {
        /// The group.
        group: GroupId,
        /// The slave.
        slave: Addr,
        /// The group's master.
        master: Addr,
        /// What is the matter.
        trouble: Trouble,
        /// How far behind, milliseconds.
        lag_ms: Option<u64>,
        /// How far behind, bytes.
        lag_bytes: Option<u64>,
        /// The line, milliseconds.
        line_ms: u64,
    }
    /// A server or a proxy cannot be reached.
    Unreachable "unreachable" Critical false {
        /// What it is: `server` or `proxy`.
        what: String,
        /// Its group, if it is a server.
        group: Option<GroupId>,
        /// Where.
        addr: Addr,
        /// Why.
        why: String,
    }
    /// A server or a proxy answers slowly.
    Slow "slow" Warning false {
        /// What it is: `server` or `proxy`.
        what: String,
        /// Its group, if it is a server.
        group: Option<GroupId>,
        /// Where.
        addr: Addr,
        /// How long an answer took, microseconds.
        took_us: u64,
        /// The line, microseconds.
        line_us: u64,
    }
    /// Operations fail at a proxy.
    ProxyOps "proxy_ops" Critical false {
        /// The proxy.
        proxy: String,
        /// Where.
        addr: String,
        /// Operations that failed.
        failed: u64,
        /// Operations.
        total: u64,
        /// In how long, milliseconds.
        window_ms: u64,
        /// The line.
        line: u64,
        /// The server where most of them failed.
        worst: Option<Addr>,
        /// How many there.
        worst_failed: u64,
    }
    /// Clients cannot connect to a proxy.
    ProxyConnections "proxy_connections" Critical false {
        /// The proxy.
        proxy: String,
        /// Where.
        addr: String,
        /// Connections that failed.
        failed: u64,
        /// Connections.
        total: u64,
        /// In how long, milliseconds.
        window_ms: u64,
        /// The line.
        line: u64,
    }
    /// A proxy is online in the store and shows no sign of life.
    ProxySilent "proxy_silent" Critical false {
        /// The proxy.
        proxy: String,
        /// Where.
        addr: String,
        /// Why.
        why: String,
    }
    /// A proxy routes slots otherwise than the store says.
    ProxyTable "proxy_table" Critical false {
        /// The proxy.
        proxy: String,
        /// Where.
        addr: String,
        /// How many slots.
        slots: u64,
        /// Which ones.
        which: String,
    }
    /// A proxy does not acknowledge changes in time.
    ProxyAck "proxy_ack" Critical false {
        /// The proxy.
        proxy: String,
        /// Where.
        addr: String,
        /// What it did not acknowledge.
        actions: Vec<String>,
        /// The line, milliseconds.
        line_ms: u64,
        /// Slots were about to move: they stay where they are. Any other change stands.
        taken_back: bool,
    }
    /// Moves failed, or wait for something that only a person can change.
    TaskError "task_error" Warning false {
        /// How many tasks.
        tasks: u64,
        /// Their slots.
        slots: String,
        /// Their group before.
        from: GroupId,
        /// Their group afterwards.
        to: GroupId,
        /// `error`, or `paused`.
        state: String,
        /// Why.
        why: String,
    }
    /// Something is the matter with saving a server.
    Snapshot "snapshot" Warning false {
        /// The host.
        host: String,
        /// The server whose turn it was.
        server: Addr,
        /// What it is.
        trouble: Unsaved,
        /// Bytes that a child may need.
        needs: u64,
        /// Bytes there are.
        free: u64,
        /// For how long a child has lived, or nothing has been saved, milliseconds.
        ms: u64,
        /// How often it is to be saved, milliseconds.
        interval_ms: u64,
    }
    /// A duty cannot look at what it watches.
    Check "check" Warning false {
        /// The duty.
        duty: String,
        /// What it would look at.
        place: String,
        /// Why it cannot.
        why: String,
    }
    /// Alerts do not reach people over this way.
    Delivery "delivery" Warning false {
        /// The channel: `mail` or `webhook`.
        channel: String,
        /// Where it leads.
        place: String,
        /// Notices that wait.
        waiting: u64,
        /// Notices that were given up.
        lost: u64,
        /// Why.
        why: String,
    }
    /// A person tries whether alerts arrive.
    Test "test" Info true {
        /// Who.
        by: String,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| ParseError::new(text, "a kind of alert"))
    }
}

//! What a command is: its class, its flags, and which of its arguments are keys.

mod keys;
mod table;

pub use keys::KeyError;
use keys::Keys;
pub use table::COMMANDS;

use crate::Span;

/// Bits of [`Command::flags`], as `COMMAND` of redis-server names them.
pub mod flag {
    /// May change data.
    pub const WRITE: u8 = 1;
    /// Only reads data.
    pub const READ: u8 = 2;
    /// Refused when memory is short.
    pub const DENYOOM: u8 = 4;
    /// Takes constant or logarithmic time.
    pub const FAST: u8 = 8;
    /// May wait for other clients.
    pub const BLOCKING: u8 = 16;
    /// Where its keys stand depends on its arguments.
    pub const MOVABLE: u8 = 32;
}

/// How a proxy treats a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// All keys must have one slot; forwarded to that slot's server.
    Slot,
    /// MGET: split by server, the arrays merged.
    Mget,
    /// MSET: split by server, one OK for all.
    Mset,
    /// DEL and the like: split by server, the counts added up.
    Sum,
    /// EVALSHA and EVALSHA_RO: as `Slot`, but the server may have to be given the script first.
    EvalSha,
    /// About all keys or all servers; sent to every master, the replies put together.
    Fan(Fan),
    /// About the connection; answered by the proxy.
    Session(Session),
    /// Its subcommands are commands of their own in the table.
    Container,
    /// PUBLISH and SPUBLISH: the channel's slot says which server, though a channel is no key.
    Publish,
    /// Begins to listen, to the topics that its arguments name.
    Subscribe(TopicKind),
    /// Ends listening, to the topics that its arguments name or to all of this kind.
    Unsubscribe(TopicKind),
    /// Part of a transaction; needs a connection to one server for as long as that lasts.
    Transaction,
    /// Would change or expose a single server behind the proxy's back.
    Refused,
}

/// What clients may listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// A channel.
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A channel of SPUBLISH.
    Shard,
}

/// Commands that every master is asked, by what becomes of their replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// Added up.
    Dbsize,
    /// FLUSHALL and FLUSHDB: one OK for all, if the proxy allows them at all.
    Flush,
    /// Put behind each other.
    Keys,
    /// One of them.
    RandomKey,
    /// One master after the other, over many requests.
    Scan,
    /// All the same; the script is remembered.
    ScriptLoad,
    /// Those scripts that every master has.
    ScriptExists,
    /// All the same; the remembered scripts are forgotten.
    ScriptFlush,
    /// All the same but for the order of what they list.
    FunctionList,
    /// All the same but for the order of what they hold.
    FunctionDump,
    /// PUBSUB CHANNELS and the like: all names, each once.
    Names,
    /// PUBSUB NUMSUB and the like: the greatest count of each name.
    Counts,
    /// PUBSUB NUMPAT: the greatest number.
    Greatest,
    /// That of a master on which a function runs, if there is one.
    FunctionStats,
    /// Any other that all masters must answer alike.
    Alike,
}

/// Commands that the proxy answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// AUTH.
    Auth,
    /// CLIENT.
    Client,
    /// COMMAND.
    Command,
    /// CONFIG GET.
    Config,
    /// ECHO.
    Echo,
    /// HELLO.
    Hello,
    /// INFO.
    Info,
    /// SCRIPT KILL and FUNCTION KILL.
    Kill,
    /// PING.
    Ping,
    /// QUIT.
    Quit,
    /// RESET.
    Reset,
    /// ROLE.
    Role,
    /// SELECT.
    Select,
    /// SLOWLOG.
    Slowlog,
    /// ACL WHOAMI.
    WhoAmI,
}

/// A row of the table.
#[derive(Debug)]
pub struct Command {
    /// Name in upper case; a subcommand's is `CONTAINER|SUB`.
    pub name: &'static str,
    /// Arguments with the name; negative: at least so many.
    pub arity: i8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// How it is treated.
    pub class: Class,
    keys: &'static [Keys],
}

/// A command's place in [`COMMANDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(u16);

impl CommandId {
    /// The row.
    #[inline]
    pub fn command(self) -> &'static Command {
        &COMMANDS[usize::from(self.0)]
    }

    /// The place, below the length of [`COMMANDS`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Command {
    /// True if a request may have so many arguments, the name included.
    #[inline]
    pub fn takes(&self, args: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { args >= arity } else { args == arity }
    }

    /// Calls `each` with the place of every key among the arguments of `request`.
    ///
    /// # Errors
    /// When the arguments do not say how many keys there are, or say more than there are.
    #[inline]
    pub fn each_key(
        &self,
        request: &[u8],
        args: &[Span],
        mut each: impl FnMut(usize),
    ) -> Result<(), KeyError> {
        self.keys.iter().try_for_each(|keys| keys.each(request, args, &mut each))
    }

    /// First key, last key and step, in the form in which `COMMAND` tells them (0 0 0: no fixed place).
    pub fn key_range(&self) -> (i8, i8, i8) {
        match self.keys.first() {
            Some(&Keys::Range { first, last, step }) => (first as i8, last, step as i8),
            _ => (0, 0, 0),
        }
    }

    /// True if it can have keys at all.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// Places in [`INDEX`]: a power of two, well above the number of names.
const BUCKETS: usize = 2048;
/// Marks an empty bucket.
const EMPTY: u16 = u16::MAX;
/// Longest name that can be in the table.
const MAX_NAME: usize = 32;

/// Names by hash, built when this is compiled.
static INDEX: [u16; BUCKETS] = index();

/// The command with this name, in whatever case; a subcommand is asked for as `CONTAINER|SUB`.
#[inline]
pub fn lookup(name: &[u8]) -> Option<CommandId> {
    if name.len() > MAX_NAME {
        return None;
    }
    let mut bucket = hash(name);
    loop {
        let at = INDEX[bucket];
        if at == EMPTY {
            return None;
        }
        let row = COMMANDS[usize::from(at)].name.as_bytes();
        // The table's names are in upper case.
        if row.len() == name.len() && row.iter().zip(name).all(|(r, n)| *r == n.to_ascii_uppercase()) {
            return Some(CommandId(at));
        }
        bucket = (bucket + 1) % BUCKETS;
    }
}

impl CommandId {
    /// The subcommand of a container that `sub` names.
    pub fn subcommand(self, sub: &[u8]) -> Option<Self> {
        let container = self.command().name.as_bytes();
        let mut name = [0u8; MAX_NAME];
        let len = container.len() + 1 + sub.len();
        let room = name.get_mut(..len)?;
        room[..container.len()].copy_from_slice(container);
        room[container.len()] = b'|';
        room[container.len() + 1..].copy_from_slice(sub);
        lookup(room)
    }
}

/// FNV-1a without regard to case.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ (name[i] & 0xdf) as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 15)) as usize % BUCKETS
}

const fn index() -> [u16; BUCKETS] {
    let mut index = [EMPTY; BUCKETS];
    let mut at = 0;
    while at < COMMANDS.len() {
        let mut bucket = hash(COMMANDS[at].name.as_bytes());
        while index[bucket] != EMPTY {
            bucket = (bucket + 1) % BUCKETS;
        }
        index[bucket] = at as u16;
        at += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        for (at, command) in COMMANDS.iter().enumerate() {
            assert_eq!(lookup(command.name.as_bytes()).map(CommandId::index), Some(at));
            assert_eq!(lookup(command.name.to_lowercase().as_bytes()).map(CommandId::index), Some(at));
            assert!(command.name.len() <= MAX_NAME);
            assert_eq!(command.name, command.name.to_ascii_uppercase());
        }
        assert!(COMMANDS.is_sorted_by(|a, b| a.name < b.name));
        for unknown in ["", "GE", "GETT", "NOSUCH", "A_NAME_THAT_IS_LONGER_THAN_ANY_OTHER_NAME"] {
            assert_eq!(lookup(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn subcommands_are_found_by_their_container() {
        let object = lookup(b"object").unwrap();
        assert_eq!(object.subcommand(b"Encoding").unwrap().command().name, "OBJECT|ENCODING");
        assert_eq!(object.subcommand(b"nosuch"), None);
        assert_eq!(object.subcommand(&[b'x'; 100]), None);
    }
}

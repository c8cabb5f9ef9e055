//! What is not compared as it comes, each with the reason. Everything else must be the same, byte for byte.

use codis_resp::{CommandId, Request, RequestLimits, RequestParser};
use codis_testkit::Reply;

/// How two replies are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compare {
    /// They are the same.
    Exact,
    /// They hold the same, in any order.
    Unordered,
    /// Both are numbers, none below zero, or they are the same.
    Natural,
    /// Neither is an error, or they are the same.
    NoError,
    /// Both are errors, or they are the same.
    Refused,
    /// Those of a transaction, each in its own way.
    Exec(Vec<Compare>),
    /// Not sent at all.
    Skip,
}

/// A command whose replies are not simply the same.
pub(crate) struct Exception {
    pub(crate) command: &'static str,
    pub(crate) compare: Compare,
    #[expect(dead_code, reason = "for whoever reads this file")]
    pub(crate) reason: &'static str,
}

const fn unordered(command: &'static str, reason: &'static str) -> Exception {
    Exception { command, compare: Compare::Unordered, reason }
}

const fn natural(command: &'static str, reason: &'static str) -> Exception {
    Exception { command, compare: Compare::Natural, reason }
}

const fn no_error(command: &'static str, reason: &'static str) -> Exception {
    Exception { command, compare: Compare::NoError, reason }
}

const fn skip(command: &'static str, reason: &'static str) -> Exception {
    Exception { command, compare: Compare::Skip, reason }
}

const TABLE_ORDER: &str =
    "a hash table is listed in an order that depends on a number each server draws at its start";
const CHANCE: &str = "each server draws by chance, and what it removes is missing from then on";
const CLOCK: &str = "depends on when the server was asked";
const NEWER: &str = "unknown to redis-server 7.0, which this is compared with";
const OWN: &str = "about the proxy itself or its client";

pub(crate) const EXCEPTIONS: &[Exception] = &[
    unordered("HGETALL", TABLE_ORDER),
    unordered("HKEYS", TABLE_ORDER),
    unordered("HVALS", TABLE_ORDER),
    unordered("HSCAN", TABLE_ORDER),
    unordered("SSCAN", TABLE_ORDER),
    unordered("ZSCAN", TABLE_ORDER),
    unordered("SMEMBERS", TABLE_ORDER),
    unordered("SINTER", TABLE_ORDER),
    unordered("SUNION", TABLE_ORDER),
    unordered("SDIFF", TABLE_ORDER),
    unordered("KEYS", TABLE_ORDER),
    unordered("FUNCTION|LIST", TABLE_ORDER),
    natural("TTL", CLOCK),
    natural("EXPIRETIME", CLOCK),
    natural("PEXPIRETIME", CLOCK),
    natural("PTTL", CLOCK),
    natural("OBJECT|IDLETIME", CLOCK),
    no_error("HELLO", "the version of the proxy and the number of the client are its own"),
    no_error("TIME", CLOCK),
    no_error("CLIENT", "its ID, INFO and LIST are about the proxy's clients"),
    no_error("INFO", OWN),
    no_error("COMMAND", "the proxy's table holds commands of newer servers"),
    no_error("MEMORY|USAGE", "counts what the allocator of that server has rounded up"),
    natural("PUBLISH", "the servers count connections of the proxy, which is one for many clients"),
    skip("SPOP", CHANCE),
    skip("SRANDMEMBER", CHANCE),
    skip("HRANDFIELD", CHANCE),
    skip("ZRANDMEMBER", CHANCE),
    skip("RANDOMKEY", CHANCE),
    skip("SCAN", "the proxy's cursor says which master; tests/data_path/fanout.rs compares whole scans"),
    skip("DUMP", "holds the elements of a table in its order; covered by the tests of moving keys"),
    skip("OBJECT|FREQ", "an error unless the server is set up for it"),
    skip("QUIT", "ends the connection; every sequence of tests/data_path/pubsub.rs ends with it"),
    skip("AUTH", "no password here; tests/data_path/sessions.rs"),
    skip("EVALSHA_RO", "as EVALSHA, which is compared"),
    skip("SCRIPT|FLUSH", "scripts that a server has been given with EVAL are then known to some only"),
    skip("SUBSCRIBE", "several replies to one request; tests/data_path/pubsub.rs compares those"),
    skip("UNSUBSCRIBE", "as SUBSCRIBE"),
    skip("PSUBSCRIBE", "as SUBSCRIBE"),
    skip("PUNSUBSCRIBE", "as SUBSCRIBE"),
    skip("SSUBSCRIBE", "as SUBSCRIBE"),
    skip("SUNSUBSCRIBE", "as SUBSCRIBE"),
    skip("FUNCTION|STATS", "names the engines' counts; equal only while nothing else was loaded"),
    skip("FUNCTION|DUMP", "libraries stand in the order of a hash table"),
    skip("FUNCTION|RESTORE", "needs the reply to FUNCTION DUMP"),
    skip("BLPOP", "waits; tests/data_path/blocking.rs compares it and its like"),
    skip("BRPOP", "as BLPOP"),
    skip("BLMOVE", "as BLPOP"),
    skip("BLMPOP", "as BLPOP"),
    skip("BRPOPLPUSH", "as BLPOP"),
    skip("BZMPOP", "as BLPOP"),
    skip("BZPOPMAX", "as BLPOP"),
    skip("BZPOPMIN", "as BLPOP"),
    skip("DELEX", NEWER),
    skip("DELIFEQ", NEWER),
    skip("DIGEST", NEWER),
    skip("HEXPIRE", NEWER),
    skip("HEXPIREAT", NEWER),
    skip("HEXPIRETIME", NEWER),
    skip("HGETDEL", NEWER),
    skip("HGETEX", NEWER),
    skip("HPERSIST", NEWER),
    skip("HPEXPIRE", NEWER),
    skip("HPEXPIREAT", NEWER),
    skip("HPEXPIRETIME", NEWER),
    skip("HPTTL", NEWER),
    skip("HSETEX", NEWER),
    skip("HTTL", NEWER),
    skip("MSETEX", NEWER),
    skip("VADD", NEWER),
    skip("VCARD", NEWER),
    skip("VDIM", NEWER),
    skip("VEMB", NEWER),
    skip("VGETATTR", NEWER),
    skip("VINFO", NEWER),
    skip("VISMEMBER", NEWER),
    skip("VLINKS", NEWER),
    skip("VRANDMEMBER", NEWER),
    skip("VRANGE", NEWER),
    skip("VREM", NEWER),
    skip("VSETATTR", NEWER),
    skip("VSIM", NEWER),
    skip("XACKDEL", NEWER),
    skip("XCFGSET", NEWER),
    skip("XDELEX", NEWER),
];

/// A request whose arguments do not say where its keys are: `SINTERCARD x k`, `XREAD STREAMS k`.
pub(crate) const NO_KEYS: Compare = Compare::Refused;
#[expect(dead_code, reason = "for whoever reads this file")]
const WHY_NO_KEYS: &str = "the proxy must refuse it without knowing which server to ask; servers have words of their own for each command";

impl Compare {
    /// How the replies to a request are compared.
    pub(crate) fn of(command: CommandId, args: &[Vec<u8>]) -> Self {
        let bytes = crate::encode(args);
        let mut parser = RequestParser::new(RequestLimits::default());
        let whole = parser.advance(&bytes).is_ok_and(|found| matches!(found, Request::Complete { .. }));
        let row = command.command();
        let keys = row.each_key(&bytes, parser.args(), |_| ());
        if whole && row.takes(args.len()) && keys.is_err() {
            return NO_KEYS;
        }
        let command = row.name;
        EXCEPTIONS
            .iter()
            .find(|exception| exception.command == command)
            .map_or(Self::Exact, |exception| exception.compare.clone())
    }

    /// The reply without what does not count.
    pub(crate) fn normal(&self, reply: Reply) -> Reply {
        match (self, reply) {
            (Self::Unordered, reply) => {
                let mut leaves = Vec::new();
                spread(reply, &mut leaves);
                leaves.sort_by_cached_key(|leaf| format!("{leaf:?}"));
                Reply::Set(leaves)
            }
            (Self::Natural, Reply::Int(0..)) => Reply::Status("a number".to_owned()),
            (Self::Refused, Reply::Error(_)) => Reply::Error("refused".to_owned()),
            (Self::NoError, reply) if !reply.is_error() => Reply::Status("no error".to_owned()),
            (Self::Exec(each), Reply::Array(Some(replies))) if each.len() == replies.len() => {
                let normal = each.iter().zip(replies).map(|(compare, reply)| compare.normal(reply));
                Reply::Array(Some(normal.collect()))
            }
            (_, reply) => reply,
        }
    }
}

/// Everything in a reply that holds nothing else; an entry of a map stays one.
fn spread(reply: Reply, leaves: &mut Vec<Reply>) {
    match reply {
        Reply::Array(Some(items)) | Reply::Set(items) | Reply::Push(items) => {
            items.into_iter().for_each(|item| spread(item, leaves));
        }
        Reply::Map(entries) => leaves.extend(entries.into_iter().map(|entry| Reply::Map(vec![entry]))),
        other => leaves.push(other),
    }
}

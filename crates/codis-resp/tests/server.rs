//! The command table against a real server: what it says about keys is what the server does.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure")]

use codis_resp::{
    COMMANDS, Class, Request, RequestLimits, RequestParser, lookup, push_array_header, push_bulk,
};
use codis_testkit::{RedisServer, Reply, RespClient, need};

fn request(args: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    push_array_header(&mut out, args.len());
    args.iter().for_each(|arg| push_bulk(&mut out, arg.as_bytes()));
    out
}

/// The keys by our table, sorted, or why there are none.
fn ours(args: &[&str]) -> Result<Vec<String>, String> {
    let bytes = request(args);
    let mut parser = RequestParser::new(RequestLimits::default());
    assert_eq!(parser.advance(&bytes), Ok(Request::Complete { len: bytes.len() }));
    let command = lookup(args[0].as_bytes()).unwrap();
    let command = match command.command().class {
        Class::Container => command.subcommand(args[1].as_bytes()).unwrap(),
        _ => command,
    };
    let mut keys = Vec::new();
    let found = command.command().each_key(&bytes, parser.args(), |at| keys.push(args[at].to_owned()));
    keys.sort();
    found.map(|()| keys).map_err(|error| error.to_string())
}

/// The keys by the server, sorted.
fn servers(client: &mut RespClient, args: &[&str]) -> Result<Vec<String>, String> {
    match client.call(&[&["COMMAND", "GETKEYS"], args].concat()).unwrap() {
        Reply::Array(Some(keys)) => {
            let mut keys: Vec<String> = keys.iter().map(Reply::text).collect();
            keys.sort();
            Ok(keys)
        }
        Reply::Error(text) if text.contains("no key arguments") => Ok(Vec::new()),
        other => Err(other.text()),
    }
}

/// Requests whose keys depend on their arguments.
const MOVABLE: &[&str] = &[
    "EVAL s 2 k1 k2 a1",
    "EVAL s 0 a1",
    "EVAL_RO s 1 k1",
    "EVALSHA s 1 k1 a1 a2",
    "EVALSHA_RO s 2 k1 k2",
    "FCALL f 2 k1 k2 a",
    "FCALL_RO f 1 k1",
    "ZUNIONSTORE d 2 k1 k2 WEIGHTS 1 2",
    "ZINTERSTORE d 1 k1",
    "ZDIFFSTORE d 3 k1 k2 k3",
    "ZUNION 2 k1 k2 WITHSCORES",
    "ZINTER 2 k1 k2",
    "ZDIFF 1 k1",
    "ZINTERCARD 2 k1 k2 LIMIT 1",
    "SINTERCARD 2 k1 k2 LIMIT 1",
    "LMPOP 2 k1 k2 LEFT COUNT 3",
    "BLMPOP 0 2 k1 k2 LEFT",
    "ZMPOP 1 k1 MIN",
    "BZMPOP 0 2 k1 k2 MIN",
    "XREAD COUNT 2 STREAMS k1 k2 0 0",
    "XREAD streams k1 0",
    "XREADGROUP GROUP streams c COUNT 1 STREAMS k1 k2 > >",
    "SORT k1 BY x* GET y* LIMIT 0 1 STORE d",
    "SORT k1 DESC ALPHA",
    "SORT k1 BY store GET store STORE d",
    "SORT_RO k1 BY x*",
    "GEORADIUS k1 0 0 1 km STORE d",
    "GEORADIUS k1 0 0 1 km ASC STOREDIST d",
    "GEORADIUS k1 0 0 1 km WITHDIST",
    "GEORADIUSBYMEMBER k1 m 1 km COUNT 1 STORE d",
    "GEORADIUS_RO k1 0 0 1 km",
    "OBJECT ENCODING k1",
    "OBJECT FREQ k1",
    "MEMORY USAGE k1 SAMPLES 0",
    "XINFO STREAM k1",
    "XINFO CONSUMERS k1 g",
    "XGROUP CREATE k1 g $ MKSTREAM",
    "XGROUP DELCONSUMER k1 g c",
    "LCS k1 k2 LEN",
    "BITOP AND d k1 k2 k3",
    "COPY k1 k2 REPLACE",
    "MSET k1 v1 k2 v2",
    "MSETNX k1 v1 k2 v2",
];

#[test]
fn movable_keys_are_where_the_server_sees_them() {
    need!("redis");
    let server = RedisServer::start();
    let mut client = server.client();
    for line in MOVABLE {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(ours(&args), servers(&mut client, &args), "{line}");
    }
}

#[test]
fn every_command_of_the_server_is_in_the_table_with_its_keys() {
    need!("redis");
    let server = RedisServer::start();
    let mut client = server.client();
    let Reply::Array(Some(names)) = client.call(&["COMMAND", "LIST"]).unwrap() else { panic!() };
    assert!(names.len() > 200);
    let by_hand: Vec<&str> = MOVABLE.iter().map(|line| line.split(' ').next().unwrap()).collect();
    for name in names.iter().map(Reply::text).filter(|name| !name.contains('|')) {
        let command =
            lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not in the table")).command();
        let skip = matches!(command.class, Class::Container | Class::Refused | Class::Session(_))
            || command.class == Class::Transaction && !command.has_keys();
        if skip || by_hand.contains(&command.name) {
            continue;
        }
        let least = usize::from(command.arity.unsigned_abs());
        let counts = if command.arity < 0 { vec![least, least + 1, least + 4] } else { vec![least] };
        let mut compared = 0;
        for count in counts {
            let words: Vec<String> = (1..count).map(|i| format!("w{i}")).collect();
            let mut args = vec![name.as_str()];
            args.extend(words.iter().map(String::as_str));
            // The server cannot say where the keys of PFMERGE with one argument are.
            if let Ok(theirs) = servers(&mut client, &args) {
                assert_eq!(ours(&args), Ok(theirs), "{args:?}");
                compared += 1;
            }
        }
        // COMMAND GETKEYS refuses a command that stands alone, which cannot have keys.
        assert!(compared > 0 || (command.arity == 1 && !command.has_keys()), "{name}");
    }
}

#[test]
fn arities_are_those_of_the_server() {
    need!("redis");
    let server = RedisServer::start();
    let mut client = server.client();
    for command in COMMANDS.iter().filter(|command| !command.name.contains('|')) {
        let Reply::Array(Some(rows)) = client.call(&["COMMAND", "INFO", command.name]).unwrap() else {
            panic!()
        };
        // A newer server's command is not known to this one.
        let Reply::Array(Some(row)) = &rows[0] else { continue };
        assert_eq!(row[1], Reply::Int(i64::from(command.arity)), "{}", command.name);
    }
}

#[test]
fn every_key_that_may_be_stored_to_is_found() {
    let keys = |line: &str| ours(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(keys("GEORADIUS k1 0 0 1 km STORE a STOREDIST b STORE c"), ["a", "b", "c", "k1"]);
    assert_eq!(keys("GEORADIUSBYMEMBER k1 STORE 1 km STORE"), ["k1"]);
}

#[test]
fn wrong_key_counts_are_refused() {
    let refused = |line: &str| ours(&line.split(' ').collect::<Vec<_>>()).unwrap_err();
    assert_eq!(refused("EVAL s x k1"), "value is not an integer or out of range");
    assert_eq!(refused("EVAL s -1 k1"), "Number of keys can't be negative");
    assert_eq!(refused("EVAL s 2 k1"), "Number of keys can't be greater than number of args");
    assert_eq!(refused("EVAL s 99999999999999999999 k1"), "value is not an integer or out of range");
    assert_eq!(refused("XREAD COUNT 1 k1 0"), "syntax error");
    assert_eq!(refused("XREAD STREAMS k1 k2 0"), "syntax error");
    assert_eq!(refused("XREAD COUNT 1 STREAMS"), "syntax error");
}

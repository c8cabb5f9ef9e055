//! What the fuzz targets check, without a fuzzer: every file of `fuzz/corpus/` and variations of them, which
//! are the same each time.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure")]

#[path = "../../../fuzz/checks.rs"]
mod checks;

use std::path::Path;

use codis_resp::COMMANDS;
use codis_testkit::{RedisServer, Reply, RespClient, need};

/// Variations of each file.
const VARIATIONS: u64 = 1500;

/// Numbers that follow from the one before (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// The files for a target, with their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{}", dir.display());
    files
}

/// Bytes that mean something, to be put anywhere.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"*",
    b"$",
    b"-1",
    b"0",
    b"*3\r\n",
    b"$3\r\n",
    b"99999999999999999999",
    b"\"",
    b"'",
    b"\\x",
    b"\0",
];

/// Changes a few places: bits, bytes left out, pieces put in, parts of another file.
fn varied(data: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut out = data.to_vec();
    for _ in 0..=numbers.next(4) {
        let at = numbers.next(out.len() + 1);
        match numbers.next(5) {
            0 if at < out.len() => out[at] ^= 1 << numbers.next(8),
            1 if at < out.len() => {
                let end = (at + 1 + numbers.next(6)).min(out.len());
                out.drain(at..end);
            }
            2 => {
                let piece = PIECES[numbers.next(PIECES.len())];
                out.splice(at..at, piece.iter().copied());
            }
            3 => {
                let from = numbers.next(other.len() + 1);
                out.splice(at.., other[from..].iter().copied());
            }
            _ => out.truncate(at),
        }
    }
    out
}

fn try_all(target: &str, check: fn(&[u8])) {
    let files = corpus(target);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for (name, data) in &files {
        for variation in 0..VARIATIONS {
            let (_, other) = &files[numbers.next(files.len())];
            let data = if variation == 0 { data.clone() } else { varied(data, other, &mut numbers) };
            let result = std::panic::catch_unwind(|| check(&data));
            assert!(result.is_ok(), "{target}/{name}, variation {variation}: {}", data.escape_ascii());
        }
    }
}

#[test]
fn requests() {
    try_all("request", checks::request);
}

#[test]
fn lines() {
    try_all("inline", checks::inline);
}

#[test]
fn replies() {
    try_all("reply", checks::reply);
}

#[test]
fn keys() {
    try_all("keys", |data| checks::keys(&checks::request_of(data)));
}

/// What `COMMAND GETKEYS` of a server answers to many requests at once; `None` for what it refuses.
fn ask(client: &mut RespClient, requests: &[Vec<Vec<u8>>]) -> Vec<Option<Vec<Vec<u8>>>> {
    let mut bytes = Vec::new();
    for args in requests {
        codis_resp::push_array_header(&mut bytes, args.len() + 2);
        [b"COMMAND".as_slice(), b"GETKEYS"].iter().for_each(|word| codis_resp::push_bulk(&mut bytes, word));
        args.iter().for_each(|arg| codis_resp::push_bulk(&mut bytes, arg));
    }
    client.send(&bytes).unwrap();
    let answer = |reply| match reply {
        Reply::Array(Some(keys)) => Some(keys.into_iter().map(bulk).collect()),
        Reply::Error(text) if text.contains("no key arguments") => Some(Vec::new()),
        _ => None,
    };
    requests.iter().map(|_| answer(client.read().unwrap())).collect()
}

fn bulk(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(Some(bytes)) => bytes,
        other => panic!("no key: {other:?}"),
    }
}

#[test]
fn keys_are_where_a_server_finds_them() {
    need!("redis");
    const ROUNDS: usize = 150;
    let server = RedisServer::start();
    let mut client = server.client();
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let (mut compared, mut refused) = (0, 0);
    let mut compare = |client: &mut RespClient, requests: Vec<Vec<Vec<u8>>>| {
        let answers = ask(client, &requests);
        for (args, answer) in requests.iter().zip(&answers) {
            compared += 1;
            refused += usize::from(answer.is_none());
            checks::keys_as_a_server_finds_them(args, answer);
        }
    };
    let files = corpus("keys");
    compare(&mut client, files.iter().map(|(_, data)| checks::request_of(data)).collect());
    for _ in 0..ROUNDS {
        let request = |number: usize, numbers: &mut Numbers| {
            let words = numbers.next(12);
            let mut data = vec![(number >> 8) as u8, number as u8];
            data.extend((0..words).map(|_| numbers.next(256) as u8));
            checks::request_of(&data)
        };
        let requests = (0..COMMANDS.len()).map(|number| request(number, &mut numbers)).collect();
        compare(&mut client, requests);
    }
    eprintln!("{compared} requests, {refused} of them refused by the server");
    assert!(compared - refused > 10_000, "{compared} compared, {refused} refused");
}

//! One question to a server, for the fuzz target that compares key positions.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

/// The keys that `COMMAND GETKEYS` names; `None` if it refuses the request.
pub(crate) fn ask(stream: &mut TcpStream, args: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut request = Vec::new();
    codis_resp::push_array_header(&mut request, args.len() + 2);
    [b"COMMAND".as_slice(), b"GETKEYS"].iter().for_each(|word| codis_resp::push_bulk(&mut request, word));
    args.iter().for_each(|arg| codis_resp::push_bulk(&mut request, arg));
    stream.write_all(&request).expect("the server has gone");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("the server has gone");
    if line.contains("no key arguments") {
        return Some(Vec::new());
    }
    let count: usize = line.strip_prefix('*')?.trim().parse().ok()?;
    let key = |_| {
        let mut header = String::new();
        reader.read_line(&mut header).expect("the server has gone");
        let len: usize = header.trim()[1..].parse().expect("a bulk string");
        let mut key = vec![0; len + 2];
        reader.read_exact(&mut key).expect("the server has gone");
        key.truncate(len);
        key
    };
    Some((0..count).map(key).collect())
}

//! The replies of all masters put together. None of them is an error here.

use std::collections::BTreeSet;

use codis_core::PROBE_KEYS;
use codis_resp::{
    Cut, Fan, ReplyScanner, aggregate_header, array_header, integer, push_array_header, push_bulk,
    push_integer,
};

use crate::worker::proto::Proto;

/// Writes the reply to the whole request.
///
/// # Errors
/// The text of an error reply.
pub(super) fn merge(fan: Fan, proto: Proto, replies: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String> {
    let merged = match fan {
        Fan::Dbsize => replies.iter().map(|reply| integer(reply)).sum::<Option<i64>>().map(|sum| {
            push_integer(out, sum);
        }),
        Fan::Keys => keys(replies, out),
        Fan::RandomKey => random_key(proto, replies, out),
        Fan::ScriptExists => exists(replies, out),
        Fan::Names => names(replies, out),
        Fan::Counts => counts(replies, out),
        Fan::Greatest => replies
            .iter()
            .map(|reply| integer(reply))
            .try_fold(0, |a, b| Some(a.max(b?)))
            .map(|most| push_integer(out, most)),
        Fan::FunctionStats => {
            let busy = replies.iter().find(|reply| runs_a_function(reply)).or(replies.first());
            busy.map(|reply| out.extend_from_slice(reply))
        }
        Fan::Flush | Fan::Scan | Fan::ScriptLoad | Fan::ScriptFlush | Fan::Alike => {
            return alike(replies, out, |a, b| a == b);
        }
        Fan::FunctionList => return alike(replies, out, |a, b| leaves(a) == leaves(b)),
        // Each server has an order of its own, so that only the length can be compared.
        Fan::FunctionDump => return alike(replies, out, |a, b| a.len() == b.len()),
    };
    merged.ok_or_else(unexpected)
}

fn unexpected() -> String {
    "a backend sent an unexpected reply to its part of the request".to_owned()
}

/// The first reply, if all are the same.
fn alike(replies: &[&[u8]], out: &mut Vec<u8>, same: impl Fn(&[u8], &[u8]) -> bool) -> Result<(), String> {
    let first = replies.first().ok_or_else(unexpected)?;
    if !replies.iter().all(|reply| same(first, reply)) {
        return Err(
            "the masters do not have the same functions; next: FUNCTION LOAD REPLACE through the proxy"
                .to_owned(),
        );
    }
    out.extend_from_slice(first);
    Ok(())
}

/// The elements of an array or set, or the keys and values of a map, each as a whole reply.
struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    fn of(reply: &'a [u8]) -> Option<Self> {
        let (left, header) = aggregate_header(reply)?;
        Some(Self { rest: &reply[header..], left })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        match ReplyScanner::default().advance(self.rest) {
            Ok(Cut::Complete(len)) => {
                let (element, rest) = self.rest.split_at(len);
                self.rest = rest;
                Some(element)
            }
            _ => None,
        }
    }
}

/// What a bulk string holds; `None` for a null and for anything else.
pub(super) fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let body = reply.strip_prefix(b"$")?.strip_suffix(b"\r\n")?;
    let header = memchr::memchr(b'\n', body)?;
    Some(&body[header + 1..])
}

/// True if a key is one that clients put there.
fn is_theirs(element: &[u8]) -> bool {
    bulk(element).is_some_and(|key| !key.starts_with(PROBE_KEYS))
}

/// The keys of all arrays, without our own.
fn keys(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let theirs =
        || replies.iter().filter_map(|reply| Elements::of(reply)).flatten().filter(|key| is_theirs(key));
    if replies.iter().any(|reply| array_header(reply).is_none()) {
        return None;
    }
    out.reserve(32 + replies.iter().map(|reply| reply.len()).sum::<usize>());
    push_array_header(out, theirs().count());
    theirs().for_each(|key| out.extend_from_slice(key));
    Some(())
}

/// One of the first half of the replies, each as likely as the second half says that it has keys.
fn random_key(proto: Proto, replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let (found, sizes) = replies.split_at(replies.len() / 2);
    let mut sum = 0;
    let mut candidates = Vec::new();
    for (key, size) in found.iter().zip(sizes) {
        if is_theirs(key) {
            sum += u64::try_from(integer(size)?).ok()?.max(1);
            candidates.push((sum, key));
        }
    }
    if candidates.is_empty() {
        out.extend_from_slice(proto.null());
        return Some(());
    }
    let drawn = rand::random_range(0..sum);
    let (_, key) = candidates.into_iter().find(|(below, _)| drawn < *below)?;
    out.extend_from_slice(key);
    Some(())
}

/// For each script 1 if every master has it.
fn exists(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut all: Option<Vec<i64>> = None;
    for reply in replies {
        let here: Vec<i64> = Elements::of(reply)?.map(integer).collect::<Option<_>>()?;
        all = Some(match all {
            None => here,
            Some(all) if all.len() == here.len() => {
                all.into_iter().zip(here).map(|(all, here)| all.min(here)).collect()
            }
            Some(_) => return None,
        });
    }
    let all = all?;
    push_array_header(out, all.len());
    all.into_iter().for_each(|one| push_integer(out, one));
    Some(())
}

/// All names in the arrays, each once.
fn names(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut all = BTreeSet::new();
    for reply in replies {
        all.extend(Elements::of(reply)?);
    }
    push_array_header(out, all.len());
    all.into_iter().for_each(|name| out.extend_from_slice(name));
    Some(())
}

/// Names with counts, of which the greatest is taken: only one master has what is published under a name, but
/// while its slot moves two are listened to.
fn counts(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut all: Option<Vec<(&[u8], i64)>> = None;
    for reply in replies {
        let elements: Vec<&[u8]> = Elements::of(reply)?.collect();
        let here: Vec<(&[u8], i64)> =
            elements.chunks_exact(2).map(|pair| Some((pair[0], integer(pair[1])?))).collect::<Option<_>>()?;
        all = Some(match all {
            None => here,
            Some(all) if all.len() == here.len() => {
                all.into_iter().zip(here).map(|((name, a), (_, b))| (name, a.max(b))).collect()
            }
            Some(_) => return None,
        });
    }
    let all = all?;
    push_array_header(out, 2 * all.len());
    for (name, count) in all {
        out.extend_from_slice(name);
        push_integer(out, count);
    }
    Some(())
}

/// True if the second element, `running_script`'s, is no null.
fn runs_a_function(stats: &[u8]) -> bool {
    let running = Elements::of(stats).and_then(|mut elements| elements.nth(1));
    running.is_some_and(|script| !matches!(script, b"*-1\r\n" | b"$-1\r\n" | b"_\r\n"))
}

/// Everything in a reply that holds nothing else, sorted: what servers list in an order of their own.
fn leaves(reply: &[u8]) -> Vec<&[u8]> {
    let mut leaves = Vec::new();
    let mut rest = vec![reply];
    while let Some(next) = rest.pop() {
        match Elements::of(next) {
            Some(elements) => rest.extend(elements),
            None => leaves.push(next),
        }
    }
    leaves.sort_unstable();
    leaves
}

/// The cursor and the array of keys in a reply to SCAN.
///
/// # Errors
/// The text of an error reply.
pub(super) fn page(reply: &[u8]) -> Result<(u64, &[u8]), String> {
    let parts = || {
        let mut elements = Elements::of(reply)?;
        let cursor = std::str::from_utf8(bulk(elements.next()?)?).ok()?.parse().ok()?;
        Some((cursor, elements.next()?))
    };
    parts().ok_or_else(unexpected)
}

/// Writes a reply to SCAN: the cursor, and the keys without our own.
pub(super) fn push_page(out: &mut Vec<u8>, cursor: u64, page: &[u8]) {
    push_array_header(out, 2);
    push_bulk(out, cursor.to_string().as_bytes());
    if keys(&[page], out).is_none() {
        out.extend_from_slice(b"*0\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(fan: Fan, replies: &[&str]) -> Result<String, String> {
        let replies: Vec<&[u8]> = replies.iter().map(|reply| reply.as_bytes()).collect();
        let mut out = Vec::new();
        merge(fan, Proto::Resp2, &replies, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn sizes_are_added_up() {
        assert_eq!(merged(Fan::Dbsize, &[":1\r\n", ":2\r\n"]).as_deref(), Ok(":3\r\n"));
        assert_eq!(merged(Fan::Dbsize, &[":1\r\n", "+x\r\n"]), Err(unexpected()));
    }

    #[test]
    fn keys_of_our_own_are_not_shown() {
        let one = "*2\r\n$1\r\na\r\n$13\r\ncodis:probe:1\r\n";
        assert_eq!(merged(Fan::Keys, &[one, "*0\r\n", one]).as_deref(), Ok("*2\r\n$1\r\na\r\n$1\r\na\r\n"));
        let mut out = Vec::new();
        let (cursor, keys) = page(b"*2\r\n$2\r\n17\r\n*2\r\n$13\r\ncodis:probe:1\r\n$0\r\n\r\n").unwrap();
        push_page(&mut out, cursor + 1, keys);
        assert_eq!(out, b"*2\r\n$2\r\n18\r\n*1\r\n$0\r\n\r\n");
        assert!(page(b"*2\r\n$1\r\nx\r\n*0\r\n").is_err());
        let probe = "$13\r\ncodis:probe:1\r\n";
        assert_eq!(merged(Fan::RandomKey, &[probe, "$-1\r\n", ":1\r\n", ":0\r\n"]).as_deref(), Ok("$-1\r\n"));
        assert_eq!(
            merged(Fan::RandomKey, &[probe, "$1\r\na\r\n", ":9\r\n", ":1\r\n"]).as_deref(),
            Ok("$1\r\na\r\n")
        );
    }

    #[test]
    fn a_master_with_more_keys_is_drawn_more_often() {
        let draw =
            || merged(Fan::RandomKey, &["$1\r\na\r\n", "$1\r\nb\r\n", ":900\r\n", ":100\r\n"]).unwrap();
        let rare = (0..2000).filter(|_| draw() == "$1\r\nb\r\n").count();
        assert!((100..320).contains(&rare), "{rare}");
    }

    #[test]
    fn a_script_exists_where_every_master_has_it() {
        let replies = ["*3\r\n:1\r\n:1\r\n:0\r\n", "*3\r\n:1\r\n:0\r\n:1\r\n"];
        assert_eq!(merged(Fan::ScriptExists, &replies).as_deref(), Ok("*3\r\n:1\r\n:0\r\n:0\r\n"));
        assert!(merged(Fan::ScriptExists, &["*1\r\n:1\r\n", "*0\r\n"]).is_err());
    }

    #[test]
    fn topics_are_listed_once() {
        let replies = ["*2\r\n$1\r\nb\r\n$1\r\na\r\n", "*1\r\n$1\r\nb\r\n", "*0\r\n"];
        assert_eq!(merged(Fan::Names, &replies).as_deref(), Ok("*2\r\n$1\r\na\r\n$1\r\nb\r\n"));
        let replies =
            ["*4\r\n$1\r\nb\r\n:1\r\n$1\r\na\r\n:0\r\n", "*4\r\n$1\r\nb\r\n:0\r\n$1\r\na\r\n:2\r\n"];
        let both = "*4\r\n$1\r\nb\r\n:1\r\n$1\r\na\r\n:2\r\n";
        assert_eq!(merged(Fan::Counts, &replies).as_deref(), Ok(both));
        assert_eq!(merged(Fan::Counts, &["*0\r\n", "*0\r\n"]).as_deref(), Ok("*0\r\n"));
        assert_eq!(merged(Fan::Greatest, &[":1\r\n", ":3\r\n", ":0\r\n"]).as_deref(), Ok(":3\r\n"));
        assert!(merged(Fan::Greatest, &[":1\r\n", "*0\r\n"]).is_err());
    }

    #[test]
    fn functions_are_the_same_in_any_order() {
        let (one, other) = ("*2\r\n*1\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n*1\r\n$1\r\na\r\n");
        assert_eq!(merged(Fan::FunctionList, &[one, other]).as_deref(), Ok(one));
        assert!(merged(Fan::FunctionList, &[one, "*0\r\n"]).unwrap_err().contains("do not have the same"));
        assert!(merged(Fan::Alike, &["+a\r\n", "+b\r\n"]).is_err());
        let idle = "*2\r\n$14\r\nrunning_script\r\n*-1\r\n";
        let busy = "*2\r\n$14\r\nrunning_script\r\n*1\r\n$1\r\nf\r\n";
        assert_eq!(merged(Fan::FunctionStats, &[idle, busy, idle]).as_deref(), Ok(busy));
        assert_eq!(merged(Fan::FunctionStats, &[idle, idle]).as_deref(), Ok(idle));
    }
}

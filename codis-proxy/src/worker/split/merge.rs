//! One reply out of those of several servers.

use codis_resp::{Class, Cut, ReplyScanner, array_header, integer, push_array_header};
use smallvec::SmallVec;

use super::{PartReply, Split};
use crate::worker::{buffers::BIG, session::Payload};

/// The reply to the whole request, and whether it is an error.
pub(super) fn merge<'a>(split: &mut Split, out: &'a mut Vec<u8>) -> (Payload<'a>, bool) {
    if let [only] = &mut split.parts[..] {
        let failed = only.reply.bytes().first() == Some(&b'-');
        return match std::mem::replace(&mut only.reply, PartReply::Waiting) {
            PartReply::Whole(bytes) => (Payload::Whole(bytes), failed),
            PartReply::Copied(bytes) => {
                *out = bytes;
                (Payload::Slice(out), failed)
            }
            PartReply::Waiting => (Payload::Slice(out), failed),
        };
    }
    let merged = match split.parts.iter().find(|part| part.reply.bytes().first() == Some(&b'-')) {
        Some(part) => {
            out.extend_from_slice(part.reply.bytes());
            return (Payload::Slice(out), true);
        }
        None => match split.command.command().class {
            Class::Mget => merge_arrays(split, out),
            Class::Mset => {
                out.extend_from_slice(b"+OK\r\n");
                Some(())
            }
            _ => merge_counts(split, out),
        },
    };
    if merged.is_none() {
        out.clear();
        out.extend_from_slice(b"-ERR a backend sent an unexpected reply to its part of the request\r\n");
    }
    if out.len() >= BIG {
        return (Payload::Whole(std::mem::take(out).into()), merged.is_none());
    }
    (Payload::Slice(out), merged.is_none())
}

/// Takes the elements of the parts' arrays in the order of the keys; `None` if there are too few.
fn merge_arrays(split: &Split, out: &mut Vec<u8>) -> Option<()> {
    let mut rest: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for part in &split.parts {
        let reply = part.reply.bytes();
        let (count, header) = array_header(reply)?;
        if count != part.keys {
            return None;
        }
        rest.push(&reply[header..]);
    }
    out.reserve(16 + rest.iter().map(|part| part.len()).sum::<usize>());
    push_array_header(out, split.keys.len());
    for (_, part) in &split.keys {
        let Ok(Cut::Complete(len)) = ReplyScanner::default().advance(rest[*part]) else { return None };
        let (element, after) = rest[*part].split_at(len);
        out.extend_from_slice(element);
        rest[*part] = after;
    }
    Some(())
}

fn merge_counts(split: &Split, out: &mut Vec<u8>) -> Option<()> {
    let mut sum = 0;
    for part in &split.parts {
        sum += integer(part.reply.bytes())?;
    }
    codis_resp::push_integer(out, sum);
    Some(())
}

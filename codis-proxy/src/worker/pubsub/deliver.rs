//! From what a server has sent to the clients that have asked for it.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use codis_resp::{Cut, TopicKind, array_header};

use super::{FeedId, TopicId, feed::Asked};
use crate::{
    journal::Cause,
    worker::{
        Worker,
        buffers::BIG,
        session::{Payload, SessionId},
    },
};

/// Bytes that one feed may queue for clients before they are written and others get their turn.
const TURN: usize = 4 << 20;

/// What one frame of a feed says.
enum Said<'a> {
    /// A message for a topic.
    Message(TopicKind, &'a [u8]),
    /// The answer to the question that has waited longest.
    Answer,
}

impl Said<'_> {
    fn parse(frame: &[u8]) -> Said<'_> {
        let elements = || {
            let (_, header) = array_header(frame)?;
            let (word, rest) = bulk(&frame[header..])?;
            let kind = match word {
                b"message" => TopicKind::Channel,
                b"pmessage" => TopicKind::Pattern,
                b"smessage" => TopicKind::Shard,
                _ => return None,
            };
            Some((kind, bulk(rest)?.0))
        };
        elements().map_or(Said::Answer, |(kind, name)| Said::Message(kind, name))
    }
}

/// The bulk string that `bytes` begins with, and what follows it.
fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let digits = bytes[..end].strip_prefix(b"$")?.strip_suffix(b"\r")?;
    let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let rest = &bytes[end + 1..];
    Some((rest.get(..len)?, rest.get(len + 2..)?))
}

impl Worker {
    /// Deals with the whole frames that a feed has read. True if there may be more than it had time for.
    ///
    /// # Errors
    /// When they make no sense: its connection cannot be used any more.
    pub(super) fn take_frames(&mut self, id: FeedId) -> Result<bool, String> {
        let Some(feed) = self.pubsub.feeds.get_mut(id) else { return Ok(false) };
        let serial = feed.serial;
        let mut buf = std::mem::take(&mut feed.buf);
        let mut scanner = std::mem::take(&mut feed.scanner);
        let mut spent = 0;
        let mut result = Ok(false);
        while !buf.is_empty() {
            if spent >= TURN {
                result = Ok(true);
                break;
            }
            match scanner.advance(&buf) {
                Ok(Cut::Complete(len)) => {
                    let frame = buf.split_to(len);
                    match self.take_frame(id, frame) {
                        Ok(queued) => spent += queued + len,
                        Err(why) => return Err(why),
                    }
                }
                Ok(Cut::Missing(missing)) => {
                    if let Some(feed) = self.pubsub.feeds.get_mut(id) {
                        feed.missing = missing;
                    }
                    break;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        if let Some(feed) = self.pubsub.feeds.get_mut(id).filter(|feed| feed.serial == serial) {
            // An empty one goes back to the allocator.
            feed.buf = if buf.is_empty() { BytesMut::new() } else { buf };
            feed.scanner = scanner;
        }
        result
    }

    /// Deals with one frame; how many bytes it has put into clients' queues.
    fn take_frame(&mut self, id: FeedId, frame: BytesMut) -> Result<usize, String> {
        match Said::parse(&frame) {
            Said::Answer => self.answered(id, &frame).map(|()| 0),
            Said::Message(kind, name) => {
                let Some(topic) = self.pubsub.find(kind, name) else { return Ok(0) };
                if !self.pubsub.topics[topic].hears(id) {
                    return Ok(0);
                }
                let sessions = std::mem::take(&mut self.pubsub.topics[topic].sessions);
                let queued = frame.len() * sessions.len();
                self.pubsub.messages += sessions.len() as u64;
                self.spread(topic, &sessions, frame);
                self.pubsub.topics[topic].sessions = sessions;
                self.grew(queued);
                Ok(queued)
            }
        }
    }

    /// Queues a message for all sessions; a big one lies in memory once.
    fn spread(&mut self, topic: TopicId, sessions: &BTreeSet<SessionId>, mut frame: BytesMut) {
        // The two protocols differ in the first byte.
        let three = sessions.iter().any(|id| self.sessions[*id].is_resp3()).then(|| {
            let mut copy = frame.clone();
            copy[0] = b'>';
            copy
        });
        frame[0] = b'*';
        if frame.len() >= BIG {
            let (two, three) = (frame.freeze(), three.map(BytesMut::freeze).unwrap_or_default());
            for id in sessions {
                let frame = if self.sessions[*id].is_resp3() { &three } else { &two };
                self.message(*id, topic, Payload::Whole(frame.clone()));
            }
        } else {
            let three = three.unwrap_or_default();
            for id in sessions {
                let frame = if self.sessions[*id].is_resp3() { &three } else { &frame };
                self.message(*id, topic, Payload::Slice(frame));
            }
        }
    }

    /// A message for one session, which waits if a SUBSCRIBE of that session does.
    fn message(&mut self, id: SessionId, topic: TopicId, message: Payload<'_>) {
        let session = &mut self.sessions[id];
        let Some(join) = session.subs.as_ref().and_then(|subs| subs.join) else {
            return self.push(id, message);
        };
        let Some(join) = self.pubsub.joins.get_mut(join) else { return };
        join.held_bytes += message.bytes().len();
        if join.held_bytes > self.limits.subscriber_output {
            // Closed by its task; until then nothing more is kept for it.
            session.stream = None;
            session.wake();
            join.held.clear();
            return;
        }
        join.held.push(match message {
            Payload::Slice(bytes) => (topic, Bytes::copy_from_slice(bytes)),
            Payload::Whole(bytes) => (topic, bytes),
        });
    }

    /// Queues something that the client has not asked for just now.
    pub(super) fn push(&mut self, id: SessionId, message: Payload<'_>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.want_write && session.stream.is_some() {
            let bytes = session.out.len();
            if self.is_too_slow(bytes) {
                let why =
                    format!("{bytes} bytes of messages were not taken while memory was short (max_memory)");
                self.client_failed(id, Cause::SlowReader, &why);
                self.sessions[id].stream = None;
                return self.sessions[id].wake();
            }
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.push(message, &mut self.pool);
        self.touch_session(id);
    }

    /// A server's answer that is no message.
    fn answered(&mut self, id: FeedId, reply: &[u8]) -> Result<(), String> {
        let asked = self.pubsub.feeds.get_mut(id).and_then(|feed| feed.asked.pop_front());
        let Some((asked, _)) = asked else { return Err("an answer that nobody asked for".to_owned()) };
        match asked {
            Asked::Ping => {}
            Asked::Join(topic, serial) if reply.first() == Some(&b'-') => {
                self.refused(id, topic, serial, reply);
            }
            Asked::Join(topic, serial) => self.heard_of(id, topic, serial),
            Asked::Leave(topic, serial) => self.left(id, topic, serial),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(frame: &str) -> Option<(TopicKind, String)> {
        match Said::parse(frame.as_bytes()) {
            Said::Message(kind, name) => Some((kind, String::from_utf8_lossy(name).into_owned())),
            Said::Answer => None,
        }
    }

    #[test]
    fn messages_are_told_from_answers() {
        let message = "*3\r\n$7\r\nmessage\r\n$2\r\n\r\n\r\n$1\r\nx\r\n";
        assert_eq!(said(message), Some((TopicKind::Channel, "\r\n".to_owned())));
        let pattern = "*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$0\r\n\r\n";
        assert_eq!(said(pattern), Some((TopicKind::Pattern, "a*".to_owned())));
        let shard = "*3\r\n$8\r\nsmessage\r\n$0\r\n\r\n$1\r\nx\r\n";
        assert_eq!(said(shard), Some((TopicKind::Shard, String::new())));
        let answers = [
            "*3\r\n$9\r\nsubscribe\r\n$7\r\nmessage\r\n:1\r\n",
            "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
            "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            "+PONG\r\n",
            "-NOPERM no\r\n",
            "*0\r\n",
        ];
        answers.iter().for_each(|answer| assert_eq!(said(answer), None, "{answer:?}"));
    }
}

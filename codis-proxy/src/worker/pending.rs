//! A request that waits for a server's reply: who asked, what, since when.
//!
//! Its bytes have gone by the time that something about it has to be told: that its connection was lost,
//! or that it took long. So the beginning of its key is kept with it.

use codis_core::SlotId;
use codis_resp::CommandId;

use super::session::SessionId;

/// Who waits for a reply. Sessions and split requests are numbered with 32 bits, to be small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A session, for a request that was forwarded as it came.
    Session { session: u32, seq: u32, slot: SlotId },
    /// A split request, for one of its parts.
    Split { split: u32, part: u32 },
    /// A session, on a connection of its own; `last`: nothing is open there afterwards.
    Pinned { session: u32, seq: u32, last: bool },
    /// Nobody: it was asked by the proxy itself, on a pinned connection.
    Own { last: bool },
    /// A session, which reads from a slave.
    Away { session: u32, seq: u32, slot: SlotId },
    /// The proxy, on a connection that clients share. It is nobody's request, and not counted.
    Proxy(Question),
}

/// What the proxy asks a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether it answers.
    IsAlive,
    /// Whether somebody has stopped writes there.
    WritesStopped,
}

impl Asker {
    /// Nobody: the reply to a request of our own, which is passed over.
    pub(super) const NOBODY: Self = Self::Split { split: u32::MAX, part: 0 };
}

/// A request that has been queued for the server and not been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) asker: Asker,
    pub(super) command: CommandId,
    pub(super) key: KeyHead,
    /// It was held back because a slot or keys were on the move, not for another reason.
    pub(super) moving: bool,
    /// How long it was held back before it was queued, microseconds.
    pub(super) held: u32,
    /// Where it ends among all bytes that the server is sent, modulo 2^32.
    pub(super) end: u32,
    /// When it came, microseconds of the worker's clock.
    pub(super) at: u64,
}

impl Pending {
    /// When it was queued for the server.
    #[inline]
    pub(super) fn queued(&self) -> u64 {
        self.at + u64::from(self.held)
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) seq: u32,
}

impl Asked {
    /// The proxy asks for itself.
    pub(super) const BY_NOBODY: Self = Self { session: SessionId::MAX, seq: 0 };
}

/// When a request came, and how long it was held back since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) at: u64,
    pub(super) held: u32,
    pub(super) moving: bool,
}

impl Arrival {
    /// It has just come.
    #[inline]
    pub(super) fn new(now: u64) -> Self {
        Self { at: now, held: 0, moving: false }
    }
}

/// Requests that came together and could not all be sent at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Since when.
    pub(super) since: u64,
    /// Since when they have waited for a slot that switches.
    pub(super) parked: Option<u64>,
    /// A slot or keys were on the move.
    pub(super) moving: bool,
}

impl Held {
    pub(super) fn new(now: u64) -> Self {
        Self { since: now, parked: None, moving: false }
    }
}

/// The beginning of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyHead {
    /// Length of the whole key, 255 for that and more.
    len: u8,
    bytes: [u8; KeyHead::KEPT],
}

impl KeyHead {
    /// Bytes that are kept.
    pub(super) const KEPT: usize = 31;

    /// There is no key, or it is not known.
    pub(super) const NONE: Self = Self { len: 0, bytes: [0; Self::KEPT] };

    /// The beginning of this key. Copied in pieces of a fixed size, which takes no call.
    #[inline]
    pub(super) fn of(key: &[u8]) -> Self {
        let mut bytes = [0; Self::KEPT];
        let kept = key.len().min(Self::KEPT);
        let from = &key[..kept];
        let to = &mut bytes[..kept];
        if let (Some((head, _)), Some((_, tail))) =
            (from.split_first_chunk::<16>(), from.split_last_chunk::<16>())
        {
            if let Some(room) = to.first_chunk_mut::<16>() {
                *room = *head;
            }
            if let Some(room) = to.last_chunk_mut::<16>() {
                *room = *tail;
            }
        } else if let (Some((head, _)), Some((_, tail))) =
            (from.split_first_chunk::<8>(), from.split_last_chunk::<8>())
        {
            if let Some(room) = to.first_chunk_mut::<8>() {
                *room = *head;
            }
            if let Some(room) = to.last_chunk_mut::<8>() {
                *room = *tail;
            }
        } else {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        Self { len: key.len().min(255) as u8, bytes }
    }

    /// The key for people: shortened, with escapes. Nothing for an empty one, which is as good as none.
    pub(super) fn text(&self) -> Option<String> {
        let len = usize::from(self.len);
        (len > 0).then(|| shortened(&self.bytes[..len.min(Self::KEPT)], len > Self::KEPT))
    }
}

fn shortened(bytes: &[u8], more: bool) -> String {
    let mut text = bytes.escape_ascii().to_string();
    if more {
        text.push('…');
    }
    text
}

/// A key for people, cut as in [`KeyHead`].
pub(super) fn key_text(key: &[u8]) -> Option<String> {
    KeyHead::of(key).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_stays_small() {
        assert_eq!(size_of::<Asker>(), 12);
        assert!(size_of::<Pending>() <= 64, "{}", size_of::<Pending>());
    }

    #[test]
    fn keys_of_every_length_are_kept_up_to_a_bound() {
        for len in 0..300_usize {
            let key: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
            let whole = String::from_utf8(key.clone()).unwrap();
            let shown = KeyHead::of(&key).text();
            match len {
                0 => assert_eq!(shown, None),
                1..=KeyHead::KEPT => assert_eq!(shown.as_deref(), Some(&whole[..])),
                _ => assert_eq!(shown, Some(format!("{}…", &whole[..KeyHead::KEPT]))),
            }
        }
        assert_eq!(key_text(b"a\r\n\xff").as_deref(), Some("a\\r\\n\\xff"));
    }
}

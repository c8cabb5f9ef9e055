//! The scripts that clients have loaded through this proxy, for masters that have missed it.
//!
//! A master that was added, promoted or restarted after a `SCRIPT LOAD` does not know the script, which
//! the client cannot know. All workers share these scripts; they are locked when a script is loaded or
//! flushed, and when a worker meets one for the first time, never by a request in the steady state.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

/// Scripts that are kept; one more displaces the oldest.
const MAX_SCRIPTS: usize = 1000;
/// Bytes of scripts that are kept; more displace the oldest. A longer script is not kept at all.
const MAX_BYTES: usize = 16 << 20;

/// What a script is called: its SHA-1 in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sha([u8; 40]);

impl Sha {
    /// The name in an argument or a reply, in whatever case.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut name: [u8; 40] = text.try_into().ok()?;
        name.make_ascii_lowercase();
        name.iter().all(u8::is_ascii_hexdigit).then_some(Self(name))
    }
}

#[derive(Default)]
struct Kept {
    bodies: HashMap<Sha, Bytes>,
    /// Oldest first.
    order: VecDeque<Sha>,
    bytes: usize,
}

/// The loaded scripts of the process.
#[derive(Default)]
pub(crate) struct Scripts {
    /// Counts the changes of `kept`; 0 as long as nothing has ever been loaded.
    version: AtomicU64,
    kept: Mutex<Kept>,
}

impl Scripts {
    /// Changes whenever another script is known, or none is any more. 0: none ever was.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The text of a script.
    pub(crate) fn get(&self, sha: &Sha) -> Option<Bytes> {
        self.lock().bodies.get(sha).cloned()
    }

    /// Keeps a script that all masters have accepted.
    pub(crate) fn keep(&self, sha: Sha, body: Bytes) {
        let mut kept = self.lock();
        if body.len() > MAX_BYTES || kept.bodies.contains_key(&sha) {
            return;
        }
        while kept.order.len() >= MAX_SCRIPTS || kept.bytes + body.len() > MAX_BYTES {
            let Some(oldest) = kept.order.pop_front() else { break };
            let gone = kept.bodies.remove(&oldest);
            kept.bytes -= gone.map_or(0, |body| body.len());
        }
        kept.bytes += body.len();
        kept.order.push_back(sha);
        kept.bodies.insert(sha, body);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Forgets all scripts: a client has flushed them.
    pub(crate) fn flush(&self) {
        let mut kept = self.lock();
        if !kept.order.is_empty() {
            *kept = Kept::default();
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(number: usize) -> Sha {
        Sha::parse(format!("{number:040X}").as_bytes()).unwrap()
    }

    #[test]
    fn names_are_the_same_in_any_case() {
        assert_eq!(Sha::parse(&[b'a'; 40]), Sha::parse(&[b'A'; 40]));
        assert_eq!(Sha::parse(&[b'a'; 39]), None);
        assert_eq!(Sha::parse(&[b'g'; 40]), None);
    }

    #[test]
    fn the_oldest_scripts_go_first() {
        let scripts = Scripts::default();
        assert_eq!(scripts.version(), 0);
        for number in 0..=MAX_SCRIPTS {
            scripts.keep(sha(number), Bytes::from_static(b"return 1"));
        }
        assert_eq!(scripts.get(&sha(0)), None);
        assert!(scripts.get(&sha(1)).is_some() && scripts.get(&sha(MAX_SCRIPTS)).is_some());
        scripts.keep(sha(5000), vec![b' '; MAX_BYTES - 8].into());
        assert!(scripts.get(&sha(MAX_SCRIPTS)).is_some() && scripts.get(&sha(MAX_SCRIPTS - 1)).is_none());
        scripts.keep(sha(5001), vec![b' '; MAX_BYTES + 1].into());
        assert_eq!(scripts.get(&sha(5001)), None);
        assert!(scripts.get(&sha(5000)).is_some());
    }

    #[test]
    fn the_version_tells_every_change() {
        let scripts = Scripts::default();
        scripts.flush();
        assert_eq!(scripts.version(), 0);
        scripts.keep(sha(1), Bytes::from_static(b"return 1"));
        scripts.keep(sha(1), Bytes::from_static(b"return 1"));
        assert_eq!(scripts.version(), 1);
        scripts.flush();
        assert_eq!((scripts.version(), scripts.get(&sha(1))), (2, None));
    }
}

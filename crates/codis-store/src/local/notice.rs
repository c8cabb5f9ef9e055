//! What wakes the store's thread: a call of ours, another process's commit, another process's death.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

/// Wakes the store's thread from any other thread.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub(super) fn ring(&self) {
        // The only way to fail is a counter that is full: the bell is ringing already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// What happened during a wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noticed {
    /// The write-ahead log was written to; the commit itself may be about to follow.
    pub(super) written: bool,
    /// A session's lock file was closed.
    pub(super) session_closed: bool,
}

/// The store's thread's ears.
#[derive(Debug)]
pub(super) struct Notice {
    bell: Bell,
    inotify: OwnedFd,
    log: i32,
}

impl Notice {
    /// Listens to the bell, the write-ahead log and the folder of session locks.
    pub(super) fn new(bell: Bell, log: &Path, sessions: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let log = inotify::add_watch(&inotify, log, inotify::WatchFlags::MODIFY)?;
        inotify::add_watch(&inotify, sessions, inotify::WatchFlags::CLOSE_WRITE)?;
        Ok(Self { bell, inotify, log })
    }

    /// Waits until something happens or the time is over.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<Noticed> {
        let time = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&*self.bell.0, PollFlags::IN), PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let rung = !fds[0].revents().is_empty();
        let told = !fds[1].revents().is_empty();
        if rung {
            // Reading resets the counter; an empty one is as good.
            let _ = rustix::io::read(&*self.bell.0, &mut [0u8; 8]);
        }
        if told { self.drain() } else { Ok(Noticed::default()) }
    }

    fn drain(&self) -> io::Result<Noticed> {
        let mut noticed = Noticed::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.wd() == self.log => noticed.written = true,
                // Also an overflow of the queue: look at everything.
                Ok(_) => noticed = Noticed { written: true, session_closed: true },
                Err(Errno::WOULDBLOCK) => return Ok(noticed),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

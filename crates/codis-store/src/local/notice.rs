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
    /// `None` where the system has no watches left (it limits them per user): then looking often must do.
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    inotify: OwnedFd,
    log: i32,
}

impl Notice {
    /// Listens to the bell, the write-ahead log and the folder of session locks.
    pub(super) fn new(bell: Bell, log: &Path, sessions: &Path) -> Self {
        let files = Files::watch(log, sessions).inspect_err(|error| {
            tracing::warn!(%error, log = %log.display(), "no file events; the local store is looked at often instead");
        });
        Self { bell, files: files.ok() }
    }

    /// True when only the bell is heard.
    pub(super) fn is_deaf(&self) -> bool {
        self.files.is_none()
    }

    /// Waits until something happens or the time is over.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<Noticed> {
        let time = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&*self.bell.0, PollFlags::IN)];
        fds.extend(self.files.iter().map(|files| PollFd::new(&files.inotify, PollFlags::IN)));
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let (rung, told) = (ready.next() == Some(true), ready.next() == Some(true));
        if rung {
            // Reading resets the counter; an empty one is as good.
            let _ = rustix::io::read(&*self.bell.0, &mut [0u8; 8]);
        }
        match &self.files {
            Some(files) if told => files.drain(),
            _ => Ok(Noticed::default()),
        }
    }
}

impl Files {
    fn watch(log: &Path, sessions: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let log = inotify::add_watch(&inotify, log, inotify::WatchFlags::MODIFY)?;
        inotify::add_watch(&inotify, sessions, inotify::WatchFlags::CLOSE_WRITE)?;
        Ok(Self { inotify, log })
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn without_file_events_the_bell_is_still_heard() {
        let folder = tempfile::tempdir().unwrap();
        let bell = Bell::new().unwrap();
        let deaf = Notice::new(bell.clone(), &folder.path().join("none"), folder.path());
        assert!(deaf.is_deaf());
        bell.ring();
        let begun = Instant::now();
        deaf.wait(Duration::from_secs(60)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        // The bell has been answered: the next wait is a full one.
        let noticed = deaf.wait(Duration::from_millis(20)).unwrap();
        assert!(!noticed.written && begun.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_write_to_the_log_and_a_closed_lock_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = folder.path().join("sessions");
        std::fs::create_dir(&sessions).unwrap();
        let (log, lock) = (folder.path().join("log"), sessions.join("1"));
        std::fs::write(&log, "").unwrap();
        let held = std::fs::File::create(&lock).unwrap();
        let notice = Notice::new(Bell::new().unwrap(), &log, &sessions);
        assert!(!notice.is_deaf());
        std::fs::write(&log, "x").unwrap();
        let noticed = notice.wait(Duration::from_secs(60)).unwrap();
        assert!(noticed.written && !noticed.session_closed);
        drop(held);
        assert!(notice.wait(Duration::from_secs(60)).unwrap().session_closed);
    }
}

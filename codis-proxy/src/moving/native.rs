//! Between two codis-servers of version 2.8: the source moves the keys itself.
//!
//! `SLOTSMGRTTAGONE` takes a key and all others with its tag to the destination, over whatever is there,
//! and answers when they are gone from the source. It waits for no slave, and the source serves nobody
//! while the destination is slow: so the time-out is short, the destination is asked for a sign of life
//! first, and a failure opens the breaker. A failover during such a move can lose a key or bring one
//! back, and what the source has sent before it gave up can overwrite a key late, from a connection that
//! is not ours to kill. So it is used only where the hand-over cannot be had.

use super::handover::{Attempt, Cause, Job, Lane};
use super::reply::{Commands, Reply};

impl Lane {
    /// Has the source move the keys, one after the other: each call holds up all of its clients.
    ///
    /// # Errors
    /// When it is unknown where a key is. If the source did not even answer, its connection is given to
    /// those that have to be killed there.
    pub(super) async fn migrate(&mut self, job: &Job) -> Result<Attempt, Cause> {
        let settings = self.source.settings.clone();
        let port = self.dest.addr.port().to_string();
        let timeout = settings.native_timeout.as_millis().to_string();
        // It may spend its time-out on connecting, on writing and on reading.
        let after = settings.command_timeout + settings.native_timeout * 3;
        let mut found = 0;
        for key in &job.keys {
            let mut commands = Commands::default();
            commands.push(&[
                b"SLOTSMGRTTAGONE",
                self.dest.addr.host().as_bytes(),
                port.as_bytes(),
                timeout.as_bytes(),
                key,
            ]);
            match self.source.call(job.slot, &commands, after, None).await?.as_slice() {
                [Reply::Int(moved @ 0..)] => found += usize::try_from(*moved).unwrap_or(usize::MAX),
                replies => {
                    let reply = replies.first().map_or_else(|| "nothing".to_owned(), Reply::describe);
                    return Err(Cause::Native { addr: self.source.addr.clone(), reply });
                }
            }
        }
        Ok(Attempt::Settled { found, busy: 0 })
    }
}

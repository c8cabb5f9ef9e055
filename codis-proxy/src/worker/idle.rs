//! Asking servers that no client asks anything: a connection on which nothing is said does not fail, and a proxy that has
//! heard nothing from a server is no witness of its death.

use codis_resp::{lookup, push_array_header, push_bulk};

use super::{
    Worker,
    backend::{BackendId, State},
    pending::{Arrival, Asker, KeyHead, Question},
};

impl Worker {
    /// To be called once a second or so. A server that has said nothing since the last time is sent a PING, and one without a
    /// connection is given one.
    pub(super) fn ask_idle(&mut self) {
        let quiet = self.backends.iter_mut().filter_map(|(id, backend)| {
            let heard = std::mem::replace(&mut backend.heard, backend.bytes_in) != backend.bytes_in;
            let shared = backend.used && backend.pinned.is_none() && !backend.too_old;
            (shared && !heard && backend.pending.is_empty()).then_some(id)
        });
        for id in quiet.collect::<Vec<BackendId>>() {
            match self.backends[id].state {
                // What went wrong is told with the next try.
                State::Down => drop(self.open(id)),
                State::Up(_) => self.ping(id),
                State::Connecting => {}
            }
        }
    }

    fn ping(&mut self, id: BackendId) {
        let Some(command) = lookup(b"PING") else { return };
        let backend = &mut self.backends[id];
        backend.out.push_with(&mut self.pool, |out| {
            push_array_header(out, 1);
            push_bulk(out, b"PING");
        });
        backend.expect_reply(Asker::Proxy(Question::IsAlive), command, KeyHead::NONE, Arrival::new(self.now));
        self.touch_backend(id);
    }
}

//! How many keys all masters have, for INFO. Nobody waits long for it: a master that is away or slow is
//! left out.

use codis_resp::{CommandId, push_array_header, push_bulk};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{Sequel, merge};
use crate::worker::{
    Worker,
    backend::State,
    pending::{Arrival, Asked},
    split::Part,
};

/// The sums of what masters say of their database 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::worker) struct Keyspace {
    keys: u64,
    expires: u64,
    /// Time to live of those that expire, all together, milliseconds.
    ttl: u64,
}

impl Keyspace {
    /// The line of INFO; none if there is no key.
    pub(in crate::worker) fn line(&self) -> String {
        let Self { keys, expires, ttl } = *self;
        match keys {
            0 => String::new(),
            _ => format!("db0:keys={keys},expires={expires},avg_ttl={}\r\n", ttl / expires.max(1)),
        }
    }

    /// The sum of replies to INFO KEYSPACE. What is none counts nothing.
    pub(super) fn sum(replies: &[&[u8]]) -> Self {
        let mut sum = Self::default();
        for reply in replies {
            let text = merge::bulk(reply).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("");
            let Some(fields) = text.lines().find_map(|line| line.strip_prefix("db0:")) else { continue };
            let field = |name: &str| {
                let mut fields = fields.trim_end().split(',').filter_map(|field| field.split_once('='));
                fields
                    .find(|(other, _)| *other == name)
                    .and_then(|(_, value)| value.parse().ok())
                    .unwrap_or(0)
            };
            let expires: u64 = field("expires");
            sum.keys += field("keys");
            sum.expires += expires;
            sum.ttl = sum.ttl.saturating_add(expires.saturating_mul(field("avg_ttl")));
        }
        sum
    }
}

impl Worker {
    /// Asks the masters that are connected; those that are not are connected for the next time.
    pub(in crate::worker) fn ask_keyspace(&mut self, command: CommandId) -> oneshot::Receiver<Keyspace> {
        let (sender, receiver) = oneshot::channel();
        let plan = self.plan();
        let mut parts: SmallVec<[Part; 4]> = SmallVec::new();
        for &master in plan.masters() {
            if let State::Down = self.backends[master].state
                && self.open(master).is_err()
            {
                continue;
            }
            let backend = &mut self.backends[master];
            if backend.out.len() > self.limits.backend_pause {
                continue;
            }
            backend.out.push_with(&mut self.pool, |out| {
                push_array_header(out, 2);
                push_bulk(out, b"INFO");
                push_bulk(out, b"keyspace");
            });
            parts.push(Part::new(master));
        }
        if !parts.is_empty() {
            let (arrival, sequel) = (Arrival::new(self.now), Sequel::Keyspace(sender));
            self.await_replies(Asked::BY_NOBODY, command, arrival, parts, Vec::new(), Some(sequel));
        }
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_added_up_and_times_to_live_weighed() {
        let one = b"$52\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=400,subexp=0\r\n\r\n";
        let other = b"$40\r\n# Keyspace\r\ndb0:keys=5,expires=3,avg_ttl=0\r\n\r\n";
        let sum = Keyspace::sum(&[one, other, b"$12\r\n# Keyspace\r\n\r\n", b"-ERR no\r\n"]);
        assert_eq!(sum.line(), "db0:keys=8,expires=4,avg_ttl=100\r\n");
        assert_eq!(Keyspace::sum(&[]).line(), "");
    }
}

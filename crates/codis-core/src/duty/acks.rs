//! Proxies that do not acknowledge what has changed.

use std::collections::BTreeMap;

use super::Since;
use crate::notice::{Alert, Facts, Kind, Round};
use crate::{ActionKind, ProxyId, SlotStatus};

/// An action that somebody has not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionSeen {
    /// Its number.
    pub seq: u64,
    /// What it tells.
    pub kind: ActionKind,
    /// Proxies that it was told to, that have been online ever since, and have acknowledged neither it nor a later one; with
    /// their addresses.
    pub waiting: Vec<(ProxyId, String)>,
}

/// The duty.
#[derive(Debug, Clone, Default)]
pub struct Acks {
    since: Since,
}

impl Acks {
    /// Looks at the newest actions; `None` if they could not be read. Time counts from when an agent has seen that one waits:
    /// clocks of those who publish are not its own.
    pub fn check(&mut self, seen: Option<&[ActionSeen]>, line_ms: u64, now_ms: u64, round: &mut Round) {
        // Without a look nothing begins, and nothing is over.
        let Some(seen) = seen else { return };
        let key = |action: &ActionSeen, id: &ProxyId| format!("{} {id}", action.seq);
        let waits = |subject: &str| {
            seen.iter().any(|action| action.waiting.iter().any(|(id, _)| key(action, id) == subject))
        };
        self.since.keep(waits);
        let mut late: BTreeMap<&ProxyId, Vec<(&str, &ActionSeen, u64)>> = BTreeMap::new();
        for action in seen {
            for (id, addr) in &action.waiting {
                let since = self.since.note(&key(action, id), now_ms);
                if now_ms - since >= line_ms {
                    late.entry(id).or_default().push((addr, action, since));
                }
            }
        }
        let alerts = late.into_iter().filter_map(|(id, actions)| {
            let (addr, _, first) = *actions.iter().min_by_key(|(.., since)| *since)?;
            let name =
                |action: &ActionSeen| format!("actions/{:010} {}", action.seq, action.kind.type_name());
            let facts = Facts::ProxyAck {
                proxy: id.to_string(),
                addr: addr.to_owned(),
                actions: actions.iter().map(|(_, action, _)| name(action)).collect(),
                line_ms,
                taken_back: actions.iter().any(|(_, action, _)| is_taken_back(&action.kind)),
            };
            Some(Alert::new(id, first, facts))
        });
        round.looked_for([Kind::ProxyAck], alerts);
    }
}

/// Slots that are about to move go back when somebody is silent; everything else stands, and is followed later.
fn is_taken_back(kind: &ActionKind) -> bool {
    match kind {
        ActionKind::SlotPreMigrate(_) => true,
        ActionKind::Wave { status, .. } => *status == SlotStatus::PreMigrate,
        _ => false,
    }
}

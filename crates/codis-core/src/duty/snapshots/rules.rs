//! What makes a server fork, and what it is told instead.

use super::{Does, Instance, Kept, Said, Settings, SnapshotsPolicy};
use crate::Role;

/// A master lets slaves that want a whole copy wait so long for others, seconds. What nobody has admitted by then goes on by
/// itself: a slave never waits for good because agents have died.
pub const HOLD_S: u64 = 60;

/// The settings that are taken over, in the order in which they are set.
pub const NAMES: [&str; 5] = [SAVE, GROWTH, DELAY, DISKLESS, REPLICAS];

pub(super) const SAVE: &str = "save";
/// An append-only file is rewritten when it has grown by so many percent; 0 is never.
pub(super) const GROWTH: &str = "auto-aof-rewrite-percentage";
/// And is larger than this.
pub(super) const LEAST: &str = "auto-aof-rewrite-min-size";
pub(super) const DELAY: &str = "repl-diskless-sync-delay";
/// Only a copy that does not go by way of the disk can be made to wait.
const DISKLESS: &str = "repl-diskless-sync";
/// So many slaves are not made to wait any longer; 0 is never.
const REPLICAS: &str = "repl-diskless-sync-max-replicas";

/// A save point that never comes, so that a server that saved when it was shut down still does so.
const NEVER: &str = "2147483647 2147483647";

/// What a setting of a server that is taken over says, if it may not say `now`.
pub fn wanted(name: &str, now: &str) -> Option<String> {
    let wanted = match name {
        SAVE if now.trim().is_empty() => return None,
        SAVE => NEVER.to_owned(),
        GROWTH | REPLICAS => "0".to_owned(),
        DISKLESS => "yes".to_owned(),
        // Any delay is fine while it is being governed.
        DELAY if now.parse::<u64>().is_ok_and(|delay| delay == 0 || delay >= HOLD_S) => return None,
        DELAY => HOLD_S.to_string(),
        _ => return None,
    };
    (wanted != now).then_some(wanted)
}

impl Said {
    /// What keeps it from being governed: settings by which it forks on its own.
    pub fn own_reasons(&self) -> Vec<(&'static str, String)> {
        let Some(settings) = &self.settings else { return Vec::new() };
        let wants = |name: &&'static str| Some((*name, wanted(name, settings.get(*name)?)?));
        NAMES.iter().filter_map(wants).collect()
    }

    /// Slaves are let go on at once.
    pub(super) fn is_open(&self) -> bool {
        self.delay() == Some(0)
    }

    /// For how many seconds slaves wait.
    pub(super) fn delay(&self) -> Option<u64> {
        self.settings.as_ref()?.get(DELAY)?.parse().ok()
    }
}

/// A setting as it was before it was taken over.
fn original<'a>(name: &str, said: &'a Said, kept: Option<&'a Kept>) -> Option<&'a str> {
    let of = |settings: &'a Settings| settings.get(name).map(String::as_str);
    kept.and_then(|kept| of(&kept.settings)).or_else(|| said.settings.as_ref().and_then(of))
}

/// What a server's children are for: what is done for it when it is its turn.
pub(super) fn chores(instance: &Instance, said: &Said, policy: &SnapshotsPolicy) -> Vec<Does> {
    let by_role = match instance.role {
        Role::Master => policy.masters,
        _ => policy.slaves,
    };
    let save_points = original(SAVE, said, instance.kept.as_ref()).is_some_and(|save| !save.is_empty());
    let mut chores = Vec::new();
    if by_role.unwrap_or(!said.aof || save_points) {
        chores.push(Does::Save);
    }
    if said.aof {
        chores.push(Does::Rewrite);
    }
    chores
}

/// How overdue a chore is, per mille; from 1000 on it is due.
pub(super) fn overdue(does: Does, instance: &Instance, said: &Said, policy: &SnapshotsPolicy) -> u64 {
    match does {
        Does::Save if said.changes == 0 => 0,
        Does::Save => said.saved_ago_ms.saturating_mul(1000) / policy.interval_ms.max(1),
        Does::Rewrite => grown(instance, said),
        Does::Module => 0,
    }
}

/// The server's own rule for its append-only file.
fn grown(instance: &Instance, said: &Said) -> u64 {
    let number =
        |name: &str| original(name, said, instance.kept.as_ref()).and_then(|text| text.parse::<u64>().ok());
    let percent = number(GROWTH).unwrap_or_default();
    if percent == 0 || said.aof_size <= number(LEAST).unwrap_or_default() {
        return 0;
    }
    let growth = said.aof_size.saturating_sub(said.aof_base).saturating_mul(100) / said.aof_base.max(1);
    growth.saturating_mul(1000) / percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_no_reason_of_its_own_to_fork() {
        let cases = [
            (SAVE, "900 1 300 10", Some(NEVER)),
            (SAVE, "", None),
            (SAVE, NEVER, None),
            (GROWTH, "100", Some("0")),
            (GROWTH, "0", None),
            (DISKLESS, "no", Some("yes")),
            (DELAY, "5", Some("60")),
            (DELAY, "0", None),
            (DELAY, "75", None),
            (REPLICAS, "3", Some("0")),
            (LEAST, "67108864", None),
        ];
        for (name, now, expected) in cases {
            assert_eq!(wanted(name, now).as_deref(), expected, "{name} {now}");
        }
    }
}

//! From what a server holds to whether its slots can move: no questions asked of anybody.

use std::{collections::BTreeMap, time::Duration};

use codis_core::{Cluster, GroupId, SlotId, SlotSet, SlotStatus};
use codis_redis::{BigKey, Kind, SlotSize, Survey};

use super::CheckOptions;

/// Whether a slot can move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can, and nobody notices.
    Ok,
    /// It can, but its big keys hold servers up; that was allowed.
    Stalls,
    /// It cannot, and why.
    Blocked(String),
}

/// What was found out about a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotVerdict {
    /// The slot.
    pub slot: SlotId,
    /// What it holds.
    pub size: SlotSize,
    /// How many of its keys are big.
    pub big: usize,
    /// Longest time that one of them would hold a server up.
    pub stall: Duration,
    /// What follows from it.
    pub verdict: Verdict,
}

/// Keys on a server whose slots are another group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Their slots.
    pub slots: SlotSet,
    /// Who owns them, if anybody.
    pub owner: Option<GroupId>,
    /// How many there are.
    pub keys: u64,
}

/// Judges slots that one group holds.
pub(super) fn judge(
    cluster: &Cluster,
    slots: &[SlotId],
    survey: &Survey,
    options: &CheckOptions,
) -> Vec<SlotVerdict> {
    let mut big: BTreeMap<SlotId, Vec<&BigKey>> = BTreeMap::new();
    for key in &survey.big {
        big.entry(key.slot).or_default().push(key);
    }
    let one = |slot: &SlotId| {
        let size = survey.by_slot[slot.index()];
        let keys = big.get(slot).map_or(&[][..], Vec::as_slice);
        let stall = keys.iter().map(|key| key.one_shot.longest()).max().unwrap_or_default();
        let status = cluster.slot(*slot).map(|slot| slot.status);
        let verdict = match status {
            Some(SlotStatus::Online) if !survey.sized && size.keys > 0 => {
                Verdict::Blocked("the server cannot tell how big keys are (before version 4)".to_owned())
            }
            Some(SlotStatus::Online) => of_keys(keys, options.allow_stall),
            Some(status) => Verdict::Blocked(format!("it is in {status}")),
            None => Verdict::Blocked("its node cannot be read".to_owned()),
        };
        SlotVerdict { slot: *slot, size, big: keys.len(), stall, verdict }
    };
    slots.iter().map(one).collect()
}

fn of_keys(big: &[&BigKey], allow_stall: bool) -> Verdict {
    if big.is_empty() {
        return Verdict::Ok;
    }
    if allow_stall {
        return Verdict::Stalls;
    }
    let module = big.iter().any(|key| key.kind == Kind::Module);
    Verdict::Blocked(if module { "big keys, of a module" } else { "big keys" }.to_owned())
}

/// Keys that are on the group's server but belong to slots that it does not serve.
pub(super) fn strays(cluster: &Cluster, group: GroupId, survey: &Survey) -> Vec<Stray> {
    let others = SlotId::all().filter(|id| survey.by_slot[id.index()].keys > 0);
    let others = others.filter(|id| cluster.slot(*id).is_none_or(|slot| !slot.uses(group)));
    let mut by_owner: BTreeMap<Option<GroupId>, Vec<SlotId>> = BTreeMap::new();
    for slot in others {
        by_owner.entry(cluster.slot(slot).and_then(|slot| slot.group)).or_default().push(slot);
    }
    let stray = |(owner, slots): (Option<GroupId>, Vec<SlotId>)| {
        let keys = slots.iter().map(|slot| survey.by_slot[slot.index()].keys).sum();
        Stray { slots: slots.into_iter().collect(), owner, keys }
    };
    by_owner.into_iter().map(stray).collect()
}

#[cfg(test)]
mod tests {
    use codis_core::{Slot, Versioned};
    use codis_redis::{OneShot, Speed};

    use super::*;

    fn id(slot: u16) -> SlotId {
        SlotId::new(slot).unwrap()
    }

    /// Slots 0 to 4 at group 1, the third of them in pre_migrate; slot 7 at group 2.
    fn cluster() -> Cluster {
        let mut cluster = Cluster::empty("feed".parse().unwrap());
        let mut put = |slot: Slot| {
            let place = slot.id.index();
            cluster.slots[place] = Some(Versioned::new(slot, 0));
        };
        (0..5).for_each(|n| put(Slot::unassigned(id(n)).online_at(GroupId(1))));
        put(Slot::unassigned(id(2)).online_at(GroupId(1)).pre_migrate());
        put(Slot::unassigned(id(7)).online_at(GroupId(2)));
        cluster
    }

    fn big(slot: u16, kind: Kind, ms: u64) -> BigKey {
        let one_shot = OneShot { dump: Duration::from_millis(ms), restore: Duration::from_millis(1) };
        BigKey { slot: id(slot), key: b"k".to_vec(), kind, elements: 1, bytes: 1, ttl: None, one_shot }
    }

    /// One key in each of these slots.
    fn survey(slots: &[u16], big: Vec<BigKey>) -> Survey {
        let mut by_slot = vec![SlotSize::default(); 1024];
        slots.iter().for_each(|slot| by_slot[usize::from(*slot)] = SlotSize { keys: 1, bytes: 10 });
        let zero = Duration::ZERO;
        Survey {
            by_slot,
            big,
            largest: Vec::new(),
            sized: true,
            calibrated: true,
            speed: Speed::default(),
            took: zero,
            slowest_answer: zero,
        }
    }

    fn options(allow_stall: bool) -> CheckOptions {
        CheckOptions {
            slots: SlotSet::default(),
            to: None,
            max_stall: Duration::from_millis(5),
            allow_stall,
            fast: true,
            masters: false,
            patience: Duration::ZERO,
        }
    }

    fn verdicts(survey: &Survey, allow_stall: bool) -> Vec<(u16, Verdict)> {
        let slots: Vec<SlotId> = (0..5).map(id).collect();
        let judged = judge(&cluster(), &slots, survey, &options(allow_stall));
        judged.into_iter().map(|slot| (slot.slot.get(), slot.verdict)).collect()
    }

    #[test]
    fn big_keys_and_other_states_block_a_slot() {
        let survey = survey(&[0, 1, 4], vec![big(1, Kind::Hash, 30), big(4, Kind::Module, 9)]);
        let blocked = |why: &str| Verdict::Blocked(why.to_owned());
        let expected = [
            (0, Verdict::Ok),
            (1, blocked("big keys")),
            (2, blocked("it is in pre_migrate")),
            (3, Verdict::Ok),
            (4, blocked("big keys, of a module")),
        ];
        assert_eq!(verdicts(&survey, false), expected);
        let allowed = verdicts(&survey, true);
        assert_eq!((&allowed[1].1, &allowed[4].1), (&Verdict::Stalls, &Verdict::Stalls));
    }

    #[test]
    fn a_server_that_cannot_tell_sizes_lets_only_empty_slots_go() {
        let survey = Survey { sized: false, ..survey(&[0], Vec::new()) };
        let verdicts = verdicts(&survey, true);
        assert!(matches!(verdicts[0].1, Verdict::Blocked(_)));
        assert_eq!(verdicts[1].1, Verdict::Ok);
    }

    #[test]
    fn keys_of_other_groups_are_strays() {
        let survey = survey(&[0, 7, 9, 10], Vec::new());
        let found = strays(&cluster(), GroupId(1), &survey);
        let told: Vec<_> = found.iter().map(|s| (s.slots.to_string(), s.owner, s.keys)).collect();
        assert_eq!(told, [("9-10".to_owned(), None, 2), ("7".to_owned(), Some(GroupId(2)), 1)]);
    }
}

//! What happens on the tour after the product is up.

use std::collections::BTreeSet;
use std::time::Duration;

use codis_core::plan::{self, plural};
use codis_core::{Addr, Cluster, GroupId, SlotSet, SlotStatus};
use codis_redis::ledger::{self, Ledger, LedgerConfig, LedgerReport};
use codis_redis::{Password, count_by_slot};

use super::{Guide, Scene, TourOptions};
use crate::playground::{Playground, parts};
use crate::{Events, Failure, FailureKind, mover};

/// Prefix of the keys that are loaded at the beginning.
const PREFIX: &str = "tour";
/// The group that gives half of its slots.
const SOURCE: GroupId = GroupId(1);
/// Pause of a writer between two requests: about a thousand requests a second each.
const PAUSE: Duration = Duration::from_millis(1);
/// Writes of the ledger before the slots begin to move, and once more when they have.
const WRITES: u64 = 500;
/// How long these may take; a slower ledger is shown as it is.
const WRITES_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn tell(
    options: &TourOptions,
    playground: &mut Playground,
    guide: &mut Guide<'_>,
    events: &Events,
) -> Result<(), Failure> {
    let proxies: Vec<Addr> = playground.summary().proxies.iter().map(|proxy| proxy.addr.clone()).collect();
    load(options, &proxies, guide).await?;
    let target = add_group(playground, guide).await?;
    let before = playground.context().load().await?;
    let slots = half_of(&before, SOURCE);
    guide.show(Scene::Map { when: "before", cluster: Box::new(before) });

    guide.begin(format!("{} moved {SOURCE} → {target} under writes", plural(slots.len(), "slot", "slots")));
    let ledger = Ledger::start(LedgerConfig {
        writers: options.writers,
        slots: Some(slots.clone()),
        pause: PAUSE,
        ..LedgerConfig::new(proxies.clone())
    });
    // Its writers have touched every key before the slots move, and go on when they have moved.
    written(&ledger, WRITES).await;
    let moved = move_slots(playground, &slots, target, events).await;
    written(&ledger, ledger.figures().acknowledged + WRITES).await;
    let account = ledger.finish().await;
    let moved = moved?;
    note_move(guide, &slots, &moved, &account);

    let after = playground.context().load().await?;
    guide.begin(format!("group {SOURCE} searched for keys of the moved slots"));
    let found = left_behind(&after, &slots, target).await?;
    guide.end(found);
    guide.show(Scene::Map { when: "after", cluster: Box::new(after) });

    guide.begin("every key and the ledger read back".into());
    final_check(options, &proxies, &account, guide).await
}

/// Waits until the ledger has so many acknowledged writes, but no longer than it should take.
async fn written(ledger: &Ledger, writes: u64) {
    let deadline = tokio::time::Instant::now() + WRITES_PATIENCE;
    while ledger.figures().acknowledged < writes && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(PAUSE * 10).await;
    }
}

async fn load(options: &TourOptions, proxies: &[Addr], guide: &mut Guide<'_>) -> Result<(), Failure> {
    let proxy_count = plural(proxies.len(), "proxy", "proxies");
    guide.begin(format!("{} keys loaded through {proxy_count}", grouped(options.keys)));
    let none = Password::none();
    let loaded = ledger::load(proxies, &none, PREFIX, options.keys).await;
    loaded.map_err(|error| Failure::redis("cannot load the keys of the tour", &error))?;
    let found = read_back(options, proxies, guide).await?;
    guide.end(found);
    Ok(())
}

/// Reads every loaded key.
async fn read_back(
    options: &TourOptions,
    proxies: &[Addr],
    guide: &mut Guide<'_>,
) -> Result<Result<String, String>, Failure> {
    let read = ledger::verify(proxies, &Password::none(), PREFIX, options.keys).await;
    let read = read.map_err(|error| Failure::redis("cannot read the keys of the tour back", &error))?;
    guide.report.keys = options.keys;
    guide.report.requests += options.keys;
    if read.holds() {
        return Ok(Ok(format!("{} read back", grouped(read.right))));
    }
    guide.report.wrong += read.missing + read.wrong;
    let (missing, wrong, named) = (read.missing, read.wrong, read.named.join(", "));
    Ok(Err(format!("{missing} missing, {wrong} with another value: {named}")))
}

async fn add_group(playground: &mut Playground, guide: &mut Guide<'_>) -> Result<GroupId, Failure> {
    guide.begin(format!("group {} added", playground.summary().groups.len() + 1));
    playground.add_groups(1).await?;
    let Some(group) = playground.summary().groups.last() else {
        return Err(Failure::new(FailureKind::Failed, "cannot add a group", "the playground", "it has none"));
    };
    guide.end(Ok(format!("master and {}, linked", plural(group.slaves.len(), "slave", "slaves"))));
    Ok(group.id)
}

/// The first half of the slots that a group serves.
fn half_of(cluster: &Cluster, group: GroupId) -> SlotSet {
    let online = cluster.known_slots().filter(|s| s.status == SlotStatus::Online && s.group == Some(group));
    let all: Vec<_> = online.map(|slot| slot.id).collect();
    all[..all.len() / 2].iter().copied().collect()
}

/// Queues the move as `migrate start` does, and carries it out as `migrate run` does.
async fn move_slots(
    playground: &Playground,
    slots: &SlotSet,
    target: GroupId,
    events: &Events,
) -> Result<mover::RunReport, Failure> {
    let now = crate::context::now_ms();
    playground.change(|cluster| plan::migrate(cluster, slots, target, &BTreeSet::new(), now)).await?;
    Box::pin(mover::run(playground.context(), &mover::RunOptions::default(), events)).await
}

fn note_move(guide: &mut Guide<'_>, slots: &SlotSet, moved: &mover::RunReport, account: &LedgerReport) {
    let report = &mut guide.report;
    report.slots_moved = slots.len();
    report.keys_moved = moved.keys_moved;
    report.keys_per_s = moved.keys_per_s;
    report.stall_p99_ms = moved.stall_p99_ms;
    report.stall_max_ms = moved.stall_max_ms;
    report.latency = account.latency;
    report.errors.clone_from(&account.errors);
    report.requests += account.acknowledged + account.reads;
    report.wrong += account.violation_count;
    let found = format!(
        "{} keys, {}/s, stall p99 {:.1} ms, client p50 {:.1} p99 {:.1} ms, {} errors",
        grouped(report.keys_moved),
        grouped(report.keys_per_s as u64),
        report.stall_p99_ms,
        report.latency.p50.as_secs_f64() * 1e3,
        report.latency.p99.as_secs_f64() * 1e3,
        account.error_count(),
    );
    guide.end(if account.error_count() == 0 { Ok(found) } else { Err(found) });
}

/// The slots must be online at the target, and the source must hold none of their keys.
async fn left_behind(
    after: &Cluster,
    slots: &SlotSet,
    target: GroupId,
) -> Result<Result<String, String>, Failure> {
    let is_there = |slot: &&codis_core::Versioned<codis_core::Slot>| {
        slots.contains(slot.id) && slot.status == SlotStatus::Online && slot.group == Some(target)
    };
    let there = after.known_slots().filter(is_there).count();
    let source = after.groups.get(&SOURCE).and_then(|group| group.master());
    let Some(source) = source else {
        return Ok(Err(format!("group {SOURCE} has no master any more")));
    };
    let counts = count_by_slot(&source.addr, &parts::options()).await;
    let counts = counts.map_err(|error| Failure::redis("cannot search the source for keys", &error))?;
    let left: u64 = slots.iter().map(|slot| counts[slot.index()]).sum();
    let found = format!("{there} of {} slots online at group {target}, {left} keys left", slots.len());
    Ok(if there == slots.len() && left == 0 { Ok(found) } else { Err(found) })
}

async fn final_check(
    options: &TourOptions,
    proxies: &[Addr],
    account: &LedgerReport,
    guide: &mut Guide<'_>,
) -> Result<(), Failure> {
    let keys = read_back(options, proxies, guide).await?;
    let ledger = if account.holds() {
        Ok(format!(
            "ledger: {} writes, {} keys, none wrong",
            grouped(account.acknowledged),
            account.keys_checked
        ))
    } else {
        Err(format!("ledger: {} violations: {}", account.violation_count, account.violations.join("; ")))
    };
    guide.end(match (keys, ledger) {
        (Ok(keys), Ok(ledger)) => Ok(format!("{keys}; {ledger}")),
        (Ok(text) | Err(text), Err(other)) | (Err(text), Ok(other)) => Err(format!("{text}; {other}")),
    });
    Ok(())
}

/// `100 000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }
}

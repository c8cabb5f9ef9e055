//! The largest keys of groups: what would hold servers up, and what fills them. It only reads, on slaves where they are in step.

use std::time::Duration;

use codis_core::{Addr, Cluster, GroupId, SlotSet};
use codis_redis::{BigKey, Kind, LiveRole, SurveyOptions};

use crate::{
    Context, Events, Failure, FailureKind,
    check::{DUTY, Look, look_through},
    observe,
};

/// Keys that are described at least: those with the most elements, or of one type, are looked for among them.
const POOL: usize = 2000;

/// By what the largest keys are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Memory.
    Bytes,
    /// Elements; bytes of a string.
    Elements,
    /// The time that they would hold a server up.
    Stall,
}

/// Where to look, and for what.
#[derive(Debug, Clone)]
pub struct BigOptions {
    /// Groups; all that have servers, if empty.
    pub groups: Vec<GroupId>,
    /// Keys of these slots only.
    pub slots: Option<SlotSet>,
    /// Keys of this type only.
    pub kind: Option<Kind>,
    /// By what.
    pub by: Measure,
    /// How many.
    pub top: usize,
    /// As fast as the servers answer, instead of with a tenth of a core.
    pub fast: bool,
    /// Look at the masters even where a slave is in step.
    pub masters: bool,
    /// Longest wait for a server that is asked what it is.
    pub patience: Duration,
}

/// Where it was looked.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The group.
    pub group: GroupId,
    /// The server.
    pub server: Addr,
    /// Master or slave.
    pub role: LiveRole,
    /// Its keys.
    pub keys: u64,
    /// Memory that they take.
    pub bytes: u64,
    /// The stalls are for this server, not only for one like ours.
    pub calibrated: bool,
    /// How long it took.
    pub took: Duration,
    /// The longest wait for an answer.
    pub slowest_answer: Duration,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct BigKeys {
    /// By group.
    pub looked: Vec<Looked>,
    /// The keys, the largest first, with their groups.
    pub keys: Vec<(GroupId, BigKey)>,
}

/// Finds the largest keys.
///
/// # Errors
/// If there is no such group; if a server does not answer or cannot tell how big keys are (before version 4).
pub async fn big_keys(
    cx: &Context,
    cluster: &Cluster,
    options: &BigOptions,
    events: &Events,
) -> Result<BigKeys, Failure> {
    let groups = groups(cluster, options)?;
    let servers = observe::servers(cx, cluster, options.patience).await;
    let how = SurveyOptions {
        only: None,
        duty: (!options.fast).then_some(DUTY),
        // Nothing is above it: what is found is found by size.
        budget: Duration::from_secs(3600),
        largest: options.top.max(POOL),
    };
    let looks = look_through(cx, cluster, &groups, &servers, &how, options.masters, events).await?;
    let mut found = BigKeys { looked: Vec::new(), keys: Vec::new() };
    for Look { group, server, role, survey } in looks {
        if !survey.sized {
            let why = "it cannot tell how big keys are (before version 4)";
            return Err(Failure::new(FailureKind::Unsafe, "cannot find big keys", &server, why)
                .next(format!("codisctl server info {server}")));
        }
        found.looked.push(Looked {
            group,
            server,
            role,
            keys: survey.by_slot.iter().map(|slot| slot.keys).sum(),
            bytes: survey.by_slot.iter().map(|slot| slot.bytes).sum(),
            calibrated: survey.calibrated,
            took: survey.took,
            slowest_answer: survey.slowest_answer,
        });
        let wanted = |key: &BigKey| {
            options.kind.is_none_or(|kind| key.kind == kind)
                && options.slots.as_ref().is_none_or(|slots| slots.contains(key.slot))
        };
        found.keys.extend(survey.largest.into_iter().filter(wanted).map(|key| (group, key)));
    }
    let size = |key: &BigKey| match options.by {
        Measure::Bytes => u128::from(key.bytes),
        Measure::Elements => u128::from(key.elements),
        Measure::Stall => key.one_shot.longest().as_nanos(),
    };
    found.keys.sort_by(|(_, a), (_, b)| size(b).cmp(&size(a)).then_with(|| a.key.cmp(&b.key)));
    found.keys.truncate(options.top);
    Ok(found)
}

/// The groups that are meant: those named, those that hold the slots, or all with servers.
fn groups(cluster: &Cluster, options: &BigOptions) -> Result<Vec<GroupId>, Failure> {
    if let Some(missing) = options.groups.iter().find(|id| !cluster.groups.contains_key(id)) {
        let what = format!("cannot look through group {missing}");
        let place = format!("servers/group_{missing}");
        return Err(Failure::new(FailureKind::Failed, what, place, "the product has no such group")
            .next("codisctl group list"));
    }
    if !options.groups.is_empty() {
        return Ok(options.groups.clone());
    }
    let holds = |id: GroupId| {
        options
            .slots
            .as_ref()
            .is_none_or(|slots| slots.iter().filter_map(|slot| cluster.slot(slot)).any(|slot| slot.uses(id)))
    };
    let with_servers = cluster.groups.values().filter(|group| !group.servers.is_empty());
    Ok(with_servers.map(|group| group.id).filter(|id| holds(*id)).collect())
}

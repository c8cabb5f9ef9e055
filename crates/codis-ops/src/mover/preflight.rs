//! What must be true before the first write, looked up on the servers themselves.

use codis_core::{Addr, Cluster, Group, GroupId, ProxyKind, Server, SlotSet, Versioned, plan};
use codis_redis::{
    BigKey, Endpoint, Redis, RedisError, Route, ServerInfo, Speed, SurveyOptions, count_by_slot,
    kill_by_name, native_counts, probe_move, scan_slots, survey,
};

use super::{fit, queue::Wave, run::Run};
use crate::{Failure, FailureKind, announce::fences_clean};

/// What moves keys by its own commands, and what that puts at risk.
const NATIVE_RISK: &str = "moves keys by its own SLOTSMGRTTAGSLOT: a failover of either group meanwhile can lose or \
    revive keys";

/// Both ends of a wave, and how keys get from one to the other.
pub(crate) struct Ends {
    pub(crate) route: Route,
    /// By the source's own command, not by the hand-over.
    pub(crate) native: bool,
}

impl Ends {
    /// The servers that are masters.
    pub(crate) fn addrs(&self) -> (&Addr, &Addr) {
        (&self.route.from.addr, &self.route.to.addr)
    }
}

/// A wave that may begin.
pub(crate) struct Ready {
    pub(crate) ends: Ends,
    /// Keys of each slot on the source.
    pub(crate) by_slot: Vec<u64>,
    /// Keys of fresh slots that would hold a server up for too long, the worst first.
    pub(crate) big: Vec<BigKey>,
    /// How fast the source is, if keys that would hold it up for too long are to stay there.
    pub(crate) spare: Option<Speed>,
}

/// Both ends and what is on them. Writes nothing to the store; on the servers it ends connections of
/// dead movers and moves one short-lived key of its own.
pub(crate) async fn check(run: &Run, cluster: &Cluster, wave: &Wave) -> Result<Ready, Failure> {
    let what = format!("cannot move slots {} from group {} to {}", wave.slots(), wave.from, wave.to);
    nobody_else_moves(cluster, &what)?;
    if !wave.fresh.is_empty() {
        fences_clean(&run.cx, &what).await?;
    }
    let ends = connect(run, cluster, wave, &what).await?;
    way_is_open(run, cluster, wave, &ends, &what)?;
    let (route, native) = (&ends.route, ends.native);
    let redis = |error: RedisError| {
        Failure::redis(&what, &error).next("codisctl migrate run    once it is well again")
    };
    let fresh = wave.clean_slots();
    let Contents { by_slot, mut big, spare } = contents(run, &ends, &wave.slots()).await.map_err(redis)?;
    // Those of slots that are on their way are met again when their turn comes.
    big.retain(|key| fresh.contains(key.slot));
    if fresh.is_empty() {
        return Ok(Ready { ends, by_slot, big, spare });
    }
    if native {
        let there = native_counts(&route.to.addr, &route.connect).await.map_err(redis)?;
        let (count, of) =
            fresh.iter().fold((0, Vec::new()), |(count, mut of), slot| match there[slot.index()] {
                0 => (count, of),
                keys => {
                    of.push(slot);
                    (count + keys, of)
                }
            });
        if count > 0 {
            let of: SlotSet = of.into_iter().collect();
            let why = format!("it holds {count} keys of slots {of} already; some would be overwritten");
            return Err(Failure::new(FailureKind::Unsafe, what, &route.to.addr, why)
                .next(format!("look at them on {}: SLOTSINFO, SCAN", route.to.addr)));
        }
        run.events.note(format!("{} {NATIVE_RISK}", route.from.addr));
        return Ok(Ready { ends, by_slot, big, spare });
    }
    let strays = scan_slots(&route.to.addr, &route.connect, &fresh).await.map_err(redis)?;
    if strays.count > 0 {
        let some: Vec<String> =
            strays.some.iter().map(|key| format!("{:?}", String::from_utf8_lossy(key))).collect();
        let why = format!(
            "it holds {} keys of these slots already, e.g. {}; they would win over those of the source",
            strays.count,
            some.join(" ")
        );
        let next =
            format!("look at them on {} and delete or rename what does not belong there", route.to.addr);
        return Err(Failure::new(FailureKind::Unsafe, what, &route.to.addr, why).next(next));
    }
    probe_move(route, &fresh, run.lease()).await.map_err(redis)?;
    Ok(Ready { ends, by_slot, big, spare })
}

/// What is on the source.
struct Contents {
    by_slot: Vec<u64>,
    big: Vec<BigKey>,
    spare: Option<Speed>,
}

/// Keys of each slot of the wave on the source, and those that would hold a server up for too long. A native server's own command takes a key
/// in one piece whatever its size.
async fn contents(run: &Run, ends: &Ends, slots: &SlotSet) -> Result<Contents, RedisError> {
    let Route { from, connect, .. } = &ends.route;
    if ends.native || run.options.allow_stall {
        let by_slot = match ends.native {
            true => native_counts(&from.addr, connect).await?,
            false => count_by_slot(&from.addr, connect).await?,
        };
        return Ok(Contents { by_slot, big: Vec::new(), spare: None });
    }
    let how = SurveyOptions { only: Some(slots), duty: None, budget: run.options.max_stall, largest: 0 };
    let found = survey(&from.addr, connect, &how, |_| ()).await?;
    let by_slot = found.by_slot.iter().map(|slot| slot.keys).collect();
    Ok(Contents { by_slot, big: found.big, spare: Some(found.speed) })
}

/// Takes from the wave what can move, if some of it cannot: slots with a key that would hold a server up for too long.
/// What is left has failed; the others have their turn when the queue is looked at again.
pub(crate) fn refuse_big(wave: &mut Wave, big: &[BigKey]) -> Result<(), Failure> {
    let Some(why) = too_big(big) else { return Ok(()) };
    let slots: SlotSet = big.iter().map(|key| key.slot).collect();
    wave.moving.clear();
    wave.fresh.retain(|item| slots.contains(item.slot.id));
    let what = format!("cannot move slots {slots} from group {} to {}", wave.from, wave.to);
    Err(Failure::new(FailureKind::Unsafe, what, slots_place(&slots), why)
        .next(format!("codisctl check-slot {slots}    names them; then: codisctl migrate run --allow-stall")))
}

/// Why these keys do not move, the worst first; `None` if there are none.
pub(crate) fn too_big(big: &[BigKey]) -> Option<String> {
    let worst = big.first()?;
    let stall = worst.one_shot.longest().as_secs_f64() * 1e3;
    Some(format!(
        "{} would keep a server busy for longer than allowed, the worst for about {stall:.0} ms: {}, a {} of {} {}",
        plan::plural(big.len(), "key", "keys"),
        worst.key.escape_ascii(),
        worst.kind.as_str(),
        worst.elements,
        worst.kind.elements()
    ))
}

/// Where slots are in the store.
pub(crate) fn slots_place(slots: &SlotSet) -> String {
    slots.iter().next().map_or_else(|| "slots".to_owned(), |slot| format!("slots/slot_{slot}"))
}

/// Both masters, really masters and able to pass keys on, with no mover's connection left on them, and, unless
/// the source is a native server, all their slaves confirming.
pub(crate) async fn connect(run: &Run, cluster: &Cluster, wave: &Wave, what: &str) -> Result<Ends, Failure> {
    let from = master(cluster, wave.from, what)?;
    let to = master(cluster, wave.to, what)?;
    run.bury_predecessors(&[&from.addr, &to.addr], what).await?;
    let (source, s_slaves) = look(run, from, cluster, what).await?;
    let (destination, d_slaves) = look(run, to, cluster, what).await?;
    let native = fit::native((&from.addr, &source), (&to.addr, &destination)).map_err(|misfit| {
        Failure::new(FailureKind::Unsafe, what, &misfit.addr, misfit.why).next(misfit.next)
    })?;
    let owned = cluster.slots_using(wave.from).count().max(1) as u64;
    let need = source.used_memory / owned * wave.fresh.len() as u64;
    enough_memory(&destination, need, from, to)?;
    let route = Route {
        from: Endpoint { addr: from.addr.clone(), slaves: s_slaves },
        to: Endpoint { addr: to.addr.clone(), slaves: d_slaves },
        connect: run.redis(),
        wait_timeout: run.options.wait_timeout,
    };
    Ok(Ends { route, native })
}

fn master<'a>(cluster: &'a Cluster, group: GroupId, what: &str) -> Result<&'a Versioned<Server>, Failure> {
    let place = format!("servers/group_{group}");
    cluster.groups.get(&group).and_then(Group::master).ok_or_else(|| {
        Failure::new(FailureKind::Unsafe, what, place, "the group does not have exactly one master")
            .next("codisctl group list")
    })
}

/// What a server is, and how many slaves must confirm each write: those that do now; none of a native one, which
/// has no WAIT.
async fn look(
    run: &Run,
    server: &Versioned<Server>,
    cluster: &Cluster,
    what: &str,
) -> Result<(ServerInfo, u32), Failure> {
    let addr = &server.addr;
    let next = format!("codisctl server info {addr}    then: {}", run.again());
    let redis = |error: RedisError| Failure::redis(what, &error).next(&next);
    let mut connection = Redis::connect(addr, &run.redis()).await.map_err(redis)?;
    let info = connection.probe().await.map_err(redis)?;
    let refuse = |why: String| Err(Failure::new(FailureKind::Unsafe, what, addr, why).next(&next));
    if let Some(why) = fit::unfit(&info) {
        return refuse(why);
    }
    if info.other_dbs > 0 {
        run.events.note(format!("{addr} has keys in databases other than 0; they do not move"));
    }
    if info.traits().is_native() {
        return Ok((info, 0));
    }
    let slaves = info.slaves_online();
    // A slave that has just been linked confirms only after another second.
    if !connection.settle(slaves, run.options.wait_timeout * 3).await.map_err(redis)? {
        return refuse(format!("its {slaves} slaves do not confirm writes"));
    }
    let listed = cluster.groups.get(&server.group).map_or(0, |group| group.slaves().count());
    if (slaves as usize) < listed {
        let text = "slaves are linked; what moves is not confirmed by the others";
        run.events.note(format!("group {}: {slaves} of {listed} {text}", server.group));
    }
    Ok((info, slaves))
}

/// The destination must have room for what will come, about `need` bytes: slots of a group hold about
/// the same, and a key costs about the same on both sides. What is on its way already comes all the same.
fn enough_memory(destination: &ServerInfo, need: u64, from: &Server, to: &Server) -> Result<(), Failure> {
    if need == 0 || fit::has_room(destination, need) {
        return Ok(());
    }
    let ServerInfo { used_memory, maxmemory, policy, .. } = destination;
    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
    let what = format!("group {} has no room for these slots", to.group);
    let place = format!("{}: {} of {} MB in use", to.addr, mb(*used_memory), mb(*maxmemory));
    let beyond = mb((used_memory + need).saturating_sub(*maxmemory));
    let why = format!(
        "about {} MB would come from {}, {beyond} MB more than there is room for (policy {policy})",
        mb(need),
        from.addr
    );
    Err(Failure::new(FailureKind::Unsafe, what, place, why)
        .next(format!("CONFIG SET maxmemory on {}, or move fewer slots", to.addr)))
}

/// From a stock server only our proxies can fetch keys, and the original's way is for native ones. Slots that are in
/// `migrate` go on all the same: the sooner they arrive, the sooner everybody reaches their keys.
fn way_is_open(run: &Run, cluster: &Cluster, wave: &Wave, ends: &Ends, what: &str) -> Result<(), Failure> {
    if ends.native || wave.fresh.is_empty() {
        return Ok(());
    }
    if run.options.as_codis2 {
        let why = "it does not have the SLOTS* commands of codis-server 2.8";
        return Err(Failure::new(FailureKind::Unsafe, what, &ends.route.from.addr, why)
            .next("codisctl task delete --as codis2 TASK    then: codisctl migrate start"));
    }
    match cluster.online_proxies().find(|proxy| proxy.kind() == ProxyKind::Go) {
        None => Ok(()),
        Some(proxy) => {
            let why = format!(
                "a Go proxy is online; it cannot fetch keys from a stock server, {}",
                ends.route.from.addr
            );
            Err(Failure::new(FailureKind::Unsafe, what, format!("proxy/{}", proxy.id), why)
                .next(format!("codisctl proxy offline {}    then: codisctl migrate run", proxy.id)))
        }
    }
}

fn nobody_else_moves(cluster: &Cluster, what: &str) -> Result<(), Failure> {
    let Some(dashboard) = cluster.dashboard.as_ref().filter(|dashboard| !dashboard.ephemeral) else {
        return Ok(());
    };
    let why = format!(
        "a Go dashboard is registered at {} (pid {}); it moves slots, too",
        dashboard.addr, dashboard.pid
    );
    Err(Failure::new(FailureKind::Unsafe, what, "dashboard", why)
        .next("stop it, then: codisctl migrate run    if it is dead, first: codisctl lock clear dashboard"))
}

/// Ends what an earlier mover left on a server.
pub(crate) async fn bury(run: &Run, addr: &Addr, what: &str) -> Result<(), Failure> {
    let killed = kill_by_name(addr, &run.redis(), super::lease::NAME).await;
    let killed = killed.map_err(|error| {
        Failure::redis(what, &error)
            .next(format!("codisctl server info {addr}    then: codisctl migrate run"))
    })?;
    if killed > 0 {
        run.events.note(format!("{killed} connections of an earlier mover on {addr} were closed"));
    }
    Ok(())
}

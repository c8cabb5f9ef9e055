//! When a master counts as lost, who takes its place, and what is never done: cases, and whatever else can be thought of.
#![expect(clippy::unwrap_used, reason = "a case says where it fails")]

use std::collections::BTreeMap;

use codis_core::ha::{
    AgentView, Decision, Demoted, Facts, Loss, NotNow, Pause, Picture, Policy, Receipt, Saga, SagaKind, Seen,
    ServerView, Silence, Stage, Unfit, Upkeep, choose, decide, needs, upkeep,
};
use codis_core::{Addr, Extra, Group, GroupId, Role, Server, Sight, Versioned, Witness};
use proptest::prelude::*;

const GROUP: GroupId = GroupId(1);
const NOW: u64 = 1_000_000;

fn addr(port: u16) -> Addr {
    format!("10.0.0.1:{port}").parse().unwrap()
}

/// A group with everything that is decided from; the master is 1, slaves are 2 and on.
#[derive(Debug, Clone)]
struct World {
    group: Group,
    servers: BTreeMap<Addr, ServerView>,
    agents: Vec<AgentView>,
    witnesses: Vec<Witness>,
    saga: Option<Saga>,
    moving: bool,
    paused: Option<Pause>,
    healthy: bool,
    policy: Policy,
}

impl World {
    /// Everything is well: three agents, two slaves.
    fn new() -> Self {
        let listed = [(1, Role::Master), (2, Role::Slave), (3, Role::Slave)];
        let servers = listed.map(|(port, role)| Versioned::new(Server::new(addr(port), GROUP, role), 0));
        let views = [
            (addr(1), ServerView { furthest: Some((Some("h".into()), 100)), ..view(facts(true, 100)) }),
            (addr(2), view(slave(90))),
            (addr(3), view(slave(100))),
        ];
        Self {
            group: Group { id: GROUP, servers: servers.into() },
            servers: views.into(),
            agents: (1..=3).map(agent).collect(),
            witnesses: Vec::new(),
            saga: None,
            moving: false,
            paused: None,
            healthy: true,
            policy: Policy::default(),
        }
    }

    /// The master has been silent for so long, and so many agents see it down.
    fn lost(mut self, ms: u64, say: usize) -> Self {
        self.view(1).silence = Some(Silence { ms, why: "refused".into() });
        for agent in self.agents.iter_mut().take(say) {
            agent.silent.insert(addr(1), Seen { ms, down: true });
        }
        for port in [2, 3] {
            let facts = self.facts(port);
            (facts.link_up, facts.link_down_s) = (false, Some(ms / 1000));
        }
        self
    }

    fn view(&mut self, port: u16) -> &mut ServerView {
        self.servers.get_mut(&addr(port)).unwrap()
    }

    fn facts(&mut self, port: u16) -> &mut Facts {
        self.view(port).facts.as_mut().unwrap()
    }

    fn picture(&self) -> Picture<'_> {
        Picture {
            group: &self.group,
            servers: &self.servers,
            agents: &self.agents,
            witnesses: &self.witnesses,
            saga: self.saga.as_ref(),
            moving: self.moving,
            paused: self.paused.as_ref(),
            session_healthy: self.healthy,
            now_ms: NOW,
        }
    }

    fn decide(&self) -> Decision {
        decide(&self.picture(), &self.policy)
    }

    /// The one that would be the master, or the word for why there is none.
    fn outcome(&self) -> Result<Addr, &'static str> {
        match self.decide() {
            Decision::Nothing => Err("nothing"),
            Decision::Failover(choice) => Ok(choice.new),
            Decision::Refused { why, .. } => Err(why.as_str()),
        }
    }

    fn unfit(&self, port: u16) -> Option<Unfit> {
        let verdicts = match self.decide() {
            Decision::Failover(choice) => choice.candidates,
            Decision::Refused { why: NotNow::NobodyFit(verdicts), .. } => verdicts,
            other => panic!("{other:?}"),
        };
        verdicts.into_iter().find(|verdict| verdict.addr == addr(port)).unwrap().unfit
    }
}

fn facts(is_master: bool, offset: u64) -> Facts {
    let run_id = format!("run{offset}");
    Facts {
        is_master,
        run_id,
        history: Some("h".into()),
        offset,
        keys: 10,
        priority: 100,
        ..Facts::default()
    }
}

fn slave(offset: u64) -> Facts {
    Facts { master: Some(addr(1)), link_up: true, last_io_s: Some(0), ..facts(false, offset) }
}

fn view(facts: Facts) -> ServerView {
    ServerView { facts: Some(facts), ..ServerView::default() }
}

fn agent(n: u64) -> AgentView {
    AgentView { id: format!("host{n}:1"), observe_only: false, ts_ms: NOW, silent: BTreeMap::new() }
}

fn witness(id: &str, failing: u32) -> Witness {
    let sight = Sight { connections: 2, failing };
    Witness { proxy: id.parse().unwrap(), ts_ms: NOW, servers: [(addr(1), sight)].into() }
}

fn saga(kind: SagaKind, stage: Stage, ended_ms: u64) -> Saga {
    Saga {
        group: GROUP,
        kind,
        stage,
        old: addr(9),
        new: addr(1),
        owner: String::new(),
        epoch: 1,
        begun_ms: 0,
        hold_ms: 0,
        run_id: String::new(),
        why: String::new(),
        receipt: Receipt { ended_ms, ..Receipt::default() },
        demoted: Vec::new(),
        extra: Extra::default(),
    }
}

#[test]
fn a_majority_that_has_waited_long_enough_decides() {
    assert_eq!(World::new().outcome(), Err("nothing"));
    assert_eq!(World::new().lost(5_999, 0).outcome(), Err("nothing"), "not long enough");
    assert_eq!(World::new().lost(6_000, 1).outcome(), Err("no_majority"));
    assert_eq!(World::new().lost(6_000, 2).outcome(), Ok(addr(3)));
    let mut two = World::new().lost(6_000, 1);
    two.agents.truncate(2);
    assert_eq!(two.outcome(), Err("no_majority"), "one of two is none");
}

#[test]
fn a_single_agent_asks_the_proxies() {
    let single = |witnesses: Vec<Witness>| {
        let mut world = World { witnesses, ..World::new().lost(6_000, 1) };
        world.agents.truncate(1);
        world
    };
    assert_eq!(single(vec![]).outcome(), Ok(addr(3)), "there is nobody to ask");
    assert_eq!(single(vec![witness("a", 1)]).outcome(), Ok(addr(3)));
    assert_eq!(single(vec![witness("a", 0)]).outcome(), Err("witness_disagrees"));
    assert_eq!(single(vec![witness("a", 1), witness("b", 0)]).outcome(), Ok(addr(3)));
    let outvoted = single(vec![witness("a", 1), witness("b", 0), witness("c", 0)]);
    assert_eq!(outvoted.outcome(), Err("witness_disagrees"));
    let mut never = single(vec![witness("a", 1)]);
    never.policy.single_observer = false;
    assert_eq!(never.outcome(), Err("single_observer"));
}

#[test]
fn the_furthest_slave_in_the_masters_history_is_chosen() {
    let mut world = World::new().lost(6_000, 3);
    assert_eq!(world.outcome(), Ok(addr(3)));
    world.facts(2).offset = 100;
    assert_eq!(world.outcome(), Ok(addr(2)), "of equals the first by address");
    world.facts(3).priority = 10;
    assert_eq!(world.outcome(), Ok(addr(3)), "of equals the one with the smaller priority");
    world.facts(2).offset = 101;
    assert_eq!(world.outcome(), Ok(addr(2)), "an offset counts more than a priority");
    // It restarted empty: what it calls an offset is of another history.
    let restarted = world.facts(2);
    (restarted.history, restarted.offset, restarted.keys) = (Some("other".into()), 9_999, 0);
    assert_eq!(world.outcome(), Ok(addr(3)));
}

#[test]
fn the_first_slave_is_dead_the_second_lags_the_third_is_good() {
    let mut world = World::new().lost(6_000, 3);
    world.group.servers.push(Versioned::new(Server::new(addr(4), GROUP, Role::Slave), 0));
    let good = Facts { link_up: false, link_down_s: Some(6), ..slave(95) };
    world.servers.insert(addr(4), view(good));
    world.view(2).silence = Some(Silence { ms: 9_000, why: "refused".into() });
    world.facts(3).link_down_s = Some(47);
    assert_eq!(world.outcome(), Ok(addr(4)));
    assert_eq!(world.unfit(2), Some(Unfit::Unreachable("refused".into())));
    assert_eq!(world.unfit(3), Some(Unfit::Behind { s: 40, limit_s: 10 }));
}

#[test]
fn some_servers_never_become_masters() {
    let refuse = |change: fn(&mut World), why: Unfit| {
        let mut world = World::new().lost(6_000, 3);
        change(&mut world);
        assert_eq!(world.unfit(3), Some(why.clone()));
        assert_eq!(world.outcome(), Ok(addr(2)), "{why}");
    };
    refuse(|world| world.facts(3).loading = true, Unfit::Loading);
    refuse(|world| world.facts(3).syncing = true, Unfit::Syncing);
    refuse(|world| world.facts(3).priority = 0, Unfit::Never);
    refuse(|world| world.facts(3).link_down_s = None, Unfit::NeverLinked);
    refuse(|world| world.facts(3).master = Some(addr(8)), Unfit::FollowsAnother(addr(8)));
    refuse(|world| world.view(3).refusal = Some("NOAUTH".into()), Unfit::Unreachable("NOAUTH".into()));
    // It lost its link two seconds before the master was lost, while slots moved.
    refuse(
        |world| {
            world.moving = true;
            world.facts(3).link_down_s = Some(9);
        },
        Unfit::SlotsMoving,
    );
}

#[test]
fn nobody_is_promoted_who_is_not_fit_or_while_it_shall_not_be() {
    let mut world = World::new().lost(6_000, 3);
    (world.facts(2).loading, world.facts(3).loading) = (true, true);
    assert_eq!(world.outcome(), Err("nobody_fit"));

    let mut paused = World::new().lost(6_000, 3);
    let until = |until_ms| Some(Pause { by: "li".into(), why: String::new(), since_ms: 0, until_ms });
    paused.paused = until(None);
    assert_eq!(paused.outcome(), Err("paused"));
    paused.paused = until(Some(NOW + 1));
    assert_eq!(paused.outcome(), Err("paused"));
    paused.paused = until(Some(NOW));
    assert_eq!(paused.outcome(), Ok(addr(3)), "it is over");

    let unhealthy = World { healthy: false, ..World::new().lost(6_000, 3) };
    assert_eq!(unhealthy.outcome(), Err("session_unhealthy"));
}

#[test]
fn a_group_is_left_alone_after_a_failover_but_not_when_that_did_not_end() {
    let after = |kind, stage, ended_ms| {
        World { saga: Some(saga(kind, stage, ended_ms)), ..World::new().lost(6_000, 3) }.outcome()
    };
    assert_eq!(after(SagaKind::Failover, Stage::Ended, NOW - 59_999), Err("cooled_down"));
    assert_eq!(after(SagaKind::Failover, Stage::Ended, NOW - 60_000), Ok(addr(3)));
    assert_eq!(after(SagaKind::Planned, Stage::Ended, NOW - 1), Ok(addr(3)), "nobody had failed");
    assert_eq!(after(SagaKind::Failover, Stage::Aborted, NOW - 1), Ok(addr(3)), "nothing was done");
    // The new master is lost before everything had followed it.
    assert_eq!(after(SagaKind::Failover, Stage::Attach, 0), Ok(addr(3)));
    // The store still names the old one: whoever goes on chooses another candidate.
    assert_eq!(after(SagaKind::Failover, Stage::Promote, 0), Err("nothing"));
}

#[test]
fn the_old_master_of_an_open_change_or_a_faithful_offline_server_is_the_last_resort() {
    let mut world = World::new().lost(6_000, 3);
    world.group.servers[1].value.role = Role::Offline;
    world.group.servers[2].value.role = Role::Offline;
    assert_eq!(world.outcome(), Ok(addr(3)), "it replicates from the lost master");
    world.facts(3).master = Some(addr(8));
    world.facts(2).master = None;
    world.facts(2).is_master = true;
    assert_eq!(world.outcome(), Err("nobody_fit"));
    // A planned change that has not ended: its old master is complete.
    world.saga = Some(Saga { old: addr(2), ..saga(SagaKind::Planned, Stage::Follow, 0) });
    assert_eq!(world.outcome(), Ok(addr(2)));
}

/// Case A3 of the model: the new master dies before the third server was sent to it.
#[test]
fn a_slave_that_an_open_change_has_not_come_to_yet_may_be_the_master() {
    let mut world = World::new().lost(6_000, 3);
    world.group.servers[1].value.role = Role::Offline;
    let open = saga(SagaKind::Failover, Stage::Attach, 0);
    let receipt = Receipt { last_good_ms: NOW - 30_000, ..Receipt::default() };
    world.saga = Some(Saga { old: addr(2), new: addr(1), receipt, ..open });
    world.view(2).silence = Some(Silence { ms: 4_000, why: "refused".into() });
    let third = world.facts(3);
    (third.master, third.link_down_s) = (Some(addr(2)), Some(30));
    assert_eq!(world.outcome(), Ok(addr(3)), "it was linked until the first master was lost");
    world.facts(3).link_down_s = Some(45);
    assert_eq!(world.unfit(3), Some(Unfit::Behind { s: 14, limit_s: 10 }));
    // Once a change is over its slaves follow the new master, or nobody knows why not.
    world.facts(3).link_down_s = Some(30);
    world.saga.as_mut().unwrap().stage = Stage::Ended;
    assert_eq!(world.unfit(3), Some(Unfit::FollowsAnother(addr(2))));
}

#[test]
fn a_slave_that_is_a_master_itself_is_trusted_only_if_we_have_detached_it() {
    let mut world = World::new().lost(6_000, 3);
    world.group.servers.truncate(2);
    let detached = world.facts(2);
    (detached.is_master, detached.master) = (true, None);
    assert_eq!((world.outcome(), world.unfit(2)), (Err("nobody_fit"), Some(Unfit::MasterItself)));
    // An attempt that was given up after it had been made a master: it was fit then.
    world.saga = Some(Saga { new: addr(2), ..saga(SagaKind::Failover, Stage::Aborted, 0) });
    assert_eq!(world.outcome(), Ok(addr(2)));
}

#[test]
fn a_master_that_restarts_empty_is_lost_at_once_if_a_slave_has_the_data() {
    let mut world = World::new();
    world.view(1).emptied = Some(10);
    world.facts(1).keys = 0;
    world.agents[0].silent.insert(addr(1), Seen { ms: 0, down: true });
    assert_eq!(world.outcome(), Err("no_majority"));
    world.agents[1].silent.insert(addr(1), Seen { ms: 0, down: true });
    assert_eq!(world.outcome(), Ok(addr(3)));
    (world.facts(2).keys, world.facts(3).keys) = (0, 0);
    assert_eq!(world.outcome(), Err("nothing"), "nobody has it any more");
}

#[test]
fn slaves_are_attached_again_and_old_masters_come_back() {
    let todo = |world: &World| upkeep(&world.picture(), &world.policy);
    let mut world = World::new();
    assert_eq!(todo(&world), []);
    world.facts(2).master = Some(addr(9));
    world.view(1).writes_stopped = true;
    let again = Upkeep::Reattach { server: addr(2), master: addr(1) };
    assert_eq!(todo(&world), [Upkeep::AllowWrites { master: addr(1) }, again]);
    world.facts(1).keys = 0;
    assert_eq!(todo(&world), [Upkeep::AllowWrites { master: addr(1) }], "not to an empty one");

    let demoted = |offset| Demoted::new(addr(3), Some("h".into()), offset);
    let mut world = World::new();
    world.group.servers[2].value.role = Role::Offline;
    *world.facts(3) = facts(true, 100);
    assert_eq!(todo(&world), [], "one that people took offline stays so");
    world.saga = Some(Saga { demoted: vec![demoted(100)], ..saga(SagaKind::Failover, Stage::Ended, 1) });
    let rejoin = |diverged| Upkeep::Rejoin { server: addr(3), master: addr(1), diverged };
    assert_eq!(todo(&world), [rejoin(false)]);
    world.saga.as_mut().unwrap().demoted = vec![demoted(99)];
    assert_eq!(todo(&world), [rejoin(true)], "it went on writing");
    world.facts(3).history = Some("new".into());
    world.saga.as_mut().unwrap().demoted = vec![demoted(100)];
    assert_eq!(todo(&world), [rejoin(true)], "it restarted: nobody can tell");
    world.facts(3).keys = 0;
    assert_eq!(todo(&world), [rejoin(false)], "it has nothing to keep");
    world.policy.auto_rejoin = false;
    assert_eq!(todo(&world), [Upkeep::Waiting { server: addr(3) }]);
    world.saga.as_mut().unwrap().demoted[0].asked = true;
    assert_eq!(todo(&world), [rejoin(false)], "people have looked, and asked for it");
    *world.facts(3) = slave(100);
    assert_eq!(todo(&world), [Upkeep::ListAsSlave { server: addr(3) }]);
    world.group.servers.remove(2);
    assert_eq!(todo(&world), [Upkeep::Forget { server: addr(3) }]);
    world.saga.as_mut().unwrap().stage = Stage::Attach;
    assert_eq!(todo(&world), [], "while its master changes a group is left alone");
}

#[test]
fn what_was_lost_is_known_exactly_when_the_old_master_is_back() {
    let lost = |back: &Facts| {
        let demoted = vec![Demoted::new(addr(3), Some("h".into()), 90)];
        let mut ended = Saga { demoted, old: addr(3), ..saga(SagaKind::Failover, Stage::Ended, 1) };
        ended.receipt.lost = Some(Loss { bytes: 1, writes: Some(7) });
        let missed = ended.demoted[0].went_on(back);
        ended.note_return(&addr(3), missed, Some("file".into()));
        assert_eq!(ended.demoted[0].kept.as_deref(), Some("file"));
        (ended.receipt.lost, ended.lost_with(&addr(3)))
    };
    let some = Some(Loss { bytes: 10, writes: Some(7) });
    assert_eq!(lost(&facts(true, 100)), (some, some));
    let nothing = Some(Loss::NONE);
    assert_eq!(lost(&facts(true, 90)), (nothing, nothing));
    let restarted = Facts { history: Some("new".into()), ..facts(true, 100) };
    assert_eq!(lost(&restarted), (Some(Loss { bytes: 1, writes: Some(7) }), None));
}

#[test]
fn what_a_failover_needs_is_told_before_it_is_needed() {
    let unmet = |world: &World, leads: bool| -> Vec<String> {
        let picture = world.picture();
        let candidates = choose(&world.group, &addr(1), &world.servers, &world.policy, false, None, NOW);
        let all = needs(&picture, &world.policy, leads, &candidates);
        all.into_iter().filter_map(|need| Some(format!("{}: {}", need.what, need.unmet?))).collect()
    };
    let mut world = World::new();
    assert_eq!(unmet(&world, true), [""; 0]);
    assert_eq!(unmet(&world, false), ["majority of agents: no agent leads"]);
    let observer = AgentView { observe_only: true, ..agent(1) };
    world.agents = vec![observer];
    assert_eq!(unmet(&world, false), ["majority of agents: all agents only observe"]);
    world.agents.clear();
    let (by, why, since_ms) = ("li@ops".to_owned(), "OPS-812".to_owned(), 1);
    world.paused = Some(Pause { by, why, since_ms, until_ms: None });
    world.saga = Some(saga(SagaKind::Failover, Stage::Ended, NOW - 20_000));
    world.group.servers.truncate(1);
    assert_eq!(
        unmet(&world, false),
        [
            "majority of agents: no agent watches",
            "product not paused: suspended by li@ops: OPS-812",
            "no failover here in the last 60 s: the next may be in 40 s",
            "a server that is fit: the group has no other server",
        ]
    );
    let world = World::new().lost(7000, 1);
    assert_eq!(unmet(&world, true), ["majority of agents: only 1 of 3 agents see it down"]);
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let link = (any::<bool>(), proptest::option::of(0u64..60), proptest::option::of(0u64..60));
    let state = (any::<bool>(), 0u8..8, 0u8..8);
    let place = (0u64..200, 0u64..20, proptest::sample::select(vec!["h", "other"]));
    let follows = proptest::option::of(1u16..6);
    (link, state, place, follows, 0u32..3).prop_map(
        |(link, (is_master, load, sync), place, follows, priority)| Facts {
            is_master,
            loading: load == 0,
            syncing: sync == 0,
            link_up: link.0,
            link_down_s: link.1,
            last_io_s: link.2,
            offset: place.0,
            keys: place.1,
            history: Some(place.2.to_owned()),
            master: follows.filter(|_| !is_master).map(addr),
            run_id: format!("run{}", place.0),
            priority,
            ..Facts::default()
        },
    )
}

fn any_view() -> impl Strategy<Value = ServerView> {
    (proptest::option::of(any_facts()), proptest::option::of(0u64..20_000), proptest::option::of(0u64..20))
        .prop_map(|(facts, silent, emptied)| ServerView {
            silence: silent.map(|ms| Silence { ms, why: "x".into() }),
            facts,
            emptied,
            furthest: Some((Some("h".into()), 100)),
            ..ServerView::default()
        })
}

fn any_role() -> impl Strategy<Value = Role> {
    proptest::sample::select(vec![Role::Master, Role::Slave, Role::Slave, Role::Offline])
}

prop_compose! {
    fn worlds()(
        listed in proptest::collection::vec((any_role(), any_view()), 1..5),
        say in 0usize..5,
        of in 1usize..5,
        stage in proptest::option::of(proptest::sample::select(vec![
            Stage::Intent, Stage::Promote, Stage::Follow, Stage::Attach, Stage::Ended, Stage::Aborted,
        ])),
        ended_ms in NOW - 120_000..NOW,
        moving in any::<bool>(),
        paused in any::<bool>(),
        healthy in any::<bool>(),
    ) -> World {
        let mut world = World { moving, healthy, ..World::new() };
        let ports = 1u16..;
        world.group.servers = ports.clone().zip(&listed)
            .map(|(port, (role, _))| Versioned::new(Server::new(addr(port), GROUP, *role), 0)).collect();
        world.servers = ports.zip(listed).map(|(port, (_, view))| (addr(port), view)).collect();
        world.agents = (0..of as u64).map(agent).collect();
        let masters: Vec<Addr> = world.group.masters().map(|server| server.addr.clone()).collect();
        for agent in world.agents.iter_mut().take(say) {
            agent.silent = masters.iter().map(|addr| (addr.clone(), Seen { ms: 9_000, down: true })).collect();
        }
        world.saga = stage.map(|stage| saga(SagaKind::Failover, stage, ended_ms));
        world.paused = paused.then(|| Pause { by: "li".into(), why: String::new(), since_ms: 0, until_ms: None });
        world
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever is seen: no failover without a majority, while paused, cooling down or cut off from the store; and the new
    /// master is another server of the group, answers, loads and copies nothing, may be one, and was not too long without
    /// its master. Afterwards the group has one master.
    #[test]
    fn no_failover_is_made_that_must_not_be(world in worlds()) {
        let Decision::Failover(choice) = world.decide() else { return Ok(()) };
        let saying = world.agents.iter().filter(|agent| agent.silent.contains_key(&choice.old)).count();
        prop_assert!(saying * 2 > world.agents.len(), "{} of {}", saying, world.agents.len());
        prop_assert!(world.paused.is_none() && world.healthy);
        if let Some(saga) = world.saga.as_ref() {
            prop_assert!(!matches!(saga.stage, Stage::Intent | Stage::Promote));
            prop_assert!(saga.stage != Stage::Ended || saga.receipt.ended_ms + world.policy.recovery_block_ms <= NOW);
        }
        let masters: Vec<&Addr> = world.group.masters().map(|server| &server.addr).collect();
        prop_assert_eq!(masters, [&choice.old]);
        let listed = world.group.server(&choice.new).unwrap();
        prop_assert!(listed.role != Role::Master && choice.new != choice.old);
        let view = &world.servers[&choice.new];
        let facts = view.facts.as_ref().unwrap();
        prop_assert!(view.silence.is_none() && !facts.loading && !facts.syncing && facts.priority > 0);
        prop_assert_eq!(&choice.run_id, &facts.run_id);
        let chosen = choice.candidates.iter().filter(|verdict| verdict.chosen).count();
        prop_assert_eq!(chosen, 1);
        let former = world.saga.as_ref().filter(|saga| !saga.stage.is_over()).map(|saga| &saga.old);
        let detached = world.saga.as_ref().filter(|saga| saga.stage == Stage::Aborted).map(|saga| &saga.new);
        prop_assert!(!facts.is_master || former == Some(&choice.new) || detached == Some(&choice.new));
        if !facts.is_master && former != Some(&choice.new) {
            let lost_s = world.servers[&choice.old].silence.as_ref().map_or(0, |silence| silence.ms / 1000);
            let without = if facts.link_up { facts.last_io_s.unwrap_or(0).saturating_sub(10) } else { facts.link_down_s.unwrap() };
            prop_assert!(without <= lost_s + world.policy.max_lag_s + 1, "{without} s without its master");
        }
    }

    /// Nobody is sent to follow itself, a slave, or an empty server that it has more than; and nothing at all while a
    /// master changes.
    #[test]
    fn upkeep_never_sends_a_server_to_one_that_it_would_lose_by(world in worlds()) {
        let todo = upkeep(&world.picture(), &world.policy);
        if world.saga.as_ref().is_some_and(|saga| !saga.stage.is_over()) {
            prop_assert_eq!(&todo, &[]);
        }
        for one in todo {
            let (Upkeep::Reattach { server, master } | Upkeep::Rejoin { server, master, .. }) = one else { continue };
            prop_assert_ne!(&server, &master);
            prop_assert_eq!(&world.group.master().unwrap().addr, &master);
            let (own, theirs) = (&world.servers[&server], &world.servers[&master]);
            prop_assert!(own.is_reachable() && theirs.is_reachable());
            let (own, theirs) = (own.facts.as_ref().unwrap(), theirs.facts.as_ref().unwrap());
            prop_assert!(theirs.is_master && (own.keys == 0 || theirs.keys > 0));
        }
    }
}

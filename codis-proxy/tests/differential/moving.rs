//! The same while slots move to and fro between two groups.

use std::cell::Cell;
use std::collections::BTreeSet;

use codis_core::{GroupId, Slot, SlotId, slot_of_key};
use codis_testkit::{RedisServer, Reply, need};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::fixture::{Fixture, local_store, run};
use crate::generator::Generator;
use crate::{Pair, number};

const COMMANDS: u64 = 3_500;
/// Of a long run: moves take their time.
const MOST_COMMANDS: usize = 20_000;
/// Pipelines between two steps of a move.
const PIPELINES_PER_STEP: usize = 4;

/// Takes every key of a slot along, as whoever moves slots does before it is online at its new group.
fn take_along(pair: &Pair, keys: &[Vec<Vec<u8>>], slot: SlotId) {
    let mut client = pair.proxy.client();
    for keys in keys.iter().filter(|keys| slot_of_key(&keys[0]) == slot) {
        let request: Vec<&[u8]> =
            [b"EXISTS".as_slice()].into_iter().chain(keys.iter().map(|key| &key[..])).collect();
        assert!(matches!(client.call(&request).unwrap(), Reply::Int(_)));
    }
}

#[test]
fn replies_are_those_of_one_server_while_slots_move() {
    need!("redis");
    let seed = number("CODIS_DIFFERENTIAL_SEED", 1);
    let wanted = (number("CODIS_DIFFERENTIAL_COMMANDS", COMMANDS) as usize).min(MOST_COMMANDS);
    let (_sandbox, store) = local_store();
    run(async {
        let fixture = Fixture::new(&store).await;
        let proxy = fixture.start("p1");
        let pair = Pair {
            single: RedisServer::start(),
            servers: Vec::new(),
            proxy,
            _config: None,
            errors: Cell::default(),
        };
        let mut generator = Generator::new(seed).only_keys();
        let mut chance = StdRng::seed_from_u64(seed);
        let keys = Generator::all_keys();
        let slots: Vec<SlotId> =
            keys.iter().map(|keys| slot_of_key(&keys[0])).collect::<BTreeSet<_>>().into_iter().collect();
        let mut homes = vec![GroupId(1); slots.len()];
        // The slots that move now, by their places in `slots`.
        let mut moving: BTreeSet<usize> = BTreeSet::new();
        let (mut sent, mut moves) = (0, 0);
        while sent < wanted {
            for _ in 0..PIPELINES_PER_STEP {
                let pipeline = generator.pipeline();
                sent += pipeline.steps.len();
                if let Some(difference) = pair.compare(&pipeline) {
                    let args = pipeline.steps[difference.at].args.iter();
                    let words: Vec<String> = args.map(|arg| arg.escape_ascii().to_string()).collect();
                    panic!(
                        "seed {seed}, command {sent}, {moves} moves: {}\nthe server: {}\n the proxy: {}",
                        words.join(" "),
                        difference.theirs,
                        difference.ours
                    );
                }
            }
            let at = chance.random_range(0..slots.len());
            let (slot, from) = (slots[at], homes[at]);
            let to = GroupId(3 - from.0);
            if moving.remove(&at) {
                take_along(&pair, &keys, slot);
                fixture.change(slot, |slot| slot.online_at(to)).await;
                homes[at] = to;
                moves += 1;
            } else {
                fixture.change(slot, Slot::pre_migrate).await;
                fixture.change(slot, |slot| slot.migrate(from, to)).await;
                moving.insert(at);
            }
        }
        let errors = pair.errors.get();
        assert!(moves > 10 && errors * 3 < sent, "{moves} moves, {errors} errors of {sent}");
        eprintln!(
            "seed {seed}: {sent} commands, {errors} answered with an error, {moves} slots moved meanwhile"
        );
    });
}

//! What several proxies tell, added up.

use std::collections::BTreeMap;

use codis_admin::{BigReply, CommandTimes, CommandsPage, HotKey, HotPage, HotSlot};

/// All commands of several proxies, most time first.
pub fn add_commands<'a>(pages: impl Iterator<Item = &'a CommandsPage>) -> Vec<CommandTimes> {
    let mut sums: BTreeMap<&str, CommandTimes> = BTreeMap::new();
    for command in pages.flat_map(|page| &page.commands) {
        let sum = sums.entry(&command.command).or_default();
        sum.command.clone_from(&command.command);
        sum.add(command);
    }
    let mut all: Vec<CommandTimes> = sums.into_values().collect();
    all.sort_by(|a, b| b.usecs.cmp(&a.usecs).then_with(|| b.calls.cmp(&a.calls)));
    all
}

/// What is hot at several proxies together.
pub fn add_hot<'a>(pages: impl Iterator<Item = &'a HotPage>) -> HotPage {
    let mut sum = HotPage::default();
    let mut keys: BTreeMap<(&str, u16), HotKey> = BTreeMap::new();
    let mut slots: BTreeMap<u16, u64> = BTreeMap::new();
    let mut big: Vec<BigReply> = Vec::new();
    for page in pages {
        sum.enabled |= page.enabled;
        sum.seconds = sum.seconds.max(page.seconds);
        sum.sampled += page.sampled;
        sum.requests += page.requests;
        for key in &page.keys {
            match keys.get_mut(&(key.key.as_str(), key.slot)) {
                Some(known) => add_key(known, key),
                None => drop(keys.insert((&key.key, key.slot), key.clone())),
            }
        }
        page.slots.iter().for_each(|slot| *slots.entry(slot.slot).or_default() += slot.requests);
        for reply in &page.big_replies {
            let same = |known: &&mut BigReply| {
                (&known.command, &known.key, &known.backend) == (&reply.command, &reply.key, &reply.backend)
            };
            match big.iter_mut().find(same) {
                Some(known) => {
                    known.bytes = known.bytes.max(reply.bytes);
                    known.ts_ms = known.ts_ms.max(reply.ts_ms);
                    known.times += reply.times;
                }
                None => big.push(reply.clone()),
            }
        }
    }
    sum.keys = keys.into_values().collect();
    sum.keys.sort_by_key(|key| std::cmp::Reverse(key.requests));
    sum.slots = slots.into_iter().map(|(slot, requests)| HotSlot { slot, requests }).collect();
    sum.slots.sort_by_key(|slot| std::cmp::Reverse(slot.requests));
    big.sort_by_key(|reply| std::cmp::Reverse(reply.bytes));
    sum.big_replies = big;
    sum
}

fn add_key(sum: &mut HotKey, more: &HotKey) {
    sum.requests += more.requests;
    sum.error += more.error;
    for command in &more.commands {
        match sum.commands.iter_mut().find(|known| known.command == command.command) {
            Some(known) => known.requests += command.requests,
            None => sum.commands.push(command.clone()),
        }
    }
    sum.commands.sort_by_key(|command| std::cmp::Reverse(command.requests));
}

#[cfg(test)]
mod tests {
    use codis_admin::CommandCount;

    use super::*;

    #[test]
    fn hot_keys_of_two_proxies_are_added() {
        let key = |key: &str, get, set| HotKey {
            key: key.into(),
            slot: 1,
            requests: get + set,
            error: 1,
            commands: [("GET", get), ("SET", set)]
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(command, requests)| CommandCount { command: command.into(), requests })
                .collect(),
        };
        let page = |keys| HotPage { enabled: true, seconds: 40.0, requests: 100, keys, ..HotPage::default() };
        let pages = [page(vec![key("a", 10, 0), key("b", 15, 0)]), page(vec![key("a", 2, 9)])];
        let sum = add_hot(pages.iter());
        let told: Vec<_> = sum.keys.iter().map(|key| (key.key.as_str(), key.requests, key.error)).collect();
        assert_eq!((told, sum.requests, sum.seconds), (vec![("a", 21, 2), ("b", 15, 1)], 200, 40.0));
        let commands: Vec<_> =
            sum.keys[0].commands.iter().map(|one| (&one.command[..], one.requests)).collect();
        assert_eq!(commands, [("GET", 12), ("SET", 9)]);
    }
}

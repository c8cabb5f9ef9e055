use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use codis_core::{Cluster, SlotId, hash_tag, slot_of_key};
use codis_ops::Failure;
use serde::Serialize;

use crate::{
    commands::cell,
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// Tell the slot of a key, or make a key for a slot
///
/// Only what stands between the first { and the next } counts, if there is such a pair. With a store
/// and a product the group is named, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl slot key user:1 '{user:1}:inbox'
  codisctl slot key --slot 17 --output plain

Exit status: 0 done · 2 no such slot · 5 store unreachable; the slots are told
all the same")]
pub(crate) struct KeyArgs {
    /// The keys
    #[arg(value_name = "KEY", required_unless_present = "slot")]
    keys: Vec<OsString>,
    /// Make a key that belongs to this slot
    #[arg(long, value_name = "SLOT", conflicts_with = "keys")]
    slot: Option<SlotId>,
}

#[derive(Debug, Serialize)]
struct Keys {
    keys: Vec<KeyLine>,
}

#[derive(Debug, Serialize)]
struct KeyLine {
    key: String,
    tag: String,
    slot: u16,
    group: Option<u32>,
}

pub(super) async fn run(session: &Session, args: &KeyArgs) -> Done {
    let (cluster, failure) = match session.settings.names_a_product() {
        true => match load(session).await {
            Ok(cluster) => (Some(cluster), None),
            Err(failure) => (None, Some(failure)),
        },
        false => (None, None),
    };
    let keys: Vec<Vec<u8>> = match args.slot {
        Some(slot) => vec![key_of(slot).into_bytes()],
        None => args.keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
    };
    let keys = keys.iter().map(|key| KeyLine::new(key, cluster.as_ref())).collect();
    session.ui.report(&Keys { keys })?;
    // The slots are known all the same.
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

async fn load(session: &Session) -> Result<Cluster, Failure> {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    Ok(cluster)
}

/// `key:N` with the smallest N that belongs to the slot. Hashes are spread evenly, so it takes about
/// a thousand tries, and some N fits every slot below a few times that.
fn key_of(slot: SlotId) -> String {
    let keys = (0..u64::MAX).map(|n| format!("key:{n}"));
    keys.into_iter().find(|key| slot_of_key(key.as_bytes()) == slot).unwrap_or_default()
}

impl KeyLine {
    fn new(key: &[u8], cluster: Option<&Cluster>) -> Self {
        let slot = slot_of_key(key);
        let stored = cluster.and_then(|cluster| cluster.slot(slot));
        Self {
            key: String::from_utf8_lossy(key).into_owned(),
            tag: String::from_utf8_lossy(hash_tag(key)).into_owned(),
            slot: slot.get(),
            group: stored.and_then(|slot| slot.group).map(|group| group.0),
        }
    }
}

impl Keys {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("key", Fit::Left),
            ("hashed part", Fit::Left),
            ("slot", Fit::Right),
            ("group", Fit::Right),
        ]);
        for line in &self.keys {
            grid.row([line.key.clone(), line.tag.clone(), line.slot.to_string(), cell(line.group)]);
        }
        grid
    }
}

impl Report for Keys {
    fn human(&self, look: &Look) -> String {
        self.grid().draw(look)
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_key_for_every_slot() {
        for slot in SlotId::all().step_by(37) {
            assert_eq!(slot_of_key(key_of(slot).as_bytes()), slot);
        }
    }
}

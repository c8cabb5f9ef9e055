use codis_core::{GroupId, SlotSet};
use codis_ops::{
    BigKey, Events, Failure, FailureKind, Kind, LiveRole,
    big::{BigKeys, BigOptions, Looked, Measure, big_keys},
};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look, progress, units},
    session::Session,
    ui::Report,
};

/// Find the largest keys
///
/// Looks through all groups, or those named, on a slave that is in step if there is one. It only reads, with a tenth of a core of
/// each server; --fast takes what the servers give. By elements, and of one type, the largest are looked for among the two thousand
/// of each group that take the most memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl bigkeys
  codisctl bigkeys --group 7 --by stall --top 5
  codisctl bigkeys --slots 939-959 --type hash --fast --output json

Exit status: 0 done · 1 no such group · 2 usage · 4 a server cannot tell sizes · 5 store or server unreachable")]
pub(crate) struct BigKeysArgs {
    /// Only of these groups
    #[arg(long = "group", value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<GroupId>,
    /// Only of these slots, e.g. 939-959,970
    #[arg(long, value_name = "RANGES")]
    slots: Option<SlotSet>,
    /// What counts: bytes in memory, elements, or how long a key would hold a server up
    #[arg(long, value_name = "WHAT", default_value = "bytes", hide_possible_values = true)]
    by: By,
    /// Only of this type: string, hash, list, set, zset, stream, module
    #[arg(long = "type", value_name = "TYPE", hide_possible_values = true)]
    kind: Option<Type>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    top: u32,
    /// As fast as the servers answer
    #[arg(long)]
    fast: bool,
    /// Look through the masters even where a slave is in step
    #[arg(long)]
    masters: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    Bytes,
    Elements,
    Stall,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Type {
    String,
    Hash,
    List,
    Set,
    Zset,
    Stream,
    Module,
}

impl From<By> for Measure {
    fn from(by: By) -> Self {
        match by {
            By::Bytes => Self::Bytes,
            By::Elements => Self::Elements,
            By::Stall => Self::Stall,
        }
    }
}

impl From<Type> for Kind {
    fn from(kind: Type) -> Self {
        match kind {
            Type::String => Self::String,
            Type::Hash => Self::Hash,
            Type::List => Self::List,
            Type::Set => Self::Set,
            Type::Zset => Self::Zset,
            Type::Stream => Self::Stream,
            Type::Module => Self::Module,
        }
    }
}

pub(super) async fn run(session: &Session, args: &BigKeysArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let options = BigOptions {
        groups: args.groups.clone(),
        slots: args.slots.clone(),
        kind: args.kind.map(Kind::from),
        by: args.by.into(),
        top: args.top as usize,
        fast: args.fast,
        masters: args.masters,
        patience: session.patience(),
    };
    let (events, stream) = Events::channel();
    let interrupted = Failure::new(FailureKind::Interrupted, "interrupted", "", "nothing was written");
    let work = Box::pin(big_keys(&cx, &cluster, &options, &events));
    let found = progress::follow(&session.ui, stream, work, interrupted.next(&session.line)).await?;
    cx.close().await;
    session.ui.report(&Found::new(&found))
}

#[derive(Debug, Serialize)]
struct Found {
    groups: Vec<Group>,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Group {
    group: u32,
    server: String,
    role: &'static str,
    keys: u64,
    bytes: u64,
    calibrated: bool,
    took_s: f64,
    slowest_answer_ms: f64,
}

#[derive(Debug, Serialize)]
struct Key {
    key: String,
    kind: &'static str,
    elements: u64,
    bytes: u64,
    slot: u16,
    group: u32,
    ttl_s: Option<u64>,
    dump_ms: f64,
    restore_ms: f64,
    stall_ms: f64,
}

impl Found {
    fn new(found: &BigKeys) -> Self {
        Self {
            groups: found.looked.iter().map(Group::new).collect(),
            keys: found.keys.iter().map(|(group, key)| Key::new(*group, key)).collect(),
        }
    }
}

impl Group {
    fn new(looked: &Looked) -> Self {
        Self {
            group: looked.group.0,
            server: looked.server.to_string(),
            role: match looked.role {
                LiveRole::Master => "master",
                LiveRole::Slave => "slave",
            },
            keys: looked.keys,
            bytes: looked.bytes,
            calibrated: looked.calibrated,
            took_s: looked.took.as_secs_f64(),
            slowest_answer_ms: looked.slowest_answer.as_secs_f64() * 1e3,
        }
    }
}

impl Key {
    fn new(group: GroupId, key: &BigKey) -> Self {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Self {
            key: key.key.escape_ascii().to_string(),
            kind: key.kind.as_str(),
            elements: key.elements,
            bytes: key.bytes,
            slot: key.slot.get(),
            group: group.0,
            ttl_s: key.ttl.map(|ttl| ttl.as_secs()),
            dump_ms: ms(key.one_shot.dump),
            restore_ms: ms(key.one_shot.restore),
            stall_ms: ms(key.one_shot.longest()),
        }
    }

    /// `0.3 ms`, `41 ms`, `9.6 s`: what it would hold a server up for.
    fn one_shot(&self) -> String {
        match self.stall_ms {
            ms if ms < 10.0 => format!("{ms:.1} ms"),
            ms if ms < 1000.0 => format!("{ms:.0} ms"),
            ms => format!("{:.1} s", ms / 1e3),
        }
    }
}

impl Report for Found {
    fn human(&self, look: &Look) -> String {
        let mut grid = Grid::new(&[
            ("key", Fit::Text),
            ("type", Fit::Left),
            ("elements", Fit::Right),
            ("bytes", Fit::Right),
            ("slot", Fit::Right),
            ("group", Fit::Right),
            ("one shot", Fit::Right),
            ("ttl", Fit::Right),
        ]);
        for key in &self.keys {
            grid.row([
                key.key.clone(),
                key.kind.to_owned(),
                if key.kind == "string" { String::new() } else { units::grouped(key.elements) },
                units::bytes(key.bytes),
                key.slot.to_string(),
                key.group.to_string(),
                key.one_shot(),
                key.ttl_s.map_or_else(String::new, units::seconds),
            ]);
        }
        let keys: u64 = self.groups.iter().map(|group| group.keys).sum();
        let bytes: u64 = self.groups.iter().map(|group| group.bytes).sum();
        let slaves = self.groups.iter().filter(|group| group.role == "slave").count();
        let answer = self.groups.iter().map(|group| group.slowest_answer_ms).fold(0.0, f64::max);
        let groups = codis_core::plan::plural(self.groups.len(), "group", "groups");
        let summary = format!(
            "{groups}, {slaves} on slaves: {} keys, {}; read-only, slowest answer {answer:.1} ms",
            units::count(keys),
            units::bytes(bytes)
        );
        if self.keys.is_empty() {
            return format!("no such key\n{summary}");
        }
        format!("{}\n{summary}", grid.draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |key: &Key| {
            vec![
                key.key.clone(),
                key.kind.to_owned(),
                key.elements.to_string(),
                key.bytes.to_string(),
                key.slot.to_string(),
                key.group.to_string(),
                format!("{:.1}", key.stall_ms),
                key.ttl_s.map_or_else(String::new, |ttl| ttl.to_string()),
            ]
        };
        self.keys.iter().map(row).collect()
    }
}

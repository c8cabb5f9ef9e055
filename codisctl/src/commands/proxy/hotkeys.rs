use codis_core::{ProxyId, SlotSet};
use codis_ops::{BigReply, HotKey, HotPage, HotSlot, insight};
use serde::Serialize;

use super::silent::{self, Silent};
use crate::{
    commands::cell,
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// List the keys and slots that are asked for most now, and the biggest replies
///
/// Of the last half to whole minute, estimated from a sample of the requests; replies of the last 10 to 20 minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy hotkeys
  codisctl proxy hotkeys px-1 --slots 0-511 --command HGETALL
  codisctl proxy hotkeys --output json | jq -r '.keys[0].key'

Exit status: 0 done, also if some proxy does not answer · 1 no such proxy · 5 store unreachable, or no proxy answers")]
pub(crate) struct HotkeysArgs {
    /// The proxy; without it all of the product together
    #[arg(value_name = "ID")]
    proxy: Option<ProxyId>,
    /// Only of these slots
    #[arg(long, value_name = "RANGES")]
    slots: Option<SlotSet>,
    /// Only by this command
    #[arg(long, value_name = "NAME")]
    command: Option<String>,
    /// How many of each
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
}

#[derive(Debug, Serialize)]
struct Hot {
    product: String,
    proxies: Vec<String>,
    silent: Vec<Silent>,
    enabled: bool,
    seconds: f64,
    sampled: u64,
    requests: u64,
    keys: Vec<HotKey>,
    slots: Vec<HotSlot>,
    big_replies: Vec<BigReply>,
}

pub(super) async fn run(session: &Session, args: &HotkeysArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let answers = insight::hotkeys(&cluster, args.proxy.as_ref(), session.patience()).await?;
    let HotPage { enabled, seconds, sampled, requests, mut keys, mut slots, mut big_replies } =
        insight::add_hot(answers.told.values());
    let wanted = |slot: u16| {
        let here = |slots: &SlotSet| slots.iter().any(|id| id.get() == slot);
        args.slots.as_ref().is_none_or(here)
    };
    keys.retain(|key| wanted(key.slot));
    slots.retain(|slot| wanted(slot.slot));
    big_replies.retain(|reply| reply.slot.map_or(args.slots.is_none(), wanted));
    if let Some(command) = &args.command {
        for key in &mut keys {
            key.commands.retain(|one| one.command.eq_ignore_ascii_case(command));
            key.requests = key.commands.iter().map(|one| one.requests).sum();
        }
        keys.retain(|key| key.requests > 0);
        keys.sort_by_key(|key| std::cmp::Reverse(key.requests));
        big_replies.retain(|reply| reply.command.eq_ignore_ascii_case(command));
    }
    keys.truncate(args.limit);
    slots.truncate(args.limit);
    big_replies.truncate(args.limit);
    session.ui.report(&Hot {
        product: cluster.product.to_string(),
        proxies: answers.told.keys().map(ToString::to_string).collect(),
        silent: silent::list(&answers),
        enabled,
        seconds,
        sampled,
        requests,
        keys,
        slots,
        big_replies,
    })
}

impl Hot {
    fn per_s(&self, requests: u64) -> String {
        if self.seconds > 0.0 { units::rate(requests as f64 / self.seconds) } else { "0".to_owned() }
    }

    fn share(&self, requests: u64) -> String {
        let share = if self.requests == 0 { 0.0 } else { requests as f64 / self.requests as f64 };
        format!("{:.1} %", share * 100.0)
    }

    fn keys(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("key", Fit::Text),
            ("slot", Fit::Right),
            ("ops/s", Fit::Right),
            ("share", Fit::Right),
            ("commands", Fit::Left),
        ]);
        for key in &self.keys {
            let commands: Vec<&str> = key.commands.iter().take(3).map(|one| one.command.as_str()).collect();
            grid.row([
                key.key.clone(),
                key.slot.to_string(),
                self.per_s(key.requests),
                self.share(key.requests),
                commands.join(" "),
            ]);
        }
        grid
    }

    fn slots(&self) -> Grid {
        let mut grid = Grid::new(&[("slot", Fit::Right), ("ops/s", Fit::Right), ("share", Fit::Right)]);
        for slot in &self.slots {
            grid.row([slot.slot.to_string(), self.per_s(slot.requests), self.share(slot.requests)]);
        }
        grid
    }

    fn replies(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("reply", Fit::Right),
            ("command", Fit::Left),
            ("key", Fit::Text),
            ("slot", Fit::Right),
            ("server", Fit::Left),
            ("last (UTC)", Fit::Left),
        ]);
        for reply in &self.big_replies {
            grid.row([
                units::bytes(reply.bytes),
                reply.command.clone(),
                cell(reply.key.as_ref()),
                cell(reply.slot),
                reply.backend.clone(),
                units::date_time(reply.ts_ms),
            ]);
        }
        grid
    }
}

impl Report for Hot {
    fn human(&self, look: &Look) -> String {
        let mut parts = Vec::new();
        for (rows, grid) in [
            (self.keys.len(), self.keys()),
            (self.slots.len(), self.slots()),
            (self.big_replies.len(), self.replies()),
        ] {
            if rows > 0 {
                parts.push(grid.draw(look));
            }
        }
        let proxies = codis_core::plan::plural(self.proxies.len(), "proxy", "proxies");
        let seen = if self.enabled {
            format!(
                "{} requests in {:.0} s, {} looked at",
                units::count(self.requests),
                self.seconds,
                units::count(self.sampled)
            )
        } else {
            "statistics are switched off".to_owned()
        };
        parts.push(format!("{proxies}: {seen}{}", silent::note(&self.silent)));
        parts.join("\n\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |key: &HotKey| {
            let commands: Vec<_> =
                key.commands.iter().map(|one| format!("{}={}", one.command, one.requests)).collect();
            vec![key.key.clone(), key.slot.to_string(), key.requests.to_string(), commands.join(",")]
        };
        self.keys.iter().map(row).collect()
    }
}

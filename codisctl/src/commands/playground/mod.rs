//! `playground`: a whole product on this machine.

mod tour;

use std::path::PathBuf;

use codis_ops::{
    Events, Failure, FailureKind,
    playground::{Options, Playground, Summary, TourOptions},
};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Look, progress},
    session::Session,
    signal::Signals,
    ui::Report,
};

/// Run a whole product on this machine until it is interrupted
///
/// Store, servers and proxies are real, and gone with their directory at the end. With --tour a
/// finite demonstration runs on it, which checks every key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl playground
  codisctl playground --groups 2 --proxies 1 --slaves 0 --output json
  codisctl playground --tour

Exit status: 0 stopped by a signal, or the tour holds · 1 a program is missing or does not start ·
2 impossible numbers · 3 the tour found something wrong · 4 the directory holds something else")]
pub(crate) struct PlaygroundArgs {
    /// Groups, each with a master
    #[arg(long, value_name = "N", default_value_t = 3)]
    groups: u32,
    /// Slaves of each group
    #[arg(long, value_name = "N", default_value_t = 1)]
    slaves: u32,
    /// Proxies
    #[arg(long, value_name = "N", default_value_t = 2)]
    proxies: u32,
    /// Worker threads of each proxy
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: u32,
    /// First port [a free block from 21001 on]
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// Where everything is written; removed at the end
    #[arg(long, value_name = "DIR", default_value = "playground")]
    dir: PathBuf,
    /// Keep the product in a ZooKeeper of its own instead of a local store
    #[arg(long)]
    zk: bool,
    /// Load keys, add a group, move slots under load, check every key, and end
    #[arg(long)]
    tour: bool,
    /// Keys that the tour loads
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "tour")]
    keys: u64,
}

/// The one JSON value of a playground that is ready.
#[derive(Debug, Serialize)]
struct Ready {
    store: String,
    product: String,
    dir: String,
    groups: Vec<GroupReady>,
    proxies: Vec<ProxyReady>,
    /// Process of the agent: this very program.
    agent_pid: u32,
    ready_ms: u64,
}

#[derive(Debug, Serialize)]
struct GroupReady {
    group: u32,
    master: String,
    slaves: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProxyReady {
    proxy: String,
    addr: String,
    admin: String,
}

pub(super) async fn run(session: &Session, args: &PlaygroundArgs) -> Done {
    if session.settings.dry_run {
        let why = "a playground writes nothing but its own directory, so there is no plan to show";
        return Err(Failure::new(FailureKind::Usage, "cannot use --dry-run here", &session.line, why)
            .next("codisctl playground --help")
            .into());
    }
    let options = Options {
        groups: args.groups,
        slaves: args.slaves,
        proxies: args.proxies,
        workers: args.workers,
        zk: args.zk,
        dir: args.dir.clone(),
        port_base: args.port_base,
    };
    match args.tour {
        true => tour::show(session, TourOptions { keys: args.keys, ..TourOptions::new(options) }).await,
        false => serve(session, &options).await,
    }
}

async fn serve(session: &Session, options: &Options) -> Done {
    let mut signals = Signals::new()?;
    let (events, stream) = Events::channel();
    let start = Playground::start(options, &events);
    let started = progress::follow_until(&session.ui, stream, start, signals.next(), interrupted()).await;
    let mut playground = started?;
    session.ui.report(&Ready::new(playground.summary()))?;
    session.ui.say("Ctrl-C stops everything and removes the directory");
    let (events, mut stream) = Events::channel();
    tokio::select! {
        () = signals.next() => {}
        () = playground.watch(&events) => {}
        () = async { while let Some(event) = stream.next().await { tell(session, event) } } => {}
    }
    session.ui.say("stopping");
    playground.stop().await;
    Ok(())
}

fn tell(session: &Session, event: codis_ops::Event) {
    if let codis_ops::Event::Note(text) = event {
        session.ui.say(&format!("note      {text}"));
    }
}

fn interrupted() -> Failure {
    let why = "all programs were ended and the directory was removed";
    Failure::new(FailureKind::Interrupted, "interrupted", "", why).next("codisctl playground")
}

impl Ready {
    fn new(summary: &Summary) -> Self {
        let texts = |addrs: &[codis_core::Addr]| addrs.iter().map(ToString::to_string).collect();
        Self {
            store: summary.store.to_string(),
            product: summary.product.to_string(),
            dir: summary.dir.display().to_string(),
            groups: summary
                .groups
                .iter()
                .map(|group| GroupReady {
                    group: group.id.0,
                    master: group.master.to_string(),
                    slaves: texts(&group.slaves),
                })
                .collect(),
            proxies: summary
                .proxies
                .iter()
                .map(|proxy| ProxyReady {
                    proxy: proxy.id.to_string(),
                    addr: proxy.addr.to_string(),
                    admin: proxy.admin.to_string(),
                })
                .collect(),
            agent_pid: std::process::id(),
            ready_ms: u64::try_from(summary.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Report for Ready {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    fn human(&self, _look: &Look) -> String {
        let took = self.ready_ms as f64 / 1000.0;
        let mut lines =
            vec![format!("store     {}   ready in {took:.1} s, directory {}", self.store, self.dir)];
        for group in &self.groups {
            let slaves = group.slaves.iter().map(|slave| format!("   {slave} slave"));
            lines.push(format!(
                "group {:<3} {} master{}",
                group.group,
                group.master,
                slaves.collect::<String>()
            ));
        }
        for proxy in &self.proxies {
            lines.push(format!("proxy     {} {}   admin http://{}", proxy.proxy, proxy.addr, proxy.admin));
        }
        lines.push(format!("agent     pid {}", self.agent_pid));
        if let Some(proxy) = self.proxies.first() {
            let (host, port) = proxy.addr.rsplit_once(':').unwrap_or(("127.0.0.1", &proxy.addr));
            let names = format!("--store {} --product {}", self.store, self.product);
            lines.push(format!("try       redis-cli -h {host} -p {port} set hello world"));
            lines.push(format!("          codisctl {names} status"));
            lines.push(format!("          codis-tui {names}"));
        }
        lines.join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let mut rows = vec![vec!["store".to_owned(), self.store.clone()]];
        rows.push(vec!["product".to_owned(), self.product.clone()]);
        for group in &self.groups {
            rows.push(vec!["master".to_owned(), group.master.clone(), group.group.to_string()]);
            let slaves = group.slaves.iter();
            rows.extend(slaves.map(|slave| vec!["slave".to_owned(), slave.clone(), group.group.to_string()]));
        }
        rows.extend(self.proxies.iter().map(|p| vec!["proxy".to_owned(), p.addr.clone(), p.proxy.clone()]));
        rows.push(vec!["agent".to_owned(), self.agent_pid.to_string()]);
        rows
    }
}

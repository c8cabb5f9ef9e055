use codis_core::Addr;
use codis_ops::{
    Failure, FailureKind,
    ping::{self, Pinged},
    watch::WatchSettings,
};
use serde::Serialize;

use crate::{
    commands::{cause, damage},
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// Ping servers, and say which are slow or not there
///
/// Connects to each, pings it 20 times and asks for INFO. Slow is what duty.connectivity.slow says. One that is listed as
/// offline may be silent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl server ping 10.0.7.51:6383
  codisctl server ping --all
  codisctl server ping --all --output json | jq '.servers[] | select(.verdict != \"ok\")'

Exit status: 0 all are well · 2 usage · 3 one is slow or does not answer · 5 store unreachable")]
pub(crate) struct PingArgs {
    /// The server; it need not be listed
    #[arg(value_name = "HOST:PORT", required_unless_present = "all")]
    server: Option<Addr>,
    /// All listed servers
    #[arg(long, conflicts_with = "server")]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Pings {
    servers: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    addr: String,
    group: Option<u32>,
    listed_role: Option<&'static str>,
    connect_us: Option<u64>,
    ping_p50_us: Option<u64>,
    ping_max_us: Option<u64>,
    info_us: Option<u64>,
    /// `ok`, `slow`, `unreachable`; `offline`: listed so, and silent.
    verdict: &'static str,
    /// Why it is not `ok`.
    why: Option<String>,
}

pub(super) async fn run(session: &Session, args: &PingArgs) -> Done {
    let policy = WatchSettings::read(session.settings.file()).connectivity.unwrap_or_default();
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let pinged = ping::ping(&cx, &cluster, args.server.as_ref(), &policy, session.settings.timeout).await;
    cx.close().await;
    let pings = Pings { servers: pinged.iter().map(Line::new).collect() };
    session.ui.report(&pings)?;
    damage(&cluster)?;
    let Some(bad) = pings.servers.iter().find(|line| matches!(line.verdict, "slow" | "unreachable")) else {
        return Ok(());
    };
    let why = bad.why.clone().unwrap_or_default();
    let what = match bad.verdict {
        "slow" => "a server answers slowly",
        _ => "a server does not answer",
    };
    let next = format!("codisctl server slowlog {0}    or: codisctl server info {0}", bad.addr);
    Err(Failure::new(FailureKind::Problems, what, &bad.addr, why).next(next).into())
}

impl Line {
    fn new(pinged: &Pinged) -> Self {
        let times = pinged.times.as_ref().ok();
        let offline = pinged.role == Some(codis_core::Role::Offline);
        let (verdict, why) = match &pinged.times {
            Ok(times) => match times.slow_us {
                Some(line) => ("slow", Some(format!("above {}", ms(line)))),
                None => ("ok", None),
            },
            Err(why) if offline => ("offline", Some(cause(why).to_owned())),
            Err(why) => ("unreachable", Some(cause(why).to_owned())),
        };
        Self {
            addr: pinged.addr.to_string(),
            group: pinged.group.map(|group| group.0),
            listed_role: pinged.role.map(codis_core::Role::as_str),
            connect_us: times.map(|times| times.connect_us),
            ping_p50_us: times.map(|times| times.ping_p50_us),
            ping_max_us: times.map(|times| times.ping_max_us),
            info_us: times.map(|times| times.info_us),
            verdict,
            why,
        }
    }
}

/// `0.12 ms`, `14.0 ms`.
fn ms(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let ms = us as f64 / 1000.0;
    if ms < 1.0 { format!("{ms:.2} ms") } else { format!("{ms:.1} ms") }
}

impl Pings {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("server", Fit::Left),
            ("role", Fit::Left),
            ("connect", Fit::Right),
            ("ping p50", Fit::Right),
            ("ping max", Fit::Right),
            ("INFO", Fit::Right),
            ("verdict", Fit::Text),
        ]);
        for line in &self.servers {
            let time = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), ms);
            let verdict = match (line.verdict, &line.why) {
                ("ok", _) => "✓".to_owned(),
                ("slow", Some(why)) => format!("▲ slow: {why}"),
                ("offline", Some(why)) => format!("• {why}"),
                (_, why) => format!("✗ {}", why.as_deref().unwrap_or_default()),
            };
            grid.row([
                line.addr.clone(),
                line.listed_role.unwrap_or_default().to_owned(),
                time(line.connect_us),
                time(line.ping_p50_us),
                time(line.ping_max_us),
                time(line.info_us),
                verdict,
            ]);
        }
        grid
    }
}

impl Report for Pings {
    fn human(&self, look: &Look) -> String {
        let of = |verdict: &str| self.servers.iter().filter(|line| line.verdict == verdict).count();
        let mut summary = format!(
            "{}: {} ok, {} slow, {} unreachable",
            codis_core::plan::plural(self.servers.len(), "server", "servers"),
            of("ok"),
            of("slow"),
            of("unreachable")
        );
        if of("offline") > 0 {
            summary.push_str(&format!(", {} offline", of("offline")));
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}

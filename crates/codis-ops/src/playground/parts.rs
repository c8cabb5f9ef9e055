//! The programs of a playground: how each is started, and when it is ready.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use codis_core::{Addr, ProductName, ProxyId};
use codis_redis::{ConnectOptions, Password, Redis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{Launcher, Recipe, Running, need, own};
use crate::Failure;

/// Time for a server or proxy to answer; a busy machine is slow.
const READY: Duration = Duration::from_secs(20);
/// Java takes its time.
const ZOOKEEPER_READY: Duration = Duration::from_secs(60);
/// Time for one question.
const ASK: Duration = Duration::from_secs(2);
/// From the distribution's package `zookeeper`; its manifest names the other jars.
const ZOOKEEPER_JAR: &str = "/usr/share/java/zookeeper.jar";
const LOGGER_JAR: &str = "/usr/share/java/slf4j-simple.jar";

/// How the playground's servers are talked to.
pub(super) fn options() -> ConnectOptions {
    ConnectOptions {
        connect_timeout: ASK,
        command_timeout: ASK,
        ..ConnectOptions::with_password(&Password::none())
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A redis-server without persistence, following `master` if given; answers when this returns.
pub(super) async fn redis(
    launcher: &Launcher,
    dir: &Path,
    addr: &Addr,
    master: Option<&Addr>,
) -> Result<Running, Failure> {
    let port = addr.port().to_string();
    let mut args = words(&["--port", &port, "--bind", addr.host(), "--daemonize", "no"]);
    args.extend(words(&["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]));
    args.extend(["--dir".into(), dir.into()]);
    if let Some(master) = master {
        args.extend(words(&["--replicaof", &format!("{} {}", master.host(), master.port())]));
    }
    let program = need("redis-server", "redis-server")?;
    let mut running = launcher.launch(Recipe { name: format!("redis-{port}"), program, args }).await?;
    let pid = running.pid();
    running.ready(READY, || redis_answers(addr, pid, master.is_some())).await?;
    Ok(running)
}

/// That this very process answers, not one that had the port before; and a slave has its first copy.
async fn redis_answers(addr: &Addr, pid: Option<u32>, slave: bool) -> bool {
    let ask = async {
        let mut server = Redis::connect(addr, &options()).await.ok()?;
        let text = server.query(&["INFO"]).await.ok()?.text()?;
        let says = |line: &str| text.lines().any(|l| l == line);
        let is_own = pid.is_some_and(|pid| says(&format!("process_id:{pid}")));
        Some(is_own && (!slave || says("master_link_status:up")))
    };
    timeout(ASK, ask).await.ok().flatten().unwrap_or(false)
}

/// A standalone ZooKeeper with an empty tree below `dir`; serves requests when this returns.
pub(super) async fn zookeeper(launcher: &Launcher, dir: &Path, addr: &Addr) -> Result<Running, Failure> {
    let failed = |place: &Path, why: &dyn std::fmt::Display| {
        Failure::new(crate::FailureKind::Failed, "cannot start ZooKeeper", place.display(), why)
    };
    for jar in [ZOOKEEPER_JAR, LOGGER_JAR] {
        if !Path::new(jar).exists() {
            return Err(failed(Path::new(jar), &"it is not installed").next("apt-get install zookeeper"));
        }
    }
    let config = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=500\ndataDir={}\nclientPort={}\nclientPortAddress={}\nadmin.enableServer=false\n\
         maxClientCnxns=0\n4lw.commands.whitelist=srvr\n",
        dir.join("zookeeper").display(),
        addr.port(),
        addr.host()
    );
    std::fs::write(&config, text).map_err(|error| failed(&config, &error))?;
    let mut args =
        words(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]);
    args.extend(words(&["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.forceSync=no", "-cp"]));
    args.push(format!("{ZOOKEEPER_JAR}:{LOGGER_JAR}").into());
    args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
    args.push(config.into());
    let program = need("java", "default-jre-headless")?;
    let mut running =
        launcher.launch(Recipe { name: format!("zookeeper-{}", addr.port()), program, args }).await?;
    running.ready(ZOOKEEPER_READY, || zookeeper_answers(addr)).await?;
    Ok(running)
}

/// `srvr` names the mode only once requests are served.
async fn zookeeper_answers(addr: &Addr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(addr.as_str()).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.contains("Mode:"))
    };
    timeout(ASK, ask).await.ok().flatten().unwrap_or(false)
}

/// What a proxy is told.
pub(super) struct ProxyRecipe<'a> {
    pub(super) id: &'a ProxyId,
    pub(super) addr: &'a Addr,
    pub(super) admin: &'a Addr,
    pub(super) workers: u32,
    pub(super) store: &'a str,
    pub(super) product: &'a ProductName,
}

/// A codis-proxy that follows the store; it answers when this returns, and is not online yet.
pub(super) async fn proxy(launcher: &Launcher, recipe: ProxyRecipe<'_>) -> Result<Running, Failure> {
    let ProxyRecipe { id, addr, admin, workers, store, product } = recipe;
    let args = words(&[
        "--listen",
        addr.as_str(),
        "--admin",
        admin.as_str(),
        "--workers",
        &workers.to_string(),
        "--store",
        store,
        "--product",
        product.as_str(),
        "--id",
        id.as_str(),
        // The playground puts it online itself, as a person would.
        "--auto-online",
        "false",
    ]);
    launcher.launch(Recipe { name: format!("proxy-{id}"), program: own("codis-proxy")?, args }).await
}

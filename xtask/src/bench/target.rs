//! What is measured: a server alone, our proxy, the proxies of the distribution, and others that are given.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use codis_testkit::{PortLease, Process, ProxyProcess, RedisServer, RespClient, Sandbox, program};

use super::load::{self, Work};
use super::report::Row;
use super::usage;

/// One address that load is sent to.
pub(crate) struct Target {
    name: String,
    /// Unknown for the proxies of `--peer`.
    workers: Option<u32>,
    port: u16,
    /// What is between; none for the server alone.
    proxy: Option<Running>,
}

/// A proxy that goes with its target.
enum Running {
    Ours(ProxyProcess),
    Other { process: Process, _ports: Vec<PortLease> },
}

/// A proxy that this program knows nothing of, given by `--peer NAME=COMMAND`.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    name: String,
    command: String,
}

impl Target {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn workers(&self) -> Option<u32> {
        self.workers
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the proxy.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.proxy.as_ref().map(|proxy| match proxy {
            Running::Ours(proxy) => proxy.process().pid(),
            Running::Other { process, .. } => process.pid(),
        })
    }

    /// One measurement.
    pub(crate) fn measure(&self, work: &Work, amount: u64, round: usize) -> anyhow::Result<Row> {
        let what = || format!("{} at {}", work.name, self.name);
        let cpu = |pid: Option<u32>| pid.map(usage::cpu_us).transpose();
        let line = load::command(work, self.port, amount)?;
        let before = cpu(self.pid()).with_context(what)?;
        let sample = load::run(&line).with_context(what)?;
        let after = cpu(self.pid()).with_context(what)?;
        let used = after.zip(before).map(|(after, before)| after - before);
        if used.is_some_and(|used| used <= 0.0) {
            bail!("{}: its process has done nothing; a --peer command must `exec` the proxy", what());
        }
        Ok(Row {
            target: self.name.clone(),
            work: work.name.to_owned(),
            workers: self.workers,
            clients: work.clients,
            pipeline: work.pipeline,
            rps: sample.rps,
            p50_ms: sample.p50_ms,
            p99_ms: sample.p99_ms,
            cpu_us_per_req: used.map(|used| used / amount as f64),
            rss_mb: self.pid().map(usage::rss_mb).transpose().with_context(what)?,
            round,
        })
    }
}

/// All targets, each ready; first the server alone.
pub(crate) fn start_all(
    ours: &Path,
    backends: &[RedisServer],
    peers: &[Peer],
) -> anyhow::Result<Vec<Target>> {
    let direct = backends.first().context("no backend")?;
    let mut targets =
        vec![Target { name: "direct".to_owned(), workers: Some(0), port: direct.port(), proxy: None }];
    targets.push(our_proxy(1, ours, backends)?);
    targets.push(our_proxy(2, ours, backends)?);
    targets.push(haproxy(backends)?);
    targets.push(twemproxy(backends)?);
    for peer in peers {
        targets.push(peer.start(backends)?);
    }
    Ok(targets)
}

fn our_proxy(workers: u32, program: &Path, backends: &[RedisServer]) -> anyhow::Result<Target> {
    let addrs: Vec<String> = backends.iter().map(RedisServer::addr).collect();
    let proxy = ProxyProcess::fixed(&addrs).program(program).workers(workers as usize).try_start()?;
    let name = format!("ours-{workers}");
    Ok(Target { name, workers: Some(workers), port: proxy.port(), proxy: Some(Running::Ours(proxy)) })
}

/// Connections handed through to one backend each, not a byte looked at: what a hop costs at least.
fn haproxy(backends: &[RedisServer]) -> anyhow::Result<Target> {
    let lease = PortLease::take()?;
    let servers: String =
        backends.iter().enumerate().map(|(i, b)| format!("  server s{i} {}\n", b.addr())).collect();
    let config = format!(
        "global\n  nbthread 1\n  maxconn 8000\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend clients\n  bind {}\n  default_backend redis\n\
         backend redis\n  balance roundrobin\n{servers}",
        lease.addr()
    );
    let sandbox = Sandbox::create("haproxy")?;
    let config = sandbox.write("haproxy.cfg", &config)?.display().to_string();
    let program = program("haproxy").context("haproxy is missing; next: cargo xtask setup")?;
    let process = Process::start("haproxy", &program, ["-db", "-f", &config], &[], &sandbox)?;
    ready("haproxy", Some(1), process, vec![lease])
}

/// Keys are hashed over the backends; requests with many keys are split.
fn twemproxy(backends: &[RedisServer]) -> anyhow::Result<Target> {
    let (lease, stats) = (PortLease::take()?, PortLease::take()?);
    let servers: String = backends.iter().map(|b| format!("    - {}:1\n", b.addr())).collect();
    let config = format!(
        "bench:\n  listen: {}\n  hash: crc32\n  distribution: modula\n  redis: true\n  servers:\n{servers}",
        lease.addr()
    );
    let sandbox = Sandbox::create("nutcracker")?;
    let config = sandbox.write("nutcracker.yml", &config)?.display().to_string();
    let program = program("nutcracker").context("nutcracker is missing; next: cargo xtask setup")?;
    let stats_port = stats.port().to_string();
    let args = ["-c", &config, "-a", "127.0.0.1", "-s", &stats_port, "-v", "2"];
    let process = Process::start("nutcracker", &program, args, &[], &sandbox)?;
    ready("twemproxy", Some(1), process, vec![lease, stats])
}

impl Peer {
    /// Reads `NAME=COMMAND`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => {
                Ok(Self { name: name.to_owned(), command: command.to_owned() })
            }
            _ => Err("expected NAME=COMMAND".to_owned()),
        }
    }

    fn start(&self, backends: &[RedisServer]) -> anyhow::Result<Target> {
        let (lease, spare) = (PortLease::take()?, PortLease::take()?);
        let addrs: Vec<String> = backends.iter().map(RedisServer::addr).collect();
        let (port, other, addrs) = (lease.port().to_string(), spare.port().to_string(), addrs.join(" "));
        let env = [("PORT", port.as_str()), ("ADMIN_PORT", &other), ("BACKENDS", &addrs)];
        let sandbox = Sandbox::create(&self.name)?;
        let shell = program("sh").context("sh is missing")?;
        let process = Process::start(&self.name, &shell, ["-c", &self.command], &env, &sandbox)?;
        ready(&self.name, None, process, vec![lease, spare])
    }
}

/// Waits until a key can be read through the proxy; the first port is the one for clients.
fn ready(
    name: &str,
    workers: Option<u32>,
    process: Process,
    ports: Vec<PortLease>,
) -> anyhow::Result<Target> {
    let Some(port) = ports.first().map(PortLease::port) else { bail!("{name} has no port") };
    process.wait_ready(Duration::from_secs(10), || {
        RespClient::connect(port, Duration::from_secs(1))
            .and_then(|mut client| client.call(&["GET", "key:000000000000"]))
            .is_ok_and(|reply| !reply.is_error())
    })?;
    Ok(Target {
        name: name.to_owned(),
        workers,
        port,
        proxy: Some(Running::Other { process, _ports: ports }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_name_and_a_command() {
        let peer = Peer::parse("other=exec other --port $PORT --x=y").unwrap();
        assert_eq!((peer.name.as_str(), peer.command.as_str()), ("other", "exec other --port $PORT --x=y"));
        assert!(Peer::parse("other").is_err());
        assert!(Peer::parse("other= ").is_err());
        assert!(Peer::parse("=x").is_err());
    }
}

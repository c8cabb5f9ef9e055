//! Asks the store, the servers and the proxies, and tells the screen. The screen never waits for it.
//!
//! Two tasks, so that a store which does not answer keeps nobody from hearing what the servers say,
//! and the other way round. What they say goes through one bounded queue; if the screen is slow they
//! wait, and ask less often.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codis_core::Cluster;
use codis_ops::{Context, Failure, FailureKind, ProxyStats, ServerInfo, Target, observe};
use codis_tui::msg::{Msg, ProxyFacts, ServerFacts};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

/// The longest pause between two attempts to reach the store.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a server or proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Servers and proxies are asked once per so many intervals.
const RARELY: u32 = 4;

/// What the poller tells.
#[derive(Debug)]
pub(crate) enum News {
    /// Something for the screen.
    Msg(Msg),
    /// There is nothing to show: no store, or no such product, at the start.
    Fatal(Failure),
}

/// What is asked for, how often, and by whom it can be hurried.
#[derive(Debug)]
pub(crate) struct Poller {
    /// The product and how to reach it.
    pub(crate) target: Target,
    /// How often the store is asked.
    pub(crate) interval: Duration,
    /// How long the store may be away at the start.
    pub(crate) start_timeout: Duration,
    /// Told when everybody is to be asked now.
    pub(crate) hurry: Rc<Notify>,
    /// Where the news go.
    pub(crate) news: mpsc::Sender<News>,
}

/// The newest snapshot and the connection that it came over, for whoever asks the servers.
type Latest = Option<(Context, Cluster)>;

impl Poller {
    /// Asks until nobody listens any more.
    pub(crate) async fn run(self) {
        let (latest, seen) = watch::channel(None);
        tokio::join!(self.poll_store(latest), self.poll_others(seen));
    }

    async fn poll_store(&self, latest: watch::Sender<Latest>) {
        let start = Instant::now();
        let mut connected_once = false;
        let mut attempt = 0;
        let mut open: Option<Context> = None;
        while !self.news.is_closed() {
            match self.ask(&mut open).await {
                Ok(cluster) => {
                    (connected_once, attempt) = (true, 0);
                    if let Some(cx) = &open {
                        latest.send_replace(Some((cx.clone(), cluster.clone())));
                    }
                    // Nobody waits for a picture in which nothing moves.
                    let moves = !cluster.moves.is_empty() || !cluster.go_tasks.is_empty();
                    self.tell(Msg::Cluster(Box::new(cluster))).await;
                    self.pause(if moves { self.interval } else { self.interval * 2 }).await;
                }
                Err(failure) => {
                    open = None;
                    let gone = failure.kind == FailureKind::Failed;
                    if !connected_once && (gone || start.elapsed() >= self.start_timeout) {
                        // Nobody listens any more if this cannot be sent.
                        let _ = self.news.send(News::Fatal(failure)).await;
                        // An end before that is read would look like a failure of the poller.
                        self.news.closed().await;
                        return;
                    }
                    let mut pause = backoff(self.interval, attempt);
                    if !connected_once {
                        pause = pause.min(self.start_timeout.saturating_sub(start.elapsed()));
                    }
                    attempt += 1;
                    let next_try_ms = now_ms() + pause.as_millis() as u64;
                    let lost = Msg::StoreLost { why: failure.why, next_try_ms };
                    self.tell(if gone { Msg::NoProduct } else { lost }).await;
                    self.pause(pause).await;
                }
            }
        }
    }

    /// One snapshot, over a new connection if there is none.
    async fn ask(&self, open: &mut Option<Context>) -> Result<Cluster, Failure> {
        let cx = match open {
            Some(cx) => cx,
            None => open.insert(Context::connect(&self.target).await?),
        };
        // The store's own time-outs are per request; a picture is many of them.
        let limit = self.target.timeout;
        let late = |_| {
            let why = format!("no answer in {} s", limit.as_secs());
            let what = format!("cannot read product {}", self.target.product);
            Err(Failure::new(FailureKind::Unreachable, what, &self.target.store, why))
        };
        timeout(limit, cx.load()).await.unwrap_or_else(late)
    }

    async fn poll_others(&self, mut latest: watch::Receiver<Latest>) {
        if latest.wait_for(Option::is_some).await.is_err() {
            return;
        }
        while !self.news.is_closed() {
            let Some((cx, cluster)) = latest.borrow().clone() else { return };
            let servers = async {
                let answers = observe::servers(&cx, &cluster, PATIENCE).await;
                let answers =
                    answers.into_iter().map(|(addr, answer)| (addr, answer.map(|info| server(&info))));
                self.tell(Msg::Servers(answers.collect())).await;
            };
            let proxies = async {
                let answers = observe::proxies(&cluster, PATIENCE).await;
                let answers = answers.into_iter().map(|(id, answer)| (id, answer.map(|stats| proxy(&stats))));
                self.tell(Msg::Proxies(answers.collect())).await;
            };
            tokio::join!(servers, proxies);
            self.pause(self.interval * RARELY).await;
        }
    }

    async fn tell(&self, msg: Msg) {
        // Nobody listens any more if this fails; the loops look for that themselves.
        let _ = self.news.send(News::Msg(msg)).await;
    }

    /// Waits, or less if somebody is in a hurry or nobody listens any more.
    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = sleep(length) => {}
            () = self.hurry.notified() => {}
            () = self.news.closed() => {}
        }
    }
}

fn server(info: &ServerInfo) -> ServerFacts {
    ServerFacts { keys: info.keys, is_master: info.role == codis_ops::LiveRole::Master }
}

fn proxy(stats: &ProxyStats) -> ProxyFacts {
    let recent = &stats.recent;
    ProxyFacts {
        clients: stats.clients,
        per_s: recent.requests_per_s,
        p99_ms: (recent.requests_per_s > 0.0).then_some(recent.latency.p99_ms),
        errors_per_s: recent.errors_per_s,
    }
}

/// Doubles with every attempt, up to a limit, and is a little different for every dashboard, so that
/// many of them do not return in one moment.
fn backoff(first: Duration, attempt: u32) -> Duration {
    let pause = first.saturating_mul(1 << attempt.min(6)).min(LONGEST_PAUSE);
    let jitter = f64::from(std::process::id() % 1_000) / 1_000.0;
    pause.mul_f64(0.75 + jitter / 2.0)
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pause = |attempt| backoff(Duration::from_millis(500), attempt);
        assert!(pause(1) > pause(0));
        assert!(pause(100) <= LONGEST_PAUSE.mul_f64(1.25));
    }
}

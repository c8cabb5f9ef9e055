//! Gets messages out. Each channel has a queue and a task of its own, so that one that is dead holds up neither the
//! other one nor whoever has something to tell.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::mail::Mailer;
use crate::webhook::Caller;
use crate::{BadSetting, MailSettings, Message, WebhookSettings};

/// Messages that wait in a channel; what is older goes when there are more.
const QUEUE: usize = 256;
/// First pause after a failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A message that the other side refuses for good is given up after so many attempts: it may be about the moment yet.
const ATTEMPTS_FOR_GOOD: u32 = 5;
/// A message that nobody could be told of for so long is given up.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// Why an attempt failed. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: String,
    /// Trying the same again will hardly help.
    pub(crate) for_good: bool,
}

impl Refused {
    pub(crate) fn for_now(why: String) -> Self {
        Self { why, for_good: false }
    }

    pub(crate) fn for_good(why: String) -> Self {
        Self { why, for_good: true }
    }
}

pub(crate) type Sending = Result<(), Refused>;

/// Where messages go.
#[derive(Debug, Clone, Default)]
pub struct Channels {
    /// Mails, if people want them.
    pub mail: Option<MailSettings>,
    /// Calls, if people want them.
    pub webhook: Option<WebhookSettings>,
}

/// A way to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Mail.
    Mail,
    /// Webhook.
    Webhook,
}

impl Channel {
    /// `mail` or `webhook`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

/// How a channel is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelState {
    /// Which one.
    pub channel: Channel,
    /// Where it leads.
    pub place: String,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that arrived.
    pub sent: u64,
    /// Messages that were given up.
    pub lost: u64,
    /// Since when every attempt fails, Unix milliseconds, and why.
    pub failing: Option<(u64, String)>,
}

#[derive(Debug)]
enum Way {
    Mail(Mailer),
    Webhook(Caller),
}

impl Way {
    fn channel(&self) -> Channel {
        match self {
            Self::Mail(_) => Channel::Mail,
            Self::Webhook(_) => Channel::Webhook,
        }
    }

    fn place(&self) -> &str {
        match self {
            Self::Mail(mailer) => mailer.place(),
            Self::Webhook(caller) => caller.place(),
        }
    }

    /// Longest attempt, whatever the steps inside it may take.
    fn timeout(&self) -> Duration {
        match self {
            Self::Mail(mailer) => mailer.timeout(),
            Self::Webhook(caller) => caller.timeout(),
        }
    }

    async fn send(&self, message: &Message) -> Sending {
        let attempt = async {
            match self {
                Self::Mail(mailer) => mailer.send(message).await,
                Self::Webhook(caller) => caller.send(message).await,
            }
        };
        let longest = self.timeout();
        let late = || Err(Refused::for_now(format!("not done within {longest:?}")));
        timeout(longest, attempt).await.unwrap_or_else(|_| late())
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Instant, Arc<Message>)>,
    /// The first one is on its way.
    busy: bool,
    sent: u64,
    lost: u64,
    failing: Option<(u64, String)>,
}

#[derive(Debug)]
struct Lane {
    way: Way,
    queue: Mutex<Queue>,
    changed: Notify,
}

/// Sends messages through all channels, in the background.
#[derive(Debug)]
pub struct Notifier {
    lanes: Vec<Arc<Lane>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Notifier {
    /// Gets ready; nothing is connected yet. Must be called in a runtime.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn start(channels: &Channels) -> Result<Self, BadSetting> {
        let mut ways = Vec::new();
        if let Some(mail) = &channels.mail {
            ways.push(Way::Mail(Mailer::new(mail)?));
        }
        if let Some(webhook) = &channels.webhook {
            ways.push(Way::Webhook(Caller::new(webhook)?));
        }
        let lane = |way| Arc::new(Lane { way, queue: Mutex::default(), changed: Notify::new() });
        let lanes: Vec<Arc<Lane>> = ways.into_iter().map(lane).collect();
        let tasks = lanes.iter().map(|lane| tokio::spawn(Arc::clone(lane).run())).collect();
        Ok(Self { lanes, tasks })
    }

    /// Queues a message for all channels. Never waits.
    pub fn post(&self, message: Message) {
        let message = Arc::new(message);
        for lane in &self.lanes {
            lane.post(Arc::clone(&message));
        }
    }

    /// One attempt in each channel, now and past the queues; says what became of it.
    pub async fn send_now(&self, message: &Message) -> Vec<(Channel, String, Result<(), String>)> {
        let mut results = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            let result = lane.way.send(message).await.map_err(|refused| refused.why);
            results.push((lane.way.channel(), lane.way.place().to_owned(), result));
        }
        results
    }

    /// How the channels are doing.
    pub fn states(&self) -> Vec<ChannelState> {
        self.lanes.iter().map(|lane| lane.state()).collect()
    }

    /// Waits until nothing waits any more, or this long; says whether all went out.
    pub async fn flush(&self, longest: Duration) -> bool {
        let all = async {
            for lane in &self.lanes {
                lane.empty().await;
            }
        };
        timeout(longest, all).await.is_ok()
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, message: Arc<Message>) {
        let mut queue = self.queue();
        if queue.waiting.len() >= QUEUE {
            // The first one may be on its way.
            let oldest = usize::from(queue.busy);
            queue.waiting.remove(oldest);
            queue.lost += 1;
        }
        queue.waiting.push_back((Instant::now(), message));
        drop(queue);
        self.changed.notify_waiters();
    }

    fn state(&self) -> ChannelState {
        let queue = self.queue();
        ChannelState {
            channel: self.way.channel(),
            place: self.way.place().to_owned(),
            waiting: queue.waiting.len() as u64,
            sent: queue.sent,
            lost: queue.lost,
            failing: queue.failing.clone(),
        }
    }

    async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.queue().waiting.is_empty() {
                return;
            }
            changed.await;
        }
    }

    async fn next(&self) -> (Instant, Arc<Message>) {
        loop {
            let changed = self.changed.notified();
            {
                let mut queue = self.queue();
                if let Some(first) = queue.waiting.front().cloned() {
                    queue.busy = true;
                    return first;
                }
            }
            changed.await;
        }
    }

    async fn run(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let (since, message) = self.next().await;
            let result = self.way.send(&message).await;
            match &result {
                Ok(()) => failures = 0,
                Err(_) => failures += 1,
            }
            self.note(result, failures, since.elapsed());
            if failures > 0 {
                sleep(pause(failures)).await;
            }
        }
    }

    /// Writes down what an attempt came to.
    fn note(&self, result: Sending, failures: u32, age: Duration) {
        let (channel, place) = (self.way.channel().as_str(), self.way.place());
        let mut queue = self.queue();
        queue.busy = false;
        match result {
            Ok(()) => {
                queue.waiting.pop_front();
                queue.sent += 1;
                if queue.failing.take().is_some() {
                    tracing::info!(channel, "alerts go out again by {place}");
                }
            }
            Err(refused) => {
                let why = refused.why;
                if failures == 1 {
                    tracing::warn!(channel, "an alert does not go out by {place}: {why}");
                }
                if (refused.for_good && failures.is_multiple_of(ATTEMPTS_FOR_GOOD)) || age > MAX_AGE {
                    queue.waiting.pop_front();
                    queue.lost += 1;
                    tracing::error!(channel, "an alert was given up: {place}: {why}");
                }
                let since = queue.failing.take().map_or_else(now_ms, |(since, _)| since);
                queue.failing = Some((since, why));
            }
        }
        drop(queue);
        self.changed.notify_waiters();
    }
}

/// Half of it is random, so that agents that failed together do not come back together.
fn pause(failures: u32) -> Duration {
    let full = (FIRST_PAUSE * 2u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_PAUSE);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert!((1..100).map(pause).all(|pause| pause <= LONGEST_PAUSE));
        assert!(pause(1) <= FIRST_PAUSE && pause(1) >= FIRST_PAUSE / 2);
        assert!(pause(20) >= LONGEST_PAUSE / 2);
    }
}

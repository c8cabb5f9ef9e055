//! Where all alerts of an agent end up: what people were told is compared with what was found, written to the store, and
//! what is new is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codis_core::Versioned;
use codis_core::notice::{Alert, AlertId, Facts, Kind, Notice, Record, Records, Round, step};
use codis_notify::{Letterhead, Notifier};
use codis_store::{AlertBook, AlertChange, ErrorKind};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::AlertSettings;
use crate::{Context, Failure, context};

/// Attempts to write a round while others change alerts.
const ATTEMPTS: u32 = 5;
/// A channel that fails for so long is an alert itself: others may reach people. Milliseconds.
const CHANNEL_DEAD_MS: u64 = 60_000;
/// Pause after a round that the store did not take.
const RETRY: Duration = Duration::from_secs(1);
/// Events that wait for the store at most; older ones go.
const EVENTS: usize = 1000;
/// A silence is removed when its time has been over for so long, milliseconds.
const OLD_SILENCE_MS: u64 = 86_400_000;

/// Tells people, in a task of its own: whoever hands over a round never waits, neither for the store nor for a mail server.
#[derive(Debug)]
pub struct Desk {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Option<Round>>,
    changed: Notify,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<Round>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A newer round takes the place of one that waits, but no event gets lost.
    fn put(&self, mut round: Round) {
        let mut waiting = self.waiting();
        if let Some(before) = waiting.take() {
            let mut events: Vec<Alert> =
                before.alerts.into_iter().filter(|alert| alert.kind().is_event()).collect();
            let most = events.len().saturating_sub(EVENTS);
            events.drain(..most);
            round.alerts.extend(events);
        }
        *waiting = Some(round);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Puts the events of a round back that could not be written; what lasts is found again.
    fn put_back(&self, round: Round) {
        let events = round.alerts.into_iter().filter(|alert| alert.kind().is_event());
        let mut waiting = self.waiting();
        waiting.get_or_insert_default().alerts.extend(events);
    }

    async fn next(&self) -> Round {
        loop {
            let changed = self.changed.notified();
            if let Some(round) = self.waiting().take() {
                return round;
            }
            changed.await;
        }
    }
}

impl Desk {
    /// Begins to work for an agent. Must be called in a runtime.
    ///
    /// # Errors
    /// `Usage`, with file, line and key, for settings that cannot be used.
    pub fn open(
        cx: &Context,
        settings: AlertSettings,
        agent: &str,
        observe_only: bool,
    ) -> Result<Self, Failure> {
        let notifier = settings.notifier()?;
        let shared = Arc::new(Shared::default());
        let clerk = Clerk { settings, notifier, agent: agent.to_owned(), observe_only, number: 0 };
        let task = tokio::spawn(work(cx.clone(), clerk, Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Hands over what was found in a round. Only the agent that leads does so.
    pub fn hand_over(&self, round: Round) {
        self.shared.put(round);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(cx: Context, mut clerk: Clerk, shared: Arc<Shared>) {
    let mut failing = false;
    loop {
        let round = shared.next().await;
        match clerk.tick(&cx, &round).await {
            Ok(_) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "alerts cannot be written; they wait");
                }
                failing = true;
                shared.put_back(round);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Goes from round to round.
struct Clerk {
    settings: AlertSettings,
    notifier: Notifier,
    agent: String,
    observe_only: bool,
    number: u64,
}

impl Clerk {
    /// Tells what is new in a round; says how many notices that were. State first, then the message: one who dies in
    /// between loses it, and what lasts is told again after the interval. The other way around events would be told twice.
    async fn tick(&mut self, cx: &Context, round: &Round) -> Result<usize, Failure> {
        let mut round = round.clone();
        round.looked_for([Kind::Delivery], self.dead_channels());
        let what = "cannot keep what people were told";
        let mut attempt = 1;
        let notices = loop {
            let book = cx.product.alert_book().await.map_err(|error| Failure::store(what, &error))?;
            let now_ms = context::now_ms();
            let (changes, notices) = next(&book, round.clone(), now_ms, &self.settings);
            match cx.product.put_alerts(&changes).await {
                Ok(()) => {
                    self.tidy(cx, &book, now_ms).await;
                    break notices;
                }
                // Somebody has acknowledged one, or another agent leads by now.
                Err(error) if attempt < ATTEMPTS && is_overtaken(&error.kind) => attempt += 1,
                Err(error) => return Err(Failure::store(what, &error)),
            }
        };
        self.send(cx, &notices);
        Ok(notices.len())
    }

    fn send(&mut self, cx: &Context, notices: &[Notice]) {
        for notice in notices {
            let (kind, subject) = (notice.alert.kind(), &notice.alert.subject);
            tracing::warn!(%kind, subject, told = ?notice.kind, "alert");
        }
        let head = Letterhead {
            product: cx.product_name().to_string(),
            agent: self.agent.clone(),
            number: self.number + 1,
            interval_ms: self.settings.policy.send_interval_ms,
            observe_only: self.observe_only,
            now_ms: context::now_ms(),
        };
        if let Some(message) = self.settings.texts.message(notices, &head) {
            self.number += 1;
            self.notifier.post(message);
        }
    }

    fn dead_channels(&self) -> Vec<Alert> {
        let now_ms = context::now_ms();
        let states = self.notifier.states().into_iter();
        let alert = |state: codis_notify::ChannelState| {
            let (since_ms, why) = state.failing?;
            let facts = Facts::Delivery {
                channel: state.channel.as_str().to_owned(),
                place: state.place,
                waiting: state.waiting,
                lost: state.lost,
                why,
            };
            let dead = now_ms.saturating_sub(since_ms) >= CHANNEL_DEAD_MS;
            dead.then(|| Alert::new(state.channel.as_str(), since_ms, facts))
        };
        states.filter_map(alert).collect()
    }

    /// Removes silences that nobody needs any more.
    async fn tidy(&self, cx: &Context, book: &AlertBook, now_ms: u64) {
        for silence in book.silences.iter().filter(|one| one.until_ms + OLD_SILENCE_MS < now_ms) {
            if let Err(error) = cx.product.delete_silence(silence).await {
                tracing::info!(%error, "an old silence stays");
            }
        }
    }
}

/// What is to be written after a round, and told.
fn next(
    book: &AlertBook,
    round: Round,
    now_ms: u64,
    settings: &AlertSettings,
) -> (Vec<AlertChange>, Vec<Notice>) {
    let records: Records =
        book.records.iter().map(|(id, record)| (id.clone(), record.value.clone())).collect();
    let silences: Vec<_> = book.silences.iter().map(|silence| silence.value.clone()).collect();
    let (after, notices) = step(&records, &silences, round, now_ms, &settings.policy);
    let version = |id: &AlertId| book.records.get(id).map(|record: &Versioned<Record>| record.version);
    let changed = after.iter().filter(|(id, record)| records.get(*id) != Some(record));
    let mut changes: Vec<AlertChange> = changed
        .map(|(id, record)| AlertChange {
            id: id.clone(),
            version: version(id),
            record: Some(record.clone()),
        })
        .collect();
    let gone = records.keys().filter(|id| !after.contains_key(*id));
    changes.extend(gone.map(|id| AlertChange { id: id.clone(), version: version(id), record: None }));
    (changes, notices)
}

pub(super) fn is_overtaken(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode)
}

//! Alerts of a product: the desk that tells people, and what people say to it.

mod desk;
mod settings;

use std::time::Duration;

use codis_core::Gap;
use codis_core::notice::{
    Ack, Alert, AlertId, Facts, Kind, Notice, NoticeKind, Record, Silence, Standing, standing,
};
use codis_notify::{Letterhead, Texts};
use codis_store::AlertChange;
use jiff::tz::TimeZone;

pub use self::desk::Desk;
pub use self::settings::AlertSettings;
use crate::{Context, Failure, FailureKind, context};

/// Attempts to change an alert while the agent does, too.
const ATTEMPTS: u32 = 5;

/// What is remembered in a product.
#[derive(Debug)]
pub struct Listed {
    /// The alerts, worst first; acknowledged and silenced ones and events last.
    pub alerts: Vec<Shown>,
    /// Silences that hold.
    pub silences: Vec<Silence>,
    /// What cannot be read.
    pub gaps: Vec<Gap>,
    /// When it was read, Unix milliseconds.
    pub now_ms: u64,
}

/// An alert as a list shows it.
#[derive(Debug)]
pub struct Shown {
    /// What is remembered of it.
    pub record: Record,
    /// Who keeps it silent, if anybody.
    pub silence: Option<Silence>,
    /// The number that crossed the line, in English.
    pub what: String,
}

/// All alerts and silences.
///
/// # Errors
/// If the store does not answer.
pub async fn list(cx: &Context) -> Result<Listed, Failure> {
    let book = cx.product.alert_book().await;
    let book = book.map_err(|error| Failure::store("cannot read the alerts", &error))?;
    let now_ms = context::now_ms();
    let texts = Texts::new(codis_notify::Lang::En, TimeZone::system());
    let silences: Vec<Silence> = book.silences.into_iter().map(|silence| silence.value).collect();
    let shown = |record: Record| {
        let notice = Notice {
            kind: NoticeKind::Fired,
            alert: record.alert.clone(),
            count: record.count,
            at_ms: now_ms,
        };
        let what = texts.line(&notice, cx.product_name().as_str());
        let silence = match standing(&record, &silences, now_ms) {
            Standing::Silenced(silence) => Some(silence.clone()),
            _ => None,
        };
        Shown { record, silence, what }
    };
    let mut alerts: Vec<Shown> = book.records.into_values().map(|record| shown(record.value)).collect();
    alerts.sort_by_key(|one| {
        let quiet = one.silence.is_some() || one.record.ack.is_some() || one.record.alert.kind().is_event();
        (quiet, one.record.alert.severity)
    });
    let silences = silences.into_iter().filter(|silence| now_ms < silence.until_ms).collect();
    Ok(Listed { alerts, silences, gaps: book.gaps, now_ms })
}

/// Says that a person knows about an alert: it is not repeated until it is over.
///
/// # Errors
/// `Failed` if there is no such alert, or it is an event, which is never repeated.
pub async fn acknowledge(cx: &Context, id: &AlertId, why: &str) -> Result<(), Failure> {
    let what = format!("cannot acknowledge {} {}", id.kind, id.subject);
    let fail = |why: &str| {
        Failure::new(FailureKind::Failed, &what, cx.product.root(), why).next("codisctl alert list")
    };
    if id.kind.is_event() {
        return Err(fail("it tells what has happened, and is never repeated"));
    }
    let mut attempt = 1;
    loop {
        let mut book = cx.product.alert_book().await.map_err(|error| Failure::store(&what, &error))?;
        let Some(record) = book.records.remove(id) else {
            return Err(fail("there is no such alert now"));
        };
        let ack = Ack { by: context::who(), ts_ms: context::now_ms(), why: why.to_owned() };
        let change = AlertChange {
            id: id.clone(),
            version: Some(record.version),
            record: Some(Record { ack: Some(ack), ..record.value }),
        };
        match cx.product.put_alerts(&[change]).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt < ATTEMPTS && desk::is_overtaken(&error.kind) => attempt += 1,
            Err(error) => return Err(Failure::store(&what, &error)),
        }
    }
}

/// Keeps alerts silent for a while; says until when, Unix milliseconds. No time at all ends a silence.
///
/// # Errors
/// If the store does not answer.
pub async fn silence(
    cx: &Context,
    kind: Option<Kind>,
    subject: &str,
    span: Duration,
    why: &str,
) -> Result<u64, Failure> {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let silence = Silence {
        kind,
        subject: subject.to_owned(),
        until_ms: context::now_ms().saturating_add(span),
        by: context::who(),
        why: why.to_owned(),
        extra: codis_core::Extra::default(),
    };
    let written = cx.product.put_silence(&silence).await;
    written.map_err(|error| Failure::store("cannot write the silence", &error))?;
    Ok(silence.until_ms)
}

/// What became of a test in one channel.
#[derive(Debug)]
pub struct Tried {
    /// `mail` or `webhook`.
    pub channel: &'static str,
    /// Where it leads.
    pub place: String,
    /// Why it did not get there.
    pub result: Result<(), String>,
}

/// Sends a test through each channel, once and now.
///
/// # Errors
/// `Usage` if there is no channel, or its settings cannot be used.
pub async fn test(settings: &AlertSettings, product: &str) -> Result<Vec<Tried>, Failure> {
    if settings.is_mute() {
        let why = "neither [alert.mail] nor [alert.webhook] is in the settings";
        return Err(Failure::new(FailureKind::Usage, "nobody can be told", "codis.toml", why)
            .next("docs/alerts.md shows what to write"));
    }
    let notifier = settings.notifier()?;
    let (by, now_ms) = (context::who(), context::now_ms());
    let alert = Alert::new("test", now_ms, Facts::Test { by: by.clone() });
    let notice = Notice { kind: NoticeKind::Fired, alert, count: 1, at_ms: now_ms };
    let head = Letterhead {
        product: product.to_owned(),
        agent: by,
        number: 1,
        interval_ms: settings.policy.send_interval_ms,
        observe_only: false,
        now_ms,
    };
    let Some(message) = settings.texts.message(&[notice], &head) else { return Ok(Vec::new()) };
    let results = notifier.send_now(&message).await;
    Ok(results
        .into_iter()
        .map(|(channel, place, result)| Tried { channel: channel.as_str(), place, result })
        .collect())
}

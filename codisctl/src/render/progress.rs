//! What is going on, for a person who waits: a line that is redrawn on a terminal, after a quarter
//! of a second; else a line per change.

use std::{collections::BTreeMap, future::Future, io::IsTerminal as _, pin::pin, time::Duration};

use codis_core::GroupId;
use codis_ops::{Event, EventStream, Failure, WavePhase, WaveProgress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::units;
use crate::{signal::Signals, ui::Ui};

/// Work that is done sooner is not worth a picture of it.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often a log is told that a wave still moves.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Runs `work` and shows what it tells. A signal gives it up with `interrupted`, to which is added
/// what was being done.
pub(crate) async fn follow<T>(
    ui: &Ui,
    stream: EventStream,
    work: impl Future<Output = Result<T, Failure>>,
    interrupted: Failure,
) -> Result<T, Failure> {
    let mut ended = Signals::new()?;
    follow_until(ui, stream, work, async { ended.next().await }, interrupted).await
}

/// As [`follow`], given up when `end` happens.
pub(crate) async fn follow_until<T>(
    ui: &Ui,
    mut stream: EventStream,
    work: impl Future<Output = Result<T, Failure>>,
    end: impl Future<Output = ()>,
    interrupted: Failure,
) -> Result<T, Failure> {
    let mut picture = Picture::new();
    let mut work = Box::pin(work);
    let mut end = pin!(end);
    let mut tick = interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let done = loop {
        tokio::select! {
            biased;
            Some(event) = stream.next() => picture.take(ui, event),
            done = &mut work => break done,
            _ = tick.tick() => picture.tick(),
            () = &mut end => break Err(Failure { place: picture.at(), ..interrupted }),
        }
    };
    while let Some(event) = stream.try_next() {
        picture.take(ui, event);
    }
    picture.clear();
    done
}

/// What tells waves apart: those of one request go different ways.
type Key = (u64, GroupId, GroupId);

/// What stands on the terminal now.
#[derive(Debug)]
pub(crate) struct Picture {
    bar: Option<ProgressBar>,
    begun: Instant,
    now: String,
    /// The lines of each wave at work.
    waves: BTreeMap<Key, String>,
    /// What a log was last told of each wave.
    told: BTreeMap<Key, (WavePhase, Instant)>,
    /// When a log was last told how many keys have been looked at.
    last_look: Instant,
}

impl Picture {
    /// Nothing yet. There is a bar only if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            begun: now,
            now: String::new(),
            waves: BTreeMap::new(),
            told: BTreeMap::new(),
            last_look: now,
        }
    }

    /// What is being done.
    fn at(&self) -> String {
        if self.now.is_empty() { "before the first step".to_owned() } else { self.now.clone() }
    }

    /// Shows an event.
    pub(crate) fn take(&mut self, ui: &Ui, event: Event) {
        match event {
            Event::StepStarted { n, of, text } => self.show(format!("step {n} of {of}  {text}")),
            Event::StepDone { n, of, took_ms } => {
                if self.bar.is_none() {
                    ui.say(&format!("step {n} of {of} done in {took_ms} ms"));
                }
            }
            Event::Waiting { on, ms } => {
                let on = on.join(" ");
                #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
                let waited = ms as f64 / 1000.0;
                self.show(format!("waiting for {on}, {waited:.1} s"));
            }
            Event::Looked { keys, of } => self.looked(ui, keys, of),
            Event::Note(text) => self.line(ui, &format!("note      {text}")),
            Event::Wave(wave) => self.wave(ui, &wave),
        }
    }

    /// A gauge on a terminal, else a line every ten seconds.
    fn looked(&mut self, ui: &Ui, keys: u64, of: u64) {
        let (seen, all) = (units::count(keys), units::count(of.max(keys)));
        #[expect(clippy::cast_precision_loss, reason = "a percentage is shown")]
        let share = keys as f64 / of.max(keys).max(1) as f64;
        let percent = (share * 100.0).floor();
        if self.bar.is_some() {
            let gauge = gauge(share, 20, ui.look().ascii);
            return self.show(format!("looking   {gauge}  {percent:>2.0} %  {seen}/{all} keys"));
        }
        if self.last_look.elapsed() >= LOG_EVERY {
            self.last_look = Instant::now();
            self.line(ui, &format!("looking   {percent:.0} %  {seen}/{all} keys"));
        }
    }

    fn wave(&mut self, ui: &Ui, wave: &WaveProgress) {
        let key = (wave.wave, wave.from, wave.to);
        let over = matches!(wave.phase, WavePhase::Done | WavePhase::Failed);
        if self.bar.is_some() {
            if over {
                self.waves.remove(&key);
            } else {
                self.waves.insert(key, wave_lines(wave, ui.look().ascii));
            }
            self.show(String::new());
            if !over {
                return;
            }
        }
        // A switch is told when all have acknowledged it.
        let switching = matches!(wave.phase, WavePhase::PreMigrate | WavePhase::Online);
        let told = self.told.get(&key).filter(|(phase, _)| *phase == wave.phase);
        let old = told.is_some_and(|(_, at)| at.elapsed() < LOG_EVERY);
        if old || (told.is_none() && switching && wave.acks.0 < wave.acks.1.max(1)) {
            return;
        }
        self.told.insert(key, (wave.phase, Instant::now()));
        self.line(ui, &format!("{} {}", units::time(units::now_ms()), wave_log(wave)));
    }

    /// Redraws: the waves at work, and below them `text`.
    pub(crate) fn show(&mut self, text: String) {
        let lines = self
            .waves
            .values()
            .map(String::as_str)
            .chain([text.as_str()].into_iter().filter(|t| !t.is_empty()));
        self.now = lines.collect::<Vec<_>>().join("\n");
        if let Some(bar) = &self.bar {
            bar.set_message(self.now.clone());
        }
    }

    /// Runs something that prints, with the picture out of its way.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// A line that stays, above what is redrawn.
    fn line(&self, ui: &Ui, text: &str) {
        self.suspend(|| ui.say(text));
    }

    /// Begins to draw when work takes long enough.
    pub(crate) fn tick(&mut self) {
        if let Some(bar) = self.bar.as_ref().filter(|bar| bar.is_hidden())
            && self.begun.elapsed() >= PATIENCE
        {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            bar.tick();
        }
    }

    /// Takes the picture away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `████████░░░░`, this many cells wide.
pub(crate) fn gauge(share: f64, cells: usize, ascii: bool) -> String {
    let (full, empty) = if ascii { ("#", ".") } else { ("█", "░") };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to cells"
    )]
    let filled = (share.clamp(0.0, 1.0) * cells as f64) as usize;
    format!("{}{}", full.repeat(filled), empty.repeat(cells - filled))
}

fn share(wave: &WaveProgress) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a percentage is shown")]
    wave.keys_total.filter(|total| *total > 0).map(|total| wave.keys_moved as f64 / total as f64)
}

/// Two lines for a terminal.
fn wave_lines(wave: &WaveProgress, ascii: bool) -> String {
    let arrow = if ascii { "->" } else { "→" };
    let slots = codis_core::plan::plural(wave.slots.len(), "slot", "slots");
    let mut first = format!("wave {}   {} {arrow} {}  {slots}", short(wave.wave), wave.from, wave.to);
    match (wave.phase, share(wave)) {
        (WavePhase::Migrate | WavePhase::Verify, Some(share)) => {
            first.push_str(&format!(
                "  {}  {:>2.0} %  {}",
                gauge(share, 20, ascii),
                (share * 100.0).floor(),
                keys(wave)
            ));
        }
        (phase, _) => {
            first.push_str(&format!("  {}  acks {} of {}", phase.as_str(), wave.acks.0, wave.acks.1))
        }
    }
    format!(
        "{first}\n         stall p50 {:.1} p99 {:.1} max {:.1} ms   batch {} keys   {}",
        wave.stall_p50_ms, wave.stall_p99_ms, wave.stall_max_ms, wave.batch_keys, wave.note
    )
}

/// One line for a log.
fn wave_log(wave: &WaveProgress) -> String {
    let head = format!("wave {} {}→{} slots {}", short(wave.wave), wave.from, wave.to, wave.slots);
    let note = if wave.note.is_empty() { String::new() } else { format!(" {}", wave.note) };
    match wave.phase {
        WavePhase::Migrate if wave.keys_total.is_some() => format!(
            "{head} migrate {:.0}% {} stall p99 {:.1}ms{note}",
            (share(wave).unwrap_or(0.0) * 100.0).floor(),
            keys(wave),
            wave.stall_p99_ms
        ),
        WavePhase::Done => {
            format!("{head} done {} keys stall max {:.1}ms{note}", wave.keys_moved, wave.stall_max_ms)
        }
        phase if wave.acks.1 > 0 => {
            format!("{head} {} acks {}/{}{note}", phase.as_str(), wave.acks.0, wave.acks.1)
        }
        phase => format!("{head} {}{note}", phase.as_str()),
    }
}

fn keys(wave: &WaveProgress) -> String {
    let total = wave.keys_total.map_or_else(|| "?".to_owned(), units::count);
    let eta = wave.eta_s.map_or_else(String::new, |eta| format!("  ETA {}", units::seconds(eta)));
    format!("{}/{total} keys  {}/s{eta}", units::count(wave.keys_moved), units::rate(wave.keys_per_s))
}

/// Waves are numbered by the time of their request; its last digits tell them apart.
pub(crate) fn short(wave: u64) -> String {
    format!("{:04}", wave % 10_000)
}

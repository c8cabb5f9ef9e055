//! `codis-tui`: the terminal, the clock, the signals and the poller around the dashboard's model.
//!
//! Only this program names a runtime, the terminal's events or `codis-ops`. Its loop waits for
//! whatever comes first, hands it to [`update`] and carries out the effects: keys are drawn at once,
//! data at most four times a second.

mod options;
mod poller;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser as _;
use codis_ops::{Failure, FailureKind};
use codis_tui::model::Model;
use codis_tui::msg::{Effect, Key, Msg};
use codis_tui::term::Guard;
use codis_tui::update::update;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::options::Options;
use crate::poller::{News, Poller, now_ms};

/// Data is drawn at most this often.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// News that may wait for the screen.
const QUEUE: usize = 8;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut text = format!("error: {}\n", failure.what);
            for (label, part) in [("where", &failure.place), ("why", &failure.why), ("next", &failure.next)] {
                if !part.is_empty() {
                    text.push_str(&format!("  {label:<5}  {}\n", part.replace('\n', "\n         ")));
                }
            }
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(failure.kind.exit_status())
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let why = "a dashboard needs a terminal for its keys and its picture";
        return Err(Failure::new(
            FailureKind::Usage,
            "cannot open the dashboard",
            "standard input and output",
            why,
        )
        .next("codisctl status    prints the same figures once"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| no_terminal(&error))?;
    // Everything is on this thread: drawing is short, and the poller only waits.
    let result = LocalSet::new().block_on(&runtime, dashboard(options));
    // What still waits for a server is not worth waiting for.
    runtime.shutdown_background();
    result
}

/// Runs until the user, a signal or a failure ends it. The terminal is given back on every way out.
async fn dashboard(options: &Options) -> Result<(), Failure> {
    let target = options.target()?;
    let env = |name: &str| std::env::var(name).ok();
    let theme = options.theme(crossterm::style::available_color_count(), &env);
    let mut model =
        Model::new(&target.product.to_string(), &target.store.to_string(), theme, options.glyphs(&env));
    model.interval_ms = options.interval.as_millis() as u64;

    let hurry = Rc::new(Notify::new());
    let (news, mut incoming) = mpsc::channel(QUEUE);
    let poller = Poller {
        target,
        interval: options.interval,
        start_timeout: options.start_timeout,
        hurry: Rc::clone(&hurry),
        news,
    };
    let signal = |kind| signal(kind).map_err(|error| no_terminal(&error));
    let (mut terminate, mut interrupt, mut hang_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut guard = Guard::enter().map_err(|error| no_terminal(&error))?;
    let mut polling = spawn_local(poller.run());
    let mut events = EventStream::new();

    let size = crossterm::terminal::size().map_err(|error| no_terminal(&error))?;
    let mut wishes = Vec::new();
    take(&mut model, Msg::Resize(size.0, size.1), &mut wishes);
    let mut drawn_at = Instant::now();
    let mut wants_drawing = false;
    loop {
        for wish in wishes.drain(..) {
            match wish {
                Effect::Quit => return Ok(()),
                Effect::PollNow => hurry.notify_waiters(),
                Effect::DrawSoon => wants_drawing = true,
                Effect::Draw => (wants_drawing, drawn_at) = (true, Instant::now() - DRAW_EVERY),
            }
        }
        if wants_drawing && drawn_at.elapsed() >= DRAW_EVERY {
            guard.draw(&model).map_err(|error| no_terminal(&error))?;
            (wants_drawing, drawn_at) = (false, Instant::now());
        }
        let tick = model.tick_ms() - now_ms() % model.tick_ms();
        let tick = Instant::now() + Duration::from_millis(tick);
        let wake = if wants_drawing { tick.min(drawn_at + DRAW_EVERY) } else { tick };
        let msg = tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => translate(event),
                Some(Err(error)) => return Err(no_terminal(&error)),
                None => return Ok(()),
            },
            news = incoming.recv() => match news {
                Some(News::Msg(msg)) => Some(msg),
                Some(News::Fatal(failure)) => return Err(failure),
                None => return Err(poller_ended()),
            },
            _ = &mut polling => return Err(poller_ended()),
            _ = terminate.recv() => return Err(interrupted("SIGTERM")),
            _ = interrupt.recv() => return Err(interrupted("SIGINT")),
            _ = hang_up.recv() => return Err(interrupted("SIGHUP")),
            () = sleep_until(wake) => None,
        };
        take(&mut model, Msg::Tick { now_ms: now_ms() }, &mut wishes);
        if let Some(msg) = msg {
            take(&mut model, msg, &mut wishes);
        }
    }
}

fn take(model: &mut Model, msg: Msg, wishes: &mut Vec<Effect>) {
    wishes.extend(update(model, msg));
}

/// An event of the terminal as a message; `None` for those that mean nothing to us.
fn translate(event: Event) -> Option<Msg> {
    match event {
        Event::Resize(columns, rows) => Some(Msg::Resize(columns, rows)),
        Event::Key(KeyEvent {
            code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, ..
        }) => Some(Msg::Key(key(code, modifiers))),
        _ => None,
    }
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Key {
    match code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Esc => Key::Esc,
        KeyCode::Enter => Key::Other("Enter"),
        KeyCode::Tab => Key::Other("Tab"),
        KeyCode::BackTab => Key::Other("Shift-Tab"),
        KeyCode::Backspace => Key::Other("Backspace"),
        KeyCode::Delete => Key::Other("Delete"),
        KeyCode::Insert => Key::Other("Insert"),
        _ => Key::Other("this key"),
    }
}

fn interrupted(signal: &str) -> Failure {
    let why = format!("{signal} was received");
    Failure::new(FailureKind::Interrupted, "the dashboard was ended", "codis-tui", why)
}

fn no_terminal(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Failed, "cannot use the terminal", "standard input and output", error)
}

/// The poller runs as long as it is listened to; if it ended, it panicked, and has said why.
fn poller_ended() -> Failure {
    Failure::new(FailureKind::Failed, "the dashboard cannot go on", "poller", "it ended unexpectedly")
        .next("run it again; the message above says what went wrong")
}

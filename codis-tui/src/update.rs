//! What a message does to the model. No clock, no IO: the same messages give the same screen.

use codis_core::{Cluster, SLOT_COUNT, SlotId};

use crate::board::{Board, State};
use crate::keymap::{self, Intent};
use crate::model::{Feed, Model, Notice, Overlay};
use crate::msg::{Effect, Key, Msg};

/// How long the status line says that a key means nothing, milliseconds.
const NOTICE_MS: u64 = 2_000;
/// How long it says what just happened, milliseconds.
const EVENT_MS: u64 = 5_000;

/// Takes one message; returns what is to be done about it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Tick { now_ms } => tick(model, now_ms),
        Msg::Resize(columns, rows) => {
            model.size = (columns, rows);
            vec![Effect::Draw]
        }
        Msg::Key(key) => press(model, key),
        Msg::Cluster(cluster) => take_cluster(model, *cluster),
        Msg::StoreLost { why, next_try_ms } => {
            model.feed = Feed::Lost { why, next_try_ms };
            vec![Effect::DrawSoon]
        }
        Msg::NoProduct => {
            model.feed = Feed::NoProduct;
            vec![Effect::DrawSoon]
        }
        Msg::Servers(servers) => {
            let news = servers != model.servers;
            model.servers = servers;
            redraw_board(model, news)
        }
        Msg::Proxies(proxies) => {
            let news = proxies != model.proxies;
            model.proxies = proxies;
            redraw_board(model, news)
        }
    }
}

/// The clock is on the screen, so a new second is a reason to draw; while the first answer is
/// awaited every tick is.
fn tick(model: &mut Model, now_ms: u64) -> Vec<Effect> {
    if model.started_ms == 0 {
        model.started_ms = now_ms;
    }
    let new_second = now_ms / 1_000 != model.now_ms / 1_000;
    model.now_ms = now_ms;
    if model.notice.as_ref().is_some_and(|notice| notice.until_ms <= now_ms) {
        model.notice = None;
    }
    if new_second || model.feed == Feed::Loading { vec![Effect::DrawSoon] } else { Vec::new() }
}

fn take_cluster(model: &mut Model, cluster: Cluster) -> Vec<Effect> {
    let before = std::mem::replace(&mut model.feed, Feed::Live);
    let age = model.age_ms();
    model.cluster_ms = model.now_ms;
    if matches!(before, Feed::Lost { .. }) {
        say(model, format!("store back after {}", crate::text::span(age)), EVENT_MS);
    }
    model.pace.note(&cluster, model.now_ms);
    // What was asked and when differs in every snapshot; what counts is what it says.
    let same = model.cluster.as_ref().is_some_and(|old| {
        let old_times = Cluster { taken_ms: cluster.taken_ms, read_ms: cluster.read_ms, ..old.clone() };
        old_times == cluster
    });
    if same && before == Feed::Live && model.board.waves.is_empty() {
        return Vec::new();
    }
    let old = std::mem::take(&mut model.board);
    let first = model.cluster.is_none();
    model.cluster = Some(cluster);
    model.board = Board::of(model);
    if !first {
        for (slot, (old, new)) in old.cells.iter().zip(&model.board.cells).enumerate() {
            if old != new {
                model.changed_ms[slot] = model.now_ms;
            }
        }
    }
    vec![Effect::DrawSoon]
}

fn redraw_board(model: &mut Model, news: bool) -> Vec<Effect> {
    if !news || model.cluster.is_none() {
        return Vec::new();
    }
    model.board = Board::of(model);
    vec![Effect::DrawSoon]
}

fn press(model: &mut Model, key: Key) -> Vec<Effect> {
    model.notice = None;
    let intent = keymap::intent(model.screen, key);
    if intent == Some(Intent::Quit) {
        return vec![Effect::Quit];
    }
    match (model.overlay, intent) {
        // Any key closes the help.
        (Some(Overlay::Help), _) | (Some(Overlay::Lists(_)), Some(Intent::Back | Intent::Lists)) => {
            model.overlay = None;
        }
        (_, Some(Intent::Help)) => model.overlay = Some(Overlay::Help),
        (_, Some(Intent::Refresh)) => {
            say(model, "asking the store, the servers and the proxies".to_owned(), NOTICE_MS);
            return vec![Effect::PollNow, Effect::Draw];
        }
        (Some(Overlay::Lists(top)), Some(intent)) => scroll(model, top, intent),
        (None, Some(Intent::Lists)) => model.overlay = Some(Overlay::Lists(0)),
        (None, Some(Intent::Go(screen))) => model.screen = screen,
        (None, Some(Intent::Back)) => {}
        (None, Some(Intent::NextOdd)) => go_to_odd(model, true),
        (None, Some(Intent::PreviousOdd)) => go_to_odd(model, false),
        (None, Some(intent)) => move_cursor(model, intent),
        (_, None) => {
            say(model, format!("{} means nothing here: ? shows the keys", keymap::name(key)), NOTICE_MS)
        }
    }
    vec![Effect::Draw]
}

fn scroll(model: &mut Model, top: usize, intent: Intent) {
    let half = usize::from(model.size.1 / 2);
    let last = model.board.groups.len().saturating_sub(1);
    let top = match intent {
        Intent::Up => top.saturating_sub(1),
        Intent::Down => top + 1,
        Intent::HalfUp => top.saturating_sub(half),
        Intent::HalfDown => top + half,
        Intent::First => 0,
        Intent::Last => last,
        _ => return,
    };
    model.overlay = Some(Overlay::Lists(top.min(last)));
}

/// Moving past the end of a row goes to the next; past the end of the map it stays.
fn move_cursor(model: &mut Model, intent: Intent) {
    let (at, columns) = (model.cursor.get(), model.columns());
    let last = SLOT_COUNT - 1;
    let column = at % columns;
    let half = SLOT_COUNT / 2;
    let to = match intent {
        Intent::Left => at.saturating_sub(1),
        Intent::Right => (at + 1).min(last),
        Intent::Up if at >= columns => at - columns,
        Intent::Down if at + columns <= last => at + columns,
        Intent::RowStart => at - column,
        Intent::RowEnd => at - column + columns - 1,
        Intent::First => column,
        Intent::Last => SLOT_COUNT - columns + column,
        Intent::HalfUp if at >= half => at - half,
        Intent::HalfUp => column,
        Intent::HalfDown if at < half => at + half,
        Intent::HalfDown => SLOT_COUNT - columns + column,
        _ => at,
    };
    model.cursor = SlotId::new(to).unwrap_or(model.cursor);
}

/// The next slot that is not online, round the end of the map.
fn go_to_odd(model: &mut Model, forward: bool) {
    let at = model.cursor.get();
    let odd =
        |n: &u16| model.board.cells.get(usize::from(*n)).is_some_and(|cell| cell.state != State::Online);
    let found = if forward {
        (at + 1..SLOT_COUNT).chain(0..at).find(odd)
    } else {
        (0..at).rev().chain((at + 1..SLOT_COUNT).rev()).find(odd)
    };
    match found.and_then(SlotId::new) {
        Some(slot) => model.cursor = slot,
        None => say(model, "no other slot is out of the ordinary: all are online".to_owned(), NOTICE_MS),
    }
}

fn say(model: &mut Model, text: String, for_ms: u64) {
    model.notice = Some(Notice { text, until_ms: model.now_ms + for_ms });
}

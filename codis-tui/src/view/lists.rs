//! Groups, moves and proxies as lists: beside the map as far as they fit, or in full.

use codis_core::ProxyState;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{aged, gauge, line, rule, way};
use crate::board::{GroupRow, ProxyRow, Wave, WaveState};
use crate::model::Model;
use crate::text::{self, brief, clip, rate, spaced, span};
use crate::theme::Role;

/// Waves and proxies that are shown before groups get more than [`FEW_GROUPS`] lines.
const FEW: usize = 3;
const FEW_GROUPS: usize = 4;
/// Columns from which on the list of groups names their slots.
const RANGES: u16 = 38;

/// The lines of the three lists, rules and headings included.
pub(super) struct Lists<'a> {
    pub(super) groups: Vec<Line<'a>>,
    pub(super) moving: Vec<Line<'a>>,
    pub(super) proxies: Vec<Line<'a>>,
}

/// As much of the three lists as fits into `height` lines together.
pub(super) fn beside<'a>(model: &Model, width: u16, height: u16) -> Lists<'a> {
    let board = &model.board;
    let (moves, proxies) = (moving_rows(model).len().max(1), board.proxies.len().max(1));
    // Two lines each for rule and heading, one for the moves, which have no heading.
    let mut left = usize::from(height).saturating_sub(5);
    let mut shares = [FEW_GROUPS.min(board.groups.len().max(1)), moves.min(FEW), proxies.min(FEW)];
    left = left.saturating_sub(shares.iter().sum());
    for (share, wanted) in shares.iter_mut().zip([board.groups.len(), moves, proxies]) {
        let more = wanted.saturating_sub(*share).min(left);
        *share += more;
        left -= more;
    }
    let [groups_share, moves_share, proxies_share] = shares;
    Lists {
        groups: groups(model, width, top(model, groups_share), groups_share + left),
        moving: moving(model, width, moves_share),
        proxies: proxies_list(model, width, proxies_share),
    }
}

/// Rows of groups to skip so that the cursor's group is seen.
fn top(model: &Model, room: usize) -> usize {
    let cell = model.board.cell(model.cursor);
    let at = model.board.groups.iter().position(|row| Some(row.id) == cell.owner).unwrap_or(0);
    // The last line may be needed to say how many more there are.
    (at + 2).saturating_sub(room).min(model.board.groups.len().saturating_sub(room))
}

/// The three lists over the whole body.
pub(super) fn full(model: &Model, frame: &mut Frame<'_>, body: Rect, top: usize) {
    let left_width = if body.width >= 100 { body.width - 52 } else { 29 };
    let left = Rect { width: left_width, ..body };
    let right = Rect { x: body.x + left_width + 1, width: body.width - left_width - 1, ..body };
    let rows = usize::from(body.height.saturating_sub(2));
    for (row, content) in (0..body.height).zip(groups(model, left.width, top, rows)) {
        line(frame, left, row, content);
    }
    let bar = model.glyphs.bar.to_string();
    let edge = Rect { x: body.x + left_width, width: 1, ..body };
    line(frame, edge, 0, Line::styled(model.glyphs.tee_down.to_string(), model.theme.role(Role::Rule)));
    for row in 1..body.height {
        line(frame, edge, row, Line::styled(bar.clone(), model.theme.role(Role::Rule)));
    }
    let rows = rows.saturating_sub(1);
    let waves = moving_rows(model).len().max(1).min(rows.saturating_sub(FEW));
    let lists = moving(model, right.width, waves);
    let rest = usize::from(body.height).saturating_sub(lists.len() + 2);
    let lists = lists.into_iter().chain(proxies_list(model, right.width, rest));
    for (row, content) in (0..body.height).zip(lists) {
        line(frame, right, row, content);
    }
}

fn groups<'a>(model: &Model, width: u16, top: usize, room: usize) -> Vec<Line<'a>> {
    let dim = model.theme.role(Role::Dim);
    let mut lines = vec![rule(model, "Groups", "", width)];
    let rows = &model.board.groups;
    if rows.is_empty() {
        lines.push(Line::default());
        lines.push(Line::from(" No groups yet. codisctl group add"));
        return lines;
    }
    // Without room for at least one range, none is named.
    let heading =
        if width < RANGES { "  grp  slots moving      keys" } else { "  grp  slots moving      keys ranges" };
    lines.push(Line::styled(heading, dim));
    let shown = rows.get(top..).unwrap_or_default();
    let cut = shown.len() > room;
    let count = if cut { room.saturating_sub(1) } else { room };
    lines.extend(shown.iter().take(count).map(|row| group(model, row, width)));
    if cut {
        let more = shown.len() - count;
        lines.push(Line::styled(format!("       {more} more: i shows all"), dim));
    }
    lines
}

fn group<'a>(model: &Model, row: &GroupRow, width: u16) -> Line<'a> {
    let g = model.glyphs;
    let mut moving = String::new();
    if row.migrating > 0 {
        moving.push_str(&format!("{}{}", g.migrate, row.migrating));
    }
    if row.held > 0 {
        moving.push_str(&format!("{}{}", g.pre_migrate, row.held));
    }
    let keys = row.keys.map_or_else(|| g.unknown.to_string(), text::keys);
    let name = match model.board.labels.get(&row.id) {
        Some(label) if row.id.0 > 99 => format!("{}={}", label.two, row.id),
        _ => row.id.to_string(),
    };
    let ranges = if width < RANGES { "" } else { &row.ranges };
    let text = format!(" {name:>4} {:>6} {moving:>6} {keys:>9} {ranges}", row.slots);
    let text = clip(text.trim_end(), usize::from(width), g.ellipsis);
    let role = if row.slots > 0 && row.masters != 1 { Role::Crit } else { Role::Text };
    Line::styled(text, aged(model, model.theme.role(role)))
}

/// Waves to list; those that wait are one line, except when nothing else is there.
fn moving_rows(model: &Model) -> Vec<&Wave> {
    let active: Vec<&Wave> =
        model.board.waves.iter().filter(|wave| wave.state != WaveState::Pending).collect();
    if active.is_empty() { model.board.waves.iter().collect() } else { active }
}

fn moving<'a>(model: &Model, width: u16, room: usize) -> Vec<Line<'a>> {
    let all = &model.board.waves;
    let eta =
        all.iter().filter_map(Wave::eta_ms).max().map_or_else(String::new, |ms| format!("ETA {}", span(ms)));
    let waiting: Vec<&Wave> = all.iter().filter(|wave| wave.state == WaveState::Pending).collect();
    let waiting_slots: usize = waiting.iter().map(|wave| wave.slots.len()).sum();
    let rows = moving_rows(model);
    let title = match (rows.first(), waiting_slots) {
        (Some(first), n) if first.state != WaveState::Pending && n > 0 => format!("Moving, {n} slots wait"),
        _ => "Moving".to_owned(),
    };
    let mut lines = vec![rule(model, &title, &eta, width)];
    if rows.is_empty() {
        lines.push(Line::styled(" Nothing moves. codisctl migrate start", model.theme.role(Role::Dim)));
        return lines;
    }
    let count = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
    lines.extend(rows.iter().take(count).map(|row| wave(model, row, width)));
    if rows.len() > count {
        let text = format!(" {} more: i shows all", rows.len() - count);
        lines.push(Line::styled(text, model.theme.role(Role::Dim)));
    }
    lines
}

/// ` 5 → 13    6 » ████░░  41 %  101k/247k 8.0k/s`
fn wave<'a>(model: &Model, wave: &Wave, width: u16) -> Line<'a> {
    let g = model.glyphs;
    let style = |role| aged(model, model.theme.role(role));
    let head = format!(" {:<8}{:>4} ", way(model, wave.from, wave.to), wave.slots.len());
    let total = wave.keys_total.map_or_else(|| g.unknown.to_string(), brief);
    let keys = format!("{}/{total}", brief(wave.keys_moved));
    let mut spans = vec![Span::styled(head, style(Role::Text))];
    let note = |fallback: &str| if wave.note.is_empty() { fallback.to_owned() } else { wave.note.clone() };
    match wave.state {
        WaveState::Migrate => {
            spans.push(Span::styled(format!("{} ", g.migrate), style(Role::Text)));
            spans.push(gauge(model, wave.percent(), 6));
            let per_s = wave.keys_per_s.map_or_else(String::new, |r| format!("{}/s", rate(r)));
            let text = format!(" {:>3} % {keys:>9} {per_s:>6}", wave.percent());
            spans.push(Span::styled(text, style(Role::Text)));
        }
        WaveState::PreMigrate => {
            let text = format!("{} pre_migrate {}", g.pre_migrate, note(&keys));
            spans.push(Span::styled(text, style(Role::Text)));
        }
        WaveState::Stuck => {
            let text = format!("{} {} % {}", g.stuck, wave.percent(), note("no mover: codisctl migrate run"));
            spans.push(Span::styled(text, style(Role::Warn)));
        }
        WaveState::Error => {
            spans.push(Span::styled(format!("{} error {}", g.crit, note("")), style(Role::Warn)));
        }
        // By a person, or by a mover that waits for one: that says why.
        WaveState::Paused if !wave.note.is_empty() => {
            spans.push(Span::styled(format!("  paused {}", wave.note), style(Role::Warn)));
        }
        WaveState::Paused => spans.push(Span::styled(format!("  paused {keys:>11}"), style(Role::Dim))),
        WaveState::Pending => spans.push(Span::styled(format!("  pending {keys:>10}"), style(Role::Dim))),
    }
    let used: usize = spans.iter().map(|span| span.content.chars().count()).sum();
    if let Some(last) = spans.last_mut().filter(|_| used > usize::from(width)) {
        let room = (last.content.chars().count() + usize::from(width)).saturating_sub(used);
        last.content = clip(&last.content, room, g.ellipsis).into();
    }
    Line::from(spans)
}

fn proxies_list<'a>(model: &Model, width: u16, room: usize) -> Vec<Line<'a>> {
    let rows = &model.board.proxies;
    let online = rows.iter().filter(|row| row.state == ProxyState::Online).count();
    let mut title = format!("Proxies: {online} online");
    if rows.len() > online {
        title.push_str(&format!(", {} offline", rows.len() - online));
    }
    let per_s: f64 = rows.iter().filter_map(|row| Some(row.answer.as_ref()?.as_ref().ok()?.per_s)).sum();
    let remark = if online > 0 { format!("{} ops/s", rate(per_s)) } else { String::new() };
    let mut lines = vec![rule(model, &title, &remark, width)];
    let dim = model.theme.role(Role::Dim);
    if rows.is_empty() {
        lines.push(Line::styled(" No proxies: nothing serves clients now.", dim));
        return lines;
    }
    lines.push(Line::styled(" proxy         conns   ops/s  p99 ms fails/s", dim));
    let count = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
    lines.extend(rows.iter().take(count).map(|row| proxy(model, row, width)));
    if rows.len() > count {
        lines.push(Line::styled(format!(" {} more: i shows all", rows.len() - count), dim));
    }
    lines
}

fn proxy<'a>(model: &Model, row: &ProxyRow, width: u16) -> Line<'a> {
    let g = model.glyphs;
    let state = match row.state {
        ProxyState::Online => g.proxy_online,
        ProxyState::Offline => g.proxy_offline,
        ProxyState::MarkOffline => g.proxy_leaving,
    };
    let id = clip(row.id.as_str(), 9, g.ellipsis);
    let (text, role) = match (&row.answer, row.state) {
        (Some(Ok(facts)), _) => {
            let p99 = facts.p99_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
            let fails =
                if facts.errors_per_s < 0.05 { "0".to_owned() } else { format!("{:.1}", facts.errors_per_s) };
            let (conns, ops) = (spaced(facts.clients), rate(facts.per_s));
            (format!(" {state} {id:<9} {conns:>7} {ops:>7} {p99:>7} {fails:>7}"), Role::Text)
        }
        (Some(Err(why)), ProxyState::Online) => (format!(" {state} {id:<9} {} {why}", g.crit), Role::Warn),
        (_, ProxyState::Online) => (format!(" {state} {id:<9}"), Role::Text),
        (_, state_word) => (format!(" {state} {id:<9} {state_word}"), Role::Dim),
    };
    Line::styled(clip(&text, usize::from(width), g.ellipsis), aged(model, model.theme.role(role)))
}

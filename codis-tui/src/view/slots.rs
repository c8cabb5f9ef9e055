//! The Slots screen: the map, and beside it cursor, groups, states, moves and proxies in the order
//! in which one asks.

use codis_core::{Role as ServerRole, SLOT_COUNT};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{aged, gauge, line, lists, map, rule, way};
use crate::board::{Cell, State};
use crate::model::Model;
use crate::text;
use crate::theme::Role;

/// Columns of the large map, with the blank behind it.
const MAP: u16 = 74;
/// Lines of the pane's fixed parts, their rules included.
const CURSOR: u16 = 6;
const STATES: u16 = 4;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, body: Rect) {
    if model.is_wide() { wide(model, frame, body) } else { narrow(model, frame, body) }
}

fn wide(model: &Model, frame: &mut Frame<'_>, body: Rect) {
    let left = Rect { width: MAP, ..body };
    line(frame, left, 0, rule(model, "Slots by group", "", MAP));
    let rows = SLOT_COUNT / model.columns() + 1;
    let bottom = body.height - 2;
    if model.board.counts.no_group == usize::from(SLOT_COUNT) || !has_slots(model) {
        empty(model, frame, left);
    } else {
        let area = Rect { y: body.y + 1, height: rows, ..left };
        map::draw(model, frame.buffer_mut(), area);
    }
    let edge = Rect { x: body.x + MAP, width: 1, ..body };
    let style = model.theme.role(Role::Rule);
    let glyphs = model.glyphs;
    line(frame, body, bottom, rule(model, "", "", body.width));
    line(frame, edge, 0, Line::styled(glyphs.tee_down.to_string(), style));
    for row in 1..bottom {
        line(frame, edge, row, Line::styled(glyphs.bar.to_string(), style));
    }
    line(frame, edge, bottom, Line::styled(glyphs.tee_up.to_string(), style));
    let legend = format!(
        " A slot is two cells: owner at the start of a run, else {} ; {}n shows source colour left, destination colour right",
        glyphs.same, glyphs.migrate
    );
    line(frame, body, bottom + 1, Line::styled(legend, model.theme.role(Role::Dim)));
    let pane = Rect { x: body.x + MAP + 1, width: body.width - MAP - 1, height: bottom, ..body };
    pane_of(model, frame, pane);
}

fn pane_of(model: &Model, frame: &mut Frame<'_>, pane: Rect) {
    let mut lines = vec![rule(model, "Cursor", "", pane.width)];
    lines.extend(cursor(model));
    lines.resize(usize::from(CURSOR), Line::default());
    let lists = lists::beside(model, pane.width, pane.height.saturating_sub(CURSOR + STATES));
    lines.extend(lists.groups);
    lines.push(rule(model, "States", "", pane.width));
    lines.extend(states(model));
    lines.extend(lists.moving);
    lines.extend(lists.proxies);
    for (row, content) in (0..pane.height).zip(lines) {
        line(frame, pane, row, content);
    }
}

fn narrow(model: &Model, frame: &mut Frame<'_>, body: Rect) {
    let names: Vec<String> = model
        .board
        .labels
        .iter()
        .filter(|(_, label)| label.two.chars().count() > 1)
        .map(|(id, label)| format!("{}={id}", label.one))
        .collect();
    line(
        frame,
        body,
        0,
        rule(model, format!("Slots by group   {}", names.join(" ")).trim_end(), "", body.width),
    );
    let rows = SLOT_COUNT / model.columns() + 1;
    if model.board.counts.no_group == usize::from(SLOT_COUNT) || !has_slots(model) {
        empty(model, frame, body);
    } else {
        map::draw(model, frame.buffer_mut(), Rect { y: body.y + 1, height: rows, ..body });
    }
    line(frame, body, rows + 1, rule(model, &cursor_sentence(model), "", body.width));
    let (counts, g) = (model.board.counts, model.glyphs);
    let unknown = match counts.unknown {
        0 => String::new(),
        n => format!("  {} unknown {n}", g.unknown),
    };
    let text = format!(
        " online {}{unknown}  {} pre_migrate {}  {} migrate {}  {} stuck {}  {} offline {}  {} none {}",
        counts.online,
        g.pre_migrate,
        counts.pre_migrate,
        g.migrate,
        counts.migrate,
        g.stuck,
        counts.stuck,
        g.offline,
        counts.offline,
        g.no_group,
        counts.no_group
    );
    line(frame, body, rows + 2, Line::styled(text, aged(model, model.theme.role(Role::Text))));
    // A terminal that is taller than the small form has room for what moves.
    let rest = Rect { y: body.y + rows + 3, height: body.height.saturating_sub(rows + 3), ..body };
    if rest.height > 2 {
        let lists = lists::beside(model, rest.width, rest.height);
        for (row, content) in (0..rest.height).zip(lists.moving.into_iter().chain(lists.proxies)) {
            line(frame, rest, row, content);
        }
    }
}

/// True if at least one slot node was read.
fn has_slots(model: &Model) -> bool {
    model.board.counts.unknown < usize::from(SLOT_COUNT)
}

fn empty(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let product = &model.product;
    let text = if has_slots(model) {
        [
            "All 1024 slots are without a group.".to_owned(),
            "codisctl group add 1 --master HOST:PORT".to_owned(),
            "codisctl slot assign 0-1023 1".to_owned(),
        ]
    } else {
        [
            format!("{product} has no slots that can be read."),
            format!("codisctl product init {product}    makes them"),
            String::new(),
        ]
    };
    for (row, text) in (2..).zip(text) {
        line(frame, area, row, Line::from(format!("  {text}")));
    }
}

fn state_word(cell: Cell) -> &'static str {
    match cell.state {
        State::Online => "online",
        State::NoGroup => "no group",
        State::Offline => "offline",
        State::PreMigrate => "pre_migrate",
        State::Migrate(_) => "migrate",
        State::Stuck if cell.to.is_some() => "migrate, stuck",
        State::Stuck => "pre_migrate, stuck",
        State::Unknown => "not readable",
    }
}

fn owner_words(model: &Model, cell: Cell) -> String {
    match (cell.owner, cell.to) {
        (Some(from), Some(to)) => way(model, from, to),
        (Some(group), None) => format!("group {group}"),
        (None, _) => String::new(),
    }
}

/// The slot under the cursor in one line.
pub(super) fn cursor_sentence(model: &Model) -> String {
    let cell = model.board.cell(model.cursor);
    let mut text = format!("slot {}: {} {}", model.cursor, state_word(cell), owner_words(model, cell));
    let entry = model.cluster.as_ref().and_then(|cluster| cluster.move_of(model.cursor));
    if let Some(entry) = entry {
        text.push_str(&format!(", task {}", entry.task));
        if let Some(total) = entry.keys_total {
            let left = total.saturating_sub(entry.keys_moved);
            let (left, total) = (text::spaced(left), text::spaced(total));
            text.push_str(&format!(", {left} of {total} keys left, {} %", entry.percent()));
        }
    }
    text.trim_end().to_owned()
}

/// What is known about the slot under the cursor, five lines at most.
fn cursor<'a>(model: &Model) -> Vec<Line<'a>> {
    let Some(cluster) = &model.cluster else { return Vec::new() };
    let cell = model.board.cell(model.cursor);
    let role = |role| aged(model, model.theme.role(role));
    let head =
        format!(" slot {:<12} {:<9} {}", model.cursor.get(), state_word(cell), owner_words(model, cell));
    let mut lines = vec![Line::styled(head, role(Role::Title))];
    if cell.state == State::Unknown {
        let path = format!("slots/slot_{}", model.cursor);
        let gap = cluster.gaps.iter().find(|gap| gap.path.ends_with(&path));
        let why = gap.map_or("the node does not exist", |gap| gap.why.as_str());
        lines.push(Line::styled(format!(" {} {why}", model.glyphs.crit), role(Role::Warn)));
        return lines;
    }
    if let Some(entry) = cluster.move_of(model.cursor) {
        let since = model.changed_ms[model.cursor.index()];
        let since = if since > 0 && cell.to.is_some() {
            format!(" for {}", text::span(model.now_ms.saturating_sub(since)))
        } else {
            String::new()
        };
        lines
            .push(Line::styled(format!(" task {:<12} {}{since}", entry.task, entry.state), role(Role::Text)));
        if let Some(total) = entry.keys_total {
            let left = text::spaced(total.saturating_sub(entry.keys_moved));
            let source = entry.from;
            let keys = format!(" keys {:>10}   {left} left on {source}", text::spaced(total));
            lines.push(Line::styled(keys, role(Role::Text)));
            let percent = u64::from(entry.percent());
            lines.push(Line::from(vec![
                Span::styled(" moved  ", role(Role::Text)),
                gauge(model, percent, 20),
                Span::styled(format!(" {percent} %"), role(Role::Text)),
            ]));
        }
        if !entry.note.is_empty() {
            lines.push(Line::styled(format!(" {} {}", model.glyphs.warn, entry.note), role(Role::Warn)));
            return lines;
        }
    } else if cell.state == State::Stuck {
        let text = format!(" {} no task works on it: codisctl migrate run", model.glyphs.warn);
        lines.push(Line::styled(text, role(Role::Warn)));
    }
    // The group that serves it: the destination as soon as keys move.
    let Some(group) = cell.to.or(cell.owner).and_then(|id| cluster.groups.get(&id)) else { return lines };
    let of = |wanted| group.servers.iter().filter(move |server| server.role == wanted);
    for server in of(ServerRole::Master).chain(of(ServerRole::Slave)).take(5 - lines.len().min(5)) {
        let answer = match model.servers.get(&server.addr) {
            Some(Ok(facts)) if facts.is_master != (server.role == ServerRole::Master) => {
                format!("  {} says it is not", model.glyphs.warn)
            }
            Some(Ok(_)) => format!("  {}", model.glyphs.ok),
            Some(Err(_)) => format!("  {} no answer", model.glyphs.crit),
            None => String::new(),
        };
        let text = format!(" {:<6} {}{answer}", server.role.as_str(), server.addr);
        lines.push(Line::styled(text, role(Role::Text)));
    }
    lines
}

/// The three lines of counts, which are also the legend of the glyphs.
fn states<'a>(model: &Model) -> Vec<Line<'a>> {
    let (n, g) = (model.board.counts, model.glyphs);
    let unknown = match n.unknown {
        0 => String::new(),
        unknown => format!("  {} unknown {unknown}", g.unknown),
    };
    let texts = [
        format!(" online {:<5}  {} pre_migrate {}{unknown}", n.online, g.pre_migrate, n.pre_migrate),
        format!(" {}n migrate {:<3} n = tenths of its keys moved", g.migrate, n.migrate),
        format!(
            " {}{} stuck {:<4} {} offline {:<4} {} no group {}",
            g.migrate, g.stuck, n.stuck, g.offline, n.offline, g.no_group, n.no_group
        ),
    ];
    texts.into_iter().map(|text| Line::styled(text, aged(model, model.theme.role(Role::Text)))).collect()
}

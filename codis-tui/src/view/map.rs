//! The slot map: who owns what, and what is not normal.
//!
//! Two columns per slot, 32 x 32, or one column per slot, 64 x 16. A number stands only where a run
//! of one owner begins, so the text alone is a picture of the runs; with colour they are blocks.

use codis_core::{GroupId, SLOT_COUNT, SlotId};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::aged;
use crate::board::{Cell, State};
use crate::model::Model;
use crate::theme::Role;

/// Columns of the edge with the number of the row's first slot.
const EDGE: u16 = 6;

/// Draws header and rows into the area; it must have room for both.
pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let columns = model.columns();
    let dim = model.theme.role(Role::Dim);
    for column in (0..columns).step_by(8) {
        buffer.set_string(area.x + x(model, column), area.y, format!("+{column}"), dim);
    }
    let at = model.cursor.get();
    let mark = model.theme.role(Role::Key);
    let pointer = model.glyphs.column.to_string();
    buffer.set_string(area.x + x(model, at % columns), area.y, pointer, mark);
    for row in 0..SLOT_COUNT / columns {
        let y = area.y + 1 + row;
        if row == at / columns {
            buffer.set_string(area.x, y, model.glyphs.row.to_string(), mark);
        }
        buffer.set_string(area.x + 1, y, format!("{:>4}", row * columns), dim);
    }
    for slot in SlotId::all() {
        let (row, column) = (slot.get() / columns, slot.get() % columns);
        let (left, right) = glyphs(model, slot);
        let (left_style, right_style) = styles(model, slot);
        let (cell_x, y) = (area.x + x(model, column), area.y + 1 + row);
        put(buffer, cell_x, y, left, left_style);
        if model.is_wide() {
            put(buffer, cell_x + 1, y, right, right_style);
        }
    }
}

fn put(buffer: &mut Buffer, x: u16, y: u16, glyph: char, style: Style) {
    if let Some(cell) = buffer.cell_mut((x, y)) {
        cell.set_char(glyph).set_style(style);
    }
}

/// Column of a slot's first cell: a gap after every eight.
fn x(model: &Model, column: u16) -> u16 {
    let width = if model.is_wide() { 2 } else { 1 };
    EDGE + column * width + column / 8
}

/// Both characters of a slot; the map with one column shows the first.
fn glyphs(model: &Model, slot: SlotId) -> (char, char) {
    let (board, g) = (&model.board, model.glyphs);
    let cell = board.cell(slot);
    match cell.state {
        State::Online if continues_run(model, slot, cell) => (g.same, ' '),
        State::Online => {
            let label = cell.owner.and_then(|group| board.labels.get(&group));
            let Some(label) = label else { return (g.unknown, ' ') };
            if !model.is_wide() {
                return (label.one, ' ');
            }
            let mut two = label.two.chars();
            (two.next().unwrap_or(' '), two.next().unwrap_or(' '))
        }
        State::NoGroup => (g.no_group, ' '),
        State::Offline => (g.offline, ' '),
        State::PreMigrate => (g.pre_migrate, ' '),
        State::Migrate(Some(tenths)) => (g.migrate, char::from(b'0' + tenths.min(9))),
        State::Migrate(None) => (g.migrate, g.unknown),
        State::Stuck if model.is_wide() => (g.migrate, g.stuck),
        State::Stuck => (g.stuck, ' '),
        State::Unknown => (g.unknown, ' '),
    }
}

/// True if the slot to the left, in the same row, is online at the same group.
fn continues_run(model: &Model, slot: SlotId, cell: Cell) -> bool {
    let at = slot.get();
    let left = if at.is_multiple_of(model.columns()) { None } else { SlotId::new(at - 1) };
    left.is_some_and(|left| model.board.cell(left) == cell)
}

fn styles(model: &Model, slot: SlotId) -> (Style, Style) {
    let cell = model.board.cell(slot);
    let tint = |group: Option<GroupId>| {
        let label = group.and_then(|group| model.board.labels.get(&group));
        label.and_then(|label| label.tint).map_or(Style::new(), |tint| model.theme.group(tint))
    };
    let (mut left, mut right) = match cell.state {
        State::Online | State::PreMigrate => (tint(cell.owner), tint(cell.owner)),
        State::Migrate(_) | State::Stuck => (tint(cell.owner), tint(cell.to.or(cell.owner))),
        State::Offline | State::Unknown => (model.theme.role(Role::Warn), model.theme.role(Role::Warn)),
        State::NoGroup => (model.theme.role(Role::Dim), model.theme.role(Role::Dim)),
    };
    (left, right) = (aged(model, left), aged(model, right));
    if model.just_changed(slot) {
        (left, right) = (left.add_modifier(Modifier::BOLD), right.add_modifier(Modifier::BOLD));
    }
    if slot == model.cursor {
        (left, right) = (left.add_modifier(Modifier::REVERSED), right.add_modifier(Modifier::REVERSED));
    }
    (left, right)
}

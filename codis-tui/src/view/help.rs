//! The keys, made from the table that decides what they do.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

use super::rule;
use crate::keymap::{self, Binding};
use crate::model::Model;
use crate::theme::Role;

const WIDTH: u16 = 76;
const KEY: usize = 16;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let [here, everywhere] = keymap::table(model.screen);
    let mut rows: Vec<Line<'_>> = vec![heading(model, "Look")];
    rows.extend(entries(model, here));
    rows.push(Line::default());
    rows.push(heading(model, "Everywhere"));
    rows.extend(entries(model, everywhere));
    rows.push(Line::default());
    let g = model.glyphs;
    rows.push(Line::from(format!(
        "{}n migrate, n tenths moved   {} pre_migrate   {} offline   {} no group   {}{} stuck",
        g.migrate, g.pre_migrate, g.offline, g.no_group, g.migrate, g.stuck
    )));
    let height = (rows.len() as u16 + 2).min(area.height);
    let frame_area = Rect {
        x: area.x + (area.width.saturating_sub(WIDTH)) / 2,
        y: area.y + (area.height - height) / 2,
        width: WIDTH.min(area.width),
        height,
    };
    frame.render_widget(Clear, frame_area);
    let (_, name) = model.screen.tab();
    edge(model, frame, frame_area, 0, &format!("Help: {name}"));
    for (row, line) in (1..height - 1).zip(rows) {
        let bar = Span::styled(model.glyphs.bar.to_string(), model.theme.role(Role::Rule));
        super::line(frame, frame_area, row, Line::from(vec![bar.clone()]));
        let right = Rect { x: frame_area.right() - 1, width: 1, ..frame_area };
        super::line(frame, right, row, Line::from(vec![bar]));
        let inside = Rect { x: frame_area.x + 2, width: frame_area.width - 4, ..frame_area };
        super::line(frame, inside, row, line);
    }
    edge(model, frame, frame_area, height - 1, "any key closes");
}

fn heading<'a>(model: &Model, text: &'a str) -> Line<'a> {
    Line::styled(text, model.theme.role(Role::Title))
}

fn entries<'a>(model: &Model, table: &'a [Binding]) -> impl Iterator<Item = Line<'a>> {
    let key = model.theme.role(Role::Key);
    table
        .iter()
        .filter(|b| !b.help.is_empty())
        .map(move |b| Line::from(vec![Span::styled(format!("{:<KEY$}", b.shown), key), Span::raw(b.help)]))
}

/// Upper or lower edge of the box.
fn edge(model: &Model, frame: &mut Frame<'_>, area: Rect, row: u16, title: &str) {
    let style = model.theme.role(Role::Rule);
    let [top_left, top_right, low_left, low_right] = model.glyphs.corners;
    let (left, right) = if row == 0 { (top_left, top_right) } else { (low_left, low_right) };
    super::line(frame, area, row, Line::styled(left.to_string(), style));
    let middle = Rect { x: area.x + 1, width: area.width - 2, ..area };
    super::line(frame, middle, row, rule(model, title, "", middle.width));
    super::line(
        frame,
        Rect { x: area.right() - 1, width: 1, ..area },
        row,
        Line::styled(right.to_string(), style),
    );
}

//! How a model looks. Lays out what the board says; decides nothing.

mod banner;
mod help;
mod lists;
mod map;
mod slots;
mod small;
mod title;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::model::{Feed, Model, Overlay};
use crate::theme::{self, Role};

/// Draws the whole screen.
pub fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if model.size == (area.width, area.height) {
        draw(model, frame);
    } else {
        // The terminal has a new size already, the message about it is still on its way.
        draw(&Model { size: (area.width, area.height), ..model.clone() }, frame);
    }
    if model.glyphs == &theme::ASCII {
        // Names, notes and reasons come from elsewhere, and may hold anything.
        for cell in frame.buffer_mut().content.iter_mut().filter(|cell| !cell.symbol().is_ascii()) {
            cell.set_char(if cell.symbol() == "→" { theme::ASCII.to } else { theme::ASCII.unknown });
        }
    }
}

fn draw(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if model.is_too_small() {
        small::draw(model, frame, area);
        return;
    }
    let [title, tabs, body, status, hints] = rows(area);
    title::title(model, frame, title);
    title::tabs(model, frame, tabs);
    match (model.overlay, &model.feed, &model.cluster) {
        (_, Feed::NoProduct, _) => {
            let text = [
                format!("No product {} here. codisctl product init {}", model.product, model.product),
                "Others: codisctl product list, then --product NAME".to_owned(),
            ];
            message(model, frame, body, "Slots by group", &text);
        }
        (_, _, None) => message(model, frame, body, "Slots by group", &loading(model)),
        (Some(Overlay::Lists(top)), _, Some(_)) => lists::full(model, frame, body, top),
        (_, _, Some(_)) => slots::draw(model, frame, body),
    }
    banner::draw(model, frame, body);
    title::status(model, frame, status);
    title::hints(model, frame, hints);
    if model.overlay == Some(Overlay::Help) {
        help::draw(model, frame, area);
    }
}

fn rows(area: Rect) -> [Rect; 5] {
    let row = |y| Rect { y: area.y + y, height: 1, ..area };
    let body = Rect { y: area.y + 2, height: area.height - 4, ..area };
    [row(0), row(1), body, row(area.height - 2), row(area.height - 1)]
}

/// What is said until the first answer; nothing at first, so that a quick start does not flicker.
fn loading(model: &Model) -> Vec<String> {
    let waited = model.now_ms.saturating_sub(model.started_ms);
    if waited < 250 {
        return Vec::new();
    }
    vec![format!("Reading {} from {} ... {}", model.product, model.store, crate::text::span(waited))]
}

/// A pane that has nothing but words to show.
fn message(model: &Model, frame: &mut Frame<'_>, body: Rect, title: &str, text: &[String]) {
    line(frame, body, 0, rule(model, title, "", body.width));
    for (i, text) in text.iter().enumerate() {
        line(frame, body, 2 + i as u16, Line::from(format!("  {text}")));
    }
}

/// Draws a line in the given row of an area, if there is such a row.
fn line(frame: &mut Frame<'_>, area: Rect, row: u16, line: Line<'_>) {
    if row < area.height {
        frame.render_widget(line, Rect { y: area.y + row, height: 1, ..area });
    }
}

/// A rule with a title at its left and a remark at its right end.
fn rule<'a>(model: &Model, title: &str, remark: &str, width: u16) -> Line<'a> {
    let dash = model.glyphs.rule.to_string();
    let style = model.theme.role(Role::Rule);
    if title.is_empty() {
        return Line::styled(dash.repeat(usize::from(width)), style);
    }
    let title = format!(
        " {} ",
        crate::text::clip(title, usize::from(width.saturating_sub(4)), model.glyphs.ellipsis)
    );
    let mut spans = vec![Span::styled(dash.clone(), style)];
    let mut left = usize::from(width).saturating_sub(1 + title.chars().count());
    spans.push(Span::styled(title, model.theme.role(Role::Title)));
    let remark = if remark.is_empty() { String::new() } else { format!(" {remark} ") };
    if !remark.is_empty() && left >= remark.chars().count() + 2 {
        left -= remark.chars().count() + 1;
        spans.push(Span::styled(dash.repeat(left), style));
        spans.push(Span::raw(remark));
        spans.push(Span::styled(dash, style));
    } else {
        spans.push(Span::styled(dash.repeat(left), style));
    }
    Line::from(spans)
}

/// A gauge of `width` columns.
fn gauge<'a>(model: &Model, percent: u64, width: usize) -> Span<'a> {
    let full = (percent.min(100) as usize * width + 50) / 100;
    let text: String = std::iter::repeat_n(model.glyphs.full, full)
        .chain(std::iter::repeat_n(model.glyphs.empty, width - full))
        .collect();
    Span::styled(text, model.theme.role(Role::Bar))
}

/// `5 → 13`.
fn way(model: &Model, from: impl std::fmt::Display, to: impl std::fmt::Display) -> String {
    format!("{from} {} {to}", model.glyphs.to)
}

/// The style of data in the body: its own, or that of old data.
fn aged(model: &Model, style: Style) -> Style {
    if model.is_stale() { model.theme.role(Role::Stale) } else { style }
}

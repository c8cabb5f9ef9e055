//! The rows that every screen has: title, tabs, status, hints.

use codis_core::Severity;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::slots::cursor_sentence;
use crate::keymap;
use crate::model::{Feed, Model, Overlay, Screen};
use crate::text;
use crate::theme::Role;

/// Product and store · how bad it is, who moves slots, age of the data, clock.
pub(super) fn title(model: &Model, frame: &mut Frame<'_>, row: Rect) {
    let width = usize::from(row.width);
    let age = match &model.cluster {
        None => String::new(),
        Some(_) if matches!(model.feed, Feed::Lost { .. }) => {
            format!("data {} old", text::span(model.age_ms()))
        }
        Some(_) => format!("data {}", text::span(model.age_ms())),
    };
    let right = format!("   {age:<11}  {} UTC ", text::clock(model.now_ms));
    let mid = format!("{}   {:<12}", health(model), mover(model));
    let room = width.saturating_sub(right.chars().count() + mid.chars().count() + 2);
    let left = text::clip(&format!(" {}  {}", model.product, model.store), room, model.glyphs.ellipsis);
    let line = format!("{left:<room$}  {mid}{right}");
    let style = match worst(model) {
        _ if model.is_stale() => model.theme.role(Role::Warn),
        Some(Severity::Critical) => model.theme.role(Role::Crit),
        Some(Severity::Warning) => model.theme.role(Role::Warn),
        Some(Severity::Info) | None => model.theme.role(Role::Title),
    };
    frame.render_widget(Line::styled(line, style), row);
}

fn worst(model: &Model) -> Option<Severity> {
    model.board.findings.first().map(|finding| finding.severity)
}

/// `✗ 1 critical  ▲ 2 warnings`, short at 80 columns.
pub(super) fn health(model: &Model) -> String {
    let glyphs = model.glyphs;
    if model.cluster.is_none() || matches!(model.feed, Feed::Lost { .. }) {
        return format!("{} unknown", glyphs.unknown);
    }
    let (critical, warnings) = (model.board.count(Severity::Critical), model.board.count(Severity::Warning));
    let mut parts = Vec::new();
    let long = model.size.0 >= 100 || model.is_too_small();
    let mut part = |glyph: char, n: usize, one: &str, many: &str| match n {
        0 => {}
        n if !long => parts.push(format!("{glyph} {n}")),
        1 => parts.push(format!("{glyph} 1 {one}")),
        n => parts.push(format!("{glyph} {n} {many}")),
    };
    part(glyphs.crit, critical, "critical", "critical");
    part(glyphs.warn, warnings, "warning", "warnings");
    if parts.is_empty() {
        return format!("{} well", glyphs.ok);
    }
    parts.join(if long { "  " } else { " " })
}

fn mover(model: &Model) -> String {
    let Some(cluster) = model.cluster.as_ref().filter(|_| !model.is_stale()) else {
        return "mover ?".to_owned();
    };
    match &cluster.mover {
        Some(lease) => format!("mover {}", text::clip(&lease.owner, 20, model.glyphs.ellipsis)),
        None => "no mover".to_owned(),
    }
}

/// The screens; the current one in brackets.
pub(super) fn tabs(model: &Model, frame: &mut Frame<'_>, row: Rect) {
    let mut spans = Vec::new();
    for screen in Screen::ALL {
        let (number, name) = screen.tab();
        if screen == model.screen {
            spans.push(Span::styled(format!(" [{number} {name}]"), model.theme.role(Role::Title)));
        } else {
            spans.push(Span::raw(format!("  {number} {name} ")));
        }
    }
    frame.render_widget(Line::from(spans), row);
}

/// What just happened, else the worst finding, else what the cursor is on.
pub(super) fn status(model: &Model, frame: &mut Frame<'_>, row: Rect) {
    let line = if let Some(notice) = &model.notice {
        Line::from(format!(" {}", notice.text))
    } else if model.cluster.is_none() {
        Line::default()
    } else if let Some(finding) = model.board.findings.first() {
        let (glyph, role) = match finding.severity {
            Severity::Critical => (model.glyphs.crit, Role::Crit),
            Severity::Warning => (model.glyphs.warn, Role::Warn),
            Severity::Info => (model.glyphs.info, Role::Text),
        };
        let mut text = format!(" {glyph} {} ({})", finding.what, finding.place);
        if !finding.fix.is_empty() {
            text.push_str(&format!(": {}", finding.fix));
        }
        Line::styled(text::clip(&text, usize::from(row.width), model.glyphs.ellipsis), model.theme.role(role))
    } else {
        Line::from(format!(" {}", cursor_sentence(model)))
    };
    frame.render_widget(line, row);
}

/// The keys that work here, cut from the right; help and quit stay.
pub(super) fn hints(model: &Model, frame: &mut Frame<'_>, row: Rect) {
    if let Some(Overlay::Lists(_)) = model.overlay {
        frame.render_widget(hint_line(model, &["jk scroll", "i back", "Esc back", "? help", "q quit"]), row);
        return;
    }
    let all: Vec<&str> = keymap::table(model.screen)
        .into_iter()
        .flatten()
        .map(|b| b.hint)
        .filter(|hint| !hint.is_empty())
        .collect();
    frame.render_widget(hint_line(model, &all), row);
}

fn hint_line<'a>(model: &Model, hints: &[&'a str]) -> Line<'a> {
    let mut spans = Vec::new();
    for hint in hints {
        let (key, what) = hint.split_once(' ').unwrap_or((hint, ""));
        spans.push(Span::raw(if spans.is_empty() { " " } else { "  " }));
        spans.push(Span::styled(key, model.theme.role(Role::Key)));
        spans.push(Span::raw(format!(" {what}")));
    }
    Line::from(spans)
}

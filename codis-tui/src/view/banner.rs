//! Loss of the store or of a server: two rows over the body, the picture stays below.

use codis_core::Role as ServerRole;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Clear;

use super::line;
use crate::model::{Feed, Model};
use crate::text;
use crate::theme::Role;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, body: Rect) {
    let lines = lines(model);
    let room = usize::from(body.width);
    for (row, (role, text)) in (0..).zip(lines) {
        frame.render_widget(Clear, Rect { y: body.y + row, height: 1, ..body });
        let text = text::clip(&text, room, model.glyphs.ellipsis);
        line(frame, body, row, Line::styled(text, model.theme.role(role)));
    }
}

fn lines(model: &Model) -> Vec<(Role, String)> {
    let Feed::Lost { why, next_try_ms } = &model.feed else { return server_line(model) };
    let warn = model.glyphs.warn;
    let next = text::span(next_try_ms.saturating_sub(model.now_ms).div_ceil(1_000) * 1_000);
    let next = next.replace(".0", "");
    if model.cluster.is_none() {
        let tries = format!("{warn} NO STORE: {why}. Next try in {next}.");
        return vec![(Role::Warn, tries), (Role::Text, "  r try now   q quit".to_owned())];
    }
    let shown = text::clock(model.cluster_ms);
    let age = text::span(model.age_ms());
    let answering = model.servers.values().filter(|answer| answer.is_ok()).count();
    let servers = match model.servers.len() {
        0 => String::new(),
        all => format!(" Servers are still asked directly: {answering} of {all} answer."),
    };
    vec![
        (Role::Warn, format!("{warn} STORE LOST for {age}: {why}. Showing {shown}. Next try in {next}.")),
        (Role::Text, format!("  Proxies keep serving.{servers}  r try now")),
    ]
}

/// One line for the first server that does not answer, and how many more there are.
fn server_line(model: &Model) -> Vec<(Role, String)> {
    let silent = &model.board.silent_servers;
    let first = silent.iter().find(|(_, _, role, _)| *role == ServerRole::Master).or(silent.first());
    let Some((addr, group, role, why)) = first else { return Vec::new() };
    let more = if silent.len() > 1 { format!(", and {} more", silent.len() - 1) } else { String::new() };
    let warn = model.glyphs.warn;
    let severity = if *role == ServerRole::Master { Role::Crit } else { Role::Warn };
    vec![(severity, format!("{warn} SERVER LOST: {addr}, {role} of group {group}: {why}{more}"))]
}

//! What is drawn where no screen fits: why, and the few figures that do fit.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::title::health;
use crate::board::WaveState;
use crate::model::{Model, SMALLEST};
use crate::text;
use crate::theme::Role;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let mut lines = vec![
        Line::styled(
            format!("codis-tui needs {} x {}", SMALLEST.0, SMALLEST.1),
            model.theme.role(Role::Title),
        ),
        Line::from(format!("this terminal is {} x {}", area.width, area.height)),
        Line::default(),
        Line::from(format!("{}   {}", model.product, health(model))),
    ];
    if model.cluster.is_some() {
        lines.push(Line::from(moving(model)));
    }
    lines.push(Line::default());
    lines.push(Line::from("enlarge, or: codisctl status"));
    lines.push(Line::from("q quit"));
    let top = area.height.saturating_sub(lines.len() as u16) / 2;
    for (row, line) in (top..area.height).zip(lines) {
        super::line(frame, area, row, line.centered());
    }
}

fn moving(model: &Model) -> String {
    let running = model.board.waves.iter().filter(|wave| wave.state <= WaveState::Migrate);
    let (slots, eta) =
        running.fold((0, None), |(slots, eta), wave| (slots + wave.slots.len(), eta.max(wave.eta_ms())));
    match eta {
        _ if slots == 0 => "nothing moves".to_owned(),
        Some(eta) => format!("moving {slots} slots, ETA {}", text::span(eta)),
        None => format!("moving {slots} slots"),
    }
}

//! Takes the terminal as the dashboard does, draws, and panics: the shell must be usable afterwards.
//! Run by a test in a real terminal.

use codis_tui::model::Model;
use codis_tui::term::Guard;
use codis_tui::theme::{Depth, Kind, Theme, UNICODE};

fn main() -> std::io::Result<()> {
    let mut guard = Guard::enter()?;
    let theme = Theme { kind: Kind::Dark, depth: Depth::Indexed };
    guard.draw(&Model::new("feed", "local:none", theme, &UNICODE))?;
    panic!("on purpose");
}

//! What things look like. The only place that knows table and progress libraries.

pub(crate) mod progress;
mod slot_map;
mod table;
pub(crate) mod units;

use std::io::IsTerminal as _;

pub(crate) use progress::{gauge, short};
pub(crate) use slot_map::{Counts, Glyphs, SlotMap};
pub(crate) use table::{Fit, Grid};

/// Width where there is no terminal to ask.
const WIDTH: usize = 100;

/// How standard output is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Columns.
    pub(crate) width: usize,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// Whether only ASCII may be used.
    pub(crate) ascii: bool,
}

impl Look {
    /// What fits this standard output: its width, and colour on a terminal unless `NO_COLOR` is set.
    pub(crate) fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal.then(terminal_size::terminal_size).flatten();
        let width = width.map_or(WIDTH, |(columns, _)| usize::from(columns.0));
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Self {
            width,
            colour: terminal && set("NO_COLOR").is_none() && term != "dumb",
            // Files and pipes get everything; a terminal only what it can draw.
            ascii: terminal && (!utf8 || term == "linux"),
        }
    }

    /// For what is read by programs.
    pub(crate) fn bare() -> Self {
        Self { width: usize::MAX, colour: false, ascii: false }
    }

    /// Without colour, this wide.
    #[cfg(test)]
    pub(crate) fn plain(width: usize) -> Self {
        Self { width, colour: false, ascii: false }
    }
}

/// Two texts on one line, the second at the right end, or on a line of its own where they do not fit.
pub(crate) fn left_right(left: &str, right: &str, width: usize) -> String {
    let used = left.chars().count() + right.chars().count();
    if used + 2 > width {
        return format!("{left}\n{right}");
    }
    format!("{left}{}{right}", " ".repeat(width.min(WIDTH).max(used + 2) - used))
}

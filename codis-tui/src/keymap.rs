//! Which key means what, in one table: the help screen and the hints are made from it.

use crate::model::Screen;
use crate::msg::Key;

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// The slot to the left.
    Left,
    /// The slot to the right.
    Right,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// Start of the row.
    RowStart,
    /// End of the row.
    RowEnd,
    /// First row.
    First,
    /// Last row.
    Last,
    /// Half a screen up.
    HalfUp,
    /// Half a screen down.
    HalfDown,
    /// The next slot that is not online.
    NextOdd,
    /// The previous one.
    PreviousOdd,
    /// The lists in full.
    Lists,
    /// Ask everything again.
    Refresh,
    /// Go to a screen.
    Go(Screen),
    /// Leave the overlay.
    Back,
    /// Show the keys.
    Help,
    /// Leave the dashboard.
    Quit,
}

/// One row of the table.
#[derive(Debug)]
pub struct Binding {
    /// The keys, all of which mean the same.
    pub keys: &'static [Key],
    /// How help writes them.
    pub shown: &'static str,
    /// What they mean.
    pub intent: Intent,
    /// What help says about it; empty if the row above says it already.
    pub help: &'static str,
    /// What the hints say about it; empty if it has no hint.
    pub hint: &'static str,
}

const fn bind(
    keys: &'static [Key],
    shown: &'static str,
    intent: Intent,
    help: &'static str,
    hint: &'static str,
) -> Binding {
    Binding { keys, shown, intent, help, hint }
}

/// The keys of the Slots screen.
const SLOTS: &[Binding] = &[
    bind(&[Key::Char('h'), Key::Left], "h j k l  arrows", Intent::Left, "one slot, one row", "hjkl move"),
    bind(&[Key::Char('j'), Key::Down], "", Intent::Down, "", ""),
    bind(&[Key::Char('k'), Key::Up], "", Intent::Up, "", ""),
    bind(&[Key::Char('l'), Key::Right], "", Intent::Right, "", ""),
    bind(&[Key::Ctrl('d'), Key::PageDown], "Ctrl-d  PgDn", Intent::HalfDown, "half the map down", ""),
    bind(&[Key::Ctrl('u'), Key::PageUp], "Ctrl-u  PgUp", Intent::HalfUp, "half the map up", ""),
    bind(&[Key::Char('0')], "0  $", Intent::RowStart, "start, end of the row", ""),
    bind(&[Key::Char('$')], "", Intent::RowEnd, "", ""),
    bind(&[Key::Home], "Home  End  G", Intent::First, "first, last row", ""),
    bind(&[Key::End, Key::Char('G')], "", Intent::Last, "", ""),
    bind(&[Key::Char('n')], "n  N", Intent::NextOdd, "next, previous slot not online", "n/N next not online"),
    bind(&[Key::Char('N')], "", Intent::PreviousOdd, "", ""),
    bind(&[Key::Char('i')], "i", Intent::Lists, "groups, moves, proxies in full", "i lists"),
];

/// The keys of every screen.
const EVERYWHERE: &[Binding] = &[
    bind(&[Key::Char('2')], "2", Intent::Go(Screen::Slots), "screen Slots", ""),
    bind(&[Key::Char('r')], "r", Intent::Refresh, "ask everything again now", "r refresh"),
    bind(&[Key::Esc], "Esc", Intent::Back, "back; never quits", ""),
    bind(&[Key::Char('?')], "?", Intent::Help, "this help", "? help"),
    bind(&[Key::Char('q'), Key::Ctrl('c')], "q  Ctrl-c", Intent::Quit, "quit", "q quit"),
];

/// The table of a screen: its own keys, then those that work everywhere.
pub fn table(screen: Screen) -> [&'static [Binding]; 2] {
    match screen {
        Screen::Slots => [SLOTS, EVERYWHERE],
    }
}

/// What a key means on a screen.
pub fn intent(screen: Screen, key: Key) -> Option<Intent> {
    table(screen).into_iter().flatten().find(|b| b.keys.contains(&key)).map(|b| b.intent)
}

/// A key as the status line names it.
pub fn name(key: Key) -> String {
    match key {
        Key::Char(' ') => "Space".to_owned(),
        Key::Char(c) => c.to_string(),
        Key::Ctrl(c) => format!("Ctrl-{c}"),
        Key::PageUp => "PgUp".to_owned(),
        Key::PageDown => "PgDn".to_owned(),
        Key::Other(name) => name.to_owned(),
        Key::Up | Key::Down | Key::Left | Key::Right | Key::Home | Key::End | Key::Esc => format!("{key:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        let all: Vec<Key> =
            table(Screen::Slots).into_iter().flatten().flat_map(|b| b.keys).copied().collect();
        for (i, key) in all.iter().enumerate() {
            assert!(!all[..i].contains(key), "{} is bound twice", name(*key));
        }
    }

    #[test]
    fn every_binding_is_in_the_help_or_under_one_that_is() {
        for rows in table(Screen::Slots) {
            assert!(!rows[0].shown.is_empty());
            assert!(rows.iter().all(|row| row.shown.is_empty() == row.help.is_empty()));
        }
    }
}

//! Colours are roles, characters are a set: what is drawn names the meaning, this file the looks.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Ordinary text.
    Text,
    /// Pane titles and the current tab.
    Title,
    /// Units and things that need no attention.
    Dim,
    /// Lines between panes.
    Rule,
    /// A key in a hint.
    Key,
    /// All is well.
    Ok,
    /// Wants a look.
    Warn,
    /// Wants action.
    Crit,
    /// Older than it should be.
    Stale,
    /// A gauge.
    Bar,
}

/// Which set of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For a dark background.
    Dark,
    /// For a light background.
    Light,
    /// Group colours that colour-blind people can tell apart.
    ColourBlind,
    /// Attributes only.
    Mono,
}

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The 16 of the terminal's own palette.
    Sixteen,
    /// The 256 of xterm.
    Indexed,
}

/// Colours and attributes of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Which set.
    pub kind: Kind,
    /// How many colours it may use.
    pub depth: Depth,
}

// Indices of xterm's 256, in the order in which groups take them.
const GROUPS: [u8; 16] = [226, 99, 202, 40, 32, 199, 100, 45, 217, 29, 214, 183, 50, 131, 231, 102];
const GROUPS_CB: [u8; 12] = [144, 63, 189, 226, 29, 39, 157, 100, 30, 231, 178, 109];
const GROUPS_16: [u8; 12] = [2, 5, 3, 6, 1, 4, 10, 13, 11, 14, 9, 7];

impl Theme {
    /// How many groups can have a colour of their own. 0 means that groups have none.
    pub fn group_colours(self) -> usize {
        self.palette().len()
    }

    fn palette(self) -> &'static [u8] {
        match (self.kind, self.depth) {
            (Kind::Mono, _) => &[],
            (_, Depth::Sixteen) => &GROUPS_16,
            (Kind::ColourBlind, Depth::Indexed) => &GROUPS_CB,
            (Kind::Dark | Kind::Light, Depth::Indexed) => &GROUPS,
        }
    }

    /// Style of a slot that belongs to the group with this colour number.
    pub fn group(self, tint: usize) -> Style {
        let palette = self.palette();
        let Some(index) = palette.get(tint % palette.len().max(1)) else { return Style::new() };
        let ink = match (self.depth, *index) {
            (Depth::Indexed, _) => 16,
            (Depth::Sixteen, 4) => 15,
            (Depth::Sixteen, _) => 0,
        };
        Style::new().bg(Color::Indexed(*index)).fg(Color::Indexed(ink))
    }

    /// Style of a role.
    pub fn role(self, role: Role) -> Style {
        let style = Style::new();
        if self.kind == Kind::Mono {
            return match role {
                Role::Title | Role::Key | Role::Warn | Role::Stale => style.add_modifier(Modifier::BOLD),
                Role::Crit => style.add_modifier(Modifier::REVERSED),
                Role::Dim => style.add_modifier(Modifier::DIM),
                Role::Text | Role::Rule | Role::Ok | Role::Bar => style,
            };
        }
        // Per role: dark, light, and of the terminal's own 16.
        let (dark, light, few) = match role {
            Role::Text => return style,
            Role::Title => (255, 16, None),
            Role::Dim => (245, 242, Some(8)),
            Role::Rule => (240, 250, Some(8)),
            Role::Key => (117, 25, Some(6)),
            Role::Ok => (78, 28, Some(2)),
            Role::Warn => (220, 130, Some(3)),
            Role::Crit => (203, 160, Some(1)),
            Role::Stale => (245, 242, Some(8)),
            Role::Bar => (75, 25, Some(6)),
        };
        let colour = match (self.depth, self.kind) {
            (Depth::Sixteen, _) => few,
            (Depth::Indexed, Kind::Light) => Some(light),
            (Depth::Indexed, _) => Some(dark),
        };
        let style = colour.map_or(style, |index| style.fg(Color::Indexed(index)));
        match role {
            Role::Title | Role::Crit => style.add_modifier(Modifier::BOLD),
            Role::Stale => style.add_modifier(Modifier::ITALIC),
            _ => style,
        }
    }
}

/// The characters of the screen. Both sets have one column per character, so layouts are equal.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is named after what it stands for")]
pub struct Glyphs {
    pub same: char,
    pub pre_migrate: char,
    pub migrate: char,
    pub stuck: char,
    pub offline: char,
    pub no_group: char,
    pub unknown: char,
    pub ok: char,
    pub info: char,
    pub warn: char,
    pub crit: char,
    pub full: char,
    pub empty: char,
    pub proxy_online: char,
    pub proxy_offline: char,
    pub proxy_leaving: char,
    pub row: char,
    pub column: char,
    pub rule: char,
    pub bar: char,
    pub tee_down: char,
    pub tee_up: char,
    pub corners: [char; 4],
    pub to: char,
    pub ellipsis: char,
}

/// For terminals that draw Unicode.
pub const UNICODE: Glyphs = Glyphs {
    same: '·',
    pre_migrate: '‖',
    migrate: '»',
    stuck: '!',
    offline: 'x',
    no_group: '_',
    unknown: '?',
    ok: '✓',
    info: '•',
    warn: '▲',
    crit: '✗',
    full: '█',
    empty: '░',
    proxy_online: '●',
    proxy_offline: '○',
    proxy_leaving: '◐',
    row: '▸',
    column: '▾',
    rule: '─',
    bar: '│',
    tee_down: '┬',
    tee_up: '┴',
    corners: ['┌', '┐', '└', '┘'],
    to: '→',
    ellipsis: '…',
};

/// For terminals that do not.
pub const ASCII: Glyphs = Glyphs {
    same: '.',
    pre_migrate: '=',
    migrate: '>',
    stuck: '!',
    offline: 'x',
    no_group: '_',
    unknown: '?',
    ok: '+',
    info: 'i',
    warn: '!',
    crit: 'X',
    full: '#',
    empty: '.',
    proxy_online: 'o',
    proxy_offline: '-',
    proxy_leaving: '~',
    row: '>',
    column: 'v',
    rule: '-',
    bar: '|',
    tee_down: '+',
    tee_up: '+',
    corners: ['+', '+', '+', '+'],
    to: '>',
    ellipsis: '~',
};

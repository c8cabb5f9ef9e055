//! Everything that the screen shows.

use codis_core::{Cluster, ProxyId, SLOT_COUNT, SlotId};

use crate::board::Board;
use crate::msg::{Answers, ProxyFacts, ServerFacts};
use crate::pace::Pace;
use crate::theme::{Glyphs, Theme};

/// Smallest terminal that a screen is drawn on, columns and rows.
pub const SMALLEST: (u16, u16) = (80, 24);
/// From this size on the map has two cells per slot and a pane beside it.
pub const WIDE: (u16, u16) = (100, 38);
/// A slot that changed is bold for this long, milliseconds.
pub const CHANGED_MS: u64 = 2_000;

/// The screens. There is one so far; keys and tabs are made from this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// Who owns what, and what is not normal.
    Slots,
}

impl Screen {
    /// All screens in the order of their tabs.
    pub const ALL: [Self; 1] = [Self::Slots];

    /// Number and name on the tab.
    pub fn tab(self) -> (char, &'static str) {
        match self {
            Self::Slots => ('2', "Slots"),
        }
    }
}

/// How the stream of snapshots is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// No answer yet.
    Loading,
    /// The last question was answered.
    Live,
    /// There is no such product.
    NoProduct,
    /// The last question was not answered.
    Lost {
        /// Whom we asked and what they said.
        why: String,
        /// When it is asked again, Unix milliseconds.
        next_try_ms: u64,
    },
}

/// What lies over the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// The keys.
    Help,
    /// Groups, moves and proxies in full; the number of rows scrolled away.
    Lists(usize),
}

/// Something to say in the status line for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The words.
    pub text: String,
    /// Shown until then, Unix milliseconds.
    pub until_ms: u64,
}

/// The state of the dashboard.
#[derive(Debug, Clone)]
pub struct Model {
    /// Product that is shown.
    pub product: String,
    /// Store that it is read from, as the title shows it.
    pub store: String,
    /// How often the store is asked while slots move, milliseconds.
    pub interval_ms: u64,
    /// Colours and attributes.
    pub theme: Theme,
    /// Characters for states, bars and rules.
    pub glyphs: &'static Glyphs,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Unix milliseconds.
    pub now_ms: u64,
    /// When the dashboard started, Unix milliseconds.
    pub started_ms: u64,
    /// Current screen.
    pub screen: Screen,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// Slot under the cursor.
    pub cursor: SlotId,
    /// What just happened.
    pub notice: Option<Notice>,
    /// How the stream of snapshots is doing.
    pub feed: Feed,
    /// The newest snapshot, kept when the store is lost.
    pub cluster: Option<Cluster>,
    /// When it arrived, Unix milliseconds.
    pub cluster_ms: u64,
    /// The newest answers of the servers.
    pub servers: Answers<codis_core::Addr, ServerFacts>,
    /// The newest answers of the proxies.
    pub proxies: Answers<ProxyId, ProxyFacts>,
    /// What is drawn of all this, made once per change and not once per frame.
    pub board: Board,
    /// How fast keys move.
    pub pace: Pace,
    /// When each slot was seen to change, Unix milliseconds; 0 for never.
    pub changed_ms: Vec<u64>,
}

impl Model {
    /// A dashboard that has not heard anything yet.
    pub fn new(product: &str, store: &str, theme: Theme, glyphs: &'static Glyphs) -> Self {
        #[expect(clippy::expect_used, reason = "there are 1024 slots")]
        let first = SlotId::all().next().expect("there are 1024 slots");
        Self {
            product: product.to_owned(),
            store: crate::text::short_store(store),
            interval_ms: 500,
            theme,
            glyphs,
            size: SMALLEST,
            now_ms: 0,
            started_ms: 0,
            screen: Screen::Slots,
            overlay: None,
            cursor: first,
            notice: None,
            feed: Feed::Loading,
            cluster: None,
            cluster_ms: 0,
            servers: Answers::new(),
            proxies: Answers::new(),
            board: Board::default(),
            pace: Pace::default(),
            changed_ms: vec![0; usize::from(SLOT_COUNT)],
        }
    }

    /// True if the terminal has room for the large form.
    pub fn is_wide(&self) -> bool {
        self.size.0 >= WIDE.0 && self.size.1 >= WIDE.1
    }

    /// True if the terminal has no room for a screen.
    pub fn is_too_small(&self) -> bool {
        self.size.0 < SMALLEST.0 || self.size.1 < SMALLEST.1
    }

    /// Slots in one row of the map.
    pub fn columns(&self) -> u16 {
        if self.is_wide() { 32 } else { 64 }
    }

    /// Age of the snapshot, milliseconds.
    pub fn age_ms(&self) -> u64 {
        self.now_ms.saturating_sub(self.cluster_ms)
    }

    /// True if the picture is older than it should be.
    pub fn is_stale(&self) -> bool {
        matches!(self.feed, Feed::Lost { .. }) || self.age_ms() > (6 * self.interval_ms).max(3_000)
    }

    /// True while the slot is shown as just changed.
    pub fn just_changed(&self, slot: SlotId) -> bool {
        let at = self.changed_ms[slot.index()];
        at > 0 && self.now_ms < at + CHANGED_MS
    }

    /// How often the clock must tick: quicker while nothing has arrived. Milliseconds.
    pub fn tick_ms(&self) -> u64 {
        if self.feed == Feed::Loading { 250 } else { 1_000 }
    }
}

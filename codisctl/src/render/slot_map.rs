//! The picture of the 1024 slots: who owns what, and what is not normal.
//!
//! A cell shows its owner where a run of one owner begins, and at the start of a row; the others
//! are dots. So the text alone is a run-length picture, and what is not online stands out.

use std::{collections::BTreeMap, fmt::Write as _};

use codis_core::{Cluster, GroupId, SlotId, SlotStatus};

/// The signs of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glyphs {
    same: char,
    pre_migrate: char,
    migrate: char,
}

impl Glyphs {
    /// For terminals that can show them.
    pub(crate) const UNICODE: Self = Self { same: '·', pre_migrate: '‖', migrate: '»' };
    /// ASCII only.
    pub(crate) const ASCII: Self = Self { same: '.', pre_migrate: '=', migrate: '>' };

    /// The set to use.
    pub(crate) fn new(ascii: bool) -> Self {
        if ascii { Self::ASCII } else { Self::UNICODE }
    }

    /// Requests held back.
    pub(crate) fn pre_migrate(self) -> char {
        self.pre_migrate
    }

    /// Moving.
    pub(crate) fn migrate(self) -> char {
        self.migrate
    }
}

/// Letters for groups from 10 on. `x` would read as offline, so it is left out.
const LETTERS: &str = "abcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWYZ@#$%&*";
/// For the groups that letters do not suffice for.
const OTHER: char = '+';
/// Background colours in order of use (256-colour numbers), readable under black text.
const PALETTE: [u8; 16] = [226, 99, 202, 40, 32, 199, 100, 45, 217, 29, 214, 183, 50, 131, 231, 102];

/// One slot as the map sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Square {
    Online(GroupId),
    NoGroup,
    Offline,
    PreMigrate(Option<GroupId>),
    /// Tenths of its keys moved, `None` if no task works on it.
    Migrate(Option<GroupId>, Option<u8>),
    Unknown,
}

/// How many slots are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Served by their group.
    pub(crate) online: usize,
    /// Requests held back.
    pub(crate) pre_migrate: usize,
    /// Moving.
    pub(crate) migrate: usize,
    /// Moving, and no task works on it.
    pub(crate) stuck: usize,
    /// Not served.
    pub(crate) offline: usize,
    /// Without a group.
    pub(crate) no_group: usize,
    /// Missing or unreadable.
    pub(crate) unreadable: usize,
}

impl Counts {
    /// `1002 online  16 pre_migrate  6 migrate  0 offline  0 without a group`, and what is broken.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{} online  {} pre_migrate  {} migrate  {} offline  {} without a group",
            self.online, self.pre_migrate, self.migrate, self.offline, self.no_group
        );
        for (count, word) in [(self.stuck, "stuck"), (self.unreadable, "missing or unreadable")] {
            if count > 0 {
                let _ = write!(line, "  {count} {word}");
            }
        }
        line
    }
}

/// The map of one snapshot.
#[derive(Debug)]
pub(crate) struct SlotMap {
    squares: Vec<Square>,
    names: BTreeMap<GroupId, char>,
    colours: BTreeMap<GroupId, u8>,
}

impl SlotMap {
    /// Looks at a snapshot.
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let square = |id: SlotId| match cluster.slot(id) {
            None => Square::Unknown,
            Some(slot) => match (slot.status, slot.group) {
                (SlotStatus::Online, Some(group)) => Square::Online(group),
                (SlotStatus::Offline, Some(_)) => Square::Offline,
                (SlotStatus::PreMigrate, group) => Square::PreMigrate(group),
                (SlotStatus::Migrate, group) => {
                    let tenths = cluster.move_of(id).map(|task| (task.percent() / 10).min(9));
                    Square::Migrate(group, tenths)
                }
                (SlotStatus::Online | SlotStatus::Offline, None) => Square::NoGroup,
            },
        };
        let squares: Vec<Square> = SlotId::all().map(square).collect();
        let mut groups: Vec<GroupId> = cluster.groups.keys().copied().collect();
        groups.extend(cluster.known_slots().flat_map(|slot| slot.group));
        groups.sort_unstable();
        groups.dedup();
        let mut letters = LETTERS.chars();
        let mut name = |id: GroupId| match char::from_digit(id.0, 10) {
            Some(digit) => digit,
            None => letters.next().unwrap_or(OTHER),
        };
        let names = groups.iter().map(|id| (*id, name(*id))).collect();
        let colours = groups.iter().zip(PALETTE.iter().cycle()).map(|(id, colour)| (*id, *colour)).collect();
        Self { squares, names, colours }
    }

    /// How many slots are in which state.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for square in &self.squares {
            match square {
                Square::Online(_) => counts.online += 1,
                Square::NoGroup => counts.no_group += 1,
                Square::Offline => counts.offline += 1,
                Square::PreMigrate(_) => counts.pre_migrate += 1,
                Square::Migrate(_, Some(_)) => counts.migrate += 1,
                Square::Migrate(_, None) => {
                    counts.migrate += 1;
                    counts.stuck += 1;
                }
                Square::Unknown => counts.unreadable += 1,
            }
        }
        counts
    }

    /// 16 rows of 64 slots, a cell each.
    pub(crate) fn narrow(&self, glyphs: Glyphs, colour: bool) -> String {
        self.draw(64, 1, colour, |square, start| match square {
            Square::Online(group) if start => self.name(group).to_string(),
            Square::Online(_) => glyphs.same.to_string(),
            Square::Migrate(_, None) => "!".to_owned(),
            Square::Migrate(_, Some(_)) => glyphs.migrate.to_string(),
            other => sign(other, glyphs).to_string(),
        })
    }

    /// 32 rows of 32 slots, two cells each: group numbers, and tenths of the keys moved.
    pub(crate) fn wide(&self, glyphs: Glyphs, colour: bool) -> String {
        self.draw(32, 2, colour, |square, start| match square {
            Square::Online(group) if start => format!("{:<2}", self.wide_name(group)),
            Square::Online(_) => format!("{} ", glyphs.same),
            Square::Migrate(_, None) => format!("{}!", glyphs.migrate),
            Square::Migrate(_, Some(tenths)) => format!("{}{tenths}", glyphs.migrate),
            other => format!("{} ", sign(other, glyphs)),
        })
    }

    fn draw(
        &self,
        columns: usize,
        cell: usize,
        colour: bool,
        text: impl Fn(Square, bool) -> String,
    ) -> String {
        let mut out = " ".repeat(6);
        for column in (0..columns).step_by(8) {
            let _ = write!(out, "{:<width$}", format!("+{column}"), width = 8 * cell + 1);
        }
        out.truncate(out.trim_end().len());
        for (row, squares) in self.squares.chunks(columns).enumerate() {
            let mut line = format!("\n{:>5}", row * columns);
            for (i, square) in squares.iter().enumerate() {
                if i % 8 == 0 {
                    line.push(' ');
                }
                let start = i == 0 || squares[i - 1] != *square;
                let text = text(*square, start);
                match self.colour(*square).filter(|_| colour) {
                    Some(number) => {
                        let _ = write!(line, "\x1b[38;5;16;48;5;{number}m{text}\x1b[0m");
                    }
                    None => line.push_str(&text),
                }
            }
            out.push_str(line.trim_end());
        }
        out
    }

    /// The lines under the map: who the letters are, and how many slots are in which state.
    pub(crate) fn legend(&self, glyphs: Glyphs, wide: bool) -> String {
        let counts = self.counts();
        let mut line = if wide { self.wide_groups() } else { self.groups() };
        let Glyphs { pre_migrate, migrate, .. } = glyphs;
        let _ = write!(
            line,
            "   {migrate} migrate {}   {pre_migrate} pre_migrate {}   x offline {}   _ no group {}",
            counts.migrate, counts.pre_migrate, counts.offline, counts.no_group
        );
        if counts.stuck > 0 {
            let _ = write!(line, "   ! stuck {}", counts.stuck);
        }
        if counts.unreadable > 0 {
            let _ = write!(line, "   ? unreadable {}", counts.unreadable);
        }
        line
    }

    fn groups(&self) -> String {
        if self.names.is_empty() {
            return "no groups".to_owned();
        }
        let digits: Vec<u32> = self.names.keys().map(|id| id.0).filter(|id| *id < 10).collect();
        let letters = self.names.iter().filter(|(id, _)| id.0 >= 10).map(|(id, name)| format!("{name}={id}"));
        let digits = match digits[..] {
            [] => String::new(),
            [only] => format!("{only}"),
            [first, .., last] if (last - first) as usize + 1 == digits.len() => format!("{first}-{last}"),
            _ => digits.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
        };
        let letters: Vec<String> = letters.collect();
        match (digits.is_empty(), letters.is_empty()) {
            (false, true) => format!("groups {digits}"),
            (true, _) => format!("groups {}", letters.join(" ")),
            (false, false) => format!("groups {digits} and {}", letters.join(" ")),
        }
    }

    fn wide_groups(&self) -> String {
        let named = self.names.keys().filter(|id| id.0 > 99);
        let named: Vec<String> = named.map(|id| format!("{}={id}", self.wide_name(*id))).collect();
        let count = codis_core::plan::plural(self.names.len(), "group", "groups");
        if named.is_empty() { count } else { format!("{count}, {}", named.join(" ")) }
    }

    fn name(&self, group: GroupId) -> char {
        self.names.get(&group).copied().unwrap_or(OTHER)
    }

    /// The number, or two letters by rank for numbers that do not fit into two cells.
    fn wide_name(&self, group: GroupId) -> String {
        if group.0 <= 99 {
            return group.to_string();
        }
        let rank = self.names.keys().filter(|id| id.0 > 99).position(|id| *id == group).unwrap_or(0);
        let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap_or(0));
        [letter(rank / 26), letter(rank)].iter().collect()
    }

    fn colour(&self, square: Square) -> Option<u8> {
        match square {
            Square::Online(group) | Square::PreMigrate(Some(group)) | Square::Migrate(Some(group), _) => {
                self.colours.get(&group).copied()
            }
            _ => None,
        }
    }
}

fn sign(square: Square, glyphs: Glyphs) -> char {
    match square {
        Square::Online(_) => glyphs.same,
        Square::NoGroup => '_',
        Square::Offline => 'x',
        Square::PreMigrate(_) => glyphs.pre_migrate,
        Square::Migrate(..) => glyphs.migrate,
        Square::Unknown => '?',
    }
}

#[cfg(test)]
mod tests {
    use codis_core::{Group, Move, MoveState, Slot, Versioned};

    use super::*;

    fn put(cluster: &mut Cluster, slots: std::ops::RangeInclusive<u16>, make: impl Fn(Slot) -> Slot) {
        for number in slots {
            let id = SlotId::new(number).unwrap();
            let old = cluster.slots[id.index()].take().map_or(Slot::unassigned(id), |slot| slot.value);
            cluster.slots[id.index()] = Some(Versioned::new(make(old), 0));
        }
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::empty("feed".parse().unwrap());
        for id in [1, 2, 12, 101] {
            cluster.groups.insert(GroupId(id), Group { id: GroupId(id), servers: Vec::new() });
        }
        put(&mut cluster, 0..=1023, |slot| slot.online_at(GroupId(1)));
        put(&mut cluster, 70..=500, |slot| slot.online_at(GroupId(2)));
        put(&mut cluster, 501..=900, |slot| slot.online_at(GroupId(12)));
        put(&mut cluster, 901..=950, |slot| slot.online_at(GroupId(101)));
        put(&mut cluster, 423..=425, |slot| slot.migrate(GroupId(2), GroupId(1)));
        put(&mut cluster, 960..=970, |slot| slot.pre_migrate());
        put(&mut cluster, 1000..=1001, |slot| Slot::unassigned(slot.id));
        cluster.slots[1010] = None;
        let task = |slot: u16, moved: u64| Move {
            task: u64::from(slot),
            slot: SlotId::new(slot).unwrap(),
            from: GroupId(2),
            to: GroupId(1),
            state: MoveState::Migrating,
            wave: 1,
            created: 0,
            keys_total: Some(100),
            keys_moved: moved,
            held: false,
            note: String::new(),
            extra: codis_core::Extra::default(),
        };
        cluster.moves = [task(423, 84), task(424, 9)].map(|task| Versioned::new(task, 0)).into();
        cluster
    }

    #[test]
    fn the_map_shows_runs_and_what_is_not_online() {
        let map = SlotMap::new(&cluster());
        let text = format!("{}\n{}", map.narrow(Glyphs::UNICODE, false), map.legend(Glyphs::UNICODE, false));
        insta::assert_snapshot!(text, @"
              +0       +8       +16      +24      +32      +40      +48      +56
            0 1······· ········ ········ ········ ········ ········ ········ ········
           64 1·····2· ········ ········ ········ ········ ········ ········ ········
          128 2······· ········ ········ ········ ········ ········ ········ ········
          192 2······· ········ ········ ········ ········ ········ ········ ········
          256 2······· ········ ········ ········ ········ ········ ········ ········
          320 2······· ········ ········ ········ ········ ········ ········ ········
          384 2······· ········ ········ ········ ·······» »!2····· ········ ········
          448 2······· ········ ········ ········ ········ ········ ·····a·· ········
          512 a······· ········ ········ ········ ········ ········ ········ ········
          576 a······· ········ ········ ········ ········ ········ ········ ········
          640 a······· ········ ········ ········ ········ ········ ········ ········
          704 a······· ········ ········ ········ ········ ········ ········ ········
          768 a······· ········ ········ ········ ········ ········ ········ ········
          832 a······· ········ ········ ········ ········ ········ ········ ········
          896 a····b·· ········ ········ ········ ········ ········ ·······1 ········
          960 ‖‖‖‖‖‖‖‖ ‖‖‖1···· ········ ········ ········ __1····· ··?1···· ········
        groups 1-2 and a=12 b=101   » migrate 3   ‖ pre_migrate 11   x offline 0   _ no group 2   ! stuck 1   ? unreadable 1
        ");
    }

    #[test]
    fn the_wide_map_shows_numbers_and_tenths() {
        let map = SlotMap::new(&cluster());
        let text = format!("{}\n{}", map.wide(Glyphs::ASCII, false), map.legend(Glyphs::ASCII, true));
        insta::assert_snapshot!(text, @"
              +0               +8               +16              +24
            0 1 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
           32 1 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
           64 1 . . . . . 2 .  . . . . . . . .  . . . . . . . .  . . . . . . . .
           96 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          128 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          160 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          192 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          224 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          256 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          288 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          320 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          352 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          384 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          416 2 . . . . . . >8 >0>!2 . . . . .  . . . . . . . .  . . . . . . . .
          448 2 . . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          480 2 . . . . . . .  . . . . . . . .  . . . . . 12. .  . . . . . . . .
          512 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          544 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          576 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          608 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          640 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          672 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          704 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          736 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          768 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          800 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          832 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          864 12. . . . . . .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          896 12. . . . aa. .  . . . . . . . .  . . . . . . . .  . . . . . . . .
          928 aa. . . . . . .  . . . . . . . .  . . . . . . . 1  . . . . . . . .
          960 = = = = = = = =  = = = 1 . . . .  . . . . . . . .  . . . . . . . .
          992 1 . . . . . . .  _ _ 1 . . . . .  . . ? 1 . . . .  . . . . . . . .
        4 groups, aa=101   > migrate 3   = pre_migrate 11   x offline 0   _ no group 2   ! stuck 1   ? unreadable 1
        ");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let map = SlotMap::new(&cluster());
        let coloured = map.narrow(Glyphs::UNICODE, true);
        let mut stripped = String::new();
        let mut inside = false;
        for c in coloured.chars() {
            match (inside, c) {
                (false, '\x1b') => inside = true,
                (true, 'm') => inside = false,
                (false, c) => stripped.push(c),
                (true, _) => {}
            }
        }
        assert_eq!(stripped, map.narrow(Glyphs::UNICODE, false));
    }

    #[test]
    fn seventy_groups_do_not_run_out_of_signs() {
        let mut cluster = Cluster::empty("feed".parse().unwrap());
        for id in 1..=70 {
            cluster.groups.insert(GroupId(id), Group { id: GroupId(id), servers: Vec::new() });
        }
        let map = SlotMap::new(&cluster);
        let mut signs: Vec<char> = (1..=64).map(|id| map.name(GroupId(id))).collect();
        signs.sort_unstable();
        signs.dedup();
        assert_eq!(signs.len(), 64);
        assert_eq!(map.name(GroupId(70)), OTHER);
    }
}

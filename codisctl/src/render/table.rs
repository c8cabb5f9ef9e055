//! Tables: lower-case headers, one rule under them, two blanks between columns.

use comfy_table::{CellAlignment, ContentArrangement, Table};
use comfy_table::{ContentLineStyle, LineStyle, TableStyle};

use super::Look;

/// How a column behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// An address, a word: left, never cut.
    Left,
    /// A number: right, never cut.
    Right,
    /// Text for people: left, cut with `…` where the terminal ends.
    Text,
}

/// Rows under headers. The same rows are what `--output plain` prints.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    columns: Vec<(&'static str, Fit)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// An empty table with these columns.
    pub(crate) fn new(columns: &[(&'static str, Fit)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has a cell for every column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// The rows as they are, for tab-separated output.
    pub(crate) fn into_rows(self) -> Vec<Vec<String>> {
        self.rows
    }

    /// The table for people, without a line end after the last row.
    pub(crate) fn draw(&self, look: &Look) -> String {
        let mut table = Table::new();
        let rule = if look.ascii { '-' } else { '─' };
        let style = TableStyle::new()
            .header_lines(ContentLineStyle::none())
            .header_separator(LineStyle::none().fill(rule).junction(rule))
            .content_lines(ContentLineStyle::none());
        table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|(name, _)| *name));
        table.add_rows(self.cut(look.width));
        let last = self.columns.len().saturating_sub(1);
        for (i, (_, fit)) in self.columns.iter().enumerate() {
            if let Some(column) = table.column_mut(i) {
                // The other blank is the junction.
                column.set_padding((0, u16::from(i != last)));
                let right = *fit == Fit::Right;
                column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
            }
        }
        let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        for line in lines.iter_mut().take(2).filter(|_| look.colour) {
            *line = format!("\x1b[2m{line}\x1b[0m");
        }
        lines.join("\n")
    }

    /// The rows with their widest text column shortened until a row fits.
    fn cut(&self, width: usize) -> Vec<Vec<String>> {
        let wide = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(wide).collect();
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let text = |i: &usize| self.columns[*i].1 == Fit::Text;
        let Some(widest) = (0..widths.len()).filter(text).max_by_key(|i| widths[*i]) else {
            return self.rows.clone();
        };
        let room = widths[widest].saturating_sub(total.saturating_sub(width)).max(8);
        let mut rows = self.rows.clone();
        for row in &mut rows {
            if row[widest].chars().count() > room {
                row[widest] = row[widest].chars().take(room - 1).chain(['…']).collect();
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Grid {
        let mut grid = Grid::new(&[("task", Fit::Right), ("move", Fit::Left), ("note", Fit::Text)]);
        grid.row(["436".into(), "4 → 13".into(), "px-4 did not acknowledge pre_migrate".into()]);
        grid.row(["7".into(), "5 → 13".into(), String::new()]);
        grid
    }

    #[test]
    fn a_table_has_one_rule_and_two_blanks() {
        insta::assert_snapshot!(tasks().draw(&Look::plain(100)), @"
        task  move    note
        ──────────────────────────────────────────────────
         436  4 → 13  px-4 did not acknowledge pre_migrate
           7  5 → 13
        ");
    }

    #[test]
    fn text_is_cut_where_the_terminal_ends() {
        insta::assert_snapshot!(tasks().draw(&Look::plain(30)), @"
        task  move    note
        ──────────────────────────────
         436  4 → 13  px-4 did not ac…
           7  5 → 13
        ");
    }
}

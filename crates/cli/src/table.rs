//! Tables for people: columns two spaces apart, nothing else, so that they can be read, cut and grepped.

use crate::style::{Colour, Style};

/// A table that is being filled.
pub struct Table {
    head: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

struct Column {
    name: &'static str,
    /// Numbers stand below each other by their last digit.
    right: bool,
}

/// One field.
pub struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), colour: None }
    }
}

impl Cell {
    pub fn coloured(text: &str, colour: Colour) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl Table {
    /// A name that begins with '>' is that of a column of numbers.
    pub fn new(names: &[&'static str]) -> Self {
        let column =
            |name: &&'static str| Column { name: name.trim_start_matches('>'), right: name.starts_with('>') };
        Self { head: names.iter().map(column).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn render(&self, style: Style) -> String {
        let head: Vec<_> = self.head.iter().map(|c| Cell::coloured(c.name, Colour::Bold)).collect();
        let lines = || std::iter::once(&head).chain(&self.rows);
        let width = |at: usize| lines().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        lines().map(|row| self.line(row, &widths, style)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], style: Style) -> String {
        let mut line = String::new();
        for ((cell, width), column) in row.iter().zip(widths).zip(&self.head) {
            let space = " ".repeat(width - cell.width());
            let text = style.paint(&cell.text, cell.colour);
            let (before, after) = if column.right { (&*space, "") } else { ("", &*space) };
            line.extend([before, &text, after, "  "]);
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// `Label:  value` lines, values below each other; one without label goes on with the value above.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(label, _)| label.len() + 1).max().unwrap_or(0);
    let named = |label: &str| if label.is_empty() { String::new() } else { format!("{label}:") };
    fields.iter().map(|(label, value)| format!("{:width$}  {value}\n", named(label))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["PORT", "STATE", ">FRAMES", "WHY"]);
        table.row([Cell::from("vm1"), Cell::coloured("up", Colour::Green), 7.into(), "".into()]);
        table.row(["long-name".into(), "down".into(), 12_345.into(), "no VMM".into()]);
        table
    }

    #[test]
    fn columns_stand_below_each_other() {
        let expected = "\
PORT       STATE  FRAMES  WHY
vm1        up          7
long-name  down    12345  no VMM
";
        assert_eq!(table().render(Style::PLAIN), expected);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let line = table().render(Style::COLOURED).lines().nth(1).unwrap().to_owned();
        assert_eq!(line, "vm1        \x1b[32mup\x1b[0m          7");
    }

    #[test]
    fn fields_stand_below_each_other() {
        assert_eq!(fields(&[("A", "1".into()), ("Long", "2".into())]), "A:     1\nLong:  2\n");
    }
}

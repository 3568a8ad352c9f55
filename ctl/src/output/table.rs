//! Tables as kubectl prints them: columns three spaces apart, the last one unpadded.

use super::colour::{Palette, Tone, tone_of};

/// A table to be printed: headers and rows of the same length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Upper-case column names.
    pub headers: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

const GAP: usize = 3;

impl Table {
    /// An empty table with these columns.
    pub fn new<H: Into<String>>(headers: impl IntoIterator<Item = H>) -> Self {
        Self { headers: headers.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// The widths of all columns but for the gap.
    fn widths(&self, with_headers: bool) -> Vec<usize> {
        let mut widths: Vec<usize> =
            self.headers.iter().map(|header| if with_headers { width(header) } else { 0 }).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if let Some(widest) = widths.get_mut(column) {
                    *widest = (*widest).max(width(cell));
                }
            }
        }
        widths
    }

    /// The printed table.
    pub fn render(&self, with_headers: bool, palette: Palette) -> String {
        let mut printer = Printer::new(self.headers.clone(), palette);
        printer.print(&self.rows, with_headers)
    }
}

/// Prints rows in several goes (as a watch does) with columns that stay where they are.
#[derive(Clone, Debug)]
pub struct Printer {
    headers: Vec<String>,
    widths: Vec<usize>,
    palette: Palette,
}

impl Printer {
    /// A printer for these columns.
    pub fn new(headers: Vec<String>, palette: Palette) -> Self {
        Self { widths: vec![0; headers.len()], headers, palette }
    }

    /// The text of some rows; columns never become narrower than in earlier ones.
    pub fn print(&mut self, rows: &[Vec<String>], with_headers: bool) -> String {
        let table = Table { headers: self.headers.clone(), rows: rows.to_vec() };
        for (known, new) in self.widths.iter_mut().zip(table.widths(with_headers)) {
            *known = (*known).max(new);
        }
        let mut out = String::new();
        if with_headers {
            self.line(&self.headers, true, &mut out);
        }
        for row in rows {
            self.line(row, false, &mut out);
        }
        out
    }

    fn line(&self, cells: &[String], heading: bool, out: &mut String) {
        for (column, cell) in cells.iter().enumerate() {
            let cell = one_line(cell);
            let last = column + 1 == cells.len();
            let tone = if heading {
                Some(Tone::Heading)
            } else {
                self.headers.get(column).and_then(|header| tone_of(header, &cell))
            };
            match tone {
                Some(tone) => out.push_str(&self.palette.paint(tone, &cell)),
                None => out.push_str(&cell),
            }
            if !last {
                let wanted = self.widths.get(column).copied().unwrap_or(0) + GAP;
                out.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(&cell))));
            }
        }
        out.push('\n');
    }
}

/// Cells with line breaks are cut at the first one, as kubectl does.
fn one_line(cell: &str) -> String {
    match cell.find(['\n', '\r', '\u{c}']) {
        Some(end) => format!("{}...", &cell[..end]),
        None => cell.to_owned(),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_three_spaces_apart() {
        let mut table = Table::new(["NAME", "READY", "AGE"]);
        table.rows = vec![row(&["web-1", "1/1", "5s"]), row(&["a-longer-name", "0/1", "5m"])];
        assert_eq!(
            table.render(true, Palette::PLAIN),
            "NAME            READY   AGE\nweb-1           1/1     5s\na-longer-name   0/1     5m\n"
        );
        assert_eq!(table.render(false, Palette::PLAIN), "web-1           1/1   5s\na-longer-name   0/1   5m\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new(["STATUS", "AGE"]);
        table.rows = vec![row(&["Running", "5s"])];
        assert_eq!(table.render(false, Palette::COLOURED), "\u{1b}[32mRunning\u{1b}[0m   5s\n");
    }

    #[test]
    fn later_rows_keep_the_columns() {
        let mut printer = Printer::new(vec!["A".into(), "B".into()], Palette::PLAIN);
        assert_eq!(printer.print(&[row(&["longer", "x"])], true), "A        B\nlonger   x\n");
        assert_eq!(printer.print(&[row(&["s", "x"])], false), "s        x\n");
    }

    #[test]
    fn cells_stay_on_one_line() {
        let mut table = Table::new(["A"]);
        table.rows = vec![row(&["x\ny"])];
        assert_eq!(table.render(false, Palette::PLAIN), "x...\n");
    }
}

//! Lines with columns that line up, as `describe` prints them.
//!
//! Cells are separated by tabs. A column is as wide as its widest cell in neighbouring lines, plus two spaces, the
//! rule of Go's `text/tabwriter` with which kubectl writes.

use serde_json::Value;

use crate::output::colour::{Palette, Tone, tone_of_state};
use crate::value::entries;

const GAP: usize = 2;

/// Collects lines.
#[derive(Debug)]
pub struct Writer {
    lines: Vec<String>,
    palette: Palette,
}

impl Writer {
    /// An empty text.
    pub fn new(palette: Palette) -> Self {
        Self { lines: Vec::new(), palette }
    }

    /// A line at a level of indentation.
    pub fn line(&mut self, level: usize, text: &str) {
        for line in text.split('\n') {
            self.lines.push(format!("{}{line}", "  ".repeat(level)));
        }
    }

    /// `Name:` and a value.
    pub fn field(&mut self, level: usize, name: &str, value: &str) {
        self.line(level, &format!("{name}:\t{value}"));
    }

    /// A field, unless its value is empty.
    pub fn optional(&mut self, level: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.field(level, name, value);
        }
    }

    /// The number at a path, unless there is none.
    pub fn optional_number(&mut self, level: usize, name: &str, object: &Value, path: &str) {
        if let Some(number) = crate::value::int(object, path) {
            self.field(level, name, &number.to_string());
        }
    }

    /// A field whose value is a state.
    pub fn state(&mut self, level: usize, name: &str, state: &str) {
        let painted = match tone_of_state(state) {
            Some(tone) => self.palette.paint(tone, state),
            None => state.to_owned(),
        };
        self.field(level, name, &painted);
    }

    /// A map, one entry a line: labels, annotations, selectors.
    pub fn map(&mut self, level: usize, name: &str, object: &Value, path: &str, separator: &str, skip: &[&str]) {
        let texts: Vec<String> = entries(object, path)
            .into_iter()
            .filter(|(key, _)| !skip.contains(key))
            .map(|(key, value)| format!("{key}{separator}{}", crate::value::plain(value)))
            .collect();
        self.texts(level, name, &texts);
    }

    /// A field with several values, one a line.
    pub fn texts(&mut self, level: usize, name: &str, texts: &[String]) {
        match texts {
            [] => self.field(level, name, "<none>"),
            [first, rest @ ..] => {
                self.field(level, name, first);
                rest.iter().for_each(|text| self.line(level, &format!("\t{text}")));
            }
        }
    }

    /// A table below a heading.
    pub fn table(&mut self, level: usize, headers: &[&str], rows: &[Vec<String>]) {
        self.line(
            level,
            &headers.iter().map(|header| self.palette.paint(Tone::Heading, header)).collect::<Vec<_>>().join("\t"),
        );
        self.line(level, &headers.iter().map(|header| "-".repeat(header.len())).collect::<Vec<_>>().join("\t"));
        for row in rows {
            self.line(level, &row.join("\t"));
        }
    }

    /// The text, with columns lined up.
    pub fn finish(self) -> String {
        align(&self.lines)
    }
}

fn align(lines: &[String]) -> String {
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<Vec<usize>> = cells.iter().map(|cells| vec![0; cells.len()]).collect();
    for column in 0..columns.saturating_sub(1) {
        let mut start = 0;
        while start < cells.len() {
            // The last cell of a line ends no column.
            let run = cells[start..].iter().take_while(|cells| cells.len() > column + 1).count();
            let widest = cells[start..start + run].iter().map(|cells| width(cells[column])).max().unwrap_or(0);
            for widths in &mut widths[start..start + run] {
                widths[column] = widest + GAP;
            }
            start += run.max(1);
        }
    }
    let mut out = String::new();
    for (cells, widths) in cells.iter().zip(&widths) {
        for (index, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if index + 1 < cells.len() {
                out.extend(std::iter::repeat_n(' ', widths[index].saturating_sub(width(cell))));
            }
        }
        out.push('\n');
    }
    out
}

/// The width of a cell on the screen: colours take no room.
fn width(text: &str) -> usize {
    let mut width = 0;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().take_while(|character| *character != 'm').for_each(drop);
        } else {
            width += 1;
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_lines_line_up() {
        let mut writer = Writer::new(Palette::PLAIN);
        writer.field(0, "Name", "web");
        writer.field(0, "Service Account", "default");
        writer.line(0, "IPs:");
        writer.field(1, "IP", "10.0.0.1");
        writer.field(0, "Controlled By", "x");
        assert_eq!(
            writer.finish(),
            "Name:             web\nService Account:  default\nIPs:\n  IP:           10.0.0.1\nControlled By:  x\n"
        );
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(width("\u{1b}[32mRunning\u{1b}[0m"), 7);
    }
}

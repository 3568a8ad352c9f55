//! What changed between two values, for messages about fields that may not change: lines around each
//! change, as upstream's messages show them.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// Lines that are shown around a change.
const CONTEXT: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The difference of two values in the unified form, of their JSON with one space a level.
pub(super) fn unified<T: Serialize>(old: &T, new: &T) -> String {
    let (old, new) = (pretty(old), pretty(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    hunks(&lines(&old, &new))
}

fn pretty<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b" "));
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    }
}

/// The shortest way from one text to the other.
fn lines<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    // common[i][j]: how many lines old[i..] and new[j..] share.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            out.push(Line::Gone(old[i]));
            i += 1;
        } else {
            out.push(Line::New(new[j]));
            j += 1;
        }
    }
    out
}

fn hunks(lines: &[Line<'_>]) -> String {
    let changed = |line: &Line<'_>| !matches!(line, Line::Same(_));
    let near = |index: usize| {
        let from = index.saturating_sub(CONTEXT);
        let to = (index + CONTEXT + 1).min(lines.len());
        lines[from..to].iter().any(changed)
    };
    let mut out = String::new();
    let (mut old_line, mut new_line) = (1, 1);
    let mut index = 0;
    while index < lines.len() {
        if !near(index) {
            (old_line, new_line, index) = (old_line + 1, new_line + 1, index + 1);
            continue;
        }
        let end = (index..lines.len()).find(|index| !near(*index)).unwrap_or(lines.len());
        let hunk = &lines[index..end];
        let old_count = hunk.iter().filter(|line| !matches!(line, Line::New(_))).count();
        let new_count = hunk.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
        out.push_str(&format!("@@ -{old_line},{old_count} +{new_line},{new_count} @@\n"));
        for line in hunk {
            let (sign, text) = match line {
                Line::Same(text) => (' ', text),
                Line::Gone(text) => ('-', text),
                Line::New(text) => ('+', text),
            };
            out.push(sign);
            out.push_str(text);
            out.push('\n');
        }
        (old_line, new_line, index) = (old_line + old_count, new_line + new_count, end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let value = |mode: &str| serde_json::json!({"A": [mode], "B": null, "C": {"x": 1, "y": 2}});
        assert_eq!(
            unified(&value("ReadWriteOnce"), &value("ReadWriteMany")),
            "@@ -1,6 +1,6 @@\n {\n  \"A\": [\n-  \"ReadWriteOnce\"\n+  \"ReadWriteMany\"\n  ],\n  \"B\": null,\n  \
             \"C\": {\n"
        );
        assert_eq!(unified(&value("a"), &value("a")), "");
    }
}

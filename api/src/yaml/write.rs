//! Objects as YAML, with the layout that clients of Kubernetes know.
//!
//! The YAML is written here because readers differ: a Go program takes a bare `yes`, `on` or `1:20` for something
//! other than a text (YAML 1.1), so such texts must be quoted.

use serde_json::Value;

use super::number;
use super::scalar::{self, Scalar};

/// The longest key that stands before its value without a mark of its own.
const SIMPLE_KEY_BYTES_MAX: usize = 128;

/// YAML with sorted keys, ending in a line break.
pub fn to_string(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    let mut out = String::with_capacity(4096);
    block(&value, 0, false, &mut out);
    out
}

/// A value that begins on a line of its own, or (`inline`) after `- `.
fn block(value: &Value, indent: usize, mut inline: bool, out: &mut String) {
    let mut begin = |out: &mut String| {
        if !std::mem::take(&mut inline) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                begin(out);
                if key.len() > SIMPLE_KEY_BYTES_MAX {
                    out.push_str("? ");
                    out.push_str(&scalar_text(key));
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', indent));
                } else {
                    out.push_str(&scalar_text(key));
                }
                out.push(':');
                // Lists stand below their key without further indentation.
                after(value, indent, if value.is_array() { indent } else { indent + 2 }, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                begin(out);
                out.push('-');
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        out.push(' ');
                        block(value, indent + 2, true, out);
                    }
                    Value::Array(list) if !list.is_empty() => {
                        out.push(' ');
                        block(value, indent + 2, true, out);
                    }
                    scalar => after(scalar, indent, indent + 2, out),
                }
            }
        }
        scalar => {
            begin(out);
            let mut text = String::new();
            after(scalar, indent, indent + 2, &mut text);
            out.push_str(text.trim_start_matches(' '));
        }
    }
}

/// What follows `key:` or `-`, to the end of its last line.
fn after(value: &Value, indent: usize, below: usize, out: &mut String) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Array(list) if list.is_empty() => out.push_str(" []\n"),
        Value::Object(_) | Value::Array(_) => {
            out.push('\n');
            block(value, below, false, out);
        }
        Value::String(text) if is_literal(text) => {
            out.push_str(" |");
            // Its own indentation would be taken for that of the block.
            if text.starts_with([' ', '\n']) {
                out.push('2');
            }
            out.push_str(match text.len() - text.trim_end_matches('\n').len() {
                0 => "-\n",
                1 => "\n",
                _ => "+\n",
            });
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent + 2));
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        Value::String(text) => {
            out.push(' ');
            out.push_str(&scalar_text(text));
            out.push('\n');
        }
        Value::Number(number) => {
            out.push(' ');
            out.push_str(&number::tidy(number.clone()).to_string());
            out.push('\n');
        }
        other => {
            out.push(' ');
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

/// Whether a text of several lines can be written as it is.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && text.chars().any(|character| !matches!(character, '\n' | ' '))
        && text.chars().all(|character| character == '\n' || !is_escaped(character))
        && text.split('\n').all(|line| !line.ends_with(' '))
}

/// Whether only double quotes can hold a character.
fn is_escaped(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A text on one line, quoted if it must be.
fn scalar_text(text: &str) -> String {
    if is_other_type(text) || text.chars().any(is_escaped) {
        return double_quoted(text);
    }
    let special_start = text
        .starts_with([',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' '])
        || (text.starts_with(['-', '?', ':']) && text[1..].chars().next().is_none_or(|next| next == ' '));
    let special = special_start
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("---")
        || text.starts_with("...");
    if special { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            character if is_escaped(character) => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// Whether a reader of YAML 1.1 would take the bare text for something else.
fn is_other_type(text: &str) -> bool {
    !matches!(scalar::plain(text), Scalar::Text(_)) || matches!(text, "<<" | "=") || is_base_60(text) || is_time(text)
}

/// `1:20`, which YAML 1.1 knows as a number.
fn is_base_60(text: &str) -> bool {
    let mut parts = text.strip_prefix(['-', '+']).unwrap_or(text).split(':');
    let whole = parts.next().unwrap_or_default();
    if !whole.starts_with(|first: char| first.is_ascii_digit()) || !whole.bytes().all(is_digit_or_underscore) {
        return false;
    }
    let mut places = 0;
    for part in parts {
        // Only the last of them may have a fraction, but what looks like a number is better quoted.
        let digits = part.split_once('.').map_or(part, |(digits, _)| digits);
        if !digits.parse::<u8>().is_ok_and(|digits| digits < 60) || digits.len() > 2 {
            return false;
        }
        places += 1;
    }
    places > 0
}

fn is_digit_or_underscore(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

/// A date, with or without a time.
fn is_time(text: &str) -> bool {
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (date, _) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    let mut parts = date.splitn(3, '-');
    [4..=4, 1..=2, 1..=2].into_iter().all(|lengths| parts.next().is_some_and(|part| digits(part, lengths)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_in_order_and_times_are_texts() {
        let value = json!({"kind": "A", "b": [{"time": "2026-01-01T00:00:00Z", "list": []}], "apiVersion": "v1"});
        let expected = "apiVersion: v1\nb:\n- list: []\n  time: \"2026-01-01T00:00:00Z\"\nkind: A\n";
        assert_eq!(to_string(&value), expected);
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        for (text, expected) in [
            ("yes", "\"yes\""),
            ("On", "\"On\""),
            ("", "\"\""),
            ("1e3", "\"1e3\""),
            ("0x1F", "\"0x1F\""),
            ("1:20", "\"1:20\""),
            ("10.0.0.1", "10.0.0.1"),
            ("500m", "500m"),
            ("25%", "25%"),
            ("a: b", "'a: b'"),
            ("it's: b", "'it''s: b'"),
            ("*", "'*'"),
            ("-", "'-'"),
            ("{a}", "'{a}'"),
            ("a{b}", "a{b}"),
            ("web:1", "web:1"),
            ("sha256:abc", "sha256:abc"),
            ("a\tb", "\"a\\tb\""),
            ("0400", "\"0400\""),
            ("1_000", "\"1_000\""),
            ("012", "\"012\""),
            ("0888", "\"0888\""),
            ("~", "\"~\""),
            (".5", "\".5\""),
            ("-.inf", "\"-.inf\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""),
            ("inf", "inf"),
            ("1e400", "1e400"),
            ("v1.2", "v1.2"),
            ("1.2.3", "1.2.3"),
            ("12:99", "12:99"),
        ] {
            assert_eq!(scalar_text(text), expected, "{text:?}");
        }
    }
}

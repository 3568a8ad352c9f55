//! Objects as YAML, with the layout that clients of Kubernetes know.
//!
//! The YAML is written here because readers differ: a Go program takes a bare `yes`, `on` or `1:20` for something
//! other than a text (YAML 1.1), so such texts must be quoted.

use serde_json::Value;

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
                out.push_str(&scalar_text(key));
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
            out.push_str(match text.len() - text.trim_end_matches('\n').len() {
                0 => " |-\n",
                1 => " |\n",
                _ => " |+\n",
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
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|character| character == '\n' || character == '\t' || !character.is_control())
        && text.split('\n').all(|line| !line.ends_with([' ', '\t']))
}

/// A text on one line, quoted if it must be.
fn scalar_text(text: &str) -> String {
    if is_other_type(text) || text.chars().any(char::is_control) {
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
            character if character.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// Whether a reader of YAML 1.1 or 1.2 would take the bare text for a null, boolean, number or time.
fn is_other_type(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "=", ".inf", "-.inf", "+.inf",
        ".nan",
    ];
    if words.contains(&lower.as_str()) {
        return true;
    }
    let Some(first) = text.chars().next() else { return true };
    if !first.is_ascii_digit() && !matches!(first, '-' | '+' | '.') {
        return false;
    }
    let digits = text.trim_start_matches(['-', '+']).replace('_', "");
    let based = |prefix: &str, radix: u32| {
        digits
            .to_ascii_lowercase()
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|character| character.is_digit(radix)))
    };
    let date =
        text.len() >= 8 && text.as_bytes().get(4) == Some(&b'-') && text[..4].bytes().all(|b| b.is_ascii_digit());
    let sexagesimal = digits.contains(':') && digits.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    digits.parse::<f64>().is_ok() || based("0x", 16) || based("0o", 8) || based("0b", 2) || date || sexagesimal
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
        ] {
            assert_eq!(scalar_text(text), expected, "{text:?}");
        }
    }
}

//! Words about a value of the wrong type: where it is, and what was expected.

use reeve_api::quantity::QuantityError;
use reeve_api::schema::{Scalar, Schema, builtin};
use reeve_api::{GroupVersionKind, go_text};
use serde_ignored::Path;

/// The path of an unknown field: `spec.containers[0].imagePullpolicy`.
pub(super) fn path(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", self::path(parent)),
        Path::Map { parent, key } => {
            let parent = self::path(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => self::path(parent),
    }
}

/// Fields of times with microseconds.
const MICRO_TIMES: [&str; 4] = ["acquireTime", "eventTime", "lastObservedTime", "renewTime"];

/// What is wrong, in upstream's words as far as they can be known.
pub(super) fn explain(json: &[u8], kind: &GroupVersionKind, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let Some((offset, found)) = offset(json, error).and_then(|offset| Some((offset, locate(json, offset)?))) else {
        return text.to_owned();
    };
    if found.what == "string" && text.starts_with("Invalid ") {
        let value = serde_json::Deserializer::from_slice(&json[found.start..]).into_iter::<String>().next();
        if let Some(problem) = value.and_then(Result::ok).and_then(|value| go_text::base64_problem(value.as_bytes())) {
            return problem;
        }
    }
    let names: Vec<&str> = found.names.iter().flatten().map(String::as_str).collect();
    let last = names.last().copied().unwrap_or_default();
    if last.ends_with("Timestamp") || last.ends_with("Time") || last == "time" {
        let layout = if MICRO_TIMES.contains(&last) { go_text::MICRO_TIME } else { go_text::TIME };
        let value = serde_json::Deserializer::from_slice(&json[found.start..]).into_iter::<String>().next();
        return match value {
            Some(Ok(value)) => go_text::time_problem(&value, layout).unwrap_or_else(|| text.to_owned()),
            _ => format!("json: cannot unmarshal {} into Go value of type string", found.what),
        };
    }
    let Some((given, expected)) = text.split_once(", expected ") else {
        return format!("{}: {text} (byte {offset})", names.join("."));
    };
    let number = given.split('`').nth(1).filter(|_| found.what == "number");
    let what = match (number, expected) {
        (Some(number), "i32" | "i64" | "IntOrString") => format!("number {number}"),
        _ => found.what.to_owned(),
    };
    match expected {
        "Quantity" => return QuantityError::Format.to_string(),
        "IntOrString" => return format!("json: cannot unmarshal {what} into Go value of type int32"),
        _ => {}
    }
    let place = Place::of(kind, &found.names);
    let expected = match &place.schema {
        Some(schema) => go_type(schema, expected, &kind.version),
        None => plain_type(expected, &kind.version),
    };
    format!("json: cannot unmarshal {what} into Go struct field {}.{} of type {expected}", place.holder, place.path)
}

/// Where a value is: the structure that has its field, the fields down to it, and what should be there.
struct Place {
    holder: String,
    path: String,
    schema: Option<Schema>,
}

impl Place {
    /// Follows names through the kind's schema; those without a name are lists.
    fn of(kind: &GroupVersionKind, names: &[Option<String>]) -> Self {
        let mut node = builtin(&kind.api_version(), &kind.kind);
        let mut holder = kind.kind.clone();
        let mut path: Vec<&str> = Vec::new();
        for name in names {
            let Some(name) = name else {
                node = node.and_then(|node| node.element().cloned());
                continue;
            };
            let is_map = matches!(node, Some(Schema::Map { .. }));
            if !is_map {
                if let Some(object) = node.as_ref().and_then(Schema::object) {
                    holder = object.name.clone().into_owned();
                }
                path.push(name);
            }
            node = node.and_then(|node| node.child(name).cloned());
        }
        Self { holder, path: path.join("."), schema: node }
    }
}

/// A type as Go names it; `expected` is what the decoder wanted, which knows the size of numbers.
fn go_type(schema: &Schema, expected: &str, version: &str) -> String {
    match schema {
        Schema::Scalar(Scalar::String) => "string".to_owned(),
        Schema::Scalar(Scalar::Boolean) => "bool".to_owned(),
        Schema::Map { element, .. } if matches!(**element, Schema::Scalar(Scalar::Any)) => "v1.ResourceList".to_owned(),
        Schema::Map { element, .. } => format!("map[string]{}", go_type(element, expected, version)),
        Schema::List { element, .. } => format!("[]{}", go_type(element, expected, version)),
        Schema::Object { fields, .. } => format!("{version}.{}", fields.get().name),
        _ => plain_type(expected, version),
    }
}

fn plain_type(expected: &str, version: &str) -> String {
    match expected {
        "a string" => "string".to_owned(),
        "a boolean" => "bool".to_owned(),
        "i32" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        "f64" => "float64".to_owned(),
        "a sequence" => "array".to_owned(),
        "a map" => "map[string]string".to_owned(),
        kind => format!("{version}.{}", kind.trim_start_matches("struct ")),
    }
}

/// The byte that the error is about.
fn offset(json: &[u8], error: &serde_json::Error) -> Option<usize> {
    let lines = json.split(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().checked_sub(1)?).map(|line| line.len() + 1).sum();
    (before + error.column()).checked_sub(1)
}

/// A value in a text.
struct Found {
    /// The names down to it; elements of lists have none.
    names: Vec<Option<String>>,
    /// What it is.
    what: &'static str,
    /// Where it begins.
    start: usize,
}

/// The value at a byte.
fn locate(json: &[u8], target: usize) -> Option<Found> {
    enum Open {
        Object,
        List,
    }
    let mut open = Vec::new();
    let mut names: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    let mut name_comes = false;
    let found = |names: &[Option<String>], what, start| Some(Found { names: names.to_vec(), what, start });
    while at < json.len() {
        let start = at;
        match json[at] {
            opening @ (b'{' | b'[') => {
                if at >= target {
                    return found(&names, if opening == b'{' { "object" } else { "array" }, start);
                }
                let is_object = opening == b'{';
                open.push(if is_object { Open::Object } else { Open::List });
                names.push(None);
                name_comes = is_object;
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                names.pop();
                at += 1;
                if start >= target {
                    return None;
                }
            }
            b',' => {
                name_comes = matches!(open.last(), Some(Open::Object));
                at += 1;
            }
            b'"' => {
                at += 1;
                while at < json.len() && json[at] != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if name_comes {
                    let name = std::str::from_utf8(json.get(start + 1..at - 1)?).ok()?;
                    *names.last_mut()? = Some(name.to_owned());
                    name_comes = false;
                } else if at > target {
                    return found(&names, "string", start);
                }
            }
            b':' | b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            first => {
                while at < json.len() && !matches!(json[at], b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                    at += 1;
                }
                if at > target {
                    let what = if matches!(first, b't' | b'f') { "bool" } else { "number" };
                    return found(&names, what, start);
                }
            }
        }
    }
    None
}

//! The compact table of built-in types: text in the binary, one line a type, read when a type is first used.
//!
//! A line is `Name!  apiVersion/Kind|-  field=shape ...`, separated by blanks; `!` marks a type that is owned as
//! a whole. A shape is
//!
//! | text | meaning |
//! |---|---|
//! | `s` `n` `b` `x` | text, number, boolean, any scalar |
//! | `?` | any value, as a whole |
//! | `&Name` | a type; `&!Name` as a whole |
//! | `{}S` `{!}S` | a map of the shape `S`; as a whole |
//! | `[]S` `[=]S` `[a,b]S` | a list: as a whole, a set, told apart by fields |
//!
//! and after it, each at most once: `~merge`, `~merge:key`, `~replace` (strategic merge patch), `*` (always
//! written), `*0` (always written, `null` at first), `^JSON` (a default).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use super::{Field, ListKind, Object, ObjectRef, PatchStrategy, Scalar, Schema};

const TEXT: &str = include_str!("builtin.txt");

struct Table {
    lines: Vec<Line>,
    kinds: HashMap<(&'static str, &'static str), u16>,
    names: HashMap<&'static str, u16>,
}

struct Line {
    name: &'static str,
    atomic: bool,
    fields: &'static str,
    read: OnceLock<Object>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { lines: Vec::new(), kinds: HashMap::new(), names: HashMap::new() };
    for line in TEXT.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut parts = line.splitn(3, ' ');
        let name = parts.next().unwrap_or_default();
        let kind = parts.next().unwrap_or_default();
        let index = u16::try_from(table.lines.len()).unwrap_or(u16::MAX);
        let (name, atomic) = match name.strip_suffix('!') {
            Some(name) => (name, true),
            None => (name, false),
        };
        table.names.insert(name, index);
        if let Some((api_version, kind)) = kind.rsplit_once('/') {
            table.kinds.insert((api_version, kind), index);
        }
        table.lines.push(Line { name, atomic, fields: parts.next().unwrap_or_default(), read: OnceLock::new() });
    }
    table
});

/// The index of a kind's type.
pub(super) fn kind(api_version: &str, kind: &str) -> Option<u16> {
    TABLE.kinds.get(&(api_version, kind)).copied()
}

/// All kinds, for tests.
#[cfg(test)]
pub(super) fn kinds() -> Vec<(&'static str, &'static str)> {
    let mut kinds: Vec<_> = TABLE.kinds.keys().copied().collect();
    kinds.sort_unstable();
    kinds
}

/// A type by its index.
pub(super) fn object(index: u16) -> &'static Object {
    static NOTHING: Object = Object { name: Cow::Borrowed(""), fields: Vec::new() };
    match TABLE.lines.get(usize::from(index)) {
        Some(line) => line.read.get_or_init(|| read(line)),
        None => &NOTHING,
    }
}

fn read(line: &'static Line) -> Object {
    let mut fields: Vec<Field> = line.fields.split_ascii_whitespace().filter_map(field).collect();
    fields.sort_by(|one, other| one.name.cmp(&other.name));
    let name = line.name.rsplit('.').next().unwrap_or_default();
    Object { name: Cow::Borrowed(name), fields }
}

fn field(text: &'static str) -> Option<Field> {
    let (name, text) = text.split_once('=')?;
    let (text, default) = match text.split_once('^') {
        Some((text, default)) => (text, serde_json::from_str(default).ok()),
        None => (text, None),
    };
    let (text, always, pointer) = match (text.strip_suffix("*0"), text.strip_suffix('*')) {
        (Some(text), _) => (text, true, true),
        (None, Some(text)) => (text, true, false),
        (None, None) => (text, false, false),
    };
    let (text, patch) = match text.split_once('~') {
        Some((text, "replace")) => (text, PatchStrategy { replace: true, ..PatchStrategy::default() }),
        Some((text, merge)) => {
            let merge_key = merge.split_once(':').map(|(_, key)| Cow::Borrowed(key));
            (text, PatchStrategy { merge: true, replace: false, merge_key })
        }
        None => (text, PatchStrategy::default()),
    };
    Some(Field { name: Cow::Borrowed(name), schema: shape(text), patch, always, pointer, default })
}

fn shape(text: &'static str) -> Schema {
    if let Some(name) = text.strip_prefix('&') {
        let (name, whole) = match name.strip_prefix('!') {
            Some(name) => (name, true),
            None => (name, false),
        };
        return match TABLE.names.get(name) {
            Some(index) => {
                let own = TABLE.lines.get(usize::from(*index)).is_some_and(|line| line.atomic);
                Schema::Object { fields: ObjectRef::Builtin(*index), atomic: whole || own }
            }
            None => Schema::Opaque,
        };
    }
    if let Some(element) = text.strip_prefix("{}") {
        return Schema::Map { element: Box::new(shape(element)), atomic: false };
    }
    if let Some(element) = text.strip_prefix("{!}") {
        return Schema::Map { element: Box::new(shape(element)), atomic: true };
    }
    if let Some((keys, element)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let kind = match keys {
            "" => ListKind::Atomic,
            "=" => ListKind::Set,
            keys => ListKind::Map(keys.split(',').map(Cow::Borrowed).collect()),
        };
        return Schema::List { element: Box::new(shape(element)), kind };
    }
    match text {
        "s" => Schema::Scalar(Scalar::String),
        "n" => Schema::Scalar(Scalar::Number),
        "b" => Schema::Scalar(Scalar::Boolean),
        "x" => Schema::Scalar(Scalar::Any),
        _ => Schema::Opaque,
    }
}

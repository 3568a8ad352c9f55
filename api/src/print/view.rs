//! Reading fields of an object that is only JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::age;

/// A value whose fields are read leniently: what is absent is empty.
#[derive(Clone, Copy)]
pub(super) struct View<'a>(pub(super) &'a Value);

impl<'a> View<'a> {
    /// The field at a dotted path; null when it is not there.
    pub(super) fn at(self, path: &str) -> View<'a> {
        let mut value = self.0;
        for part in path.split('.') {
            value = value.get(part).unwrap_or(&Value::Null);
        }
        View(value)
    }

    /// The text at a dotted path.
    pub(super) fn text(self, path: &str) -> &'a str {
        self.at(path).0.as_str().unwrap_or_default()
    }

    /// The number at a dotted path.
    pub(super) fn number(self, path: &str) -> i64 {
        self.at(path).0.as_i64().unwrap_or_default()
    }

    /// The flag at a dotted path.
    pub(super) fn flag(self, path: &str) -> bool {
        self.at(path).0.as_bool().unwrap_or_default()
    }

    /// Whether something is at a dotted path.
    pub(super) fn has(self, path: &str) -> bool {
        !self.at(path).0.is_null()
    }

    /// The elements of the list at a dotted path.
    pub(super) fn list(self, path: &str) -> impl DoubleEndedIterator<Item = View<'a>> + Clone {
        self.at(path).0.as_array().into_iter().flatten().map(View)
    }

    /// The texts of the list at a dotted path.
    pub(super) fn texts(self, path: &str) -> impl Iterator<Item = &'a str> {
        self.list(path).filter_map(|view| view.0.as_str())
    }

    /// The members of the object at a dotted path.
    pub(super) fn members(self, path: &str) -> impl Iterator<Item = (&'a str, View<'a>)> {
        let members = self.at(path).0.as_object();
        members.into_iter().flatten().map(|(name, value)| (name.as_str(), View(value)))
    }

    /// How many members the object at a dotted path has.
    pub(super) fn size(self, path: &str) -> usize {
        self.at(path).0.as_object().map_or(0, serde_json::Map::len)
    }

    /// The time at a dotted path.
    pub(super) fn time(self, path: &str) -> Option<Timestamp> {
        self.text(path).parse().ok()
    }

    /// The labels-like map at a dotted path.
    pub(super) fn map(self, path: &str) -> BTreeMap<String, String> {
        self.members(path)
            .map(|(name, value)| (name.to_owned(), value.0.as_str().unwrap_or_default().to_owned()))
            .collect()
    }
}

/// The name cell.
pub(super) fn object_name(object: View<'_>) -> Value {
    object.text("metadata.name").into()
}

/// The age cell.
pub(super) fn age(object: View<'_>, now: Timestamp) -> Value {
    age::since(object.time("metadata.creationTimestamp"), now).into()
}

/// A text, or a word for its absence.
pub(super) fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

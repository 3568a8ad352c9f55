//! What one manager set, as text: a write looks into it and changes it where it must, and reads no set from it.

use super::encoding::{holds, touches, without, write_united};
use super::set::FieldSet;
use crate::json::Tree;

/// The fields of one manager: canonical `fieldsV1`, whose names are in order.
///
/// Of an object's managers a write changes one or two, and of those a few paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Box<str>);

impl Default for Fields {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl From<FieldSet> for Fields {
    fn from(set: FieldSet) -> Self {
        Self(set.to_fields_v1().into())
    }
}

impl Fields {
    /// From `fieldsV1` as the server wrote them.
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The set. What cannot be read is nobody's.
    pub fn set(&self) -> FieldSet {
        self.tree().and_then(|tree| FieldSet::from_fields_v1(tree.root()).ok()).unwrap_or_default()
    }

    /// As `fieldsV1`, in compact text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(&*self.0, "{}" | "null")
    }

    /// Takes out what a set has.
    pub(super) fn subtract(&mut self, other: &FieldSet) {
        if other.nodes.is_empty() {
            return;
        }
        let left = self.tree().filter(|tree| touches(tree.root(), other)).map(|tree| without(tree.root(), other));
        if let Some(text) = left {
            self.0 = text.into();
        }
    }

    /// Adds what a set has.
    pub(super) fn unite(&mut self, other: FieldSet) {
        if self.is_empty() {
            *self = other.into();
            return;
        }
        let more = self.tree().filter(|tree| !holds(tree.root(), &other)).map(|tree| {
            let mut text = String::with_capacity(self.0.len() + 64);
            write_united(tree.root(), false, &other, &mut text);
            text
        });
        if let Some(text) = more {
            self.0 = text.into();
        }
    }

    fn tree(&self) -> Option<Tree<'_>> {
        Tree::read(self.0.as_bytes())
    }
}

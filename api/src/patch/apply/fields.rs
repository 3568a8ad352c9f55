//! What one manager set: read from its text when it must be known, and written anew only when it changed.

use std::borrow::Cow;

use super::encoding::{holds, touches};
use super::set::FieldSet;
use crate::json::Tree;

/// The fields of one manager.
///
/// Of an object's managers a write changes one or two. The others keep their text, which can tell whether it has a
/// path without being turned into a set.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Canonical `fieldsV1`, as long as nothing changed them.
    text: Option<Box<str>>,
    /// What they are when there is no text.
    set: FieldSet,
}

impl From<FieldSet> for Fields {
    fn from(set: FieldSet) -> Self {
        Self { text: None, set }
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.set() == other.set()
    }
}

impl Eq for Fields {}

impl Fields {
    /// From `fieldsV1` as the server wrote them.
    pub(super) fn of_text(text: &str) -> Self {
        Self { text: Some(text.into()), set: FieldSet::default() }
    }

    /// The set.
    pub fn set(&self) -> Cow<'_, FieldSet> {
        match &self.text {
            Some(text) => Cow::Owned(read(text)),
            None => Cow::Borrowed(&self.set),
        }
    }

    /// The set, for who needs nothing else.
    pub fn into_set(mut self) -> FieldSet {
        std::mem::take(self.change())
    }

    /// The set, to be changed.
    fn change(&mut self) -> &mut FieldSet {
        if let Some(text) = self.text.take() {
            self.set = read(&text);
        }
        &mut self.set
    }

    /// As `fieldsV1`, in compact text.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.text {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.set.to_fields_v1()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match &self.text {
            Some(text) => matches!(&**text, "{}" | "null"),
            None => self.set.is_empty(),
        }
    }

    /// Takes out what a set has.
    pub(super) fn subtract(&mut self, other: &FieldSet) {
        if !other.nodes.is_empty() && self.tree().is_none_or(|tree| touches(tree.root(), other)) {
            self.change().subtract(other);
        }
    }

    /// Adds what a set has.
    pub(super) fn unite(&mut self, other: FieldSet) {
        let known = self.tree().is_some_and(|tree| holds(tree.root(), &other));
        if !known {
            let own = self.change();
            *own = std::mem::take(own).united(other);
        }
    }

    fn tree(&self) -> Option<Tree<'_>> {
        Tree::read(self.text.as_deref()?.as_bytes())
    }
}

/// What cannot be read is nobody's.
fn read(text: &str) -> FieldSet {
    let tree = Tree::read(text.as_bytes());
    tree.and_then(|tree| FieldSet::from_fields_v1(tree.root()).ok()).unwrap_or_default()
}

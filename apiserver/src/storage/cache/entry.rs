//! An object as the cache holds it: ready bytes, and the few terms that selectors read.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use reeve_api::json;

use crate::storage::types::Stored;

/// Reads the selectable fields of a resource's objects; the registry gives one per resource.
pub trait Extract: Send + Sync + 'static {
    /// Paths and values, for instance `("spec.nodeName", "n1")`. Fields that are not set may be left out:
    /// they count as empty. `metadata.name` and `metadata.namespace` need not be told.
    fn fields(&self, value: &[u8]) -> Vec<(Cow<'static, str>, String)>;

    /// The object in the form in which it is served, where that is not the stored one.
    fn shape(&self, value: &[u8]) -> Option<Vec<u8>> {
        let _as_it_is = value;
        None
    }
}

/// A resource without selectable fields of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFields;

impl Extract for NoFields {
    fn fields(&self, _value: &[u8]) -> Vec<(Cow<'static, str>, String)> {
        Vec::new()
    }
}

/// A label or selectable field with its value, as indexes know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    source: Source,
    key: Box<str>,
    value: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Source {
    Label,
    Field,
}

impl Term {
    /// A label.
    pub fn label(key: &str, value: &str) -> Self {
        Self { source: Source::Label, key: key.into(), value: value.into() }
    }

    /// A selectable field.
    pub fn field(path: &str, value: &str) -> Self {
        Self { source: Source::Field, key: path.into(), value: value.into() }
    }
}

/// An object at a revision. Shared by snapshots, recent events and responses.
#[derive(Debug)]
pub struct Entry {
    key: Arc<str>,
    revision: i64,
    object: Bytes,
    header_len: u32,
    terms: Box<[Arc<Term>]>,
}

impl Entry {
    /// From the stored form. `intern` maps a term to the instance that others share.
    pub(crate) fn new(
        key: Arc<str>,
        value: &[u8],
        revision: i64,
        extract: &dyn Extract,
        mut intern: impl FnMut(Term) -> Arc<Term>,
    ) -> Self {
        let shaped = extract.shape(value);
        let value = shaped.as_deref().unwrap_or(value);
        let object = json::splice_resource_version(value, revision);
        let header_len = u32::try_from(json::header_len(&object)).unwrap_or(1);
        let mut terms: Vec<Arc<Term>> =
            labels(value).iter().map(|(key, value)| intern(Term::label(key, value))).collect();
        for (path, value) in extract.fields(value) {
            if !value.is_empty() {
                terms.push(intern(Term::field(&path, &value)));
            }
        }
        Self { key, revision, object, header_len, terms: terms.into() }
    }

    /// An object that is made for one answer: it has no key, version or terms.
    pub(crate) fn unstored(object: &[u8]) -> Self {
        let object = Bytes::copy_from_slice(object);
        let header_len = u32::try_from(json::header_len(&object)).unwrap_or(1);
        Self { key: Arc::from(""), revision: 0, object, header_len, terms: Box::default() }
    }

    /// `namespace/name`, or the name alone for cluster-scoped resources.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Empty for cluster-scoped resources.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The resource version.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The ready bytes: canonical JSON with `metadata.resourceVersion`.
    pub fn object(&self) -> &Bytes {
        &self.object
    }

    /// The length of the leading `{"apiVersion":…,"kind":…,`: as a list item the object is `{` and what
    /// follows this.
    pub fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// What follows the header: a list item without its leading `{`.
    pub fn item(&self) -> Bytes {
        self.object.slice(self.header_len()..)
    }

    /// The form that the store has, to decide an update on.
    pub fn stored(&self) -> Stored {
        Stored { value: json::strip_resource_version(&self.object).into(), revision: self.revision }
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.value(Source::Label, key)
    }

    /// The value of a selectable field; empty when not set.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace(),
            _ => self.value(Source::Field, path).unwrap_or(""),
        }
    }

    fn value(&self, source: Source, key: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.source == source && *term.key == *key)?;
        Some(&term.value)
    }

    pub(crate) fn terms(&self) -> &[Arc<Term>] {
        &self.terms
    }
}

/// The labels of an object. Input that is not well-formed has none.
fn labels(object: &[u8]) -> Vec<(String, String)> {
    let read = || {
        let labels = &object[json::metadata_member(object, "labels")?];
        let labels: std::collections::BTreeMap<String, String> = serde_json::from_slice(labels).ok()?;
        Some(labels.into_iter().collect())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_knows_its_parts() {
        let pod =
            br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"a","labels":{"x":"1"}},"spec":{}}"#;
        let entry = Entry::new("a/p".into(), pod, 7, &NoFields, Arc::new);
        assert_eq!((entry.namespace(), entry.name(), entry.label("x")), ("a", "p", Some("1")));
        assert!(entry.item().starts_with(br#""metadata":{"resourceVersion":"7","#));
        assert_eq!(&entry.stored().value[..], pod);
        assert_eq!(entry.field("metadata.namespace"), "a");
    }
}

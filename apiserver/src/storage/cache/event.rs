//! What watchers get: events whose bytes are made once, however many watchers there are.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use reeve_api::json::{self, Mask};

use super::entry::Entry;

/// What an event tells a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The object came into the selection.
    Added,
    /// The object changed within the selection.
    Modified,
    /// The object left the selection: deleted, or no longer selected.
    Deleted,
    /// Nothing happened up to the event's revision.
    Bookmark,
}

impl EventKind {
    /// The word in the event's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
            EventKind::Bookmark => "BOOKMARK",
        }
    }
}

/// An event, shared by all watchers that get it.
#[derive(Debug)]
pub struct Event {
    kind: EventKind,
    revision: i64,
    entry: Option<Arc<Entry>>,
    object: OnceLock<Bytes>,
    line: OnceLock<Bytes>,
    projections: Mutex<Vec<(Mask, Bytes)>>,
}

impl Event {
    /// An event about an object. For `Deleted`, `entry` is the last state that was selected.
    pub(crate) fn of(kind: EventKind, entry: Arc<Entry>, revision: i64) -> Self {
        Self {
            kind,
            revision,
            entry: Some(entry),
            object: OnceLock::new(),
            line: OnceLock::new(),
            projections: Mutex::new(Vec::new()),
        }
    }

    /// A bookmark. `initial_end` says that it ends the initial events.
    pub(crate) fn bookmark(api_version: &str, kind: &str, revision: i64, initial_end: bool) -> Self {
        let annotations = if initial_end { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
        let object = format!(
            r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"resourceVersion":"{revision}"{annotations}}}}}"#
        );
        Self {
            kind: EventKind::Bookmark,
            revision,
            entry: None,
            object: OnceLock::from(Bytes::from(object)),
            line: OnceLock::new(),
            projections: Mutex::new(Vec::new()),
        }
    }

    /// What happened.
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// The revision of the change; the resource version of the object that it carries.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The object's entry; none for bookmarks. A deleted object's entry has the version before.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        self.entry.as_ref()
    }

    /// Canonical JSON of the object, with the event's resource version.
    pub fn object(&self) -> Bytes {
        let made = self.object.get_or_init(|| match &self.entry {
            Some(entry) if entry.revision() == self.revision => entry.object().clone(),
            Some(entry) => json::splice_resource_version(entry.object(), self.revision),
            None => Bytes::new(),
        });
        made.clone()
    }

    /// The line of a REST watch: `{"type":"ADDED","object":{…}}` and a newline.
    pub fn json_line(&self) -> Bytes {
        let made = self.line.get_or_init(|| json_line(self.kind, &self.object()));
        made.clone()
    }

    /// The object with the fields of `mask` only; made once per mask.
    pub fn projected(&self, mask: &Mask) -> Bytes {
        if mask.is_all() || self.kind == EventKind::Bookmark {
            return self.object();
        }
        let mut projections = self.projections.lock();
        if let Some((_, bytes)) = projections.iter().find(|(known, _)| known == mask) {
            return bytes.clone();
        }
        let bytes = Bytes::from(json::project(&self.object(), mask));
        projections.push((mask.clone(), bytes.clone()));
        bytes
    }

    /// What a queue is charged for holding it.
    pub(crate) fn weight(&self) -> usize {
        256 + self.entry.as_ref().map_or(0, |entry| entry.object().len())
    }
}

fn json_line(kind: EventKind, object: &[u8]) -> Bytes {
    let kind = kind.as_str();
    let mut line = Vec::with_capacity(r#"{"type":"","object":}"#.len() + kind.len() + object.len() + 1);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::super::entry::NoFields;
    use super::*;

    #[test]
    fn a_deletion_carries_its_own_version_and_lines_are_shared() {
        let entry = Entry::new("a".into(), br#"{"metadata":{"name":"a"}}"#, 3, &NoFields, Arc::new);
        let event = Event::of(EventKind::Deleted, Arc::new(entry), 9);
        let line = event.json_line();
        assert_eq!(
            &line[..],
            b"{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\",\"name\":\"a\"}}}\n"
        );
        assert_eq!(event.json_line().as_ptr(), line.as_ptr());
        let mask = Mask::new(["metadata.resourceVersion"]);
        assert_eq!(&event.projected(&mask)[..], br#"{"metadata":{"resourceVersion":"9"}}"#);
        assert_eq!(event.projected(&mask).as_ptr(), event.projected(&mask).as_ptr());
    }

    #[test]
    fn bookmarks_are_upstreams() {
        let event = Event::bookmark("v1", "Pod", 5, true);
        assert_eq!(
            &event.object()[..],
            br#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}"#
        );
    }
}

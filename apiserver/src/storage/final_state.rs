//! The last state of an object that says that it is gone.
//!
//! Kinds that end gracefully are shown once more before they go, without anything left to wait for; upstream writes
//! that state and deletes it then. Here the deletion carries it, in one transaction: as the value of a key outside of
//! all resources, which every deletion overwrites. Who watches the store sees it right before the deletion.

use super::types::{Change, Note};

/// The key that holds the final state that was written last.
const KEY: &str = "/reeve/final-state";

/// The note that goes with the deletion of `key`. `state` is canonical JSON.
pub fn note(key: &str, state: &[u8]) -> Note {
    // Keys of objects hold no line breaks.
    let value = [key.as_bytes(), b"\n", state].concat();
    Note { key: KEY.to_owned(), value: value.into() }
}

/// A final state as the change of its object that it stands for. It has the version just before the deletion: who has
/// seen that version and begins after it still sees the deletion.
pub(crate) fn shown(change: &Change) -> Option<Change> {
    let value = change.value.as_ref().filter(|_| change.key == KEY)?;
    let end = memchr::memchr(b'\n', value)?;
    let key = std::str::from_utf8(&value[..end]).ok()?.to_owned();
    Some(Change { key, value: Some(value.slice(end + 1..)), revision: change.revision - 1 })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_final_state_comes_before_its_deletion() {
        let note = note("/registry/pods/a/b", br#"{"kind":"Pod"}"#);
        let change = Change { key: note.key, value: Some(note.value), revision: 9 };
        let value = Some(Bytes::from_static(br#"{"kind":"Pod"}"#));
        assert_eq!(shown(&change), Some(Change { key: "/registry/pods/a/b".to_owned(), value, revision: 8 }));
        assert_eq!(shown(&Change { key: "/registry/pods/a/b".to_owned(), value: None, revision: 9 }), None);
    }
}

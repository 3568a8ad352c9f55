//! `metadata.generation`: how often the desired state has changed.

use reeve_api::ObjectMeta;

/// The generation of a new object.
pub(super) fn start(metadata: &mut ObjectMeta) {
    metadata.generation = Some(1);
}

/// The generation after an update.
pub(super) fn follow(metadata: &mut ObjectMeta, old: &ObjectMeta, changed: bool) {
    let before = old.generation.unwrap_or(1);
    metadata.generation = Some(if changed { before + 1 } else { before });
}

/// An update of the status changes no generation.
pub(super) fn keep(metadata: &mut ObjectMeta, old: &ObjectMeta) {
    metadata.generation = old.generation;
}

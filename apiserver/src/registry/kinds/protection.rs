//! Storage objects are protected by a finalizer from the first moment, so that none goes while it is used.

use reeve_api::ObjectMeta;

/// Adds a finalizer that the object does not have yet.
pub(super) fn protect(metadata: &mut ObjectMeta, finalizer: &str) {
    let finalizers = metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|own| own == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
}

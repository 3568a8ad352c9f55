//! Fields that are told even when they are not there: upstream's types write them as null.

use serde::Serialize;

/// Canonical bytes of an object, with a null for each named field of its top level that is absent.
pub(super) fn encode<T: Serialize>(object: &T, absent: &[(&str, bool)]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(object)?;
    for (field, _) in absent.iter().filter(|(_, is_absent)| *is_absent) {
        // An object ends with its brace and has at least its kind before it.
        bytes.pop();
        bytes.extend_from_slice(b",\"");
        bytes.extend_from_slice(field.as_bytes());
        bytes.extend_from_slice(b"\":null}");
    }
    Ok(bytes)
}

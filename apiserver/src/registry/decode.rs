//! From bytes to typed objects, with upstream's opinion on fields that should not be there.

use reeve_api::{GroupVersionKind, StatusError};
use serde::de::DeserializeOwned;

/// What to do about unknown and duplicate fields (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

impl FieldValidation {
    /// From the query parameter; `None` for a word that is none of the three.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Ignore" => Some(Self::Ignore),
            "" | "Warn" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// Why bytes are not an object of the kind. The text is the whole message for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

impl From<DecodeError> for StatusError {
    fn from(error: DecodeError) -> Self {
        StatusError::bad_request(error.0)
    }
}

/// Decodes an object; the second part are the warnings.
pub(super) fn decode<T: DeserializeOwned>(
    json: &[u8],
    validation: FieldValidation,
    kind: &GroupVersionKind,
) -> Result<(T, Vec<String>), DecodeError> {
    let refuse = |why: &dyn std::fmt::Display| {
        DecodeError(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            kind.kind,
            kind.api_version(),
            kind.kind
        ))
    };
    let mut problems = Vec::new();
    let deserializer = &mut serde_json::Deserializer::from_slice(json);
    let value = serde_ignored::deserialize(deserializer, |path| {
        problems.push(format!("unknown field {:?}", path.to_string()));
    })
    .map_err(|error| refuse(&error))?;
    match validation {
        FieldValidation::Ignore => Ok((value, Vec::new())),
        FieldValidation::Warn => Ok((value, problems)),
        FieldValidation::Strict if problems.is_empty() => Ok((value, problems)),
        FieldValidation::Strict => Err(refuse(&format_args!("strict decoding error: {}", problems.join(", ")))),
    }
}

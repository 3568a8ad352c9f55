//! From bytes to typed objects, with upstream's opinion on fields that should not be there and its
//! texts about values of the wrong type.

mod duplicates;
mod mistake;

use reeve_api::{GroupVersionKind, StatusError, go_text};
use serde::Deserialize;
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
    /// Drop them and warn of those that are unknown: for text written from values, where no name comes twice.
    WarnUnknown,
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

/// Why bytes are not an object of the kind.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// A bad request.
    #[error("{0}")]
    Unreadable(String),
    /// An error of its own.
    #[error("{0}")]
    Refused(Box<StatusError>),
}

impl From<DecodeError> for StatusError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Unreadable(message) => StatusError::bad_request(message),
            DecodeError::Refused(error) => *error,
        }
    }
}

/// What an object says that it is.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

/// Decodes an object; the second part are the warnings.
pub(in crate::registry) fn decode<T: DeserializeOwned>(
    json: &[u8],
    validation: FieldValidation,
    kind: &GroupVersionKind,
) -> Result<(T, Vec<String>), DecodeError> {
    let mut unknown = Vec::new();
    let deserializer = &mut serde_json::Deserializer::from_slice(json);
    let decoded = serde_ignored::deserialize(&mut *deserializer, |path| {
        unknown.push(mistake::path(&path));
    });
    let value = match decoded.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => value,
        Err(error) => return Err(explain(json, kind, &error)),
    };
    if validation == FieldValidation::Ignore {
        return Ok((value, Vec::new()));
    }
    let all = match validation {
        FieldValidation::WarnUnknown => duplicates::unknown_fields(&unknown),
        _ => duplicates::problems(json, &unknown),
    };
    if validation == FieldValidation::Strict && !all.is_empty() {
        return Err(refuse(kind, &kind.kind, &kind.version, &format!("strict decoding error: {}", all.join(", "))));
    }
    Ok((value, all))
}

fn refuse(wanted: &GroupVersionKind, kind: &str, version: &str, why: &str) -> DecodeError {
    DecodeError::Unreadable(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", wanted.kind))
}

/// Where upstream keeps its kinds, which its messages tell.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// How much of a body that nobody can read is shown.
const SHOWN_MAX: usize = 30;

/// The message for text that does not even say of which kind it is.
fn unrecognized(json: &[u8], wanted: &GroupVersionKind, error: &serde_json::Error) -> DecodeError {
    let why = go_text::json_problem(json).unwrap_or_else(|| {
        let what = match json.trim_ascii_start().first() {
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "bool",
            Some(b'{') => return error.to_string(),
            _ => "number",
        };
        format!(
            "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )
    });
    let shown = &json[..json.len().min(SHOWN_MAX)];
    let more = if json.len() > SHOWN_MAX { " ..." } else { "" };
    let shown = match shown.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    DecodeError::Unreadable(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why} \
         ({shown}{more})",
        wanted.kind
    ))
}

/// The message for bytes that could not be decoded.
fn explain(json: &[u8], wanted: &GroupVersionKind, error: &serde_json::Error) -> DecodeError {
    // A list would be read as the fields in order.
    let is_list = json.trim_ascii_start().first() == Some(&b'[');
    let header = match serde_json::from_slice::<Header>(json) {
        Ok(_) if is_list => return unrecognized(json, wanted, error),
        Ok(header) => header,
        Err(error) => return unrecognized(json, wanted, &error),
    };
    let kind = header.kind.unwrap_or_else(|| wanted.kind.clone());
    let api_version = header.api_version.unwrap_or_else(|| wanted.api_version());
    let given = GroupVersionKind::from_object(&api_version, &kind);
    if given == *wanted {
        return refuse(wanted, &kind, &given.version, &mistake::explain(json, wanted, error));
    }
    let known = super::Registry::knows(&given);
    let why = if known {
        let group = if wanted.group.is_empty() { "core" } else { wanted.group.split('.').next().unwrap_or_default() };
        format!("converting ({}.{kind}) to ({group}.{}): unknown conversion", given.version, wanted.kind)
    } else {
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}")
    };
    refuse(wanted, &kind, &given.version, &why)
}

/// The fields that an object or patch names twice, in words.
pub fn duplicate_fields(json: &[u8]) -> Vec<String> {
    duplicates::problems(json, &[])
}

/// The fields that the operations of a JSON patch name twice, and those that operations do not have, in words.
pub fn json_patch_fields(json: &[u8]) -> Vec<String> {
    duplicates::of_json_patch(json)
}

//! A broken rule: where, which value, why.

use std::fmt::{self, Write};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;

use crate::field_path::Path;

/// The class of a field error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// A reference to something that is not there.
    NotFound,
    /// A field that must be set.
    Required,
    /// A value that may occur once only.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value outside of its enumeration.
    NotSupported,
    /// A value that is not allowed here and now.
    Forbidden,
    /// A value with too many bytes.
    TooLong,
    /// A list with too many items.
    TooMany,
    /// A defect of the server.
    Internal,
    /// A value of another type than the field's.
    TypeInvalid,
}

impl ErrorType {
    /// The words that begin the message.
    pub fn words(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::Internal => "Internal error",
        }
    }

    /// The reason of the cause in a `Status`.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// The value that broke a rule, as its message shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue(String);

impl BadValue {
    /// A value that is not there.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// A value whose text was made by the caller.
    pub fn shown(text: String) -> Self {
        Self(text)
    }

    /// A value shown as JSON.
    pub fn json<T: serde::Serialize>(value: &T) -> Self {
        Self(serde_json::to_string(value).unwrap_or_else(|error| error.to_string()))
    }
}

impl From<&str> for BadValue {
    fn from(value: &str) -> Self {
        Self(quote(value))
    }
}

impl From<&String> for BadValue {
    fn from(value: &String) -> Self {
        Self(quote(value))
    }
}

impl From<String> for BadValue {
    fn from(value: String) -> Self {
        Self(quote(&value))
    }
}

macro_rules! shown_plainly {
    ($($type:ty)*) => {$(
        impl From<$type> for BadValue {
            fn from(value: $type) -> Self {
                Self(value.to_string())
            }
        }
    )*};
}

shown_plainly!(i32 i64 usize bool);

impl<T: Into<BadValue>> From<Option<T>> for BadValue {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(BadValue::null, Into::into)
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The class.
    pub error: ErrorType,
    /// Where, for instance `spec.containers[0].name`; `<nil>` for the value as a whole.
    pub field: String,
    /// What is wrong with the value.
    pub detail: String,
    /// The value, for classes that show it.
    value: Option<String>,
}

impl FieldError {
    /// The message without the field.
    pub fn body(&self) -> String {
        let mut text = self.error.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// The broken rules of one object, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorList(Vec<FieldError>);

impl ErrorList {
    /// No errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many rules were broken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The errors in order.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }

    /// Adds the errors of another list.
    pub fn extend(&mut self, other: ErrorList) {
        self.0.extend(other.0);
    }

    fn push(&mut self, error: ErrorType, field: &Path<'_>, value: Option<BadValue>, detail: String) {
        self.0.push(FieldError { error, field: field.to_string(), detail, value: value.map(|value| value.0) });
    }

    /// A field that must be set.
    pub fn required(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorType::Required, field, None, detail.into());
    }

    /// A malformed value.
    pub fn invalid(&mut self, field: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, field, Some(value.into()), detail.into());
    }

    /// A malformed value that is not shown.
    pub fn invalid_as_a_whole(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, field, None, detail.into());
    }

    /// A value of another type than the field's.
    pub fn type_invalid(&mut self, field: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) {
        self.push(ErrorType::TypeInvalid, field, Some(value.into()), detail.into());
    }

    /// One [`Self::invalid`] for each text.
    pub fn invalid_each(&mut self, field: &Path<'_>, value: &str, details: Vec<String>) {
        for detail in details {
            self.invalid(field, value, detail);
        }
    }

    /// A value outside of its enumeration; `supported` in the order that is shown.
    pub fn not_supported(&mut self, field: &Path<'_>, value: impl Into<BadValue>, supported: &[&str]) {
        let mut detail = String::new();
        for (index, word) in supported.iter().enumerate() {
            detail.push_str(if index == 0 { "supported values: " } else { ", " });
            detail.push_str(&quote(word));
        }
        self.push(ErrorType::NotSupported, field, Some(value.into()), detail);
    }

    /// A value that occurs twice.
    pub fn duplicate(&mut self, field: &Path<'_>, value: impl Into<BadValue>) {
        self.push(ErrorType::Duplicate, field, Some(value.into()), String::new());
    }

    /// A reference to something that is not there.
    pub fn not_found(&mut self, field: &Path<'_>, value: impl Into<BadValue>) {
        self.push(ErrorType::NotFound, field, Some(value.into()), String::new());
    }

    /// The same, with what would have been found.
    pub fn not_found_because(&mut self, field: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) {
        self.push(ErrorType::NotFound, field, Some(value.into()), detail.into());
    }

    /// A value that is not allowed here.
    pub fn forbidden(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorType::Forbidden, field, None, detail.into());
    }

    /// A value of more than `limit` bytes.
    pub fn too_long(&mut self, field: &Path<'_>, limit: usize) {
        let detail = format!("may not be more than {limit} bytes");
        self.push(ErrorType::TooLong, field, None, detail);
    }

    /// A list of more than `limit` items.
    pub fn too_many(&mut self, field: &Path<'_>, count: usize, limit: usize) {
        let items = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {items}");
        self.push(ErrorType::TooMany, field, Some(count.into()), detail);
    }

    /// A defect of the server.
    pub fn internal(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorType::Internal, field, None, detail.into());
    }

    /// The causes that the details of a `Status` list.
    pub fn into_causes(self) -> Vec<StatusCause> {
        self.0
            .into_iter()
            .map(|error| StatusCause {
                message: Some(error.body()),
                reason: Some(error.error.reason().to_owned()),
                field: Some(error.field),
            })
            .collect()
    }
}

impl<'a> IntoIterator for &'a ErrorList {
    type Item = &'a FieldError;
    type IntoIter = std::slice::Iter<'a, FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A string in quotes, escaped as upstream's messages escape it (Go's `%q`).
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            character if character < ' ' || character == '\u{7f}' => {
                // Writing into a String cannot fail.
                write!(out, "\\x{:02x}", u32::from(character)).unwrap_or_default();
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let mut errors = ErrorList::new();
        let spec = Path::new("spec");
        errors.required(&spec.child("containers"), "");
        errors.invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0");
        errors.not_supported(&spec.child("type"), "x", &["A", "B"]);
        errors.too_long(&spec, 63);
        errors.duplicate(&spec, "a\"b");
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.containers: Required value",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.type: Unsupported value: "x": supported values: "A", "B""#,
                "spec: Too long: may not be more than 63 bytes",
                r#"spec: Duplicate value: "a\"b""#,
            ]
        );
    }
}

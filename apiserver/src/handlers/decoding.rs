//! From a body to an object of its kind, with what is told of fields that are unknown or there twice.

use reeve_api::StatusError;

use super::{ObjectAnswer, WriteOptions, field_validation};
use crate::registry::{Decoded, FieldValidation, Row};

/// An object that a client sent.
///
/// # Errors
/// It is none of the row's kind, or it has fields that it should not have and the client asked for strictness.
pub(super) fn decode_body(row: &Row, body: &[u8], options: &WriteOptions) -> Result<Decoded, StatusError> {
    let validation = field_validation(options)?;
    if options.repeated.is_empty() || validation == FieldValidation::Ignore {
        return Ok(row.kind.decode(body, validation)?);
    }
    // Upstream's reader of YAML tells what is there twice, the decoder what is unknown.
    let mut decoded = row.kind.decode(body, FieldValidation::WarnUnknown)?;
    if validation == FieldValidation::Strict {
        let mut problems = vec![yaml_error(&options.repeated)];
        problems.append(&mut decoded.warnings);
        let kind = row.info.kind();
        return Err(StatusError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            problems.join(", ")
        )));
    }
    decoded.warnings.splice(0..0, options.repeated.iter().cloned());
    Ok(decoded)
}

/// A result with what was found before it was made, which the user should hear whether it is an answer or an error.
pub(super) fn with_warnings(
    result: Result<ObjectAnswer, StatusError>,
    mut warnings: Vec<String>,
) -> Result<ObjectAnswer, StatusError> {
    match result {
        Ok(mut answer) => {
            warnings.append(&mut answer.warnings);
            Ok(ObjectAnswer { warnings, ..answer })
        }
        Err(error) => Err(error.warned(warnings)),
    }
}

/// What go-yaml says of keys that are there twice.
fn yaml_error(repeated: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", repeated.join("\n  "))
}

/// What an apply tells of a configuration that names fields twice: an error for those who asked for strictness, or
/// warnings.
///
/// # Errors
/// The client asked for strictness.
pub(super) fn repeated_in_apply(options: &WriteOptions) -> Result<Vec<String>, StatusError> {
    match field_validation(options)? {
        _ if options.repeated.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict => Err(StatusError::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: {}",
            yaml_error(&options.repeated)
        ))),
        FieldValidation::Warn | FieldValidation::WarnUnknown => Ok(options.repeated.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn options(field_validation: &str) -> WriteOptions {
        let repeated = vec![
            "line 5: key \"name\" already set in map".to_owned(),
            "line 14: key \"paused\" already set in map".to_owned(),
        ];
        WriteOptions { field_validation: field_validation.to_owned(), repeated, ..WriteOptions::default() }
    }

    #[test]
    fn keys_that_yaml_has_twice_come_before_unknown_fields() {
        let registry = Registry::builtin();
        let row = registry.rows().iter().find(|row| row.info.resource.resource == "deployments").expect("a row");
        let body = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"unknown":1}}"#;
        let decode = |word: &str| decode_body(row, body, &options(word)).map(|decoded| decoded.warnings);
        assert_eq!(decode("Ignore"), Ok(vec![]));
        let told = decode("").expect("warnings");
        assert_eq!(told.len(), 3);
        assert_eq!(told[1..], ["line 14: key \"paused\" already set in map", "unknown field \"spec.unknown\""]);
        assert_eq!(
            decode("Strict").unwrap_err().message,
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: yaml: unmarshal \
             errors:\n  line 5: key \"name\" already set in map\n  line 14: key \"paused\" already set in map, unknown \
             field \"spec.unknown\""
        );
    }

    #[test]
    fn an_apply_has_upstreams_words() {
        assert_eq!(repeated_in_apply(&options("")).map(|told| told.len()), Ok(2));
        assert_eq!(repeated_in_apply(&options("Ignore")), Ok(vec![]));
        assert_eq!(
            repeated_in_apply(&options("Strict")).unwrap_err().message,
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 5: key \"name\" \
             already set in map\n  line 14: key \"paused\" already set in map"
        );
    }
}

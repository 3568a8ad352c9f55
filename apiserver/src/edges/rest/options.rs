//! Options of requests, from queries and bodies, with upstream's rules
//! (`k8s.io/apimachinery/pkg/apis/meta/v1/validation` and `.../internalversion/validation`).

use http::header::{HeaderMap, USER_AGENT};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions as MetaDeleteOptions;
use reeve_api::status::StatusCause;
use reeve_api::{Reason, StatusError};

use super::body::media_type;
use super::path::Query;
use crate::handlers::{DeleteOptions, ListOptions, PatchKind, Selection, WatchOptions, WriteOptions};
use crate::request::Verb;

/// Upstream bounds the names of field managers.
const FIELD_MANAGER_CHARACTERS_MAX: usize = 128;

/// What is wrong with a field of the options.
enum Mistake {
    Forbidden,
    Invalid,
    NotSupported,
    Required,
    TooLong,
}

/// The error of options that break a rule.
fn invalid(kind: &str, field: &str, mistake: Mistake, message: String) -> StatusError {
    let reason = match mistake {
        Mistake::Forbidden => "FieldValueForbidden",
        Mistake::Invalid => "FieldValueInvalid",
        Mistake::NotSupported => "FieldValueNotSupported",
        Mistake::Required => "FieldValueRequired",
        Mistake::TooLong => "FieldValueTooLong",
    };
    let cause = StatusCause { reason: Some(reason.into()), message: Some(message), field: Some(field.into()) };
    StatusError::invalid("meta.k8s.io", kind, "", vec![cause])
}

fn selection(query: &Query) -> Selection {
    Selection { labels: query.text("labelSelector").to_owned(), fields: query.text("fieldSelector").to_owned() }
}

/// The parameters that only need to be read to be refused.
fn check_numbers(query: &Query) -> Result<(), StatusError> {
    query.number("timeoutSeconds")?;
    query.number("limit")?;
    Ok(())
}

/// Of a list.
pub fn list(query: &Query) -> Result<ListOptions, StatusError> {
    check_numbers(query)?;
    let forbidden =
        |field: &str, why: &str| Err(invalid("ListOptions", field, Mistake::Forbidden, format!("Forbidden: {why}")));
    if query.has("sendInitialEvents") {
        return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    let version = query.text("resourceVersion");
    let rule = query.text("resourceVersionMatch");
    if !rule.is_empty() {
        if version.is_empty() {
            return forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if !query.text("continue").is_empty() {
            return forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(rule, "Exact" | "NotOlderThan") {
            return Err(invalid(
                "ListOptions",
                "resourceVersionMatch",
                Mistake::NotSupported,
                format!("Unsupported value: {rule:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""),
            ));
        }
        if rule == "Exact" && version == "0" {
            return forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
    }
    if !query.text("continue").is_empty() && !matches!(version, "" | "0") {
        return Err(StatusError::bad_request("specifying resource version is not allowed when using continue"));
    }
    check_version(version)?;
    Ok(ListOptions {
        selection: selection(query),
        resource_version: version.to_owned(),
        resource_version_match: rule.to_owned(),
        limit: query.number("limit")?.unwrap_or(0),
        continue_token: query.text("continue").to_owned(),
    })
}

/// A resource version is a number that Go's `ParseUint` takes.
fn check_version(version: &str) -> Result<(), StatusError> {
    if version.is_empty() || version.parse::<u64>().is_ok_and(|number| i64::try_from(number).is_ok()) {
        return Ok(());
    }
    let why = if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    Err(StatusError::bad_request(format!(
        "invalid resource version: resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: {why}"
    )))
}

/// Of a watch.
pub fn watch(query: &Query) -> Result<WatchOptions, StatusError> {
    check_numbers(query)?;
    let rule = query.text("resourceVersionMatch");
    let initial_events = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents"));
    let forbidden = |why: &str| {
        Err(invalid("ListOptions", "resourceVersionMatch", Mistake::Forbidden, format!("Forbidden: {why}")))
    };
    match (initial_events, rule) {
        (None, "") | (Some(_), "NotOlderThan") => {}
        (None, _) => {
            return forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
        (Some(_), _) => {
            return forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
    }
    let version = query.text("resourceVersion");
    check_version(version)?;
    let allow_bookmarks = query.flag("allowWatchBookmarks");
    // A watch from any version that takes bookmarks is told where its initial events end.
    let send_initial_events = initial_events.or((version == "0" && allow_bookmarks).then_some(true));
    let rule = if send_initial_events.is_some() { "NotOlderThan" } else { rule };
    Ok(WatchOptions {
        selection: selection(query),
        resource_version: version.to_owned(),
        resource_version_match: rule.to_owned(),
        send_initial_events,
        allow_bookmarks,
        timeout_seconds: query.number("timeoutSeconds")?.unwrap_or(0),
    })
}

/// Of a read.
pub fn check_get(query: &Query) -> Result<(), StatusError> {
    for (gone, name) in [("export", "export"), ("exact", "exact")] {
        if query.has(gone) && query.flag(gone) {
            return Err(StatusError::bad_request(format!(
                "the {name} parameter, deprecated since v1.14, is no longer supported"
            )));
        }
    }
    check_version(query.text("resourceVersion"))
}

fn dry_run(kind: &str, value: &str) -> Result<bool, StatusError> {
    match value {
        "" => Ok(false),
        "All" => Ok(true),
        other => Err(invalid(
            kind,
            "dryRun",
            Mistake::NotSupported,
            format!("Unsupported value: [{other:?}]: supported values: \"All\""),
        )),
    }
}

/// Of a write.
pub fn write(query: &Query, headers: &HeaderMap, verb: Verb) -> Result<WriteOptions, StatusError> {
    let kind = match verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        _ => "PatchOptions",
    };
    let dry_run = dry_run(kind, query.text("dryRun"))?;
    let mut field_manager = query.text("fieldManager").to_owned();
    check_field_manager(kind, &field_manager)?;
    if verb == Verb::Patch {
        if media_type(headers) == "application/apply-patch+yaml" {
            if field_manager.is_empty() {
                let message = "Required value: is required for apply patch".to_owned();
                return Err(invalid(kind, "fieldManager", Mistake::Required, message));
            }
        } else if query.has("force") {
            let message = "Forbidden: may not be specified for non-apply patch".to_owned();
            return Err(invalid(kind, "force", Mistake::Forbidden, message));
        }
    }
    let field_validation = query.text("fieldValidation");
    if !matches!(field_validation, "" | "Ignore" | "Warn" | "Strict") {
        return Err(invalid(
            kind,
            "fieldValidation",
            Mistake::NotSupported,
            format!(
                "Unsupported value: {field_validation:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
            ),
        ));
    }
    if field_manager.is_empty() {
        let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        field_manager = agent.split('/').next().unwrap_or_default().to_owned();
        field_manager.truncate(FIELD_MANAGER_CHARACTERS_MAX);
    }
    Ok(WriteOptions { dry_run, field_manager, field_validation: field_validation.to_owned(), repeated: Vec::new() })
}

/// At most 128 printable characters.
fn check_field_manager(kind: &str, name: &str) -> Result<(), StatusError> {
    if name.chars().count() > FIELD_MANAGER_CHARACTERS_MAX {
        let message = format!("Too long: may not be more than {FIELD_MANAGER_CHARACTERS_MAX} bytes");
        return Err(invalid(kind, "fieldManager", Mistake::TooLong, message));
    }
    let Some((position, character)) = name.chars().enumerate().find(|(_, character)| character.is_control()) else {
        return Ok(());
    };
    let quoted: String = name
        .chars()
        .map(|character| match character {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\r' => "\\r".to_owned(),
            '"' | '\\' => format!("\\{character}"),
            character if character.is_control() && u32::from(character) < 0x80 => {
                format!("\\x{:02x}", u32::from(character))
            }
            character if character.is_control() => format!("\\u{:04x}", u32::from(character)),
            character => character.to_string(),
        })
        .collect();
    let code = u32::from(character);
    let message = format!("Invalid value: \"{quoted}\": invalid character U+{code:04X} (at position {position})");
    Err(invalid(kind, "fieldManager", Mistake::Invalid, message))
}

/// Of a deletion; `body` is its `DeleteOptions` in JSON, or empty.
pub fn delete(body: &[u8], query: &Query) -> Result<DeleteOptions, StatusError> {
    const KIND: &str = "DeleteOptions";
    let asked: MetaDeleteOptions = if body.is_empty() {
        let flag = |name: &str| query.has(name).then(|| query.flag(name));
        MetaDeleteOptions {
            dry_run: Some(query.text("dryRun")).filter(|value| !value.is_empty()).map(|value| vec![value.to_owned()]),
            grace_period_seconds: query.number("gracePeriodSeconds")?,
            orphan_dependents: flag("orphanDependents"),
            propagation_policy: Some(query.text("propagationPolicy").to_owned()).filter(|policy| !policy.is_empty()),
            ..MetaDeleteOptions::default()
        }
    } else {
        // Clients send apiVersion `v1`, `meta.k8s.io/v1`, `policy/v1` or any other group's.
        let mut value: serde_json::Value = serde_json::from_slice(body).map_err(undecodable)?;
        if let Some(object) = value.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        serde_json::from_value(value).map_err(undecodable)?
    };
    let policy = asked.propagation_policy.unwrap_or_default();
    if !policy.is_empty() && asked.orphan_dependents.is_some() {
        return Err(invalid(
            KIND,
            "propagationPolicy",
            Mistake::Invalid,
            format!("Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"),
        ));
    }
    if !matches!(policy.as_str(), "" | "Background" | "Foreground" | "Orphan") {
        return Err(invalid(
            KIND,
            "propagationPolicy",
            Mistake::NotSupported,
            format!(
                "Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ),
        ));
    }
    let dry_runs = asked.dry_run.unwrap_or_default();
    for value in &dry_runs {
        dry_run(KIND, value)?;
    }
    let preconditions = asked.preconditions.unwrap_or_default();
    Ok(DeleteOptions {
        grace_period_seconds: asked.grace_period_seconds,
        propagation_policy: match (policy.is_empty(), asked.orphan_dependents) {
            (true, Some(true)) => "Orphan".to_owned(),
            (true, Some(false)) => "Background".to_owned(),
            _ => policy,
        },
        uid: preconditions.uid.unwrap_or_default(),
        resource_version: preconditions.resource_version.unwrap_or_default(),
        dry_run: !dry_runs.is_empty(),
    })
}

fn undecodable(error: impl std::fmt::Display) -> StatusError {
    StatusError::bad_request(format!("the object provided is unrecognized: {error}"))
}

/// The form of a patch, by its media type.
pub fn patch_kind(headers: &HeaderMap, query: &Query) -> Result<PatchKind, StatusError> {
    match media_type(headers).as_str() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply { force: query.flag("force") }),
        _ => Err(StatusError::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text))
    }

    fn message<T>(result: Result<T, StatusError>) -> String {
        result.err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn list_options_follow_upstreams_rules() {
        let prefix = "ListOptions.meta.k8s.io \"\" is invalid: ";
        for (text, expected) in [
            (
                "resourceVersionMatch=Exact",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersion=1&resourceVersionMatch=Sometimes",
                "resourceVersionMatch: Unsupported value: \"Sometimes\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            ("sendInitialEvents=true", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ] {
            assert_eq!(message(list(&query(text))), format!("{prefix}{expected}"));
        }
        assert_eq!(
            message(list(&query("resourceVersion=abc"))),
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax"
        );
        assert!(list(&query("limit=-1")).is_ok());
        assert!(watch(&query("sendInitialEvents=true")).is_err());
        assert!(watch(&query("sendInitialEvents=true&resourceVersionMatch=NotOlderThan")).is_ok());
    }

    #[test]
    fn write_options_follow_upstreams_rules() {
        let headers = HeaderMap::new();
        assert_eq!(
            message(write(&query("dryRun=Some"), &headers, Verb::Create)),
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
        assert_eq!(
            message(write(&query("fieldManager=bad%00name"), &headers, Verb::Create)),
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"bad\\x00name\": \
             invalid character U+0000 (at position 3)"
        );
        assert!(write(&query("force=true"), &headers, Verb::Patch).is_err());
        assert!(delete(b"", &query("propagationPolicy=Orphan&orphanDependents=true")).is_err());
        assert_eq!(delete(b"{\"gracePeriodSeconds\":0}", &query("")).unwrap().grace_period_seconds, Some(0));
    }
}

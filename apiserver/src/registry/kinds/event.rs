//! Event: what happened to an object, in two shapes of one stored form.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1 as events;
use reeve_api::validation::{BadValue, ErrorList, Path, format};
use reeve_api::{GroupVersionKind, StatusError};
use serde_json::json;

use crate::registry::strategy::Strategy;
use crate::registry::{Conversion, FieldValidation, decode, encode};

/// The strategy of the core group's events, which is the stored form.
pub struct CoreEvents;

/// The strategy of `events.k8s.io`, over the stored form.
pub struct Events;

/// Most bytes of the text of a new event.
const NOTE_MAX: usize = 1024;

const FIELDS: [&str; 11] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl Strategy for CoreEvents {
    type Object = core::Event;

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, event: &core::Event) -> ErrorList {
        let mut errors = ErrorList::new();
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        check_namespace(&event.involved_object, namespace, &mut errors);
        if event.event_time.is_some() {
            check_new_shape(event, &mut errors);
        }
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &FIELDS
    }

    fn fields(&self, event: &core::Event) -> Vec<(&'static str, String)> {
        let object = &event.involved_object;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let component = text(&event.reporting_component);
        let source = event.source.as_ref().and_then(|source| source.component.clone()).unwrap_or_default();
        // An event without a source tells its reporter in its place.
        let source = if source.is_empty() { component.clone() } else { source };
        FIELDS
            .into_iter()
            .zip([
                text(&object.kind),
                text(&object.namespace),
                text(&object.name),
                text(&object.uid),
                text(&object.api_version),
                text(&object.resource_version),
                text(&object.field_path),
                text(&event.reason),
                component,
                source,
                text(&event.type_),
            ])
            .collect()
    }
}

impl Strategy for Events {
    type Object = core::Event;

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, event: &core::Event) -> ErrorList {
        let mut errors = ErrorList::new();
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        check_namespace(&event.involved_object, namespace, &mut errors);
        if event.event_time.is_none() {
            errors.required(&Path::new("eventTime"), "");
        }
        for (field, time) in [("firstTimestamp", &event.first_timestamp), ("lastTimestamp", &event.last_timestamp)] {
            if time.is_some() {
                errors.invalid(&Path::new(field), BadValue::json(time), "needs to be unset");
            }
        }
        if let Some(count) = event.count.filter(|count| *count != 0) {
            errors.invalid(&Path::new("count"), count, "needs to be unset");
        }
        if event.source.as_ref().is_some_and(|source| *source != core::EventSource::default()) {
            errors.invalid(&Path::new("source"), BadValue::json(&event.source), "needs to be unset");
        }
        check_new_shape(event, &mut errors);
        errors
    }

    /// Old events may be touched through the new view; what identifies an event stays.
    fn validate_update(&self, event: &core::Event, old: &core::Event) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut fixed = |field: &'static str, new: serde_json::Value, old: serde_json::Value| {
            if new != old {
                errors.invalid(&Path::new(field), BadValue::json(&new), "field is immutable");
            }
        };
        fixed("involvedObject", json!(event.involved_object), json!(old.involved_object));
        fixed("reason", json!(event.reason), json!(old.reason));
        fixed("action", json!(event.action), json!(old.action));
        fixed("related", json!(event.related), json!(old.related));
        fixed("reportingController", json!(event.reporting_component), json!(old.reporting_component));
        fixed("reportingInstance", json!(event.reporting_instance), json!(old.reporting_instance));
        fixed("type", json!(event.type_), json!(old.type_));
        fixed("eventTime", json!(event.event_time), json!(old.event_time));
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        CoreEvents.field_names()
    }

    fn fields(&self, event: &core::Event) -> Vec<(&'static str, String)> {
        CoreEvents.fields(event)
    }
}

fn check_namespace(object: &core::ObjectReference, namespace: &str, errors: &mut ErrorList) {
    let own = object.namespace.as_deref().unwrap_or_default();
    // Events about cluster-scoped objects live in the default namespace.
    let fits = if own.is_empty() { namespace == "default" } else { own == namespace };
    if !fits {
        errors.invalid(&Path::new("involvedObject").child("namespace"), own, "does not match event.namespace");
    }
}

/// Rules for what reporters of the new shape fill in.
fn check_new_shape(event: &core::Event, errors: &mut ErrorList) {
    let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
    let controller = text(&event.reporting_component);
    let controller_path = Path::new("reportingController");
    if controller.is_empty() {
        errors.required(&controller_path, "");
    }
    errors.invalid_each(&controller_path, &controller, format::qualified_name(&controller));
    for (field, value) in
        [("reportingInstance", &event.reporting_instance), ("action", &event.action), ("reason", &event.reason)]
    {
        let (path, value) = (Path::new(field), text(value));
        if value.is_empty() {
            errors.required(&path, "");
        }
        if value.len() > 128 {
            errors.invalid(&path, value, "can have at most 128 characters");
        }
    }
    let kind = text(&event.type_);
    if !matches!(kind.as_str(), "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), kind.as_str(), format!("has invalid value: {kind}"));
    }
    if let Some(message) = event.message.as_deref().filter(|message| message.len() > NOTE_MAX) {
        errors.invalid(&Path::new("message"), message, "can have at most 1024 characters");
    }
}

fn to_core(event: events::Event) -> core::Event {
    core::Event {
        action: event.action,
        count: event.deprecated_count,
        event_time: event.event_time,
        first_timestamp: event.deprecated_first_timestamp,
        involved_object: event.regarding.unwrap_or_default(),
        last_timestamp: event.deprecated_last_timestamp,
        message: event.note,
        metadata: event.metadata,
        reason: event.reason,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        series: event.series.map(|series| core::EventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time),
        }),
        source: event.deprecated_source,
        type_: event.type_,
    }
}

fn from_core(event: core::Event) -> events::Event {
    events::Event {
        action: event.action,
        deprecated_count: event.count,
        event_time: event.event_time,
        deprecated_first_timestamp: event.first_timestamp,
        regarding: Some(event.involved_object),
        deprecated_last_timestamp: event.last_timestamp,
        note: event.message,
        metadata: event.metadata,
        reason: event.reason,
        related: event.related,
        reporting_controller: event.reporting_component.filter(|text| !text.is_empty()),
        reporting_instance: event.reporting_instance.filter(|text| !text.is_empty()),
        series: event.series.and_then(|series| {
            Some(events::EventSeries {
                count: series.count.unwrap_or_default(),
                last_observed_time: series.last_observed_time?,
            })
        }),
        deprecated_source: Some(event.source.unwrap_or_default()),
        type_: event.type_,
    }
}

/// Serves stored core events as `events.k8s.io`.
#[derive(Debug)]
pub struct EventConversion;

impl Conversion for EventConversion {
    fn to_stored(&self, served: &[u8]) -> Result<Vec<u8>, StatusError> {
        let kind = GroupVersionKind::from_object("events.k8s.io/v1", "Event");
        let (event, _) = decode::decode::<events::Event>(served, FieldValidation::Ignore, &kind)?;
        encode::canonical(&to_core(event)).map_err(StatusError::internal)
    }

    fn to_served(&self, stored: &[u8]) -> Result<Vec<u8>, StatusError> {
        let event = from_core(serde_json::from_slice(stored).map_err(StatusError::internal)?);
        let absent = [
            ("eventTime", event.event_time.is_none()),
            ("deprecatedFirstTimestamp", event.deprecated_first_timestamp.is_none()),
            ("deprecatedLastTimestamp", event.deprecated_last_timestamp.is_none()),
        ];
        with_nulls(&event, &absent).map_err(StatusError::internal)
    }
}

/// The bytes of a served event with a null for each absent field that upstream writes. It has the name of the
/// stored type, and so no table of its own ([`encode`]).
fn with_nulls(event: &events::Event, absent: &[(&str, bool)]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(event)?;
    for (field, _) in absent.iter().filter(|(_, is_absent)| *is_absent) {
        // An object ends with its brace and has at least its kind before it.
        bytes.pop();
        bytes.extend_from_slice(b",\"");
        bytes.extend_from_slice(field.as_bytes());
        bytes.extend_from_slice(b"\":null}");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_hold_the_same() {
        let stored = br#"{"apiVersion":"v1","kind":"Event","action":"Binding","involvedObject":{"kind":"Pod","name":"p","namespace":"n"},"message":"m","metadata":{"name":"e","namespace":"n"},"reason":"R","type":"Normal"}"#;
        let served = EventConversion.to_served(stored).expect("converts");
        let text = std::str::from_utf8(&served).expect("text");
        assert!(text.contains(r#""note":"m""#) && text.contains(r#""regarding":{"kind":"Pod""#), "{text}");
        // What is stored has all that upstream writes.
        let back: core::Event =
            serde_json::from_slice(&EventConversion.to_stored(&served).expect("converts")).expect("reads");
        assert_eq!((back.message.as_deref(), back.involved_object.name.as_deref()), (Some("m"), Some("p")));
        assert_eq!(back.source, Some(core::EventSource::default()));
    }
}

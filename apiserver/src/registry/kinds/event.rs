//! Event: what happened to an object, in two shapes of one stored form.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1 as events;
use reeve_api::StatusError;
use reeve_api::validation::{ErrorList, Path, format};
use serde::{Serialize, de::DeserializeOwned};

use crate::registry::Conversion;
use crate::registry::strategy::Strategy;

/// The strategy of the core group's events, which is the stored form.
pub struct CoreEvents;

/// The strategy of `events.k8s.io`.
pub struct Events;

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
        check_namespace(&event.involved_object, namespace, "involvedObject", &mut errors);
        if event.event_time.is_some() {
            let component = event.reporting_component.as_deref().unwrap_or_default();
            check_new_shape(
                ("reportingController", component),
                event.reporting_instance.as_deref().unwrap_or_default(),
                event.action.as_deref().unwrap_or_default(),
                event.reason.as_deref().unwrap_or_default(),
                event.type_.as_deref().unwrap_or_default(),
                &mut errors,
            );
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
    type Object = events::Event;

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, event: &events::Event) -> ErrorList {
        let mut errors = ErrorList::new();
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let regarding = event.regarding.clone().unwrap_or_default();
        check_namespace(&regarding, namespace, "involvedObject", &mut errors);
        if event.event_time.is_none() {
            errors.required(&Path::new("eventTime"), "");
        }
        let controller = event.reporting_controller.as_deref().unwrap_or_default();
        check_new_shape(
            ("reportingController", controller),
            event.reporting_instance.as_deref().unwrap_or_default(),
            event.action.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.type_.as_deref().unwrap_or_default(),
            &mut errors,
        );
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        CoreEvents.field_names()
    }

    fn fields(&self, event: &events::Event) -> Vec<(&'static str, String)> {
        CoreEvents.fields(&to_core(event.clone()))
    }
}

fn check_namespace(object: &core::ObjectReference, namespace: &str, field: &str, errors: &mut ErrorList) {
    let own = object.namespace.as_deref().unwrap_or_default();
    let path = Path::new(field);
    // Events about cluster-scoped objects live in the default namespace.
    let fits = if own.is_empty() { namespace == "default" } else { own == namespace };
    if !fits {
        errors.invalid(&path.child("namespace"), own, "does not match event.namespace");
    }
}

fn check_new_shape(
    (controller_field, controller): (&str, &str),
    instance: &str,
    action: &str,
    reason: &str,
    kind: &str,
    errors: &mut ErrorList,
) {
    let controller_path = Path::new(controller_field);
    if controller.is_empty() {
        errors.required(&controller_path, "");
    }
    errors.invalid_each(&controller_path, controller, format::qualified_name(controller));
    for (field, value) in [("reportingInstance", instance), ("action", action), ("reason", reason)] {
        let path = Path::new(field);
        if value.is_empty() {
            errors.required(&path, "");
        }
        if value.len() > 128 {
            errors.invalid(&path, value, "can have at most 128 characters");
        }
    }
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), kind, format!("has invalid value: {kind}"));
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
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        series: event.series.and_then(|series| {
            Some(events::EventSeries {
                count: series.count.unwrap_or_default(),
                last_observed_time: series.last_observed_time?,
            })
        }),
        deprecated_source: event.source,
        type_: event.type_,
    }
}

/// Serves stored core events as `events.k8s.io`.
#[derive(Debug)]
pub struct EventConversion;

impl Conversion for EventConversion {
    fn to_stored(&self, served: &[u8]) -> Result<Vec<u8>, StatusError> {
        convert(served, to_core)
    }

    fn to_served(&self, stored: &[u8]) -> Result<Vec<u8>, StatusError> {
        convert(stored, from_core)
    }
}

fn convert<A: DeserializeOwned, B: Serialize>(bytes: &[u8], with: fn(A) -> B) -> Result<Vec<u8>, StatusError> {
    let object = serde_json::from_slice(bytes).map_err(StatusError::internal)?;
    serde_json::to_vec(&with(object)).map_err(StatusError::internal)
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
        assert_eq!(EventConversion.to_stored(&served).expect("converts"), stored);
    }
}

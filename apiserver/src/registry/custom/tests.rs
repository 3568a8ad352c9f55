//! Custom kinds as users meet them: decoding, pruning, defaults and rules.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::rows;
use crate::registry::{DecodeError, FieldValidation, Row};

fn definition(schema: &Value) -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": "crons.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "crons", "singular": "cron", "kind": "Cron", "listKind": "CronList"},
            "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object", "properties": {"old": {"type": "string"}}}}}}},
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                 "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                 "selectableFields": [{"jsonPath": ".spec.mode"}]},
            ],
        },
        "status": {
            "acceptedNames": {"plural": "crons", "singular": "cron", "kind": "Cron", "listKind": "CronList"},
            "conditions": [{"type": "Established", "status": "True"}],
            "storedVersions": ["v1"],
        },
    }))
    .expect("a definition")
}

fn schema() -> Value {
    json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["schedule"], "properties": {
            "schedule": {"type": "string", "pattern": "^\\S+ \\S+$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
            "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
            "tags": {"type": "array", "maxItems": 3, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                "items": {"type": "object", "required": ["port"], "properties": {
                    "port": {"type": "integer"}, "proto": {"type": "string", "default": "TCP"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "either": {"x-kubernetes-int-or-string": true},
            "when": {"type": "string", "format": "date-time", "nullable": true},
            "nested": {"type": "object", "default": {}, "properties": {"level": {"type": "integer", "default": 3}}},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }})
}

fn row(version: &str) -> Row {
    let (rows, _) = rows(&definition(&schema())).expect("rows");
    rows.into_iter().find(|row| row.info.resource.version == version).expect("the version")
}

fn object(spec: &Value) -> Vec<u8> {
    json!({"apiVersion": "example.com/v1", "kind": "Cron", "metadata": {"name": "a", "namespace": "n", "odd": 1},
           "spec": spec})
    .to_string()
    .into_bytes()
}

fn errors(spec: &Value) -> Vec<String> {
    let mut decoded = row("v1").kind.decode(&object(spec), FieldValidation::Ignore).expect("decodes");
    decoded.object.default();
    decoded.object.validate().iter().map(ToString::to_string).collect()
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let spec = json!({"schedule": "a b", "extra": 1, "free": {"any": [1]}, "replicas": null, "when": null,
        "ports": [{"port": 1, "x": 2}]});
    let mut decoded = row("v1").kind.decode(&object(&spec), FieldValidation::Warn).expect("decodes");
    assert_eq!(
        decoded.warnings,
        ["unknown field \"metadata.odd\"", "unknown field \"spec.extra\"", "unknown field \"spec.ports[0].x\""]
    );
    decoded.object.default();
    let stored: Value = serde_json::from_slice(&decoded.object.encode().expect("encodes")).expect("JSON");
    assert_eq!(
        stored["spec"],
        json!({"free": {"any": [1]}, "mode": "fast", "nested": {"level": 3}, "ports": [{"port": 1, "proto": "TCP"}],
               "replicas": 1, "schedule": "a b", "when": null})
    );
    let refused = row("v1").kind.decode(&object(&spec), FieldValidation::Strict).err().expect("strict");
    assert!(matches!(refused, DecodeError::Unreadable(text) if text.contains("strict decoding error: unknown field")));
}

#[test]
fn rules_have_upstreams_words() {
    for (spec, text) in [
        (json!({}), "spec.schedule: Required value"),
        (
            json!({"schedule": "one"}),
            "spec.schedule: Invalid value: \"one\": spec.schedule in body should match '^\\S+ \\S+$'",
        ),
        (
            json!({"schedule": "a b", "replicas": 99}),
            "spec.replicas: Invalid value: 99: spec.replicas in body should be less than or equal to 10",
        ),
        (
            json!({"schedule": "a b", "mode": "medium"}),
            "spec.mode: Unsupported value: \"medium\": supported values: \"fast\", \"slow\"",
        ),
        (json!({"schedule": "a b", "tags": ["a", "a"]}), "spec.tags[1]: Duplicate value: \"a\""),
        (json!({"schedule": "a b", "tags": ["a", "b", "c", "d"]}), "spec.tags: Too many: 4: must have at most 3 items"),
        (
            json!({"schedule": "a b", "ports": [{"port": 1}, {"port": 1}]}),
            "spec.ports[1]: Duplicate value: {\"port\":1}",
        ),
        (
            json!({"schedule": "a b", "when": "soon"}),
            "spec.when: Invalid value: \"soon\": spec.when in body must be of type date-time: \"soon\"",
        ),
        (
            json!({"schedule": 5}),
            "spec.schedule: Invalid value: \"integer\": spec.schedule in body must be of type string: \"integer\"",
        ),
    ] {
        assert_eq!(errors(&spec), [text], "{spec}");
    }
    assert_eq!(errors(&json!({"schedule": "a b", "either": "50%", "tags": ["x"]})), [""; 0]);
}

#[test]
fn what_was_wrong_before_is_not_judged_again() {
    let kind = row("v1").kind;
    let old = kind.decode_stored(&object(&json!({"schedule": "one", "mode": "slow"}))).expect("decodes");
    let new = kind.decode_stored(&object(&json!({"schedule": "one", "mode": "fast"}))).expect("decodes");
    let told: Vec<String> = new.validate_update(old.as_ref()).iter().map(ToString::to_string).collect();
    assert!(!told.iter().any(|error| error.contains("schedule")), "{told:?}");
}

#[test]
fn another_version_differs_in_its_schema() {
    let row = row("v1beta1");
    assert_eq!(row.deprecation.as_deref(), Some("example.com/v1beta1 Cron is deprecated; use example.com/v1 Cron"));
    let stored = json!({"apiVersion": "example.com/v1", "kind": "Cron", "metadata": {"name": "a"},
                        "spec": {"schedule": "a b", "replicas": 2}});
    let conversion = row.conversion.as_ref().expect("a view");
    let served = conversion.to_served(stored.to_string().as_bytes()).expect("converts");
    let served: Value = serde_json::from_slice(&served).expect("JSON");
    assert_eq!(
        served,
        json!({"apiVersion": "example.com/v1beta1", "kind": "Cron", "metadata": {"name": "a"}, "spec": {}})
    );
}

#[test]
fn replicas_scale() {
    let row = row("v1");
    let mut object = row.kind.decode_stored(&object(&json!({"schedule": "a b", "replicas": 2}))).expect("decodes");
    object.set_replicas(5);
    let scale = object.scale().expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(5));
    assert_eq!(object.fields(), [("spec.mode".into(), "fast".to_owned())]);
    assert_eq!(row.subresources.iter().map(|one| one.name).collect::<Vec<_>>(), ["status", "scale"]);
}

#[test]
fn nothing_is_served_before_names_are_accepted() {
    let mut definition = definition(&schema());
    definition.status = None;
    assert!(rows(&definition).is_none());
    let row: Arc<Row> = Arc::new(row("v1"));
    assert_eq!(row.storage_prefix, "/registry/example.com/crons/");
}

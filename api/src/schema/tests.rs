//! The table of built-in types against facts that are known otherwise.

use serde_json::{Value, json};

use super::*;

fn schema(api_version: &str, kind: &str) -> Schema {
    builtin(api_version, kind).expect("a kind")
}

#[test]
fn lists_know_their_keys() {
    let pod = schema("v1", "Pod");
    let Some(Schema::List { kind: ListKind::Map(keys), .. }) = pod.at(["spec", "containers", "ports"]) else {
        panic!("ports are told apart by fields");
    };
    assert_eq!(keys, &["containerPort", "protocol"]);
    let container = pod.at(["spec", "containers"]).and_then(Schema::element).and_then(Schema::object).expect("fields");
    assert_eq!(container.field("ports").expect("ports").patch.merge_key.as_deref(), Some("containerPort"));
    assert_eq!(container.name, "Container");
    let port = pod.at(["spec", "containers", "ports"]).and_then(Schema::element).and_then(Schema::object);
    assert_eq!(port.and_then(|port| port.field("protocol")?.default.clone()), Some(json!("TCP")));
}

#[test]
fn what_is_owned_as_a_whole_is_marked() {
    let deployment = schema("apps/v1", "Deployment");
    assert!(matches!(deployment.at(["spec", "selector"]), Some(Schema::Object { atomic: true, .. })));
    assert!(matches!(deployment.at(["spec", "template"]), Some(Schema::Object { atomic: false, .. })));
    let owners = schema("v1", "ConfigMap");
    let owner = owners.at(["metadata", "ownerReferences"]).and_then(Schema::element);
    assert!(matches!(owner, Some(Schema::Object { atomic: true, .. })));
}

#[test]
fn a_new_object_holds_what_is_always_written() {
    let zero = schema("apps/v1", "Deployment").zero();
    assert_eq!(zero["spec"]["template"]["spec"], json!({"containers": null}));
    assert_eq!(zero["spec"]["strategy"], json!({}));
    assert_eq!(zero["spec"]["selector"], Value::Null);
    assert_eq!(zero["status"], json!({}));
}

/// An object of a schema with every field set; recursive types end after a few turns.
fn full(schema: &Schema, depth: usize) -> Option<Value> {
    Some(match schema {
        Schema::Scalar(Scalar::String) => json!("eA=="),
        Schema::Scalar(Scalar::Number) => json!(1),
        Schema::Scalar(Scalar::Boolean) => json!(true),
        Schema::Scalar(Scalar::Any) => json!("2021-01-02T03:04:05.000000Z"),
        Schema::Opaque | Schema::Undeclared => json!({}),
        Schema::Map { element, .. } => json!({"k": full(element, depth)?}),
        Schema::List { element, .. } => json!([full(element, depth)?]),
        Schema::Object { fields, .. } => {
            if depth == 0 {
                return None;
            }
            // What a kind says of itself is set by whoever knows the kind.
            let kind = fields.get().field("metadata").is_some();
            let fields = fields.get().fields.iter();
            let fields = fields.filter(|field| !kind || !matches!(field.name.as_ref(), "apiVersion" | "kind"));
            Value::Object(
                fields.filter_map(|field| Some((field.name.to_string(), full(&field.schema, depth - 1)?))).collect(),
            )
        }
    })
}

fn check<K: k8s_openapi::Resource + serde::de::DeserializeOwned + serde::Serialize>() {
    let schema = schema(K::API_VERSION, K::KIND);
    let mut value = full(&schema, 14).expect("an object");
    value["apiVersion"] = json!(K::API_VERSION);
    value["kind"] = json!(K::KIND);
    let mut unknown = Vec::new();
    let object: K = serde_ignored::deserialize(value.clone(), |path| unknown.push(path.to_string()))
        .unwrap_or_else(|error| panic!("{}: {error}", K::KIND));
    assert!(unknown.is_empty(), "{} has no {unknown:?}", K::KIND);
    let back = serde_json::to_value(&object).expect("JSON");
    for (name, part) in back.as_object().into_iter().flatten() {
        assert!(value.get(name).is_some() && !part.is_null(), "{}: {name}", K::KIND);
    }
}

/// Every field of the table is one of the kind's own struct, with a value that it takes.
#[test]
fn the_table_names_the_fields_that_the_structs_have() {
    use k8s_openapi::api::{
        apps, autoscaling, batch, coordination, core, discovery, networking, policy, rbac, storage,
    };
    check::<core::v1::Pod>();
    check::<core::v1::Node>();
    check::<core::v1::Service>();
    check::<core::v1::Secret>();
    check::<core::v1::PersistentVolume>();
    check::<core::v1::PersistentVolumeClaim>();
    check::<apps::v1::Deployment>();
    check::<apps::v1::StatefulSet>();
    check::<apps::v1::DaemonSet>();
    check::<batch::v1::CronJob>();
    check::<autoscaling::v2::HorizontalPodAutoscaler>();
    check::<coordination::v1::Lease>();
    check::<discovery::v1::EndpointSlice>();
    check::<networking::v1::Ingress>();
    check::<networking::v1::NetworkPolicy>();
    check::<policy::v1::PodDisruptionBudget>();
    check::<rbac::v1::ClusterRole>();
    check::<storage::v1::StorageClass>();
}

#[test]
fn every_type_can_be_read() {
    for (api_version, kind) in table::kinds() {
        let schema = schema(api_version, kind);
        assert!(!schema.object().expect("an object").fields.is_empty(), "{api_version} {kind}");
        full(&schema, 3);
    }
}

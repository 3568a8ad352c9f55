//! The documents of this server's kinds: complete, and about nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

#[test]
fn every_document_is_whole() {
    let registry = Registry::builtin();
    let index = v3::index(&registry);
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("apis/apps/v1") && paths.contains_key("apis/apps") && paths.contains_key("version"));
    for name in paths.keys() {
        let text = v3::document(&registry, name).unwrap().unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let reference = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(reference), "{name} lacks {reference}");
        }
    }
    assert_eq!(v3::hash(&registry, "apis/nope/v1"), None);
}

#[test]
fn every_built_in_kind_has_its_schema_and_its_patch() {
    let registry = Registry::builtin();
    let mut documents: BTreeMap<String, Value> = BTreeMap::new();
    for row in registry.rows().iter().filter(|row| row.info.verbs.iter().any(|verb| verb == "patch")) {
        let resource = &row.info.resource;
        let base = if resource.group.is_empty() {
            format!("api/{}", resource.version)
        } else {
            format!("apis/{}/{}", resource.group, resource.version)
        };
        let document = documents.entry(base.clone()).or_insert_with(|| {
            let text = v3::document(&registry, &base).unwrap().unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let scope = if row.info.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{base}{scope}/{}/{{name}}", resource.resource);
        let patch = &document["paths"][&path]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], row.info.kind.as_str(), "{path}");
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"), "{path}");
    }
}

#[test]
fn a_custom_kind_is_told_like_a_built_in_one() {
    let definition = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "eggs.y.example.com"},
        "spec": {
            "group": "y.example.com",
            "scope": "Namespaced",
            "names": {"plural": "eggs", "singular": "egg", "kind": "Egg"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"},
                },
            }],
        },
        "status": {
            "acceptedNames": {"plural": "eggs", "singular": "egg", "kind": "Egg"},
            "conditions": [{"type": "Established", "status": "True"}],
        },
    }));
    let (rows, _) = crate::registry::custom::rows(&definition.unwrap()).unwrap();
    let rows: Vec<_> = rows.into_iter().map(std::sync::Arc::new).collect();
    let registry = Registry::builtin().with(&rows);
    let text = v3::document(&registry, "apis/y.example.com/v1").unwrap().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let reference = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(reference), "no {reference}");
    }
    let paths = &document["paths"];
    let base = "/apis/y.example.com/v1";
    let told: Vec<String> = [
        (format!("{base}/eggs"), "get"),
        (format!("{base}/namespaces/{{namespace}}/eggs"), "post"),
        (format!("{base}/namespaces/{{namespace}}/eggs"), "delete"),
        (format!("{base}/namespaces/{{namespace}}/eggs/{{name}}"), "patch"),
        (format!("{base}/namespaces/{{namespace}}/eggs/{{name}}/scale"), "put"),
    ]
    .into_iter()
    .map(|(path, method)| {
        let operation = &paths[&path][method];
        let names = operation["parameters"].as_array().into_iter().flatten().filter_map(|own| own["name"].as_str());
        let text = |field: &str| operation[field].as_str().unwrap_or_default().to_owned();
        let body = operation["requestBody"]["content"].as_object().map(|body| body.keys().cloned().collect::<Vec<_>>());
        format!(
            "{}: {} ({}) {}",
            text("operationId"),
            text("description"),
            names.collect::<Vec<_>>().join(" "),
            body.unwrap_or_default().join(" ")
        )
    })
    .collect();
    let list = "allowWatchBookmarks continue fieldSelector labelSelector limit resourceVersion resourceVersionMatch \
                sendInitialEvents shardSelector timeoutSeconds watch";
    let bodies = "application/json application/yaml";
    assert_eq!(
        told,
        [
            "listYExampleComV1EggForAllNamespaces: list objects of kind Egg () ".to_owned(),
            format!("createYExampleComV1NamespacedEgg: create an Egg (dryRun fieldManager fieldValidation) {bodies}"),
            format!("deleteYExampleComV1CollectionNamespacedEgg: delete collection of Egg ({list}) "),
            "patchYExampleComV1NamespacedEgg: partially update the specified Egg (dryRun fieldManager fieldValidation \
             force) application/apply-patch+yaml application/json-patch+json application/merge-patch+json"
                .to_owned(),
            format!(
                "replaceYExampleComV1NamespacedEggScale: replace scale of the specified Egg (dryRun fieldManager \
                 fieldValidation) {bodies}"
            ),
        ]
    );
    assert_eq!(paths[format!("{base}/eggs")]["parameters"].as_array().unwrap().len(), 12);
}

#[test]
fn the_old_document_has_the_same_schemas() {
    let registry = Registry::builtin();
    let json: Value = serde_json::from_slice(&v2::Json::document(&registry).unwrap()).unwrap();
    let pod = &json["definitions"]["io.k8s.api.core.v1.PodSpec"];
    assert_eq!(pod["properties"]["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(pod["properties"]["affinity"]["$ref"], "#/definitions/io.k8s.api.core.v1.Affinity");
    let list = &json["paths"]["/api/v1/pods"];
    assert_eq!(list["get"]["responses"]["200"]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodList");
    assert!(!json.to_string().contains("#/components/"));
    let protobuf = v2_protobuf::Protobuf::document(&registry).unwrap();
    assert!(protobuf.starts_with(b"\x0a\x032.0\x12\x19\x0a\x0aKubernetes"));
}

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

//! Tests of the registry as a whole.

mod workloads;

use super::*;

#[test]
fn a_config_map_is_found_decoded_and_encoded() {
    let registry = Registry::builtin();
    let row = registry.by_word("cm").expect("a row");
    assert_eq!(row.storage_key("ns", "a"), "/registry/configmaps/ns/a");
    let json = br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"k":"v"},"metadata":{"name":"a"},"bogus":1}"#;
    let decoded = row.kind.decode(json, FieldValidation::Warn).expect("decodes");
    assert_eq!(decoded.warnings, [r#"unknown field "bogus""#]);
    assert_eq!(decoded.object.metadata().name.as_deref(), Some("a"));
    assert_eq!(
        decoded.object.encode().expect("encodes"),
        br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"k":"v"},"metadata":{"name":"a"}}"#
    );
    assert!(row.kind.decode(json, FieldValidation::Strict).is_err());
}

fn context() -> RequestContext {
    RequestContext { user: UserInfo::default(), now: jiff::Timestamp::UNIX_EPOCH }
}

fn object(registry: &Registry, word: &str, json: serde_json::Value) -> Box<dyn AnyObject> {
    let row = registry.by_word(word).expect("a row");
    let decoded = row.kind.decode(json.to_string().as_bytes(), FieldValidation::Strict).expect("decodes");
    let mut object = decoded.object;
    object.default();
    object
}

fn deployment(image: &str, app: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "n"},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    })
}

#[test]
fn the_generation_follows_the_desired_state() {
    let registry = Registry::builtin();
    let mut old = object(&registry, "deploy", deployment("i:1", "a"));
    old.prepare_for_create(&context());
    assert!(old.validate().is_empty(), "{:?}", old.validate());
    let mut same = old.clone_object();
    same.prepare_for_update(&context(), old.as_ref());
    assert_eq!(same.metadata().generation, Some(1));
    let mut new = object(&registry, "deploy", deployment("i:2", "a"));
    new.prepare_for_update(&context(), old.as_ref());
    assert_eq!(new.metadata().generation, Some(2));
    assert!(new.validate_update(old.as_ref()).is_empty());
    let mut other = object(&registry, "deploy", deployment("i:2", "b"));
    other.prepare_for_update(&context(), old.as_ref());
    let errors = other.validate_update(old.as_ref());
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [r#"spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable"#]
    );
}

#[test]
fn a_workload_is_seen_and_scaled_as_a_scale() {
    let registry = Registry::builtin();
    let mut object = object(&registry, "deploy", deployment("i:1", "a"));
    object.set_replicas(7);
    let scale = object.scale().expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(7));
    assert_eq!(scale.status.and_then(|status| status.selector).as_deref(), Some("app=a"));
}

#[test]
fn a_service_keeps_its_addresses_and_loses_what_its_type_forbids() {
    let registry = Registry::builtin();
    let service = |spec: serde_json::Value| serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": spec});
    let old = object(
        &registry,
        "svc",
        service(serde_json::json!({
            "type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "nodePort": 30001}],
        })),
    );
    let mut kept = object(&registry, "svc", service(serde_json::json!({"type": "NodePort", "ports": [{"port": 80}]})));
    kept.prepare_for_update(&context(), old.as_ref());
    let text = String::from_utf8(kept.encode().expect("encodes")).expect("text");
    assert!(text.contains(r#""nodePort":30001"#) && text.contains(r#""clusterIP":"10.0.0.1""#), "{text}");
    let mut plain = object(
        &registry,
        "svc",
        service(serde_json::json!({
            "type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "nodePort": 30001}],
        })),
    );
    plain.prepare_for_update(&context(), old.as_ref());
    let text = String::from_utf8(plain.encode().expect("encodes")).expect("text");
    assert!(!text.contains("nodePort") && !text.contains("externalTrafficPolicy"), "{text}");
    assert!(plain.validate_update(old.as_ref()).is_empty());
}

#[test]
fn a_pods_deletion_takes_its_time_only_on_a_node() {
    let registry = Registry::builtin();
    let pod = |node: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
        })
    };
    assert_eq!(object(&registry, "po", pod("")).grace_period_seconds(None), Some(0));
    assert_eq!(object(&registry, "po", pod("n1")).grace_period_seconds(None), Some(30));
    assert_eq!(object(&registry, "po", pod("n1")).grace_period_seconds(Some(5)), Some(5));
}

#[test]
fn a_pods_specification_is_fixed_but_for_images() {
    let registry = Registry::builtin();
    let pod = |image: &str, node: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": image, "imagePullPolicy": "Never"}]},
        })
    };
    let old = object(&registry, "po", pod("i:1", "n1"));
    assert!(object(&registry, "po", pod("i:2", "n1")).validate_update(old.as_ref()).is_empty());
    assert_eq!(object(&registry, "po", pod("i:1", "n2")).validate_update(old.as_ref()).len(), 1);
}

#[test]
fn every_row_lists_the_fields_that_its_objects_have() {
    for row in Registry::builtin().rows() {
        // A view's objects are decoded in their stored form.
        let kind = row.kind.group_version_kind();
        let json = serde_json::json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a"}});
        let decoded = row.kind.decode(json.to_string().as_bytes(), FieldValidation::Strict).expect("decodes");
        let fields = decoded.object.fields();
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, row.kind.field_names(), "{kind}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let registry = Registry::builtin();
    let row = registry.by_word("deploy").expect("a row");
    let json = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":"three"}}"#;
    let error = row.kind.decode(json, FieldValidation::Warn).err().expect("an error");
    assert_eq!(
        error.to_string(),
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct \
         field DeploymentSpec.spec.replicas of type int32"
    );
}

/// A row or subresource as the fixture writes it, without the group and version before it.
fn served(row: &Row, name: &str, kind: &GroupVersionKind, verbs: &[&str], whole: bool) -> String {
    let info = &row.info;
    let list = |words: &[String]| if words.is_empty() || !whole { "-".to_owned() } else { words.join(",") };
    let own = info.kind();
    let kind = if (&own.group, &own.version) == (&kind.group, &kind.version) {
        kind.kind.clone()
    } else {
        format!("{}.{}", kind.api_version(), kind.kind)
    };
    let singular = if whole { info.singular.as_str() } else { "-" };
    let scope = if info.namespaced { "namespaced" } else { "cluster" };
    let mut verbs = verbs.to_vec();
    verbs.sort_unstable();
    let (short_names, categories) = (list(&info.short_names), list(&info.categories));
    format!("{name} {singular} {scope} {kind} {} {short_names} {categories}", verbs.join(","))
}

#[test]
fn every_row_is_as_the_reference_serves_it() {
    let reference: Vec<&str> =
        include_str!("testdata/discovery.txt").lines().filter(|line| !line.starts_with('#')).collect();
    let mut lines = Vec::new();
    for row in Registry::builtin().rows() {
        let version = row.info.kind().api_version();
        let name = row.info.resource.resource.clone();
        let verbs: Vec<&str> = row.info.verbs.iter().map(String::as_str).collect();
        lines.push(format!("{version} {}", served(row, &name, &row.info.kind(), &verbs, true)));
        for subresource in &row.subresources {
            let name = format!("{name}/{}", subresource.name);
            lines.push(format!("{version} {}", served(row, &name, &subresource.kind, subresource.verbs, false)));
        }
    }
    let unlike: Vec<&String> = lines.iter().filter(|line| !reference.contains(&line.as_str())).collect();
    assert!(unlike.is_empty(), "not as the reference: {unlike:#?}");
    let missing: Vec<&&str> = reference.iter().filter(|line| !lines.iter().any(|own| own == *line)).collect();
    assert!(missing.is_empty(), "not served: {missing:#?}");
}

#[test]
fn what_was_read_back_is_written_the_same() {
    for row in Registry::builtin().rows() {
        let kind = row.kind.group_version_kind();
        let json = serde_json::json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a"}});
        let decode = |bytes: &[u8]| row.kind.decode(bytes, FieldValidation::Strict).expect("decodes").object;
        let mut object = decode(json.to_string().as_bytes());
        object.default();
        object.prepare_for_create(&context());
        let first = object.encode().expect("encodes");
        let mut again = decode(&first);
        again.default();
        let second = again.encode().expect("encodes");
        assert_eq!(String::from_utf8_lossy(&second), String::from_utf8_lossy(&first), "{kind}");
    }
}

//! What must hold for any objects: checked on many small ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::builtin;

/// A pod with any of a few labels, containers, ports, finalizers and tolerations.
fn pod() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-c]", "[xy]", 0..3);
    let finalizers = prop::collection::btree_set("[a-c]/f", 0..3);
    let ports = prop::collection::btree_map(80_u16..83, prop::option::of("[pq]"), 0..3);
    let containers = prop::collection::btree_map("[a-c]", (prop::option::of("[ij]"), ports), 0..3);
    let selector = prop::option::of(prop::collection::btree_map("[a-b]", "[xy]", 0..2));
    let tolerations = prop::option::of(prop::collection::vec("[st]", 0..3));
    (labels, finalizers, containers, selector, tolerations).prop_map(
        |(labels, finalizers, containers, selector, tolerations)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, ports))| {
                    let mut container = json!({"name": name});
                    if let Some(image) = image {
                        container["image"] = image.into();
                    }
                    if !ports.is_empty() {
                        let ports = ports.into_iter().map(|(port, name)| match name {
                            Some(name) => json!({"containerPort": port, "protocol": "TCP", "name": name}),
                            None => json!({"containerPort": port, "protocol": "TCP"}),
                        });
                        container["ports"] = ports.collect();
                    }
                    container
                })
                .collect();
            let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
            if !labels.is_empty() {
                pod["metadata"]["labels"] = json!(labels);
            }
            if !finalizers.is_empty() {
                pod["metadata"]["finalizers"] = json!(finalizers);
            }
            if !containers.is_empty() {
                pod["spec"]["containers"] = containers.into();
            }
            if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
                pod["spec"]["nodeSelector"] = json!(selector);
            }
            if let Some(keys) = tolerations.filter(|keys| !keys.is_empty()) {
                pod["spec"]["tolerations"] = keys.into_iter().map(|key| json!({"key": key})).collect();
            }
            pod
        },
    )
}

fn write<T>(manager: &str, schema: &Schema, write: impl FnOnce(&Writer<'_>) -> T) -> T {
    let reset = FieldSet::of_fields(&["status"]);
    write(&Writer {
        manager,
        api_version: "v1",
        subresource: "",
        now: "2021-01-02T03:04:05Z",
        reset: &reset,
        schema,
        versions: &OneVersion,
    })
}

fn apply(manager: &str, schema: &Schema, live: &Value, config: &Value, managers: &Managers) -> (Value, Managers) {
    let applied = write(manager, schema, |writer| writer.apply(live, config, managers.clone(), true, None)).unwrap();
    (applied.object.unwrap_or_else(|| live.clone()), applied.managers)
}

/// The object without what says nothing: empty maps, lists and nulls.
fn essence(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(name, value)| (name.clone(), essence(value)));
            let kept: serde_json::Map<String, Value> = kept
                .filter(|(_, value)| !value.is_null() && *value != json!({}) && *value != json!([]))
                .collect();
            let mut value = Value::Object(kept);
            value.sort_all_objects();
            value
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(essence).collect();
            list.sort_by_key(ToString::to_string);
            Value::Array(list)
        }
        value => value.clone(),
    }
}

/// Every path of a value, found without a schema's help but for its keys: the dumb way.
fn contains(object: &Value, part: &Value) -> bool {
    match (object, part) {
        (Value::Object(object), Value::Object(part)) => {
            part.iter().all(|(name, part)| object.get(name).is_some_and(|own| contains(own, part)))
        }
        (Value::Array(object), Value::Array(part)) => part.iter().all(|part| {
            object.iter().any(|own| {
                let key = ["name", "containerPort"].iter().find(|key| part.get(**key).is_some());
                match key {
                    Some(_) if part.get("containerPort").is_some() => {
                        own["containerPort"] == part["containerPort"] && contains(own, part)
                    }
                    Some(key) => own[*key] == part[*key] && contains(own, part),
                    None => own == part,
                }
            })
        }),
        (object, part) => object == part,
    }
}

proptest! {
    #[test]
    fn an_apply_holds_and_holds_again(live in pod(), config in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let managers = write("writer", &schema, |writer| writer.update(&schema.zero(), &live, Managers::default()));
        let (once, owners) = apply("one", &schema, &live, &config, &managers);
        prop_assert!(contains(&once, &config), "{once} lacks {config}");
        let (twice, again) = apply("one", &schema, &once, &config, &owners);
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(owners.entries.len(), again.entries.len());
        for entry in &owners.entries {
            prop_assert!(again.entries.iter().any(|other| other.manager == entry.manager && other.fields == entry.fields));
        }
    }

    #[test]
    fn who_withdraws_takes_back_what_was_theirs_alone(base in pod(), extra in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let (object, managers) = apply("base", &schema, &schema.zero(), &base, &Managers::default());
        // A second manager that agrees with the first where they meet.
        let extra = merge(&extra, &base, &schema);
        let (both, managers) = apply("extra", &schema, &object, &extra, &managers);
        let nothing = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let (left, managers) = apply("extra", &schema, &both, &nothing, &managers);
        prop_assert_eq!(essence(&left), essence(&object));
        prop_assert!(managers.entries.iter().all(|entry| entry.manager == "base"));
    }

    #[test]
    fn every_path_has_at_most_one_writer_of_values(first in pod(), second in pod(), third in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let mut managers = Managers::default();
        let mut live = schema.zero();
        for (manager, object) in [("a", first), ("b", second), ("a", third)] {
            managers = write(manager, &schema, |writer| writer.update(&live, &object, managers));
            live = object;
        }
        for (index, entry) in managers.entries.iter().enumerate() {
            for other in &managers.entries[index + 1..] {
                let shared = entry.fields.intersection(&other.fields);
                prop_assert!(shared.is_empty(), "{:?}", shared.paths());
            }
        }
    }

    #[test]
    fn a_set_survives_its_encoding(object in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let set = field_set(&object, &schema);
        prop_assert_eq!(FieldSet::from_fields_v1(&set.to_fields_v1()).unwrap(), set);
    }

    #[test]
    fn merging_nothing_changes_nothing(object in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        prop_assert_eq!(merge(&object, &object, &schema), object.clone());
        prop_assert_eq!(merge(&object, &json!({}), &schema), object.clone());
        prop_assert!(compare(&object, &object, &schema).is_empty());
        prop_assert_eq!(remove(&object, &FieldSet::default(), &schema), object);
    }
}

#[test]
fn large_and_deep_values_are_taken() {
    let schema = builtin("v1", "Pod").unwrap();
    let env: Vec<Value> = (0..20_000).map(|number| json!({"name": format!("V{number}"), "value": "v"})).collect();
    let pod = json!({"spec": {"containers": [{"name": "c", "env": env}]}});
    let set = field_set(&pod, &schema);
    assert_eq!(set.paths().len(), 60_002);
    let merged = merge(&pod, &pod, &schema);
    assert_eq!(merged, pod);
    let deep = (0..100).fold(json!({}), |below, _| json!({"not": below}));
    compare(&json!({"spec": 1}), &deep, &schema);
}

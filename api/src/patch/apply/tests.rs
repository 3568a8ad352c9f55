//! Field ownership in sequences of writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Value, json};

use super::*;
use crate::schema::builtin;

/// An object with its managers, and writes to it.
struct World {
    schema: Schema,
    api_version: &'static str,
    object: Value,
    managers: Managers,
    clock: u32,
}

impl World {
    fn new(api_version: &'static str, kind: &str) -> Self {
        let schema = builtin(api_version, kind).unwrap();
        let object = schema.zero();
        Self { schema, api_version, object, managers: Managers::default(), clock: 0 }
    }

    fn write<T>(&mut self, manager: &str, subresource: &str, write: impl FnOnce(&Writer<'_>, &Self) -> T) -> T {
        self.clock += 1;
        let now = format!("2021-01-02T03:04:{:02}Z", self.clock);
        let reset =
            if subresource.is_empty() { FieldSet::of_fields(&["status"]) } else { FieldSet::of_fields(&["spec"]) };
        let schema = self.schema.clone();
        let writer = Writer {
            manager,
            api_version: self.api_version,
            subresource,
            now: &now,
            reset: &reset,
            schema: &schema,
            versions: &OneVersion,
        };
        write(&writer, self)
    }

    fn update(&mut self, manager: &str, object: Value) {
        self.managers =
            self.write(manager, "", |writer, world| writer.update(&world.object, &object, world.managers.clone()));
        self.object = object;
    }

    fn apply(&mut self, manager: &str, config: Value, force: bool) -> Result<(), StatusError> {
        let applied = self.write(manager, "", |writer, world| {
            writer.apply(&world.object, &config, world.managers.clone(), force, None)
        })?;
        self.managers = applied.managers;
        if let Some(object) = applied.object {
            self.object = object;
        }
        Ok(())
    }

    fn fields(&self, manager: &str) -> Value {
        let entry = self.managers.entries.iter().find(|entry| entry.manager == manager);
        entry.map_or(Value::Null, |entry| serde_json::from_str(entry.fields.text()).unwrap())
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[test]
fn an_update_owns_what_it_added_and_changed() {
    let mut world = World::new("v1", "ConfigMap");
    world.update("creator", config_map(json!({"a": "1", "b": "2"})));
    assert_eq!(world.fields("creator"), json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}));
    world.update("patcher", config_map(json!({"a": "1", "b": "3"})));
    assert_eq!(world.fields("creator"), json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(world.fields("patcher"), json!({"f:data": {"f:b": {}}}));
    world.update("patcher", config_map(json!({"b": "3"})));
    assert_eq!(world.fields("creator"), json!({"f:data": {}}));
}

#[test]
fn what_an_applier_no_longer_declares_goes_away() {
    let mut world = World::new("v1", "ConfigMap");
    world.apply("one", config_map(json!({"a": "1", "b": "2"})), false).unwrap();
    assert_eq!(world.fields("one"), json!({"f:data": {"f:a": {}, "f:b": {}}}));
    world.apply("two", config_map(json!({"b": "2", "c": "3"})), false).unwrap();
    world.apply("one", config_map(json!({"a": "1"})), false).unwrap();
    // The other one still declares it.
    assert_eq!(world.object["data"], json!({"a": "1", "b": "2", "c": "3"}));
    world.apply("two", config_map(json!({"c": "3"})), false).unwrap();
    assert_eq!(world.object["data"], json!({"a": "1", "c": "3"}));
}

#[test]
fn conflicts_name_the_managers_and_paths() {
    let mut world = World::new("v1", "ConfigMap");
    world.update("patcher", config_map(json!({"b": "3"})));
    let error = world.apply("applier", config_map(json!({"b": "4"})), false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"patcher\" using v1: .data.b");
    assert_eq!(error.code(), 409);
    world.apply("applier", config_map(json!({"b": "4"})), true).unwrap();
    assert_eq!(world.object["data"], json!({"b": "4"}));
    assert_eq!(world.fields("patcher"), json!({"f:data": {}}));
}

#[test]
fn lists_merge_by_their_keys() {
    let mut world = World::new("v1", "Pod");
    let pod = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}});
    let port = |number: i32| json!({"containerPort": number});
    world.apply("one", pod(json!([{"name": "c", "image": "i:1", "ports": [port(80)]}])), false).unwrap();
    world.apply("two", pod(json!([{"name": "d", "image": "i:2"}, {"name": "c", "ports": [port(81)]}])), false).unwrap();
    let containers = world.object["spec"]["containers"].as_array().unwrap().clone();
    assert_eq!(containers.len(), 2);
    let c = containers.iter().find(|container| container["name"] == "c").unwrap();
    assert_eq!(c["ports"], json!([port(80), port(81)]));
    assert_eq!(c["image"], "i:1");
    world.apply("two", pod(json!([{"name": "d", "image": "i:2"}])), false).unwrap();
    let containers = world.object["spec"]["containers"].as_array().unwrap().clone();
    let c = containers.iter().find(|container| container["name"] == "c").unwrap();
    assert_eq!(c["ports"], json!([port(80)]));
    let fields = world.fields("one");
    assert_eq!(
        fields["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"],
        json!({".": {}, "f:containerPort": {}})
    );
}

#[test]
fn old_writers_share_an_entry() {
    let mut world = World::new("v1", "ConfigMap");
    let mut data = serde_json::Map::new();
    for number in 0..15 {
        data.insert(format!("k{number}"), json!("v"));
        world.update(&format!("writer-{number}"), config_map(Value::Object(data.clone())));
    }
    assert_eq!(world.managers.entries.len(), 10);
    let old = world.managers.entries.iter().find(|entry| entry.manager == "ancient-changes").unwrap();
    assert_eq!(old.fields.set().paths().len(), 7);
    assert!(old.fields.set().paths().contains(&".data.k5".to_owned()));
}

#[test]
fn an_unchanged_object_keeps_its_times() {
    let mut world = World::new("v1", "ConfigMap");
    world.apply("one", config_map(json!({"a": "1"})), false).unwrap();
    let before = world.managers.clone();
    world.apply("one", config_map(json!({"a": "1"})), false).unwrap();
    assert_eq!(world.managers, before);
    world.apply("two", config_map(json!({"a": "1"})), false).unwrap();
    let second = world.managers.entries.iter().find(|entry| entry.manager == "two").unwrap();
    assert_eq!(second.time, None);
}

#[test]
fn what_the_configuration_must_not_say_is_named() {
    let schema = builtin("v1", "ConfigMap").unwrap();
    let wrong = json!({"metadata": {"finalizers": ["a/b", "a/b"]}, "data": {"k": 1}, "nope": 1});
    assert_eq!(
        mistakes(&wrong, &schema),
        [
            ".metadata.finalizers: duplicate entries for key [=\"a/b\"]",
            ".data.k: expected string, got &value.valueUnstructured{Value:1}",
            ".nope: field not declared in schema",
        ]
    );
}

#[test]
fn managed_fields_are_read_and_written() {
    let mut world = World::new("v1", "ConfigMap");
    world.update("u", config_map(json!({"a": "1"})));
    world.apply("a", config_map(json!({"a": "1"})), false).unwrap();
    let written = world.managers.write().unwrap();
    let typed: Vec<ManagedFieldsEntry> = serde_json::from_str(&written).unwrap();
    assert_eq!(typed[0].operation.as_deref(), Some("Apply"));
    assert_eq!(serde_json::to_string(&typed).unwrap(), written, "the text is canonical");
    assert_eq!(Managers::from_entries(&typed), Managers::read(&written));
    let mut read = Managers::read(&written).unwrap();
    read.entries.sort_by_key(|entry| entry.operation == Operation::Apply);
    assert_eq!(read, world.managers);
    assert!(Managers::read(r#"[{"operation": "Frob", "fieldsType": "FieldsV1"}]"#).is_none());
}

#[test]
fn texts_that_differ_in_times_only_are_told() {
    let text = |time: &str, field: &str| {
        format!(
            r#"[{{"operation":"Update","manager":"m","fieldsType":"FieldsV1","time":"{time}","fieldsV1":{{"f:{field}":{{}}}}}}]"#
        )
    };
    assert!(Managers::differ_in_times_only(&text("1", "a"), &text("2", "a")));
    assert!(!Managers::differ_in_times_only(&text("1", "a"), &text("1", "b")));
    assert!(!Managers::differ_in_times_only("x", "x"));
}

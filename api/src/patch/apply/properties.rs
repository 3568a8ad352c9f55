//! What must hold for any objects: checked on many small ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::Tree;
use crate::patch::samples::{essence, pod};
use crate::schema::builtin;

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
                let shared = entry.fields.set().intersection(&other.fields.set());
                prop_assert!(shared.is_empty(), "{:?}", shared.paths());
            }
        }
    }

    #[test]
    fn a_set_survives_its_encoding(object in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let set = field_set(&object, &schema);
        let fields: Value = serde_json::from_str(&set.to_fields_v1()).unwrap();
        prop_assert_eq!(FieldSet::from_fields_v1(&fields).unwrap(), set);
    }

    #[test]
    fn texts_are_changed_as_sets_are(one in pod(), other in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let (one, other) = (field_set(&one, &schema), field_set(&other, &schema));
        let mut fields = Fields::from(one.clone());
        fields.subtract(&other);
        prop_assert_eq!(fields.text(), one.difference(&other).to_fields_v1());
        let mut fields = Fields::from(one.clone());
        fields.unite(other.clone());
        prop_assert_eq!(fields.text(), one.union(&other).to_fields_v1());
    }

    #[test]
    fn text_and_values_give_the_same_owners(first in pod(), second in pod(), third in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let mut values = Managers::default();
        let mut texts: Option<String> = None;
        let mut live = schema.zero();
        for (manager, object) in [("a", first), ("b", second), ("a", third)] {
            values = write(manager, &schema, |writer| writer.update(&live, &object, values));
            let (before, after) = (live.to_string(), object.to_string());
            let (before, after) =
                (Tree::read(before.as_bytes()).unwrap(), Tree::read(after.as_bytes()).unwrap());
            let managers = texts.as_deref().and_then(Managers::read).unwrap_or_default();
            texts = write(manager, &schema, |writer| writer.update(before.root(), after.root(), managers)).write();
            prop_assert_eq!(&texts, &values.write());
            live = object;
        }
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

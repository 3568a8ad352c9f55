//! Strategic merge patches against a dumb merge that knows the few lists of the samples.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::apply;
use crate::patch::samples::{essence, pod};
use crate::schema::builtin;

/// Merges the dumb way: by the field's name alone.
fn dumb(field: &str, old: &Value, new: &Value) -> Value {
    let keyed = |key: &str| -> Value {
        let mut all: Vec<Value> = old.as_array().cloned().unwrap_or_default();
        for item in new.as_array().into_iter().flatten() {
            match all.iter_mut().find(|own| own[key] == item[key]) {
                Some(own) => *own = dumb("", own, item),
                None => all.push(item.clone()),
            }
        }
        Value::Array(all)
    };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut all: Map<String, Value> = old.clone();
            for (name, value) in new {
                let merged = match old.get(name) {
                    Some(own) => dumb(name, own, value),
                    None => value.clone(),
                };
                all.insert(name.clone(), merged);
            }
            Value::Object(all)
        }
        (Value::Array(old), Value::Array(new)) => match field {
            "containers" => keyed("name"),
            "ports" => keyed("containerPort"),
            "finalizers" => {
                Value::Array(old.iter().chain(new.iter().filter(|item| !old.contains(item))).cloned().collect())
            }
            _ => json!(new),
        },
        (_, new) => new.clone(),
    }
}

/// Any JSON, with directives in places where they may or may not make sense.
fn anything() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "$setElementOrder",
        "metadata",
        "spec",
        "containers",
        "finalizers",
        "name",
        "ports",
    ]);
    let words = prop::sample::select(vec!["delete", "replace", "merge", "a", "x/f"]);
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), words.prop_map(Value::from)];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn patches_do_what_a_dumb_merge_does(target in pod(), patch in pod()) {
        let schema = builtin("v1", "Pod").unwrap();
        let expected = dumb("", &target, &patch);
        let mut value = target;
        apply(&mut value, patch.clone(), &schema).unwrap();
        prop_assert_eq!(essence(&value), essence(&expected));
        let once = value.clone();
        apply(&mut value, patch, &schema).unwrap();
        prop_assert_eq!(value, once);
    }

    #[test]
    fn no_patch_breaks_anything(mut target in pod(), patch in anything()) {
        let schema = builtin("v1", "Pod").unwrap();
        if apply(&mut target, patch, &schema).is_ok() {
            prop_assert!(target.is_object());
        }
    }
}

//! Strategic merge patches on built-in kinds.

use serde_json::json;

use super::*;
use crate::schema::builtin;

fn patched(kind: &str, target: Value, patch: Value) -> Result<Value, StrategicError> {
    let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    let mut value = target;
    apply(&mut value, patch, &builtin(api_version, kind).unwrap())?;
    Ok(value)
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn lists_merge_by_their_key_and_new_elements_come_first() {
    let target = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let result = patched("Pod", target, containers(json!([{"name": "c", "image": "1"}, {"name": "b", "image": "2"}])));
    assert_eq!(
        result.unwrap(),
        containers(json!([
            {"name": "c", "image": "1"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"},
        ]))
    );
}

#[test]
fn directives_delete_and_replace() {
    let target = containers(json!([{"name": "a"}, {"name": "b"}]));
    let delete = containers(json!([{"$patch": "delete", "name": "a"}]));
    assert_eq!(patched("Pod", target.clone(), delete).unwrap(), containers(json!([{"name": "b"}])));
    let replace = containers(json!([{"name": "z"}, {"$patch": "replace"}]));
    assert_eq!(patched("Pod", target.clone(), replace).unwrap(), containers(json!([{"name": "z"}])));
    let whole = json!({"spec": {"$patch": "replace", "nodeName": "n"}});
    assert_eq!(patched("Pod", target.clone(), whole).unwrap(), json!({"spec": {"nodeName": "n"}}));
    let nothing = json!({"spec": {"$patch": "delete"}});
    assert_eq!(patched("Pod", target, nothing).unwrap(), json!({"spec": {}}));
}

#[test]
fn scalars_merge_and_are_deleted() {
    let target = json!({"metadata": {"finalizers": ["a", "b"]}});
    let add = json!({"metadata": {"finalizers": ["c", "a"]}});
    assert_eq!(patched("Pod", target.clone(), add).unwrap(), json!({"metadata": {"finalizers": ["c", "a", "b"]}}));
    let delete = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}});
    assert_eq!(patched("Pod", target, delete).unwrap(), json!({"metadata": {"finalizers": ["b"]}}));
}

#[test]
fn an_order_is_kept_and_checked() {
    let target = containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    let order = json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}});
    assert_eq!(
        patched("Pod", target.clone(), order).unwrap(),
        containers(json!([{"name": "b"}, {"name": "c"}, {"name": "a"}]))
    );
    let wrong = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}});
    assert!(patched("Pod", target, wrong).unwrap_err().to_string().starts_with("The order in patch list:"));
}

#[test]
fn retained_keys_drop_the_others() {
    let target = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(
        patched("Deployment", target.clone(), patch).unwrap(),
        json!({"spec": {"strategy": {"type": "Recreate"}}})
    );
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["x"], "type": "Recreate"}}});
    assert_eq!(patched("Deployment", target, wrong), Err(StrategicError::RetainKeys));
}

#[test]
fn errors_are_upstreams() {
    let target = json!({"data": {"k": "v"}, "spec": {"containers": [{"name": "a"}]}});
    for (patch, text) in [
        (json!({"spec": {"$patch": "frob"}}), "unknown patch type: frob in map: map[$patch:frob]"),
        (containers(json!([{"image": "x"}])), "map: map[image:x] does not contain declared merge key: name"),
        (containers(json!([{"$patch": "merge", "name": "a"}])), "merging lists cannot yet be specified in the patch"),
        (containers(json!(["x"])), "list element types are not identical"),
        (json!({"spec": {"$deleteFromPrimitiveList": ["x"]}}), "invalid patch format of primitive list"),
        (json!({"spec": {"$setElementOrder/containers": 1}}), "expected a []interface {}, but received a int64"),
    ] {
        assert_eq!(patched("Pod", target.clone(), patch).unwrap_err().to_string(), text);
    }
}

#[test]
fn what_is_new_comes_without_nulls_and_directives() {
    let patch = json!({"metadata": {"labels": {"a": "1", "b": null}}, "spec": {"volumes": [{"name": "v"}, {"$patch": "delete", "name": "w"}]}});
    assert_eq!(
        patched("Pod", json!({}), patch).unwrap(),
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"volumes": [{"name": "v"}]}})
    );
}

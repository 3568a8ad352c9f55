//! Client-side apply: what the last manifest said, what the new one says and what lives are merged into one.
//!
//! Fields that the last manifest had and the new one has not are removed; fields that others set stay. Lists with a
//! merge key are merged by element (facts from upstream's `x-kubernetes-patch-merge-key`), others are replaced.
//! Rules from <https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/>.

use serde_json::{Map, Value, json};

use crate::value::{map_mut, sorted, text};

/// Where apply keeps the last manifest.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Metadata that only the server writes.
const SERVER_METADATA: [&str; 6] =
    ["creationTimestamp", "deletionTimestamp", "generation", "managedFields", "selfLink", "uid"];

/// The manifest with itself as its last-applied annotation, as it is sent.
pub fn with_last_applied(manifest: &Value) -> Value {
    let mut bare = manifest.clone();
    let annotations = map_mut_at(&mut bare, "annotations");
    annotations.remove(LAST_APPLIED);
    let text = format!("{}\n", sorted(&bare));
    let mut object = bare;
    map_mut_at(&mut object, "annotations").insert(LAST_APPLIED.to_owned(), Value::String(text));
    object
}

fn map_mut_at<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    map_mut(object, "metadata");
    match object.get_mut("metadata") {
        Some(metadata) => map_mut(metadata, key),
        None => unreachable!("it was just made"),
    }
}

/// The last manifest that was applied to an object, if it tells.
pub fn last_applied(object: &Value) -> Option<Value> {
    let annotations = object.get("metadata")?.get("annotations")?;
    serde_json::from_str(annotations.get(LAST_APPLIED)?.as_str()?).ok()
}

/// The merge patch (RFC 7386) that brings the living object to what the manifest asks for; `None` if nothing is to do.
///
/// `builtin` says that lists follow upstream's merge keys; lists of custom kinds are replaced whole. A patch that
/// replaces lists carries the version that it was computed on, so that nobody's change of the list is lost.
pub fn patch(original: Option<&Value>, manifest: &Value, current: &Value, builtin: bool) -> Option<Value> {
    let modified = without_server_fields(&with_last_applied(manifest));
    let original = original.map(without_server_fields);
    let merge = Merge { builtin };
    let wanted = merge.value(original.as_ref(), &modified, current, &mut Vec::new());
    let mut patch = difference(current, &wanted)?;
    if has_lists(&patch) {
        let version = text(current, "metadata.resourceVersion");
        if !version.is_empty() {
            map_mut(&mut patch, "metadata").entry("resourceVersion").or_insert_with(|| json!(version));
        }
    }
    Some(patch)
}

fn without_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        SERVER_METADATA.iter().for_each(|key| {
            metadata.remove(*key);
        });
    }
    object
}

/// The merge patch from one value to another; `None` if they are equal.
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(old) => {
                if let Some(change) = difference(old, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn has_lists(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(map) => map.values().any(has_lists),
        _ => false,
    }
}

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListRule {
    /// Elements are told apart by these fields; the texts are their defaults.
    Keyed(&'static [(&'static str, &'static str)]),
    /// Scalars, each at most once.
    Set,
    /// Replaced whole.
    Atomic,
}

/// The rule of a list at a path of field names (list indexes left out).
fn list_rule(path: &[String]) -> ListRule {
    const NAME: ListRule = ListRule::Keyed(&[("name", "")]);
    let field = path.last().map(String::as_str).unwrap_or_default();
    let parent = path.iter().rev().nth(1).map(String::as_str).unwrap_or_default();
    let in_container = matches!(parent, "containers" | "initContainers" | "ephemeralContainers");
    match (field, parent) {
        (
            "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "imagePullSecrets" | "resourceClaims",
            "spec",
        ) => NAME,
        ("env", _) if in_container => NAME,
        ("ports", _) if in_container => ListRule::Keyed(&[("containerPort", ""), ("protocol", "TCP")]),
        ("volumeMounts", _) if in_container => ListRule::Keyed(&[("mountPath", "")]),
        ("volumeDevices", _) if in_container => ListRule::Keyed(&[("devicePath", "")]),
        ("ports", "spec") => ListRule::Keyed(&[("port", ""), ("protocol", "TCP")]),
        ("hostAliases", "spec") => ListRule::Keyed(&[("ip", "")]),
        ("topologySpreadConstraints", "spec") => ListRule::Keyed(&[("topologyKey", ""), ("whenUnsatisfiable", "")]),
        ("secrets" | "imagePullSecrets" | "webhooks" | "validations" | "mutations", _) if path.len() == 1 => NAME,
        ("ownerReferences", "metadata") => ListRule::Keyed(&[("uid", "")]),
        ("finalizers", "metadata") => ListRule::Set,
        _ => ListRule::Atomic,
    }
}

/// Maps of which only one member may be set: keys that the manifest leaves out go when it changes anything.
fn retains_keys(path: &[String]) -> bool {
    let fields: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(fields.as_slice(), ["spec", "strategy"] | ["spec", "updateStrategy"])
        || matches!(fields.as_slice(), [.., "spec", "volumes"])
}

struct Merge {
    builtin: bool,
}

impl Merge {
    fn value(&self, original: Option<&Value>, modified: &Value, current: &Value, path: &mut Vec<String>) -> Value {
        match (modified, current) {
            (Value::Object(modified), Value::Object(current)) => {
                Value::Object(self.map(original.and_then(Value::as_object), modified, current, path))
            }
            (Value::Array(new), Value::Array(old)) => {
                let original = original.and_then(Value::as_array).map(Vec::as_slice);
                Value::Array(self.list(original, new, old, path))
            }
            (new, old) if same_scalar(new, old, path) => old.clone(),
            (new, _) => new.clone(),
        }
    }

    fn map(
        &self,
        original: Option<&Map<String, Value>>,
        modified: &Map<String, Value>,
        current: &Map<String, Value>,
        path: &mut Vec<String>,
    ) -> Map<String, Value> {
        let mut merged = current.clone();
        for key in original.into_iter().flat_map(Map::keys).filter(|key| !modified.contains_key(*key)) {
            merged.shift_remove(key);
        }
        for (key, value) in modified {
            if value.is_null() {
                merged.shift_remove(key);
                continue;
            }
            let before = original.and_then(|original| original.get(key));
            path.push(key.clone());
            let value = match current.get(key) {
                Some(current) => self.value(before, value, current, path),
                None => without_nulls(value),
            };
            path.pop();
            merged.insert(key.clone(), value);
        }
        if self.builtin && retains_keys(path) && merged != *current {
            merged.retain(|key, _| modified.contains_key(key));
        }
        merged
    }

    fn list(&self, original: Option<&[Value]>, new: &[Value], old: &[Value], path: &mut Vec<String>) -> Vec<Value> {
        let rule = if self.builtin { list_rule(path) } else { ListRule::Atomic };
        match rule {
            ListRule::Atomic => {
                // What the server filled in is no difference, as long as the manifest has not changed.
                let untouched = original.is_none_or(|original| original == new);
                if untouched && covers_list(old, new, path) { old.to_vec() } else { new.to_vec() }
            }
            ListRule::Set => {
                let dropped =
                    |item: &Value| original.is_some_and(|original| original.contains(item)) && !new.contains(item);
                let mut merged: Vec<Value> = old.iter().filter(|item| !dropped(item)).cloned().collect();
                for item in new {
                    if !merged.contains(item) {
                        merged.push(item.clone());
                    }
                }
                merged
            }
            ListRule::Keyed(fields) => {
                let key = |item: &Value| -> Vec<Value> {
                    fields
                        .iter()
                        .map(|(field, default)| item.get(*field).cloned().unwrap_or_else(|| json!(default)))
                        .collect()
                };
                let find = |list: &[Value], wanted: &[Value]| list.iter().find(|item| key(item) == wanted).cloned();
                let mut merged: Vec<Value> = new
                    .iter()
                    .map(|item| {
                        let wanted = key(item);
                        let before = original.and_then(|original| find(original, &wanted));
                        match find(old, &wanted) {
                            Some(current) => self.value(before.as_ref(), item, &current, path),
                            None => without_nulls(item),
                        }
                    })
                    .collect();
                // Elements that others added stay, those that the last manifest had go.
                for item in old {
                    let wanted = key(item);
                    let ours = original.is_some_and(|original| find(original, &wanted).is_some());
                    if !ours && find(new, &wanted).is_none() {
                        merged.push(item.clone());
                    }
                }
                merged
            }
        }
    }
}

/// Quantities may be written as numbers and are kept as texts.
fn same_scalar(new: &Value, old: &Value, path: &[String]) -> bool {
    let quantity =
        path.iter().any(|field| matches!(field.as_str(), "requests" | "limits" | "hard" | "capacity" | "sizeLimit"));
    new == old
        || (quantity && matches!((new, old), (Value::Number(new), Value::String(old)) if new.to_string() == *old))
}

/// Whether a list is another one with fields filled in.
fn covers_list(whole: &[Value], part: &[Value], path: &[String]) -> bool {
    whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| covers(whole, part, path))
}

fn covers(whole: &Value, part: &Value, path: &[String]) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| covers(whole, value, path)))
        }
        (Value::Array(whole), Value::Array(part)) => covers_list(whole, part, path),
        (whole, part) => same_scalar(part, whole, path),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server makes of a manifest: defaults, and a field set by somebody else.
    fn living() -> Value {
        let mut object = with_last_applied(&manifest());
        object["metadata"]["resourceVersion"] = json!("7");
        object["metadata"]["uid"] = json!("u");
        object["spec"]["revisionHistoryLimit"] = json!(10);
        object["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}});
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        container["terminationMessagePath"] = json!("/dev/termination-log");
        container["ports"][0]["protocol"] = json!("TCP");
        container["resources"]["requests"]["cpu"] = json!("1");
        object["status"] = json!({"replicas": 3});
        object
    }

    fn manifest() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "front"}},
            "spec": {
                "replicas": 3,
                "template": {"spec": {
                    "containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}],
                                    "resources": {"requests": {"cpu": 1}},
                                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
                    "tolerations": [{"key": "x"}],
                }},
            },
        })
    }

    fn patch_of(new: &Value, living: &Value) -> Option<Value> {
        patch(last_applied(living).as_ref(), new, living, true)
    }

    #[test]
    fn the_annotation_is_the_manifest_itself() {
        let object = with_last_applied(&json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}));
        assert_eq!(
            object["metadata"]["annotations"][LAST_APPLIED],
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"annotations\":{},\"name\":\"a\"}}\n"
        );
        assert_eq!(with_last_applied(&object), object, "applying what was applied changes nothing");
    }

    #[test]
    fn the_same_manifest_changes_nothing() {
        assert_eq!(patch_of(&manifest(), &living()), None);
        let mut manifest = manifest();
        manifest["metadata"]["creationTimestamp"] = Value::Null;
        manifest["status"] = json!({});
        let patch = patch_of(&manifest, &living()).expect("the annotation differs");
        assert_eq!(patch.as_object().map(Map::len), Some(1), "{patch}");
    }

    #[test]
    fn removed_fields_go_and_fields_of_others_stay() {
        let mut living = living();
        living["metadata"]["labels"]["theirs"] = json!("kept");
        living["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"name": "sidecar"}));
        let mut manifest = manifest();
        manifest["metadata"]["labels"].as_object_mut().expect("a map").remove("tier");
        manifest["spec"].as_object_mut().expect("a map").remove("replicas");
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        manifest["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().expect("a list").remove(0);
        let patch = patch_of(&manifest, &living).expect("a change");
        assert_eq!(patch["metadata"]["labels"], json!({"tier": null}));
        assert_eq!(patch["spec"]["replicas"], Value::Null);
        assert_eq!(patch["metadata"]["resourceVersion"], "7", "lists are guarded by the version");
        let containers = &patch["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["image"], "web:2");
        assert_eq!(containers[0]["terminationMessagePath"], "/dev/termination-log");
        assert_eq!(containers[0]["env"], json!([{"name": "B", "value": "2"}]));
        assert_eq!(containers[1]["name"], "sidecar");
    }

    #[test]
    fn a_changed_strategy_drops_the_other_ones_fields() {
        let mut manifest = manifest();
        manifest["spec"]["strategy"] = json!({"type": "Recreate"});
        let patch = patch_of(&manifest, &living()).expect("a change");
        assert_eq!(patch["spec"]["strategy"], json!({"type": "Recreate", "rollingUpdate": null}));
    }

    #[test]
    fn ports_of_two_protocols_are_two_ports() {
        let mut manifest = manifest();
        manifest["spec"]["template"]["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]);
        let patch = patch_of(&manifest, &living()).expect("a change");
        assert_eq!(
            patch["spec"]["template"]["spec"]["containers"][0]["ports"],
            json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}])
        );
    }

    #[test]
    fn lists_of_custom_kinds_are_replaced() {
        let living = json!({"spec": {"containers": [{"name": "a", "x": 1}, {"name": "b"}]}});
        let patch = patch(None, &json!({"spec": {"containers": [{"name": "a"}]}}), &living, false).expect("a change");
        assert_eq!(patch["spec"]["containers"], json!([{"name": "a"}]));
    }

    #[test]
    fn an_object_without_the_annotation_gets_it_and_loses_nothing() {
        let mut living = living();
        living["metadata"]["annotations"] = json!({"x": "y"});
        let patch = patch_of(&manifest(), &living).expect("the annotation");
        assert_eq!(patch.as_object().map(Map::len), Some(1));
        assert!(patch["metadata"]["annotations"].get("x").is_none());
    }

    #[test]
    fn applying_a_patch_leads_to_what_was_wanted() {
        let (from, to) = (json!({"a": {"b": 1, "c": [1]}, "d": 1}), json!({"a": {"b": 2, "c": [1]}, "e": {}}));
        let mut object = from.clone();
        let patch = difference(&from, &to).expect("they differ");
        json_patch::merge(&mut object, &patch);
        assert_eq!(object, to);
        assert_eq!(difference(&to, &to), None);
    }
}

//! Patches of all kinds, and server-side apply, on objects of two lines: what is there, what is sent.

use std::sync::LazyLock;

use reeve_api::{
    patch::{
        apply::{FieldSet, Managers, OneVersion, Writer, mistakes},
        apply_json_patch, apply_merge_patch, merge_patch_between, strategic,
    },
    schema::{Schema, builtin},
};
use serde_json::Value;

static POD: LazyLock<Schema> = LazyLock::new(|| builtin("v1", "Pod").expect("a built-in kind"));

fn two(data: &[u8]) -> Option<[Value; 2]> {
    let [first, second] = super::lines::<2>(data)?;
    Some([super::value(first)?, super::value(second)?])
}

/// RFC 6902.
pub fn json_patch(data: &[u8]) {
    let Some([mut target, patch]) = two(data) else { return };
    let before = target.clone();
    if apply_json_patch(&mut target, &patch).is_err() {
        return;
    }
    if patch.as_array().is_some_and(Vec::is_empty) {
        assert_eq!(before, target, "no operation changes nothing");
    }
}

/// RFC 7386: twice is once, and the patch between two values leads from one to the other.
pub fn merge_patch(data: &[u8]) {
    let Some([from, to]) = two(data) else { return };
    let mut patched = from.clone();
    apply_merge_patch(&mut patched, to.clone());
    let once = patched.clone();
    apply_merge_patch(&mut patched, to.clone());
    assert_eq!(patched, once, "a merge patch that was applied changes nothing any more");
    if from.is_object() && to.is_object() && !has_null(&to) && !has_null(&from) {
        let mut there = from.clone();
        apply_merge_patch(&mut there, merge_patch_between(&from, &to));
        assert_eq!(there, to);
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(values) => values.values().any(has_null),
        _ => false,
    }
}

/// Strategic merge patches of pods.
pub fn strategic(data: &[u8]) {
    let Some([target, patch]) = two(data) else { return };
    let mut patched = target.clone();
    if strategic::apply(&mut patched, patch, &POD).is_err() {
        return;
    }
    let mut again = patched.clone();
    if strategic::apply(&mut again, Value::Object(serde_json::Map::new()), &POD).is_ok() && patched.is_object() {
        assert_eq!(again, patched, "an empty patch changes nothing");
    }
}

/// Server-side apply of pods: who applied it once changes nothing by applying it again.
pub fn apply(data: &[u8]) {
    let Some([live, config]) = two(data) else { return };
    // The server refuses a configuration that does not fit before it is applied.
    if !live.is_object() || !config.is_object() || !mistakes(&config, &POD).is_empty() {
        return;
    }
    let reset = FieldSet::default();
    let writer = Writer {
        manager: "fuzz",
        api_version: "v1",
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        reset: &reset,
        schema: &POD,
        versions: &OneVersion,
    };
    let managers =
        live.get("metadata").and_then(|metadata| Managers::read(&metadata.get("managedFields")?.to_string()));
    let Ok(first) = writer.apply(&live, &config, managers.unwrap_or_default(), true, None) else { return };
    let object = first.object.unwrap_or(live);
    let Ok(second) = writer.apply(&object, &config, first.managers, false, None) else {
        panic!("what one applied by force is one's own");
    };
    assert_eq!(second.object.unwrap_or_else(|| object.clone()), object, "applied again");
}

/// The sets of fields in `managedFields`.
pub fn field_set(data: &[u8]) {
    let Some(value) = super::value(data) else { return };
    let Ok(set) = FieldSet::from_fields_v1(&value) else { return };
    let written = set.to_fields_v1();
    let parsed = super::value(written.as_bytes()).expect("what was written is JSON");
    let again = FieldSet::from_fields_v1(&parsed).expect("what was written can be read");
    assert_eq!(again.to_fields_v1(), written);
    assert_eq!(set.difference(&again).paths(), Vec::<String>::new());
    assert_eq!(set.union(&again).to_fields_v1(), written);
}

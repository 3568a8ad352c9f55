//! The rules of structural schemas. Texts from upstream's `apiextensions/apiserver/schema`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use reeve_api::validation::{BadValue, ErrorList, Path};
use regex::Regex;

use crate::registry::custom::schema::Type;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field,
    Item,
}

/// Checks the schema of a version.
pub(super) fn root(props: &JSONSchemaProps, path: &Path<'_>, errors: &mut ErrorList) {
    check(props, Place::Root, path, errors);
}

fn check(props: &JSONSchemaProps, place: Place, path: &Path<'_>, errors: &mut ErrorList) {
    check_type(props, place, path, errors);
    forbidden(props, path, errors);
    check_lists(props, path, errors);
    if let Some(pattern) = props.pattern.as_deref().filter(|pattern| Regex::new(pattern).is_err()) {
        errors.invalid(&path.child("pattern"), pattern, "must be a valid regular expression, but isn't");
    }
    let at = path.child("properties");
    for (name, below) in props.properties.iter().flatten() {
        if place == Place::Root && name == "metadata" {
            continue;
        }
        check(below, Place::Field, &at.key(name), errors);
    }
    match &props.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(below)) => {
            check(below, Place::Field, &path.child("additionalProperties"), errors);
        }
        Some(JSONSchemaPropsOrBool::Bool(false)) => {
            errors.forbidden(&path.child("additionalProperties"), "must not be false");
        }
        _ => {}
    }
    if props.properties.is_some() && props.additional_properties.is_some() {
        let text = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&path.child("additionalProperties"), text);
    }
    match &props.items {
        Some(JSONSchemaPropsOrArray::Schema(below)) => check(below, Place::Item, &path.child("items"), errors),
        Some(JSONSchemaPropsOrArray::Schemas(_)) => {
            errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
        }
        None if props.type_.as_deref() == Some("array") => {
            errors.required(&path.child("items"), "must be specified");
        }
        None => {}
    }
    for (name, list) in [("allOf", &props.all_of), ("anyOf", &props.any_of), ("oneOf", &props.one_of)] {
        let at = path.child(name);
        for (index, one) in list.iter().flatten().enumerate() {
            logical(one, props, &at.index(index), errors);
        }
    }
    if let Some(not) = &props.not {
        logical(not, props, &path.child("not"), errors);
    }
}

fn check_type(props: &JSONSchemaProps, place: Place, path: &Path<'_>, errors: &mut ErrorList) {
    let at = path.child("type");
    let word = props.type_.as_deref().unwrap_or_default();
    let is_free =
        props.x_kubernetes_int_or_string == Some(true) || props.x_kubernetes_preserve_unknown_fields == Some(true);
    match (place, word) {
        (Place::Root, "") => errors.required(&at, "must not be empty at the root"),
        (Place::Root, "object") => {}
        (Place::Root, other) => errors.invalid(&at, other, "must be object at the root"),
        (Place::Field, "") if !is_free => errors.required(&at, "must not be empty for specified object fields"),
        (Place::Item, "") if !is_free => errors.required(&at, "must not be empty for specified array items"),
        (_, "") => {}
        (_, word) if Type::parse(word).is_none() => {
            errors.not_supported(&at, word, &["array", "boolean", "integer", "number", "object", "string"]);
        }
        _ => {}
    }
    if props.x_kubernetes_int_or_string == Some(true) && !word.is_empty() {
        errors.forbidden(&at, "must be empty if x-kubernetes-int-or-string is true");
    }
    if props.x_kubernetes_embedded_resource == Some(true) {
        if word != "object" {
            errors.invalid(&at, word, "must be object if x-kubernetes-embedded-resource is true");
        }
        let is_open = props.x_kubernetes_preserve_unknown_fields == Some(true);
        if props.properties.as_ref().is_none_or(|properties| properties.is_empty()) && !is_open {
            let text = "must not be empty if x-kubernetes-embedded-resource is true without \
                        x-kubernetes-preserve-unknown-fields";
            errors.required(&path.child("properties"), text);
        }
    }
}

fn forbidden(props: &JSONSchemaProps, path: &Path<'_>, errors: &mut ErrorList) {
    if props.ref_path.is_some() {
        errors.forbidden(&path.child("$ref"), "$ref is not supported");
    }
    if props.unique_items == Some(true) {
        let text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), text);
    }
    for (name, is_set) in [
        ("definitions", props.definitions.is_some()),
        ("dependencies", props.dependencies.is_some()),
        ("patternProperties", props.pattern_properties.is_some()),
        ("additionalItems", props.additional_items.is_some()),
        ("id", props.id.is_some()),
    ] {
        if is_set {
            errors.forbidden(&path.child(name), format!("{name} is not supported"));
        }
    }
    if props.x_kubernetes_preserve_unknown_fields == Some(false) {
        errors.invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
}

fn check_lists(props: &JSONSchemaProps, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(list_type) = props.x_kubernetes_list_type.as_deref() else {
        if props.x_kubernetes_list_map_keys.is_some() {
            let text = "must be map if x-kubernetes-list-map-keys is non-empty";
            errors.invalid(&path.child("x-kubernetes-list-type"), BadValue::null(), text);
        }
        return;
    };
    let at = path.child("x-kubernetes-list-type");
    if !matches!(list_type, "atomic" | "map" | "set") {
        errors.not_supported(&at, list_type, &["atomic", "map", "set"]);
    }
    let word = props.type_.as_deref().unwrap_or_default();
    if word != "array" {
        errors.invalid(&path.child("type"), word, "must be array if x-kubernetes-list-type is specified");
    }
    let keys = props.x_kubernetes_list_map_keys.clone().unwrap_or_default();
    let at_keys = path.child("x-kubernetes-list-map-keys");
    if list_type == "map" && keys.is_empty() {
        errors.required(&at_keys, "must not be empty if x-kubernetes-list-type is map");
    }
    if list_type != "map" && !keys.is_empty() {
        errors.invalid(&at, list_type, "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &props.items
        && list_type == "map"
    {
        let properties = items.properties.clone().unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            if !properties.contains_key(key) {
                let text = "entries must all be names of item properties";
                errors.invalid(&at_keys.index(index), key, text);
            }
        }
    }
}

/// What stands in `allOf` and its like narrows, and says nothing of its own.
fn logical(props: &JSONSchemaProps, outer: &JSONSchemaProps, path: &Path<'_>, errors: &mut ErrorList) {
    let is_int_or_string = outer.x_kubernetes_int_or_string == Some(true);
    for (name, is_set) in [
        ("additionalProperties", props.additional_properties.is_some()),
        ("type", props.type_.is_some() && !is_int_or_string),
        ("default", props.default.is_some()),
        ("title", props.title.is_some()),
        ("description", props.description.is_some()),
        ("nullable", props.nullable == Some(true)),
    ] {
        if is_set {
            errors.forbidden(&path.child(name), "must be undefined to be structural");
        }
    }
    let at = path.child("properties");
    for (name, below) in props.properties.iter().flatten() {
        if let Some(outer) = outer.properties.as_ref().and_then(|properties| properties.get(name)) {
            logical(below, outer, &at.key(name), errors);
        }
    }
}

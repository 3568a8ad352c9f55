//! The rules of definitions. Texts from upstream's `apiextensions/validation`.

use std::collections::HashSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::schema;
use crate::registry::custom::{holds, json_path::JsonPath};
use crate::registry::kinds::rules;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];

/// A new definition.
pub(super) fn new(definition: &CustomResourceDefinition) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &definition.spec;
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if name != format!("{}.{}", spec.names.plural, spec.group) {
        let path = Path::new("metadata");
        errors.invalid(&path.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
    errors.extend(check_spec(spec));
    errors.extend(stored_versions(definition));
    errors
}

/// A changed definition.
pub(super) fn change(definition: &CustomResourceDefinition, old: &CustomResourceDefinition) -> ErrorList {
    let mut errors = check_spec(&definition.spec);
    let path = Path::new("spec");
    let (spec, before) = (&definition.spec, &old.spec);
    rules::immutable(&spec.group, &before.group, &path.child("group"), &mut errors);
    rules::immutable(&spec.names.plural, &before.names.plural, &path.child("names").child("plural"), &mut errors);
    if holds(old, "Established") {
        rules::immutable(&spec.scope, &before.scope, &path.child("scope"), &mut errors);
        rules::immutable(&spec.names.kind, &before.names.kind, &path.child("names").child("kind"), &mut errors);
    }
    errors.extend(stored_versions(definition));
    errors
}

/// Versions in which objects may still be stored.
pub(super) fn stored_versions(definition: &CustomResourceDefinition) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let path = path.child("storedVersions");
    let stored = definition.status.as_ref().and_then(|status| status.stored_versions.clone()).unwrap_or_default();
    if stored.is_empty() {
        errors.invalid(&path, BadValue::json(&stored), "must have at least one stored version");
        return errors;
    }
    for (index, name) in stored.iter().enumerate() {
        if !definition.spec.versions.iter().any(|version| version.name == *name) {
            let text = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.invalid(&path.index(index), name, text);
        }
    }
    if let Some(storage) = definition.spec.versions.iter().find(|version| version.storage)
        && !stored.contains(&storage.name)
    {
        let text = format!("must have the storage version {}", storage.name);
        errors.invalid(&path, BadValue::json(&stored), text);
    }
    errors
}

fn check_spec(spec: &CustomResourceDefinitionSpec) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let group = path.child("group");
    if spec.group.is_empty() {
        errors.required(&group, "");
    } else {
        let wrong = format::dns1123_subdomain(&spec.group);
        if !wrong.is_empty() {
            errors.invalid(&group, &spec.group, wrong.join(","));
        } else if !spec.group.contains('.') {
            errors.invalid(&group, &spec.group, "should be a domain with at least one dot");
        }
    }
    rules::required_one_of(Some(&spec.scope), &["Cluster", "Namespaced"], &path.child("scope"), &mut errors);
    if spec.preserve_unknown_fields == Some(true) {
        errors.invalid(
            &path.child("preserveUnknownFields"),
            true,
            "must be false in order to use defaults in the schema",
        );
    }
    check_versions(spec, &path, &mut errors);
    check_names(&spec.names, &path.child("names"), &mut errors);
    if let Some(conversion) = &spec.conversion {
        let at = path.child("conversion");
        rules::required_one_of(Some(&conversion.strategy), &["None", "Webhook"], &at.child("strategy"), &mut errors);
        let config = conversion.webhook.as_ref().and_then(|webhook| webhook.client_config.as_ref());
        if conversion.strategy == "Webhook" && config.is_none() {
            let text = "required when strategy is set to Webhook";
            errors.required(&at.child("webhookClientConfig"), text);
        } else if conversion.strategy == "None" && conversion.webhook.is_some() {
            errors.forbidden(&at.child("webhookClientConfig"), "should not be set when strategy is not set to Webhook");
        }
    }
    errors
}

fn check_versions(spec: &CustomResourceDefinitionSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let all = path.child("versions");
    let mut names = HashSet::new();
    let mut unique = true;
    for (index, version) in spec.versions.iter().enumerate() {
        let at = all.index(index);
        unique &= names.insert(&version.name);
        let wrong = format::dns1035_label(&version.name);
        if !wrong.is_empty() {
            errors.invalid(&at.child("name"), &version.name, wrong.join(","));
        }
        let at_schema = at.child("schema");
        let props = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        match props {
            None => errors.required(&at_schema.child("openAPIV3Schema"), "schemas are required"),
            Some(props) => schema::root(props, &at_schema.child("openAPIV3Schema"), errors),
        }
        let at_columns = at.child("additionalPrinterColumns");
        for (index, column) in version.additional_printer_columns.iter().flatten().enumerate() {
            let at = at_columns.index(index);
            if column.name.is_empty() {
                errors.required(&at.child("name"), "");
            }
            rules::required_one_of(Some(&column.type_), &COLUMN_TYPES, &at.child("type"), errors);
            if let Some(format) = column.format.as_deref().filter(|format| !format.is_empty()) {
                rules::one_of(format, &COLUMN_FORMATS, &at.child("format"), errors);
            }
            check_path(&column.json_path, false, &at.child("jsonPath"), errors);
        }
        let at_fields = at.child("selectableFields");
        for (index, field) in version.selectable_fields.iter().flatten().enumerate() {
            check_path(&field.json_path, true, &at_fields.index(index).child("jsonPath"), errors);
        }
        let at_scale = at.child("subresources");
        let at_scale = at_scale.child("scale");
        let scale = version.subresources.as_ref().and_then(|subresources| subresources.scale.as_ref());
        if let Some(scale) = scale {
            let under = |text: &str, root: &str, name: &str, errors: &mut ErrorList| {
                let at = at_scale.child(name);
                check_path(text, true, &at, errors);
                if !text.is_empty() && !text.starts_with(&format!(".{root}.")) {
                    errors.invalid(&at, text, format!("should be a json path under .{root}"));
                }
            };
            under(&scale.spec_replicas_path, "spec", "specReplicasPath", errors);
            under(&scale.status_replicas_path, "status", "statusReplicasPath", errors);
        }
    }
    if !unique {
        errors.invalid(&all, BadValue::json(&spec.versions), "must contain unique version names");
    }
    if spec.versions.iter().filter(|version| version.storage).count() != 1 {
        errors.invalid(&all, BadValue::json(&spec.versions), "must have exactly one version marked as storage version");
    }
}

fn check_path(text: &str, plain: bool, path: &Path<'_>, errors: &mut ErrorList) {
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    match JsonPath::parse(text) {
        None => errors.invalid(path, text, "is an invalid path"),
        Some(parsed) if plain && !parsed.is_plain() => {
            errors.invalid(path, text, "must be a simple json path in dot notation");
        }
        Some(_) => {}
    }
}

fn check_names(names: &CustomResourceDefinitionNames, path: &Path<'_>, errors: &mut ErrorList) {
    let mut label = |name: &str, text: &str, lowered: &str| {
        let wrong = format::dns1035_label(lowered);
        if text.is_empty() {
            errors.required(&path.child(name), "");
        } else if !wrong.is_empty() {
            let what = if lowered == text { "" } else { "may have mixed case, but should otherwise match: " };
            errors.invalid(&path.child(name), text, format!("{what}{}", wrong.join(",")));
        }
    };
    let list_kind = names.list_kind.clone().unwrap_or_default();
    let singular = names.singular.clone().unwrap_or_default();
    label("plural", &names.plural, &names.plural);
    label("singular", &singular, &singular);
    label("kind", &names.kind, &names.kind.to_lowercase());
    label("listKind", &list_kind, &list_kind.to_lowercase());
    let mut each = |name: &str, texts: &Option<Vec<String>>| {
        for (index, text) in texts.iter().flatten().enumerate() {
            let wrong = format::dns1035_label(text);
            if !wrong.is_empty() {
                errors.invalid(&path.child(name).index(index), text, wrong.join(","));
            }
        }
    };
    each("shortNames", &names.short_names);
    each("categories", &names.categories);
    if !names.kind.is_empty() && names.kind == list_kind {
        errors.invalid(&path.child("listKind"), &list_kind, "kind and listKind may not be the same");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut value = json!({
            "metadata": {"name": "crons.example.com"},
            "spec": {"group": "example.com", "scope": "Cluster",
                "names": {"plural": "crons", "singular": "cron", "kind": "Cron", "listKind": "CronList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]},
            "status": {"storedVersions": ["v1"]},
        });
        change(&mut value);
        let definition = serde_json::from_value(value).expect("a definition");
        new(&definition).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn definitions_keep_upstreams_rules() {
        assert_eq!(told(|_| {}), [""; 0]);
        assert_eq!(
            told(|value| value["metadata"]["name"] = "other.example.com".into()),
            ["metadata.name: Invalid value: \"other.example.com\": must be spec.names.plural+\".\"+spec.group"]
        );
        assert_eq!(
            told(|value| value["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {"type": "string"}})),
            ["spec.versions[0].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"]
        );
        assert_eq!(
            told(|value| {
                value["spec"]["versions"][0]["schema"] =
                    json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}});
            }),
            ["spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for \
              specified object fields"]
        );
        assert_eq!(
            told(|value| value["spec"]["scope"] = "Galaxy".into()),
            ["spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\""]
        );
        assert_eq!(
            told(|value| value["status"]["storedVersions"] = json!(["v1", "v0"])).len(),
            1,
            "a version in which objects are stored must stay"
        );
    }
}

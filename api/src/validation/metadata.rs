//! Rules for the metadata that every object has (`k8s.io/apimachinery/pkg/api/validation`).

use std::collections::{BTreeMap, BTreeSet};

use super::{BadValue, ErrorList, Path, format};
use crate::meta::{ObjectMeta, OwnerReference};
use crate::resource::split_api_version;

/// Most bytes of all annotations of an object together.
pub const TOTAL_ANNOTATION_SIZE_MAX: usize = 256 * 1024;

const FIELD_IMMUTABLE: &str = "field is immutable";

/// What the names of a kind look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Most kinds.
    Dns1123Subdomain,
    /// Namespaces.
    Dns1123Label,
    /// Names that DNS knew first: they begin with a letter.
    Dns1035Label,
    /// Services.
    ShortName,
    /// RBAC objects: anything that is one segment of a path.
    PathSegment,
}

impl NameRule {
    /// What is wrong with a name; `prefix` says that a suffix will be added to it.
    pub fn problems(self, name: &str, prefix: bool) -> Vec<String> {
        if self == NameRule::PathSegment {
            return path_segment(name, prefix);
        }
        let mask;
        let name = if prefix && name.ends_with('-') {
            // The dash before a generated suffix is not the end of the name.
            mask = format!("{}a", &name[..name.len() - 1]);
            mask.as_str()
        } else {
            name
        };
        match self {
            NameRule::Dns1123Subdomain => format::dns1123_subdomain(name),
            NameRule::Dns1123Label => format::dns1123_label(name),
            NameRule::Dns1035Label => format::dns1035_label(name),
            NameRule::ShortName => {
                let mut problems = format::dns1123_label(name);
                for problem in &mut problems {
                    if *problem == format::max_length(format::LABEL_MAX) {
                        *problem = format!("must be no more than {} characters", format::LABEL_MAX);
                    }
                }
                problems
            }
            NameRule::PathSegment => Vec::new(),
        }
    }
}

/// What keeps a text from being one segment of a URL's path.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|illegal| name.contains(illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

/// Checks metadata of any object.
pub fn validate(metadata: &ObjectMeta, namespaced: bool, rule: NameRule, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = metadata.name.as_deref().unwrap_or_default();
    let generate_name = metadata.generate_name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    if !generate_name.is_empty() {
        let problems = rule.problems(generate_name, true);
        errors.invalid_each(&path.child("generateName"), generate_name, problems);
    }
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        errors.invalid_each(&path.child("name"), name, rule.problems(name, false));
    }
    if namespaced {
        if namespace.is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            let problems = format::dns1123_label(namespace);
            errors.invalid_each(&path.child("namespace"), namespace, problems);
        }
    } else if !namespace.is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    if let Some(generation) = metadata.generation {
        non_negative(generation, &path.child("generation"), &mut errors);
    }
    validate_words(metadata, path, &mut errors);
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    validate_finalizers(finalizers, &path.child("finalizers"), &mut errors);
    errors
}

/// Labels, annotations and owners.
fn validate_words(metadata: &ObjectMeta, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(map) = &metadata.labels {
        labels(map, &path.child("labels"), errors);
    }
    if let Some(map) = &metadata.annotations {
        annotations(map, &path.child("annotations"), errors);
    }
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owner_references(owners, &path.child("ownerReferences"), errors);
}

/// Checks what an update does to metadata; labels, annotations and owners once more, as upstream.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        let before: BTreeSet<&String> = old.finalizers.iter().flatten().collect();
        let added: BTreeSet<&String> =
            new.finalizers.iter().flatten().filter(|finalizer| !before.contains(finalizer)).collect();
        if !added.is_empty() {
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    go_string_list(added.iter().map(|text| text.as_str()))
                ),
            );
        }
    }
    // Fields below a namespace and name are the same for objects that were read back; a client that
    // leaves them out means the old ones (`prepare` fills them in).
    let texts =
        [("name", &new.name, &old.name), ("namespace", &new.namespace, &old.namespace), ("uid", &new.uid, &old.uid)];
    for (field, new, old) in texts {
        if new.as_deref().unwrap_or_default() != old.as_deref().unwrap_or_default() {
            errors.invalid(&path.child(field), new.as_deref().unwrap_or_default(), FIELD_IMMUTABLE);
        }
    }
    if new.creation_timestamp != old.creation_timestamp {
        errors.invalid(&path.child("creationTimestamp"), BadValue::json(&new.creation_timestamp), FIELD_IMMUTABLE);
    }
    if new.deletion_timestamp != old.deletion_timestamp {
        errors.invalid(&path.child("deletionTimestamp"), BadValue::json(&new.deletion_timestamp), FIELD_IMMUTABLE);
    }
    if new.deletion_grace_period_seconds != old.deletion_grace_period_seconds {
        errors.invalid(&path.child("deletionGracePeriodSeconds"), new.deletion_grace_period_seconds, FIELD_IMMUTABLE);
    }
    if let (Some(new), Some(old)) = (new.generation, old.generation)
        && new < old
    {
        errors.invalid(&path.child("generation"), new, "must not be decremented");
    }
    validate_words(new, path, &mut errors);
    errors
}

fn non_negative(value: i64, path: &Path<'_>, errors: &mut ErrorList) {
    if value < 0 {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// Checks keys and values of labels.
pub fn labels(labels: &BTreeMap<String, String>, path: &Path<'_>, errors: &mut ErrorList) {
    for (key, value) in labels {
        errors.invalid_each(path, key, format::qualified_name(key));
        errors.invalid_each(path, value, format::label_value(value));
    }
}

/// Checks keys and total size of annotations.
pub fn annotations(annotations: &BTreeMap<String, String>, path: &Path<'_>, errors: &mut ErrorList) {
    let mut size = 0;
    for (key, value) in annotations {
        // Keys are qualified names in which upper case is tolerated.
        errors.invalid_each(path, key, format::qualified_name(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > TOTAL_ANNOTATION_SIZE_MAX {
        errors.too_long(path, TOTAL_ANNOTATION_SIZE_MAX);
    }
}

fn owner_references(owners: &[OwnerReference], path: &Path<'_>, errors: &mut ErrorList) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        let (group, version) = split_api_version(&owner.api_version);
        if version.is_empty() {
            errors.invalid(&path.child("apiVersion"), owner.api_version.as_str(), "version must not be empty");
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.child(field), value, "must not be empty");
            }
        }
        if group.is_empty() && version == "v1" && owner.kind == "Event" {
            errors.invalid(
                path,
                BadValue::shown(shown_owner(owner)),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner.controller == Some(true) {
            match controller {
                None => controller = Some(owner),
                Some(first) => errors.invalid(
                    path,
                    BadValue::shown(format!("[{}]", owners.iter().map(shown_owner).collect::<Vec<_>>().join(","))),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                        first.kind, first.name, owner.kind, owner.name
                    ),
                ),
            }
        }
    }
}

/// An owner reference as messages show it: the fields in upstream's order.
fn shown_owner(owner: &OwnerReference) -> String {
    let mut text = format!(
        "{{\"apiVersion\":{},\"kind\":{},\"name\":{},\"uid\":{}",
        super::quote(&owner.api_version),
        super::quote(&owner.kind),
        super::quote(&owner.name),
        super::quote(&owner.uid)
    );
    for (field, flag) in [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)] {
        if let Some(flag) = flag {
            text.push_str(&format!(",\"{field}\":{flag}"));
        }
    }
    text.push('}');
    text
}

/// Finalizers of upstream itself, the only ones without a domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

fn validate_finalizers(finalizers: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    for (index, finalizer) in finalizers.iter().enumerate() {
        finalizer_name(finalizer, &path.index(index), errors);
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(path, BadValue::json(&finalizers), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// Checks the name of a finalizer.
pub fn finalizer_name(finalizer: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let problems = format::qualified_name(finalizer);
    let malformed = !problems.is_empty();
    errors.invalid_each(path, finalizer, problems);
    if !malformed && !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        errors.invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// A list of strings as Go's `%#v` shows it.
fn go_string_list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.map(super::quote).collect();
    format!("[]string{{{}}}", texts.join(", "))
}

//! Custom kinds: rows that a stored CustomResourceDefinition makes, one a served version.

mod columns;
mod formats;
pub mod json_path;
mod kind;
mod object;
pub mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod validate;

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use reeve_api::{GroupVersionKind, GroupVersionResource, ResourceInfo};

use super::{Conversion, Row, Subresource, SubresourceAction};

pub use columns::Column;
pub use kind::{CustomKind, Reader};
pub use object::CustomObject;

/// The order in which upstream tells the verbs of custom kinds.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const PART: &[&str] = &["get", "patch", "update"];

/// Where the objects of a definition are stored, as upstream.
pub fn storage_prefix(group: &str, plural: &str) -> String {
    format!("/registry/{group}/{plural}/")
}

/// Whether a condition of a definition holds.
pub fn holds(definition: &CustomResourceDefinition, condition: &str) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|own| own.type_ == condition && own.status == "True")
}

/// The rows of a definition and what the cache reads of its objects; none before its names are accepted.
pub fn rows(definition: &CustomResourceDefinition) -> Option<(Vec<Row>, Reader)> {
    if !holds(definition, "Established") {
        return None;
    }
    let spec = &definition.spec;
    let names = definition.status.as_ref()?.accepted_names.as_ref()?;
    let mut verbs: Vec<String> = VERBS.map(str::to_owned).to_vec();
    if definition.metadata.deletion_timestamp.is_some() {
        // What is about to go takes nothing new.
        verbs.retain(|verb| verb != "create");
    }
    let kinds: Vec<(&_, Arc<CustomKind>)> =
        spec.versions.iter().map(|version| (version, Arc::new(CustomKind::new(definition, version)))).collect();
    let rows = kinds
        .iter()
        .filter(|(version, _)| version.served)
        .map(|(version, kind)| {
            let mut subresources = Vec::new();
            if kind.has_status {
                subresources.push(Subresource {
                    name: "status",
                    action: SubresourceAction::Status,
                    kind: kind.served.clone(),
                    verbs: PART,
                });
            }
            if kind.scale.is_some() {
                subresources.push(Subresource {
                    name: "scale",
                    action: SubresourceAction::Scale,
                    kind: GroupVersionKind::from_object("autoscaling/v1", "Scale"),
                    verbs: PART,
                });
            }
            let conversion = (kind.served.version != kind.storage_version)
                .then(|| Arc::new(kind::View(kind.clone())) as Arc<dyn Conversion>);
            Row {
                info: ResourceInfo {
                    resource: GroupVersionResource::new(&spec.group, &version.name, &names.plural),
                    singular: names.singular.clone().unwrap_or_default(),
                    kind: names.kind.clone(),
                    namespaced: kind.namespaced,
                    short_names: names.short_names.clone().unwrap_or_default(),
                    categories: names.categories.clone().unwrap_or_default(),
                    verbs: verbs.clone(),
                },
                storage_prefix: storage_prefix(&spec.group, &names.plural).into(),
                time_to_live: None,
                kind: Arc::new(kind::Version(kind.clone())),
                subresources,
                deprecation: deprecation(definition, &version.name),
                conversion,
                review: None,
            }
        })
        .collect();
    Some((rows, Reader(kinds.into_iter().map(|(_, kind)| kind).collect())))
}

/// What users of a version that should not be used any more are told.
fn deprecation(definition: &CustomResourceDefinition, name: &str) -> Option<Cow<'static, str>> {
    let spec = &definition.spec;
    let version = spec.versions.iter().find(|version| version.name == name)?;
    if !version.deprecated.unwrap_or(false) {
        return None;
    }
    if let Some(warning) = &version.deprecation_warning {
        return Some(Cow::Owned(warning.clone()));
    }
    let (group, kind) = (&spec.group, &spec.names.kind);
    let newer = spec
        .versions
        .iter()
        .filter(|other| other.served && !other.deprecated.unwrap_or(false))
        .max_by_key(|other| super::version_order(&other.name))
        .filter(|other| super::version_order(&other.name) > super::version_order(name));
    let advice = newer.map(|newer| format!("; use {group}/{} {kind}", newer.name)).unwrap_or_default();
    Some(Cow::Owned(format!("{group}/{name} {kind} is deprecated{advice}")))
}

//! The rows of the built-in kinds.

use std::sync::Arc;

use k8s_openapi::{NamespaceResourceScope, Resource};
use reeve_api::{GroupVersionResource, ResourceInfo};

use super::Row;
use super::erased::StrategyKind;
use super::kinds;
use super::strategy::Strategy;

/// The verbs of a resource with everything.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Names and categories that `k8s-openapi` does not carry.
struct Words {
    singular: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
}

/// Whether a scope marker is that of namespaced kinds.
trait Scoped {
    const NAMESPACED: bool;
}

impl Scoped for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl Scoped for k8s_openapi::ClusterResourceScope {
    const NAMESPACED: bool = false;
}

fn row<S: Strategy>(strategy: &'static S, storage_prefix: &'static str, words: Words) -> Row
where
    <S::Object as Resource>::Scope: Scoped,
{
    let namespaced = <S::Object as Resource>::Scope::NAMESPACED;
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Row {
        info: ResourceInfo {
            resource: GroupVersionResource::of::<S::Object>(),
            singular: words.singular.to_owned(),
            kind: S::Object::KIND.to_owned(),
            namespaced,
            short_names: own(words.short_names),
            categories: own(words.categories),
            verbs: own(&VERBS),
        },
        storage_prefix,
        time_to_live: None,
        kind: Arc::new(StrategyKind::new(strategy, namespaced)),
        subresources: Vec::new(),
        conversion: None,
    }
}

/// All rows: the core group first, then the others by name.
pub(super) fn builtin() -> Vec<Row> {
    vec![row(
        &kinds::config_map::ConfigMaps,
        "/registry/configmaps/",
        Words { singular: "configmap", short_names: &["cm"], categories: &[] },
    )]
}

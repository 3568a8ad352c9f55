//! The rows of the built-in kinds, one file per API group.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod devices;
mod discovery;
mod events;
mod extensions;
mod flow_control;
pub(super) mod metrics;
mod networking;
mod node;
mod policy;
mod rbac;
mod registration;
mod reviews;
mod scheduling;
mod storage;

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::{NamespaceResourceScope, Resource};
use reeve_api::{GroupVersionKind, GroupVersionResource, ResourceInfo};

use super::erased::StrategyKind;
use super::strategy::Strategy;
use super::{Conversion, Review, Row, Subresource, SubresourceAction};

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
        storage_prefix: Cow::Borrowed(storage_prefix),
        time_to_live: None,
        kind: Arc::new(StrategyKind::new(strategy, namespaced)),
        subresources: Vec::new(),
        deprecation: None,
        conversion: None,
        review: None,
    }
}

/// Verbs of a subresource that reads and writes a part of the object.
const PART: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const STREAM: &[&str] = &["create", "get"];
/// Verbs of a subresource that hands requests on, whatever their method.
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

impl Row {
    /// Adds a subresource of the resource's own or another kind (`group/version`, kind).
    fn with(
        mut self,
        name: &'static str,
        action: SubresourceAction,
        kind: Option<(&str, &str)>,
        verbs: &'static [&'static str],
    ) -> Self {
        let kind = match kind {
            None => self.info.kind(),
            Some((api_version, kind)) => GroupVersionKind::from_object(api_version, kind),
        };
        self.subresources.push(Subresource { name, action, kind, verbs });
        self
    }

    /// Serves the objects in another group or version than the one in which they are stored.
    fn viewed_as(mut self, group: &str, version: &str, conversion: Arc<dyn Conversion>) -> Self {
        let stored = self.info.kind();
        self.info.resource.group = group.to_owned();
        self.info.resource.version = version.to_owned();
        let served = self.info.kind();
        for subresource in self.subresources.iter_mut().filter(|subresource| subresource.kind == stored) {
            subresource.kind.clone_from(&served);
        }
        self.conversion = Some(conversion);
        self
    }

    /// Serves these verbs and no others.
    fn with_verbs(mut self, verbs: &[&str]) -> Self {
        self.info.verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        self
    }

    /// Warns everybody who uses the resource.
    fn deprecated(mut self, warning: &'static str) -> Self {
        self.deprecation = Some(Cow::Borrowed(warning));
        self
    }

    /// Makes the resource answer a question.
    fn asking(mut self, review: Review) -> Self {
        self.info.verbs = vec!["create".to_owned()];
        self.review = Some(review);
        self
    }

    /// Takes a verb away.
    fn without_verb(mut self, verb: &str) -> Self {
        self.info.verbs.retain(|own| own != verb);
        self
    }

    fn with_status(self) -> Self {
        self.with("status", SubresourceAction::Status, None, PART)
    }

    fn with_scale(self) -> Self {
        self.with("scale", SubresourceAction::Scale, Some(("autoscaling/v1", "Scale")), PART)
    }
}

fn words(singular: &'static str, short_names: &'static [&'static str], categories: &'static [&'static str]) -> Words {
    Words { singular, short_names, categories }
}

/// Whether a built-in row has objects of a kind.
pub(super) fn names(kind: &GroupVersionKind) -> bool {
    builtin().iter().chain(&metrics::rows()).any(|row| row.info.kind() == *kind)
}

/// All rows: the core group first, then the others by name.
pub(super) fn builtin() -> Vec<Row> {
    [
        core::rows(),
        registration::rows(),
        apps::rows(),
        events::rows(),
        reviews::rows(),
        autoscaling::rows(),
        batch::rows(),
        certificates::rows(),
        networking::rows(),
        policy::rows(),
        rbac::rows(),
        storage::rows(),
        admission::rows(),
        extensions::rows(),
        scheduling::rows(),
        coordination::rows(),
        node::rows(),
        discovery::rows(),
        devices::rows(),
        flow_control::rows(),
    ]
    .concat()
}

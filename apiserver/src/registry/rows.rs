//! The rows of the built-in kinds.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::{NamespaceResourceScope, Resource};
use reeve_api::{GroupVersionKind, GroupVersionResource, ResourceInfo};

use super::erased::StrategyKind;
use super::kinds;
use super::strategy::Strategy;
use super::{Row, Subresource, SubresourceAction};

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

/// Verbs of a subresource that reads and writes a part of the object.
const PART: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const STREAM: &[&str] = &["create", "get"];

/// How long events are kept.
const EVENT_TIME_TO_LIVE: Duration = Duration::from_secs(60 * 60);

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

fn pods() -> Row {
    row(&kinds::pod::Pods, "/registry/pods/", words("pod", &["po"], &["all"]))
        .with("attach", SubresourceAction::Attach, Some(("v1", "PodAttachOptions")), STREAM)
        .with("binding", SubresourceAction::Binding, Some(("v1", "Binding")), CREATE)
        .with("eviction", SubresourceAction::Eviction, Some(("policy/v1", "Eviction")), CREATE)
        .with("exec", SubresourceAction::Exec, Some(("v1", "PodExecOptions")), STREAM)
        .with("log", SubresourceAction::Log, None, &["get"])
        .with("portforward", SubresourceAction::PortForward, Some(("v1", "PodPortForwardOptions")), STREAM)
        .with_status()
}

fn namespaces() -> Row {
    let mut row = row(&kinds::namespace::Namespaces, "/registry/namespaces/", words("namespace", &["ns"], &[]))
        .with("finalize", SubresourceAction::Finalize, None, &["update"])
        .with_status();
    // Namespaces end one by one.
    row.info.verbs.retain(|verb| verb != "deletecollection");
    row
}

fn core_events() -> Row {
    Row {
        time_to_live: Some(EVENT_TIME_TO_LIVE),
        ..row(&kinds::event::CoreEvents, "/registry/events/", words("event", &["ev"], &[]))
    }
}

fn events() -> Row {
    Row {
        time_to_live: Some(EVENT_TIME_TO_LIVE),
        conversion: Some(Arc::new(kinds::event::EventConversion)),
        ..row(&kinds::event::Events, "/registry/events/", words("event", &["ev"], &[]))
    }
}

/// Whether a built-in row has objects of a kind.
pub(super) fn names(kind: &GroupVersionKind) -> bool {
    builtin().iter().any(|row| row.info.kind() == *kind)
}

/// All rows: the core group first, then the others by name.
pub(super) fn builtin() -> Vec<Row> {
    vec![
        row(&kinds::config_map::ConfigMaps, "/registry/configmaps/", words("configmap", &["cm"], &[])),
        core_events(),
        namespaces(),
        row(&kinds::node::Nodes, "/registry/minions/", words("node", &["no"], &[])).with_status(),
        pods(),
        row(&kinds::secret::Secrets, "/registry/secrets/", words("secret", &[], &[])),
        row(
            &kinds::service_account::ServiceAccounts,
            "/registry/serviceaccounts/",
            words("serviceaccount", &["sa"], &[]),
        ),
        row(&kinds::service::Services, "/registry/services/specs/", words("service", &["svc"], &["all"])).with_status(),
        row(&kinds::deployment::Deployments, "/registry/deployments/", words("deployment", &["deploy"], &["all"]))
            .with_scale()
            .with_status(),
        row(&kinds::replica_set::ReplicaSets, "/registry/replicasets/", words("replicaset", &["rs"], &["all"]))
            .with_scale()
            .with_status(),
        row(&kinds::lease::Leases, "/registry/leases/", words("lease", &[], &[])),
        row(&kinds::endpoint_slice::EndpointSlices, "/registry/endpointslices/", words("endpointslice", &[], &[])),
        events(),
    ]
}

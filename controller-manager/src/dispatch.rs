//! Which change calls for a look at which key.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use reeve_api::meta::MetaExt as _;
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::Change;

use crate::manager::Context;
use crate::object::selector_of;
use crate::stores::Listener;
use crate::view::{DefinitionView, LeaseView, Meta, MetaView, NodeView, PodView, ServiceRangeView, ServiceView};
use crate::{
    bootstrap, certificates, deployment, endpointslice, endpointslice_mirroring, garbage, handover, load_balancer,
    pod_gc, replicaset, resource_quota, root_ca, service_range,
};

/// Puts keys into queues as changes come. Before this process leads there is no context and nothing to do.
#[derive(Default)]
pub struct Dispatcher {
    context: OnceLock<Arc<Context>>,
}

impl Dispatcher {
    /// From now on keys are put into this context's queues. Returns whether it is the first one.
    pub fn begin(&self, context: Arc<Context>) -> bool {
        self.context.set(context).is_ok()
    }

    fn with(&self, tell: impl FnOnce(&Context)) {
        if let Some(context) = self.context.get() {
            tell(context);
        }
    }
}

impl Context {
    fn pod_changed(&self, old: Option<&PodView>, new: Option<&PodView>) {
        let queues = &self.queues;
        for pod in [old, new].into_iter().flatten() {
            if let Some(key) = replicaset::controller_of(pod) {
                if new.is_none()
                    && let Some(owner) =
                        self.stores.replica_sets.get(&key).as_deref().and_then(deployment::controller_of)
                {
                    queues.deployments.add(owner);
                }
                queues.replica_sets.add(key);
            }
        }
        if let (Some(old), Some(new)) = (old, new)
            && (old.has_ended() != new.has_ended() || old.usage != new.usage)
        {
            self.usage_changed(&new.metadata.namespace, "pods", false);
        }
        let Some(pod) = new.or(old) else { return };
        let namespace = pod.metadata.namespace.as_str();
        if let Some(new) = new.filter(|new| new.metadata.controller().is_none()) {
            for replica_set in self.stores.replica_sets.namespace(namespace) {
                if replica_set
                    .spec
                    .as_ref()
                    .is_some_and(|spec| selector_of(&spec.selector).matches(&new.metadata.labels))
                {
                    queues.replica_sets.add(ObjectKey::of(&replica_set.metadata));
                }
            }
        }
        for service in self.stores.services.namespace(namespace) {
            let Some(selector) = &service.spec.selector else { continue };
            if [old, new].into_iter().flatten().any(|pod| selector.matches(&pod.metadata.labels)) {
                queues.services.add(service.metadata.key());
                queues.endpoints.add(service.metadata.key());
            }
        }
        let Some(new) = new else { return };
        if handover::is_waiting(new) {
            queues.handovers.add(new.metadata.key());
        }
        let moved = old.is_none_or(|old| old.node != new.node);
        if !new.node.is_empty() {
            match self.stores.nodes.get(&ObjectKey::cluster(new.node.as_str())) {
                Some(node) if !node.spec.taints.is_empty() => queues.nodes.add(new.node.to_string()),
                Some(_) => {}
                None if moved => queues.pod_gc.add_after(
                    pod_gc::Key::Node(new.node.to_string()),
                    Duration::from_secs(pod_gc::QUARANTINE_SECONDS),
                ),
                None => {}
            }
        } else if new.metadata.is_deleting() {
            queues.pod_gc.add(pod_gc::Key::Unbound(new.metadata.key()));
        }
        if new.has_ended() && old.is_none_or(|old| !old.has_ended()) {
            queues.pod_gc.add(pod_gc::Key::Ended);
        }
    }

    /// Has the quotas of a namespace counted that count a resource.
    fn usage_changed(&self, namespace: &str, resource: &str, only_more: bool) {
        for quota in self.stores.quotas.namespace(namespace) {
            if resource_quota::sources(&quota).any(|source| source.resource() == resource) {
                let key = ObjectKey::of(&quota.metadata);
                if only_more {
                    self.queues.quotas.add_after(key, resource_quota::CREATED_DELAY);
                } else {
                    self.queues.quotas.add(key);
                }
            }
        }
    }

    fn quota_changed(&self, old: Option<&ResourceQuota>, new: Option<&ResourceQuota>) {
        // Admission writes the status as well; that calls for nothing.
        if new.is_none_or(|new| resource_quota::limits_changed(old, new))
            && let Some(quota) = new.or(old)
        {
            self.queues.quotas.add(ObjectKey::of(&quota.metadata));
        }
    }

    /// Any role may be one that others select.
    fn cluster_roles_changed(&self) {
        for role in self.stores.cluster_roles.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            self.queues.cluster_roles.add(ObjectKey::of(&role.metadata));
        }
    }

    fn certificate_request_changed(&self, request: &CertificateSigningRequest) {
        let key = ObjectKey::of(&request.metadata);
        match certificates::state(request) {
            certificates::State::Pending => self.queues.certificate_approvals.add(key.clone()),
            certificates::State::Approved => self.queues.certificate_signatures.add(key.clone()),
            _ => {}
        }
        self.queues.certificate_ends.add(key);
    }

    fn node_changed(&self, old: Option<&NodeView>, new: Option<&NodeView>) {
        let Some(node) = new.or(old) else { return };
        self.queues.nodes.add(node.metadata.name.to_string());
        if new.is_none_or(|new| new.spec.pod_cidr.is_none()) {
            self.queues.node_ipam.add(());
        }
        if new.is_none() {
            let key = pod_gc::Key::Node(node.metadata.name.to_string());
            self.queues.pod_gc.add_after(key, Duration::from_secs(pod_gc::QUARANTINE_SECONDS));
        }
        let ready = |node: &NodeView| node.condition("Ready").is_some_and(|condition| condition.status == "True");
        if old.is_some_and(ready) != new.is_some_and(ready) {
            self.proxies_changed();
            let services = self.stores.services.list();
            let balancers = services.iter().filter(|service| load_balancer::is_ours(service));
            balancers.for_each(|service| self.queues.balancers.add(service.metadata.key()));
            // Whether any node is ready decides about the taints of the others that are not.
            for other in self.stores.nodes.list().iter().filter(|other| !ready(other)) {
                self.queues.nodes.add(other.metadata.name.to_string());
            }
        }
        if old.and_then(NodeView::zone) != new.and_then(NodeView::zone) {
            for pod in self.stores.pods.indexed(crate::stores::BY_NODE, &node.metadata.name) {
                self.pod_changed(None, Some(&pod));
            }
        }
    }

    /// A proxy may be further than before, or count no longer.
    fn proxies_changed(&self) {
        if self.applied.refresh(&self.stores) {
            handover::shell::waiting(&self.stores).for_each(|pod| self.queues.handovers.add(pod));
        }
    }

    fn slice_changed(&self, slice: &EndpointSlice) {
        if let Some(endpoints) = endpointslice_mirroring::endpoints_of(slice) {
            self.queues.mirrors.add(endpoints);
        }
        let Some(service) = endpointslice::service_of(slice) else { return };
        let waiting = handover::shell::waiting(&self.stores).filter(|pod| pod.namespace == service.namespace);
        waiting.for_each(|pod| self.queues.handovers.add(pod));
        if self.stores.services.get(&service).is_some_and(|service| load_balancer::is_ours(&service)) {
            self.queues.balancers.add(service.clone());
        }
        self.queues.services.add(service);
    }

    fn endpoints_changed(&self, endpoints: &Endpoints) {
        let key = ObjectKey::of(&endpoints.metadata);
        self.queues.endpoints.add(key.clone());
        self.queues.mirrors.add(key);
    }

    fn service_changed(&self, old: Option<&ServiceView>, new: Option<&ServiceView>) {
        let Some(service) = new.or(old) else { return };
        self.queues.services.add(service.metadata.key());
        self.queues.endpoints.add(service.metadata.key());
        if service.spec.selector.is_none() || old.is_some_and(|old| old.spec.selector.is_none()) {
            self.queues.mirrors.add(service.metadata.key());
        }
        if new.is_some_and(|new| load_balancer::is_ours(new) || !new.ingress.is_empty() || new.announced_by.is_some()) {
            self.queues.balancers.add(service.metadata.key());
        }
        if old.is_some_and(|old| !old.ingress.is_empty() && new.is_none_or(|new| new.ingress != old.ingress)) {
            // An address may be free now.
            let services = self.stores.services.list();
            let waiting = services.iter().filter(|service| load_balancer::is_waiting(service));
            waiting.for_each(|service| self.queues.balancers.add(service.metadata.key()));
        }
    }

    fn replica_set_changed(&self, old: Option<&ReplicaSet>, new: Option<&ReplicaSet>) {
        for replica_set in [old, new].into_iter().flatten() {
            if let Some(key) = deployment::controller_of(replica_set) {
                self.queues.deployments.add(key);
            }
        }
        let Some(replica_set) = new else { return };
        self.queues.replica_sets.add(ObjectKey::of(&replica_set.metadata));
        if replica_set.metadata.controller().is_none() {
            let labels = replica_set.metadata.labels.clone().unwrap_or_default();
            for deployment in self.stores.deployments.namespace(replica_set.metadata.namespace()) {
                if deployment.spec.as_ref().is_some_and(|spec| selector_of(&spec.selector).matches(&labels)) {
                    self.queues.deployments.add(ObjectKey::of(&deployment.metadata));
                }
            }
        }
    }

    fn namespace_changed(&self, namespace: &Namespace) {
        let key = ObjectKey::of(&namespace.metadata);
        if namespace.metadata.is_deleting() {
            self.queues.namespaces.add(key);
        } else {
            self.queues.service_accounts.add(key.clone());
            self.queues.root_ca.add(key);
        }
    }

    fn any_changed(&self, resource: &GroupVersionResource, old: Option<&Meta>, new: Option<&Meta>) {
        for key in garbage::shell::keys(self, resource, old, new) {
            self.queues.garbage.add(key);
        }
        if let Some(meta) = new.or(old) {
            bootstrap::shell::changed(self, resource, meta);
            service_range::shell::any_changed(self, resource, meta);
        }
        match (old, new) {
            (None, Some(new)) => self.usage_changed(&new.namespace, &resource.qualified(), true),
            (Some(old), None) => self.usage_changed(&old.namespace, &resource.qualified(), false),
            _ => {}
        }
        if let (Some(old), None) = (old, new)
            && !old.namespace.is_empty()
        {
            let key = ObjectKey::cluster(old.namespace.as_str());
            if self.stores.namespaces.get(&key).is_some_and(|namespace| namespace.metadata.is_deleting()) {
                self.queues.namespaces.add(key);
            }
        }
    }

    /// Looks at everything once: what changed before this process led was told to nobody.
    pub fn look_at_everything(&self) {
        let stores = &self.stores;
        self.applied.refresh(stores);
        stores.namespaces.list().iter().for_each(|namespace| self.namespace_changed(namespace));
        stores.nodes.list().iter().for_each(|node| self.node_changed(None, Some(node)));
        stores.services.list().iter().for_each(|service| self.service_changed(None, Some(service)));
        let ranges = stores.service_ranges.list();
        ranges.iter().for_each(|range| self.queues.service_ranges.add(range.metadata.key()));
        stores.endpoints.list().iter().for_each(|endpoints| self.endpoints_changed(endpoints));
        let deployments = stores.deployments.list();
        deployments.iter().for_each(|deployment| self.queues.deployments.add(ObjectKey::of(&deployment.metadata)));
        let replica_sets = stores.replica_sets.list();
        replica_sets.iter().for_each(|replica_set| self.replica_set_changed(None, Some(replica_set)));
        stores.pods.list().iter().for_each(|pod| self.pod_changed(None, Some(pod)));
        stores.quotas.list().iter().for_each(|quota| self.quota_changed(None, Some(quota)));
        self.cluster_roles_changed();
        let requests = stores.certificate_requests.list();
        requests.iter().for_each(|request| self.certificate_request_changed(request));
        stores.each(|store| {
            let resource = store.resource();
            store.visit(&mut |meta| self.any_changed(&resource, None, Some(meta)));
        });
    }
}

/// The state before and after a change.
fn sides<V>(change: &Change<V>) -> (Option<&V>, Option<&V>) {
    match change {
        Change::Applied { old, new } => (old.as_deref(), Some(new)),
        Change::Deleted { old } => (Some(old), None),
        Change::Synced => (None, None),
    }
}

impl Listener for Dispatcher {
    fn pod(&self, change: &Change<PodView>) {
        let (old, new) = sides(change);
        self.with(|context| context.pod_changed(old, new));
    }

    fn node(&self, change: &Change<NodeView>) {
        let (old, new) = sides(change);
        self.with(|context| context.node_changed(old, new));
    }

    fn lease(&self, change: &Change<LeaseView>) {
        if let Some(lease) = change.object() {
            self.with(|context| match lease.applied_revision {
                Some(_) => context.proxies_changed(),
                None => context.queues.nodes.add(lease.metadata.name.to_string()),
            });
        }
    }

    fn service(&self, change: &Change<ServiceView>) {
        let (old, new) = sides(change);
        self.with(|context| context.service_changed(old, new));
        if let (Some(_), Some(new)) = sides(change) {
            self.with(|context| context.usage_changed(&new.metadata.namespace, "services", false));
        }
    }

    fn service_range(&self, change: &Change<ServiceRangeView>) {
        if let Some(range) = change.object() {
            self.with(|context| service_range::shell::changed(context, range.metadata.key()));
        }
    }

    fn slice(&self, change: &Change<EndpointSlice>) {
        if let Some(slice) = change.object() {
            self.with(|context| context.slice_changed(slice));
        }
    }

    fn endpoints(&self, change: &Change<Endpoints>) {
        let Some(endpoints) = change.object() else { return };
        let key = ObjectKey::of(&endpoints.metadata);
        self.with(|context| match context.stores.services.get(&key) {
            Some(_) => context.endpoints_changed(endpoints),
            // What a user makes before its Service, or without one, is the user's. It goes with the Service.
            None => context.queues.mirrors.add(key.clone()),
        });
    }

    fn deployment(&self, change: &Change<Deployment>) {
        if let Some(deployment) = change.object() {
            self.with(|context| context.queues.deployments.add(ObjectKey::of(&deployment.metadata)));
        }
    }

    fn replica_set(&self, change: &Change<ReplicaSet>) {
        let (old, new) = sides(change);
        self.with(|context| context.replica_set_changed(old, new));
    }

    fn namespace(&self, change: &Change<Namespace>) {
        if let (_, Some(namespace)) = sides(change) {
            self.with(|context| context.namespace_changed(namespace));
        }
    }

    fn service_account(&self, change: &Change<MetaView<ServiceAccount>>) {
        if let (Some(old), None) = sides(change) {
            self.with(|context| {
                context.queues.service_accounts.add(ObjectKey::cluster(old.metadata.namespace.as_str()))
            });
        }
    }

    fn config_map(&self, change: &Change<MetaView<ConfigMap>>) {
        if let Some(map) = change.object().filter(|map| &*map.metadata.name == root_ca::NAME) {
            self.with(|context| context.queues.root_ca.add(ObjectKey::cluster(map.metadata.namespace.as_str())));
        }
    }

    fn quota(&self, change: &Change<ResourceQuota>) {
        let (old, new) = sides(change);
        self.with(|context| context.quota_changed(old, new));
    }

    fn cluster_role(&self, _change: &Change<ClusterRole>) {
        self.with(Context::cluster_roles_changed);
    }

    fn certificate_request(&self, change: &Change<CertificateSigningRequest>) {
        if let (_, Some(request)) = sides(change) {
            self.with(|context| context.certificate_request_changed(request));
        }
    }

    fn definition(&self, _change: &Change<DefinitionView>) {
        self.with(|context| context.queues.resources.add(()));
    }

    fn any(&self, resource: &GroupVersionResource, old: Option<&Meta>, new: Option<&Meta>) {
        self.with(|context| context.any_changed(resource, old, new));
    }
}

//! The local copies of the cluster that all controllers share: every kind is watched once.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, ResourceQuota, Secret, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::{Change, Client, Scope, Store, View, reflect, reflect_indexed};

use crate::executor::Written;
use crate::leases::{self, Leases};
use crate::object::resource;
use crate::others::{AnyKind, Others};
use crate::view::{DefinitionView, LeaseView, Meta, MetaView, NodeView, PodView, ServiceRangeView, ServiceView};

/// The index of pods and ReplicaSets by the uid of their controller.
pub const BY_CONTROLLER: &str = "controller";
/// The index of pods by node.
pub const BY_NODE: &str = "node";
/// The index of all kinds by the uids of their owners.
pub const BY_OWNER: &str = "owner";
/// The index of EndpointSlices by their Service.
pub const BY_SERVICE: &str = "service";

/// The index of pods that have ended.
pub const BY_ENDED: &str = "ended";
/// The one value of [`BY_ENDED`].
pub const ENDED: &str = "true";

/// The index of EndpointSlices by the Endpoints that they mirror.
pub const BY_MIRRORED: &str = "mirrored";
/// The index of pods whose end may wait for the proxies.
pub const BY_HANDOVER: &str = "handover";
/// The one value of [`BY_HANDOVER`].
pub const WAITS: &str = "true";

/// How long a store may take to show a write that the server has acknowledged, before the key is tried again.
const SHOW_TIMEOUT: Duration = Duration::from_secs(30);

/// A kind that is held, with its metadata.
pub trait Held: View {
    /// Reads the metadata.
    fn meta(&self) -> std::borrow::Cow<'_, Meta>;
}

macro_rules! held {
    (view $($kind:ty),*) => {$(
        impl Held for $kind {
            fn meta(&self) -> std::borrow::Cow<'_, Meta> {
                std::borrow::Cow::Borrowed(&self.metadata)
            }
        }
    )*};
    (whole $($kind:ty),*) => {$(
        impl Held for $kind {
            fn meta(&self) -> std::borrow::Cow<'_, Meta> {
                std::borrow::Cow::Owned(Meta::from(self.metadata.clone()))
            }
        }
    )*};
}

held!(view PodView, NodeView, LeaseView, ServiceView, ServiceRangeView);
held!(view MetaView<Lease>, MetaView<ConfigMap>, MetaView<Secret>, MetaView<ServiceAccount>, MetaView<AnyKind>, DefinitionView);
held!(whole Deployment, ReplicaSet, EndpointSlice, Endpoints, Namespace, ResourceQuota, ClusterRole, CertificateSigningRequest);

/// All objects of a kind, found by their owners.
fn by_owner<V: Held>(client: &Client, handler: impl FnMut(Change<V>) + Send + 'static) -> Store<V> {
    reflect_indexed(client, Scope::all(), &[(BY_OWNER, owner_uids)], handler)
}

fn owner_uids<V: Held>(object: &V) -> Vec<String> {
    object.meta().owners.iter().map(|owner| owner.uid.clone()).collect()
}

fn ended(pod: &PodView) -> Vec<String> {
    if pod.has_ended() { vec![ENDED.to_owned()] } else { vec![] }
}

fn waits_for_proxies(pod: &PodView) -> Vec<String> {
    if crate::handover::is_waiting(pod) { vec![WAITS.to_owned()] } else { vec![] }
}

fn replica_set_controller(replica_set: &ReplicaSet) -> Vec<String> {
    use reeve_api::meta::MetaExt as _;
    match replica_set.metadata.controller() {
        Some(owner) => vec![owner.uid.clone()],
        None => vec![crate::view::orphans_of(replica_set.metadata.namespace())],
    }
}

fn slice_service(slice: &EndpointSlice) -> Vec<String> {
    crate::endpointslice::service_of(slice).map(|key| key.to_string()).into_iter().collect()
}

fn slice_mirrored(slice: &EndpointSlice) -> Vec<String> {
    crate::endpointslice_mirroring::endpoints_of(slice).map(|key| key.to_string()).into_iter().collect()
}

/// The copies.
pub struct Stores {
    /// Pods.
    pub pods: Store<PodView>,
    /// Nodes.
    pub nodes: Store<NodeView>,
    /// Leases.
    pub leases: Leases,
    /// Services.
    pub services: Store<ServiceView>,
    /// ServiceCIDRs.
    pub service_ranges: Store<ServiceRangeView>,
    /// EndpointSlices.
    pub slices: Store<EndpointSlice>,
    /// Endpoints.
    pub endpoints: Store<Endpoints>,
    /// Deployments.
    pub deployments: Store<Deployment>,
    /// ReplicaSets.
    pub replica_sets: Store<ReplicaSet>,
    /// Namespaces.
    pub namespaces: Store<Namespace>,
    /// Metadata of service accounts.
    pub service_accounts: Store<MetaView<ServiceAccount>>,
    /// Metadata of ConfigMaps.
    pub config_maps: Store<MetaView<ConfigMap>>,
    /// Metadata of Secrets.
    pub secrets: Store<MetaView<Secret>>,
    /// ResourceQuotas.
    pub quotas: Store<ResourceQuota>,
    /// ClusterRoles.
    pub cluster_roles: Store<ClusterRole>,
    /// CertificateSigningRequests.
    pub certificate_requests: Store<CertificateSigningRequest>,
    /// Definitions of custom kinds.
    pub definitions: Store<DefinitionView>,
    /// Metadata of all other kinds, once this process leads.
    pub others: Others,
}

/// What is told of changes, by kind. Set once, after the queues exist; the handlers run only then.
pub trait Listener: Send + Sync + 'static {
    /// A pod changed.
    fn pod(&self, change: &Change<PodView>);
    /// A node changed.
    fn node(&self, change: &Change<NodeView>);
    /// A node's Lease changed.
    fn lease(&self, change: &Change<LeaseView>);
    /// A Service changed.
    fn service(&self, change: &Change<ServiceView>);
    /// A ServiceCIDR changed.
    fn service_range(&self, change: &Change<ServiceRangeView>);
    /// An EndpointSlice changed.
    fn slice(&self, change: &Change<EndpointSlice>);
    /// Endpoints changed.
    fn endpoints(&self, change: &Change<Endpoints>);
    /// A Deployment changed.
    fn deployment(&self, change: &Change<Deployment>);
    /// A ReplicaSet changed.
    fn replica_set(&self, change: &Change<ReplicaSet>);
    /// A namespace changed.
    fn namespace(&self, change: &Change<Namespace>);
    /// A service account changed.
    fn service_account(&self, change: &Change<MetaView<ServiceAccount>>);
    /// A ConfigMap changed.
    fn config_map(&self, change: &Change<MetaView<ConfigMap>>);
    /// A ResourceQuota changed.
    fn quota(&self, change: &Change<ResourceQuota>);
    /// A ClusterRole changed.
    fn cluster_role(&self, change: &Change<ClusterRole>);
    /// A CertificateSigningRequest changed.
    fn certificate_request(&self, change: &Change<CertificateSigningRequest>);
    /// The definition of a custom kind changed.
    fn definition(&self, change: &Change<DefinitionView>);
    /// Any object changed: its kind's resource, its metadata before and after.
    fn any(&self, resource: &GroupVersionResource, old: Option<&Meta>, new: Option<&Meta>);
}

impl Stores {
    /// Follows all kinds. `listener` is told of every change.
    pub fn follow(client: &Client, listener: Arc<dyn Listener>) -> Self {
        fn handler<V: Held>(
            listener: &Arc<dyn Listener>,
            tell: fn(&dyn Listener, &Change<V>),
        ) -> impl FnMut(Change<V>) + Send + use<V> {
            let listener = listener.clone();
            let resource = resource::<V::Kind>();
            move |change| {
                tell(&*listener, &change);
                match &change {
                    Change::Applied { old, new } => {
                        let before = old.as_ref().map(|old| old.meta());
                        listener.any(&resource, before.as_deref(), Some(&new.meta()));
                    }
                    Change::Deleted { old } => listener.any(&resource, Some(&old.meta()), None),
                    Change::Synced => {}
                }
            }
        }
        let l = &listener;
        Self {
            pods: reflect_indexed(
                client,
                Scope::all(),
                &[
                    (BY_CONTROLLER, PodView::index_controller),
                    (BY_NODE, PodView::index_node),
                    (BY_ENDED, ended),
                    (BY_HANDOVER, waits_for_proxies),
                    (BY_OWNER, owner_uids),
                ],
                handler(l, |listener, change| listener.pod(change)),
            ),
            nodes: by_owner(client, handler(l, |listener, change| listener.node(change))),
            leases: Leases {
                nodes: reflect_indexed(
                    client,
                    Scope::all().namespace(leases::NODE_NAMESPACE),
                    &[(BY_OWNER, owner_uids)],
                    handler(l, |listener, change| listener.lease(change)),
                ),
                elsewhere: reflect_indexed(
                    client,
                    Scope::all().fields(leases::ELSEWHERE),
                    &[(BY_OWNER, owner_uids)],
                    handler(l, |_, _| {}),
                ),
            },
            services: by_owner(client, handler(l, |listener, change| listener.service(change))),
            service_ranges: by_owner(client, handler(l, |listener, change| listener.service_range(change))),
            slices: reflect_indexed(
                client,
                Scope::all(),
                &[(BY_SERVICE, slice_service), (BY_MIRRORED, slice_mirrored), (BY_OWNER, owner_uids)],
                handler(l, |listener, change| listener.slice(change)),
            ),
            endpoints: by_owner(client, handler(l, |listener, change| listener.endpoints(change))),
            deployments: by_owner(client, handler(l, |listener, change| listener.deployment(change))),
            replica_sets: reflect_indexed(
                client,
                Scope::all(),
                &[(BY_CONTROLLER, replica_set_controller), (BY_OWNER, owner_uids)],
                handler(l, |listener, change| listener.replica_set(change)),
            ),
            namespaces: reflect(client, Scope::all(), handler(l, |listener, change| listener.namespace(change))),
            service_accounts: by_owner(client, handler(l, |listener, change| listener.service_account(change))),
            config_maps: by_owner(client, handler(l, |listener, change| listener.config_map(change))),
            secrets: by_owner(client, handler(l, |_, _| {})),
            quotas: by_owner(client, handler(l, |listener, change| listener.quota(change))),
            cluster_roles: by_owner(client, handler(l, |listener, change| listener.cluster_role(change))),
            certificate_requests: by_owner(client, handler(l, |listener, change| listener.certificate_request(change))),
            definitions: by_owner(client, handler(l, |listener, change| listener.definition(change))),
            others: Others::default(),
        }
    }

    /// Waits until the first copies are whole.
    pub async fn wait_synced(&self) {
        tokio::join!(
            self.pods.wait_synced(),
            self.nodes.wait_synced(),
            self.leases.wait_synced(),
            self.services.wait_synced(),
            self.service_ranges.wait_synced(),
            self.slices.wait_synced(),
            self.endpoints.wait_synced(),
            self.deployments.wait_synced(),
            self.replica_sets.wait_synced(),
            self.namespaces.wait_synced(),
            self.service_accounts.wait_synced(),
            self.config_maps.wait_synced(),
            self.secrets.wait_synced(),
            self.quotas.wait_synced(),
            self.cluster_roles.wait_synced(),
            self.certificate_requests.wait_synced(),
            self.definitions.wait_synced(),
        );
    }

    /// Those whose kinds are read here.
    fn held(&self) -> [&dyn AnyStore; 17] {
        [
            &self.pods,
            &self.nodes,
            &self.leases,
            &self.services,
            &self.service_ranges,
            &self.slices,
            &self.endpoints,
            &self.deployments,
            &self.replica_sets,
            &self.namespaces,
            &self.service_accounts,
            &self.config_maps,
            &self.secrets,
            &self.quotas,
            &self.cluster_roles,
            &self.certificate_requests,
            &self.definitions,
        ]
    }

    /// Calls `visit` with each store.
    pub fn each(&self, mut visit: impl FnMut(&dyn AnyStore)) {
        self.each_held(&mut visit);
        self.others.all().iter().for_each(|other| visit(other));
    }

    /// Calls `visit` with each store of a kind that is read here.
    pub fn each_held(&self, visit: impl FnMut(&dyn AnyStore)) {
        self.held().into_iter().for_each(visit);
    }

    /// Whether the kind of a resource is read here, in whichever version.
    pub fn is_held(&self, resource: &GroupVersionResource) -> bool {
        self.held().into_iter().any(|store| is_same(&store.resource(), resource))
    }

    /// The store of a resource, in whichever version it holds it.
    pub fn of(&self, resource: &GroupVersionResource) -> Option<Arc<dyn AnyStore>> {
        let held = self.held().into_iter().find(|store| is_same(&store.resource(), resource));
        held.map(AnyStore::shared).or_else(|| self.others.of(resource).map(|other| other.shared()))
    }

    /// Waits until the stores show what was written.
    pub async fn wait(&self, written: &Written) {
        let shown = async {
            for (resource, revision) in &written.revisions {
                if let Some(store) = self.of(resource) {
                    store.wait_revision(*revision).await;
                }
            }
            for (resource, key, uid) in &written.deletions {
                if let Some(store) = self.of(resource) {
                    store.wait_deleted(key, uid).await;
                }
            }
        };
        if tokio::time::timeout(SHOW_TIMEOUT, shown).await.is_err() {
            tracing::warn!(?written, "acknowledged writes are not seen in the watches");
        }
    }
}

fn is_same(one: &GroupVersionResource, other: &GroupVersionResource) -> bool {
    one.resource == other.resource && one.group == other.group
}

/// A store whose kind does not matter.
#[async_trait::async_trait]
pub trait AnyStore: Send + Sync {
    /// The resource that it holds.
    fn resource(&self) -> GroupVersionResource;
    /// The metadata of an object.
    fn meta(&self, key: &ObjectKey) -> Option<Meta>;
    /// How many objects a namespace has.
    fn count(&self, namespace: &str) -> usize;
    /// The metadata of the objects that an owner has.
    fn dependents(&self, owner_uid: &str) -> Vec<Meta>;
    /// Reads the metadata of all objects.
    fn visit(&self, visit: &mut dyn FnMut(&Meta));
    /// Waits until it shows a version.
    async fn wait_revision(&self, revision: i64);
    /// Waits until it shows an object as deleted or marked for deletion.
    async fn wait_deleted(&self, key: &ObjectKey, uid: &str);
    /// The same store, for those who outlive this reference.
    fn shared(&self) -> Arc<dyn AnyStore>;
}

#[async_trait::async_trait]
impl<V: Held> AnyStore for Store<V> {
    fn resource(&self) -> GroupVersionResource {
        resource::<V::Kind>()
    }

    fn meta(&self, key: &ObjectKey) -> Option<Meta> {
        self.get(key).map(|object| object.meta().into_owned())
    }

    fn count(&self, namespace: &str) -> usize {
        self.namespace(namespace).len()
    }

    fn dependents(&self, owner_uid: &str) -> Vec<Meta> {
        if self.is_empty() || self.resource() == resource::<Namespace>() {
            return vec![];
        }
        self.indexed(BY_OWNER, owner_uid).iter().map(|object| object.meta().into_owned()).collect()
    }

    fn visit(&self, visit: &mut dyn FnMut(&Meta)) {
        self.list().iter().for_each(|object| visit(&object.meta()));
    }

    async fn wait_revision(&self, revision: i64) {
        Store::wait_revision(self, revision).await;
    }

    async fn wait_deleted(&self, key: &ObjectKey, uid: &str) {
        loop {
            let seen = self.revision();
            let present = self.get(key).is_some_and(|object| {
                let meta = object.meta();
                &*meta.uid == uid && !meta.is_deleting()
            });
            if !present {
                return;
            }
            Store::wait_revision(self, seen + 1).await;
        }
    }

    fn shared(&self) -> Arc<dyn AnyStore> {
        Arc::new(self.clone())
    }
}

//! The local copies of the cluster, and who is told when they change.

use reeve_client::{Change, Client, Queue, Scope, Store, View as _, reflect, reflect_indexed};

use crate::acknowledge::Acknowledgements;
use crate::node;
use crate::node::view::NodeView;
use crate::serve::health::Health;
use crate::serve::metrics::Metrics;
use crate::services::host_ports::{self, HostPortsView};
use crate::services::ranges::ServiceRangeView;
use crate::services::view::{EndpointSliceView, ServiceView};
use crate::sync::{BY_SERVICE, Requests};

/// Who is told of changes. Cheap to clone.
#[derive(Clone)]
pub struct Told {
    /// The rules.
    pub requests: Requests,
    /// The node's own network.
    pub nodes: Queue<()>,
    /// What was acknowledged before the node appeared.
    pub acknowledgements: Acknowledgements,
    /// The counters.
    pub metrics: Metrics,
    /// The health.
    pub health: Health,
}

/// The copies.
pub struct Copies {
    /// All Services.
    pub services: Store<ServiceView>,
    /// All ServiceCIDRs.
    pub ranges: Store<ServiceRangeView>,
    /// All EndpointSlices, by Service.
    pub slices: Store<EndpointSliceView>,
    /// All Nodes.
    pub nodes: Store<NodeView>,
    /// This node's pods, where their host ports are this program's business.
    pub pods: Option<Store<HostPortsView>>,
}

impl Copies {
    /// Follows the cluster. Must be called inside a tokio runtime.
    pub fn follow(client: &Client, own: &str, has_pod_network: bool, told: &Told) -> Copies {
        let services = {
            let told = told.clone();
            reflect::<ServiceView>(client, Scope::all(), move |change| {
                if let Some(service) = change.object() {
                    told.metrics.service_changed();
                    told.requests.service(service.key(), "service");
                }
            })
        };
        let ranges = {
            let requests = told.requests.clone();
            reflect::<ServiceRangeView>(client, Scope::all(), move |change| {
                if change.object().is_some() {
                    requests.service_ranges();
                }
            })
        };
        let slices = {
            let told = told.clone();
            let by_service =
                [(BY_SERVICE, EndpointSliceView::index_by_service as fn(&EndpointSliceView) -> Vec<String>)];
            reflect_indexed::<EndpointSliceView>(client, Scope::all(), &by_service, move |change| {
                if let Some(slice) = change.object() {
                    told.metrics.endpoints_changed();
                    told.requests.slice(slice);
                }
            })
        };
        let nodes = {
            let (told, own) = (told.clone(), own.to_owned());
            reflect::<NodeView>(client, Scope::all(), move |change| {
                node::tell(&change, &own, &told.requests, &told.health);
                if let Change::Applied { old: None, new } = &change
                    && new.metadata.name == own
                {
                    told.acknowledgements.again();
                }
                told.nodes.add(());
            })
        };
        // Only where the pod network is ours: others bring their own way for host ports.
        let pods = has_pod_network.then(|| {
            let requests = told.requests.clone();
            reflect::<HostPortsView>(client, Scope::all().fields(&format!("spec.nodeName={own}")), move |change| {
                let had = matches!(&change, Change::Applied { old: Some(old), .. } if old.is_used());
                if let Some(pod) = change.object().filter(|pod| had || pod.is_used()) {
                    requests.service(host_ports::owner(&pod.key()), "host port");
                }
            })
        });
        Copies { services, ranges, slices, nodes, pods }
    }
}

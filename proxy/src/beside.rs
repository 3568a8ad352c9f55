//! What follows from Services beside the rules: health check ports, announced addresses, what users are told.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_client::{EventRecorder, EventType};

use crate::node::announce::Announcements;
use crate::node::sysctl;
use crate::node::view::NodeView;
use crate::serve::health::Health;
use crate::serve::metrics::Metrics;
use crate::serve::node_ports::{Check, NodePorts};
use crate::services::frontend::{Place, local_endpoints, refused_addresses};
use crate::services::view::{EndpointSliceView, ServiceView};

/// What follows beside the rules.
pub struct Beside {
    health: Health,
    metrics: Metrics,
    checks: NodePorts,
    announcements: Announcements,
    events: EventRecorder,
    told: Mutex<BTreeSet<(ObjectKey, Ipv4Addr)>>,
    routes_loopback: AtomicBool,
}

impl Beside {
    /// Nothing so far.
    pub fn new(health: Health, metrics: Metrics, announcements: Announcements, events: EventRecorder) -> Beside {
        let checks = NodePorts::new(health.clone());
        let (told, routes_loopback) = (Mutex::default(), AtomicBool::default());
        Beside { health, metrics, checks, announcements, events, told, routes_loopback }
    }

    /// The kernel has all changes.
    pub fn synced(&self, took: Duration) {
        let now = Timestamp::now();
        self.health.updated(now);
        self.metrics.synced(took, now);
    }

    /// The kernel did not take a change, which is tried again.
    pub fn failed(&self) {
        self.health.queued(Timestamp::now());
        self.metrics.failed();
    }

    /// All Services were looked at.
    pub fn whole(&self) {
        self.announcements.whole();
    }

    /// A pod has host ports: they answer on loopback too.
    pub fn host_ports(&self) {
        if !self.routes_loopback.swap(true, Ordering::AcqRel)
            && let Err(error) = sysctl::route_loopback()
        {
            tracing::warn!("{error}");
        }
    }

    /// A Service changed, or is gone.
    pub async fn service(
        &self,
        key: &ObjectKey,
        service: Option<&ServiceView>,
        slices: &[Arc<EndpointSliceView>],
        place: Place<'_>,
        own: Option<&NodeView>,
    ) {
        let balancer = service.filter(|service| service.spec.type_ == "LoadBalancer");
        let announced = balancer.filter(|service| service.metadata.announced_by() == Some(place.node));
        let addresses = announced.map(|service| service.status.load_balancer_addresses().collect());
        self.announcements.set(key, addresses.unwrap_or_default());
        let checked = balancer.filter(|service| {
            service.spec.external_traffic_policy == "Local" && service.spec.health_check_node_port != 0
        });
        let check = checked.map(|service| Check {
            port: service.spec.health_check_node_port,
            endpoints: local_endpoints(slices.iter().map(|slice| &**slice), place.node),
        });
        if let Err(error) = self.checks.set(key, check).await {
            tracing::warn!(service = %key, %error, "health checks of load balancers are not answered");
            let message = format!("node {} failed to start healthcheck: {error}", place.node);
            self.tell(key, service, "FailedToStartServiceHealthcheck", message);
        }
        let Some(service) = service else {
            self.told.lock().retain(|(told, _)| told != key);
            return;
        };
        for address in refused_addresses(service, place.nodes) {
            // One proxy tells: the one whose node it is.
            let is_own = own.is_some_and(|own| own.addresses().any(|own| own == address));
            if is_own && self.told.lock().insert((key.clone(), address)) {
                let message = format!(
                    "external IP {address} is an address of node {}, whose own servers it would cut off; it is not forwarded. Use a NodePort, or an address that no node has",
                    place.node
                );
                tracing::warn!(service = %key, "{message}");
                self.tell(key, Some(service), "ExternalIPRefused", message);
            }
        }
    }

    fn tell(&self, key: &ObjectKey, service: Option<&ServiceView>, reason: &str, message: String) {
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: service.map(|service| service.metadata.uid.to_string()),
            ..ObjectReference::default()
        };
        self.events.event(&regarding, EventType::Warning, reason, message);
    }
}

//! What every cluster has from its first second: four namespaces, the Service that leads to this server, the roles
//! and bindings of its parts, the two highest priorities, the levels of requests, and what versions are served.

mod authentication;
mod flow_control;
mod policy;
mod registrations;

use std::net::IpAddr;

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, Namespace, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec, ServiceCIDRStatus};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::{GroupVersionResource, Reason, StatusError};
use serde::Serialize;

use crate::allocation::ServiceRange;
use crate::handlers::{DEFAULT_RANGE, Handlers, WriteOptions};
use crate::registry::kinds::priority_class::{SYSTEM_CLASSES, SystemClass};
use crate::request::{Target, User};

pub use authentication::Trust;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The server itself.
fn server() -> User {
    User {
        name: "system:apiserver".to_owned(),
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        ..User::default()
    }
}

/// Makes what is missing; leaves alone what is there.
pub async fn run(
    handlers: &Handlers,
    range: ServiceRange,
    address: IpAddr,
    port: u16,
    trust: &Trust,
) -> Result<(), StatusError> {
    for name in NAMESPACES {
        let namespace = Namespace { metadata: named(name, None), ..Namespace::default() };
        create(handlers, "", &namespace).await?;
    }
    create(handlers, "default", &service(range, port)).await?;
    policy::reconcile(handlers).await?;
    for class in SYSTEM_CLASSES {
        create(handlers, "", &priority_class(class)).await?;
    }
    flow_control::reconcile(handlers).await?;
    registrations::reconcile(handlers).await?;
    authentication::publish(handlers, trust).await?;
    publish_range(handlers, range).await?;
    publish_address(handlers, address, port).await
}

fn named(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: namespace.map(str::to_owned), ..ObjectMeta::default() }
}

fn priority_class(class: SystemClass) -> PriorityClass {
    PriorityClass {
        metadata: named(class.name, None),
        value: Some(class.value),
        description: Some(class.description.to_owned()),
        ..PriorityClass::default()
    }
}

/// The range of Services as an object, which is ready from the start.
async fn publish_range(handlers: &Handlers, range: ServiceRange) -> Result<(), StatusError> {
    let mut object = ServiceCIDR {
        metadata: named(DEFAULT_RANGE, None),
        spec: Some(ServiceCIDRSpec { cidrs: Some(vec![range.to_string()]) }),
        status: None,
    };
    if !create(handlers, "", &object).await? {
        let present = handlers.cached(&target::<ServiceCIDR>("", DEFAULT_RANGE));
        let present: Option<ServiceCIDR> = present.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(present) =
            present.and_then(|present| present.spec).filter(|present| Some(present) != object.spec.as_ref())
        {
            let ranges = present.cidrs.unwrap_or_default();
            tracing::warn!(?ranges, flag = %range, "the default ServiceCIDR does not match --service-cluster-ip-range; it counts");
        }
        return Ok(());
    }
    object.status = Some(ServiceCIDRStatus {
        conditions: Some(vec![Condition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            message: "Kubernetes default Service CIDR is ready".to_owned(),
            last_transition_time: Time(handlers.now()),
            observed_generation: None,
            reason: String::new(),
        }]),
    });
    let target = Target { subresource: "status".to_owned(), ..target::<ServiceCIDR>("", DEFAULT_RANGE) };
    let body = serde_json::to_vec(&object).map_err(StatusError::internal)?;
    handlers.update(&server(), &target, body.into(), &WriteOptions::default()).await.map(drop)
}

fn service(range: ServiceRange, port: u16) -> Service {
    let mut metadata = named("kubernetes", Some("default"));
    metadata.labels = Some(
        [("component".to_owned(), "apiserver".to_owned()), ("provider".to_owned(), "kubernetes".to_owned())].into(),
    );
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some(range.first().to_string()),
            ports: Some(vec![ServicePort {
                name: Some("https".to_owned()),
                port: 443,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::Int(i32::from(port))),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn slice(address: IpAddr, port: u16) -> EndpointSlice {
    let mut metadata = named("kubernetes", Some("default"));
    metadata.labels = Some([("kubernetes.io/service-name".to_owned(), "kubernetes".to_owned())].into());
    EndpointSlice {
        metadata,
        address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }]),
        ports: Some(vec![EndpointPort {
            name: Some("https".to_owned()),
            port: Some(i32::from(port)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

/// The same in the older form. The label keeps the controller from making a second slice of it.
fn endpoints(address: IpAddr, port: u16) -> Endpoints {
    let mut metadata = named("kubernetes", Some("default"));
    metadata.labels = Some([("endpointslice.kubernetes.io/skip-mirror".to_owned(), "true".to_owned())].into());
    Endpoints {
        metadata,
        subsets: Some(vec![EndpointSubset {
            addresses: Some(vec![EndpointAddress { ip: address.to_string(), ..EndpointAddress::default() }]),
            ports: Some(vec![OldPort {
                name: Some("https".to_owned()),
                port: i32::from(port),
                protocol: Some("TCP".to_owned()),
                app_protocol: None,
            }]),
            not_ready_addresses: None,
        }]),
    }
}

/// Slice and endpoints name the address where this server is now.
async fn publish_address(handlers: &Handlers, address: IpAddr, port: u16) -> Result<(), StatusError> {
    put(handlers, &slice(address, port)).await?;
    // Endpoints may not be loopback addresses; a server that has no other is nobody else's endpoint.
    if address.is_loopback() { Ok(()) } else { put(handlers, &endpoints(address, port)).await }
}

/// Makes an object `default/kubernetes` or puts it in the place of what is there.
async fn put<K: Resource + Serialize>(handlers: &Handlers, wanted: &K) -> Result<(), StatusError> {
    create(handlers, "default", wanted).await?;
    let target = target::<K>("default", "kubernetes");
    let body = serde_json::to_vec(wanted).map_err(StatusError::internal)?;
    handlers.update(&server(), &target, body.into(), &WriteOptions::default()).await.map(drop)
}

/// Makes an object; false when it is there already.
async fn create<K: Resource + Serialize>(
    handlers: &Handlers,
    namespace: &str,
    object: &K,
) -> Result<bool, StatusError> {
    let body = serde_json::to_vec(object).map_err(StatusError::internal)?;
    let target = target::<K>(namespace, "");
    match handlers.create(&server(), &target, body.into(), &WriteOptions::default()).await {
        Ok(_) => Ok(true),
        Err(error) if error.reason == Reason::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn target<K: Resource>(namespace: &str, name: &str) -> Target {
    Target {
        resource: GroupVersionResource::of::<K>(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: String::new(),
    }
}

//! The ranges that Services take their addresses from, and the addresses as objects: IPAddresses that come and go with
//! their Services.
//!
//! A Service's IPAddress is written and deleted with it. One that is missing although its Service is there (a user
//! deleted it, or an earlier version of this program made the Service), or that has lost its labels, is made again:
//! [`Handlers::follow_addresses`].

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{IPAddress, IPAddressSpec, ParentReference, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use reeve_api::{GroupVersionResource, ObjectMeta, StatusError};
use serde::Deserialize;
use uuid::Uuid;

use super::definitions::server;
use super::{Handlers, WriteOptions};
use crate::allocation::{ADDRESSES_PREFIX, CLAIMED_ADDRESSES, ServiceRange, address_key, object_key};
use crate::registry::encode::canonical;
use crate::request::Target;
use crate::storage::cache::{Entry, EventKind, Selector, WatchFrom, WatchQuery};
use crate::storage::{Claim, Outcome, StoreError, Stored, Write};

/// Where ServiceCIDRs are kept.
const RANGES_PREFIX: &str = "/registry/servicecidrs/";

/// Where Services are kept.
const SERVICES_PREFIX: &str = "/registry/services/specs/";

/// The ServiceCIDR of `--service-cluster-ip-range`.
pub const DEFAULT_RANGE: &str = "kubernetes";

/// The labels of Services' IPAddresses: of which version it is, and who makes it.
const LABELS: [(&str, &str); 2] =
    [("ipaddress.kubernetes.io/ip-family", "IPv4"), ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io")];

/// Who makes them again, as events say.
const REPAIRER: &str = "ipallocator-repair-controller";

/// The IPAddress of a Service's address, as it is stored.
pub(super) fn ip_address(address: Ipv4Addr, service: &ObjectMeta, now: Timestamp) -> Result<Bytes, StatusError> {
    let object = IPAddress {
        metadata: ObjectMeta {
            name: Some(address.to_string()),
            uid: Some(Uuid::new_v4().to_string()),
            creation_timestamp: Some(Time(now)),
            labels: Some(LABELS.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: None,
                resource: "services".to_owned(),
                namespace: service.namespace.clone(),
                name: service.name.clone().unwrap_or_default(),
            },
        },
    };
    canonical(&object).map(Bytes::from).map_err(StatusError::internal)
}

/// The ranges of ServiceCIDRs that Services may take addresses from, the oldest first. One counts unless it is being
/// deleted or said not to be ready: without a controller manager nobody says that it is. `default` counts as long as
/// its object is not there.
fn open_ranges(mut all: Vec<ServiceCIDR>, default: ServiceRange) -> Vec<ServiceRange> {
    all.sort_by_key(|one| (one.metadata.creation_timestamp.as_ref().map(|time| time.0), one.metadata.name.clone()));
    let is_default = |one: &ServiceCIDR| one.metadata.name.as_deref() == Some(DEFAULT_RANGE);
    let mut ranges = if all.iter().any(is_default) { vec![] } else { vec![default] };
    let is_open = |one: &&ServiceCIDR| {
        let conditions = one.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let is_ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        one.metadata.deletion_timestamp.is_none() && is_ready.is_none_or(|ready| ready.status == "True")
    };
    let texts = all.iter().filter(is_open).flat_map(|one| one.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()));
    ranges.extend(texts.filter_map(|text| ServiceRange::of(text)));
    ranges
}

/// A claim as far as it is read.
#[derive(Deserialize)]
struct Held {
    holder: String,
}

/// The key of the Service that holds the claim of an address, with its namespace and name.
fn holder(claim: &Entry) -> Option<(String, String)> {
    let held: Held = serde_json::from_slice(claim.object()).ok()?;
    let (namespace, name) = held.holder.strip_prefix(SERVICES_PREFIX)?.split_once('/')?;
    Some((namespace.to_owned(), name.to_owned()))
}

fn is_labelled(address: &Entry) -> bool {
    LABELS.iter().all(|(key, value)| address.label(key) == Some(*value))
}

/// Whether an IPAddress is that of a Service.
fn is_of(address: &Entry, (namespace, name): (&str, &str)) -> bool {
    let field = |name: &str| address.field(&format!("spec.parentRef.{name}")).to_owned();
    is_labelled(address)
        && field("group").is_empty()
        && field("resource") == "services"
        && field("namespace") == namespace
        && field("name") == name
}

impl Handlers {
    /// The ranges that Services may take addresses from, in the order in which they are tried.
    pub(super) fn service_ranges(&self) -> Vec<ServiceRange> {
        let all = self.stored(RANGES_PREFIX).snapshot().entries().filter_map(|entry| {
            let read = serde_json::from_slice(entry.object());
            read.inspect_err(|error| tracing::error!(name = entry.name(), %error, "a ServiceCIDR cannot be read")).ok()
        });
        open_ranges(all.collect(), self.options.service_range)
    }

    /// Makes the IPAddresses that are missing, now and whenever one is deleted or changed, until the watch of them ends.
    ///
    /// # Errors
    /// Why it ended; to be taken up again.
    pub async fn follow_addresses(&self) -> Result<Infallible, StatusError> {
        let query = WatchQuery {
            selector: Selector::default(),
            from: WatchFrom::Now,
            initial_events: Some(false),
            bookmarks: false,
        };
        let mut changes = self.stored(ADDRESSES_PREFIX).watch(query).await?;
        self.repair_all().await?;
        loop {
            let Some(batch) = changes.next().await else {
                return Err(StatusError::unavailable("the watch of IPAddresses ended", 1));
            };
            for event in batch? {
                let Some(entry) = event.entry() else { continue };
                let is_deleted = event.kind() == EventKind::Deleted;
                if (is_deleted || !is_labelled(entry))
                    && let Ok(address) = entry.name().parse()
                    && let Some(service) = self.repair(address).await?
                    && is_deleted
                {
                    self.tell_repaired(address, &service).await?;
                }
            }
        }
    }

    /// Looks at all claims of addresses: earlier versions of this program wrote them alone.
    async fn repair_all(&self) -> Result<(), StatusError> {
        let claims = self.claims.snapshot();
        let objects = self.stored(ADDRESSES_PREFIX);
        let mut made = 0;
        for claim in claims.entries().filter(|claim| claim.namespace() == CLAIMED_ADDRESSES) {
            let Some((namespace, name)) = holder(&claim) else { continue };
            let is_there = objects.snapshot().get("", claim.name()).is_some_and(|one| is_of(&one, (&namespace, &name)));
            if let (false, Ok(address)) = (is_there, claim.name().parse()) {
                made += usize::from(self.repair(address).await?.is_some());
            }
        }
        if made > 0 {
            tracing::info!(made, "made the IPAddresses of Services that had none");
        }
        Ok(())
    }

    /// Makes the IPAddress of a claimed address, unless it is there or the Service has gone meanwhile. Returns the
    /// Service when it was made. Both transactions are for the Service as it is, so that none is made for one that
    /// goes.
    async fn repair(&self, address: Ipv4Addr) -> Result<Option<Service>, StatusError> {
        let key = address_key(address);
        let claim = self.claims.snapshot().get("", &key[crate::allocation::CLAIMS_PREFIX.len()..]);
        let Some((namespace, name)) = claim.as_deref().and_then(holder) else { return Ok(None) };
        let present = self.stored(ADDRESSES_PREFIX).snapshot().get("", &address.to_string());
        // Not as it should be: the Service that holds the claim has the address.
        let wrong = present.filter(|present| !is_of(present, (&namespace, &name))).is_some();
        if wrong {
            self.beside(address, (&namespace, &name), |_| Ok(Write::keep().releasing([object_key(address)]))).await?;
        }
        let now = self.now();
        let make = |service: &Service| {
            let claim = Claim::new(object_key(address), ip_address(address, &service.metadata, now)?);
            Ok(Write::keep().claiming([claim]))
        };
        self.beside(address, (&namespace, &name), make).await
    }

    /// Writes beside a Service that has an address. Returns it when that was written.
    async fn beside(
        &self,
        address: Ipv4Addr,
        (namespace, name): (&str, &str),
        mut write: impl FnMut(&Service) -> Result<Write, StatusError> + Send,
    ) -> Result<Option<Service>, StatusError> {
        let text = address.to_string();
        let hint = self.stored(SERVICES_PREFIX).hint(namespace, name);
        let mut holder = None;
        let result = {
            let holder = &mut holder;
            let mut decide = |present: Option<&Stored>| {
                *holder = None;
                let Some(present) = present else { return Ok(Write::keep()) };
                let service: Service = serde_json::from_slice(&present.value).map_err(StatusError::internal)?;
                let addresses = service.spec.iter().flat_map(|spec| spec.cluster_ips.iter().flatten());
                if !addresses.into_iter().any(|one| *one == text) {
                    return Ok(Write::keep());
                }
                let write = write(&service)?;
                *holder = Some(service);
                Ok(write)
            };
            self.store.update(&format!("{SERVICES_PREFIX}{namespace}/{name}"), hint, &mut decide).await
        };
        match result {
            Ok(Outcome::Kept(_)) => Ok(holder),
            Ok(other) => Err(StatusError::internal(format_args!("a Service that was to be kept ended as {other:?}"))),
            // Somebody was quicker.
            Err(StoreError::Claimed(_)) => Ok(None),
            Err(error) => Err(super::store_error(error)),
        }
    }

    /// The event of upstream's repair.
    async fn tell_repaired(&self, address: Ipv4Addr, service: &Service) -> Result<(), StatusError> {
        let now = self.now();
        let (meta, namespace) = (&service.metadata, service.metadata.namespace.clone().unwrap_or_default());
        let note = format!("Cluster IP [IPv4]: {address} is not allocated; repairing");
        tracing::warn!(namespace, service = meta.name, %address, "the IPAddress of a Service was deleted; made again");
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", meta.name.as_deref().unwrap_or_default(), now.as_nanosecond())),
                namespace: meta.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(REPAIRER.to_owned()),
            reporting_instance: Some(REPAIRER.to_owned()),
            action: Some("ClusterIPAllocation".to_owned()),
            reason: Some("ClusterIPNotAllocated".to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Service".to_owned()),
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
                ..ObjectReference::default()
            }),
            note: Some(note),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        };
        let resource = GroupVersionResource::of::<Event>();
        let target = Target { resource, namespace, name: String::new(), subresource: String::new() };
        let body = serde_json::to_vec(&event).map_err(StatusError::internal)?;
        let told = self.create(&server(), &target, body.into(), &WriteOptions::default()).await;
        if let Err(error) = told {
            // The namespace may be going.
            tracing::debug!(%error, "the event was not taken");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn range(name: &str, cidr: &str, created: u8, more: Value) -> ServiceCIDR {
        let created = format!("2026-01-01T00:00:0{created}Z");
        let mut object = json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": {"cidrs": [cidr]}});
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        serde_json::from_value(object).unwrap()
    }

    fn ready(status: &str) -> Value {
        let time = "2026-01-01T00:00:00Z";
        let ready = json!({"type": "Ready", "status": status, "reason": "", "message": "", "lastTransitionTime": time});
        json!({"status": {"conditions": [ready]}})
    }

    fn open(all: Vec<ServiceCIDR>) -> Vec<String> {
        open_ranges(all, "10.96.0.0/16".parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_come_from_the_oldest_range_that_is_ready() {
        assert_eq!(open(vec![]), ["10.96.0.0/16"], "the flag's range counts before its object is there");
        let default = || range("kubernetes", "10.96.0.0/16", 1, ready("True"));
        let all = vec![range("a", "10.98.0.0/24", 2, ready("True")), default(), range("b", "fd00::/112", 3, json!({}))];
        assert_eq!(open(all), ["10.96.0.0/16", "10.98.0.0/24"]);
        let unsaid = range("a", "10.98.0.0/24", 2, json!({}));
        assert_eq!(open(vec![default(), unsaid]), ["10.96.0.0/16", "10.98.0.0/24"], "nobody says that it is not");
        let unready = range("a", "10.98.0.0/24", 2, ready("False"));
        assert_eq!(open(vec![default(), unready]), ["10.96.0.0/16"]);
        let mut going = range("a", "10.98.0.0/24", 2, ready("True"));
        going.metadata.deletion_timestamp.clone_from(&going.metadata.creation_timestamp);
        assert_eq!(open(vec![default(), going]), ["10.96.0.0/16"]);
    }
}

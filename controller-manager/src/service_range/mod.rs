//! ServiceCIDRs: ready when they are made, and held while addresses of Services would be left without a range.
//!
//! Rules from upstream's `pkg/controller/servicecidrs`. Watches ServiceCIDRs and, once one is being deleted, looks at the
//! metadata of IPAddresses, which is held for garbage collection; writes the condition `Ready` and one finalizer. A
//! ServiceCIDR is new (without the finalizer), ready, terminating (held by addresses that no other range has), or done
//! (its finalizer goes, [`GRACE`] after its deletion was asked for).

pub mod shell;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::action::Action;
use crate::object::resource;
use crate::view::{Meta, ServiceRangeView};

/// What holds a ServiceCIDR until none of its addresses is needed.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// How long after the deletion was asked for the API servers may still give addresses of the range, because they have
/// not heard of it.
const GRACE: Duration = Duration::from_secs(10);

const READY: &str = "Kubernetes Service CIDR is ready";

const HELD: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// The address of an IPAddress that the API server made for a Service.
pub fn address_of(meta: &Meta) -> Option<IpAddr> {
    let manager = meta.labels.get("ipaddress.kubernetes.io/managed-by")?;
    meta.name.parse().ok().filter(|_| manager == "ipallocator.k8s.io")
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u128,
    /// The number of bits of the version's addresses: 32 or 128.
    width: u8,
    prefix: u8,
}

impl Range {
    /// Texts that are no ranges, which the API server does not let in, are none.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address = address.parse().ok()?;
        let (bits, width) = bits(address);
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= width)?;
        Some(Self { first: bits & mask(width, prefix), width, prefix })
    }

    fn contains(self, other: Self) -> bool {
        self.width == other.width
            && self.prefix <= other.prefix
            && other.first & mask(self.width, self.prefix) == self.first
    }

    fn has(self, address: IpAddr) -> bool {
        let (first, width) = bits(address);
        self.contains(Self { first, width, prefix: width })
    }
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

fn mask(width: u8, prefix: u8) -> u128 {
    let ones = u128::MAX.checked_shl(u32::from(width - prefix)).unwrap_or(0);
    if width == 32 { ones & u128::from(u32::MAX) } else { ones }
}

fn ranges(range: &ServiceRangeView) -> impl Iterator<Item = Range> {
    range.spec.cidrs.iter().filter_map(|text| Range::parse(text))
}

/// Whether another ServiceCIDR's range stays when the one with `own` goes. Of several that are being deleted, the
/// larger one stays for the smaller, and of equal ones that with the first name, so that one of them is held.
fn stays(other: &ServiceRangeView, its: Range, range: &ServiceRangeView, own: Range) -> bool {
    let before = (its.prefix, &other.metadata.name) < (own.prefix, &range.metadata.name);
    other.metadata.name != range.metadata.name && (!other.metadata.is_deleting() || before)
}

/// Decides one turn. `addresses` are those of Services; they are read only for a range that is being deleted and that
/// no other contains.
pub fn reconcile<A: IntoIterator<Item = IpAddr>>(
    range: &ServiceRangeView,
    all: &[Arc<ServiceRangeView>],
    addresses: impl FnOnce() -> A,
    now: Timestamp,
) -> Vec<Action> {
    let meta = &range.metadata;
    let is_ours = meta.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let Some(deleted) = meta.deleted else {
        let mut actions = Vec::new();
        if !is_ours {
            actions.push(finalizers(meta, meta.finalizers.iter().map(String::as_str).chain([FINALIZER])));
        }
        if range.ready().is_none_or(|ready| ready.status != "True") {
            actions.push(condition(meta, json!({"status": "True", "reason": "", "message": READY}), now));
        }
        return actions;
    };
    if !is_ours {
        return vec![];
    }
    if is_needed(range, all, addresses) {
        let is_told = range.ready().is_some_and(|ready| ready.status == "False" && ready.reason == "Terminating");
        let fields = json!({"status": "False", "reason": "Terminating", "message": HELD});
        return if is_told { vec![] } else { vec![condition(meta, fields, now)] };
    }
    let since = Duration::try_from(now.duration_since(deleted)).unwrap_or_default();
    match GRACE.checked_sub(since).filter(|rest| !rest.is_zero()) {
        Some(rest) => vec![Action::Again(rest)],
        None => {
            let others = meta.finalizers.iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER);
            vec![finalizers(meta, others)]
        }
    }
}

/// Whether an address would be in no range any more.
fn is_needed<A: IntoIterator<Item = IpAddr>>(
    range: &ServiceRangeView,
    all: &[Arc<ServiceRangeView>],
    addresses: impl FnOnce() -> A,
) -> bool {
    let stay = |own: Range| {
        let others = all.iter().flat_map(|other| ranges(other).map(move |its| (other, its)));
        others.filter(move |(other, its)| stays(other, *its, range, own)).map(|(_, its)| its)
    };
    let alone: Vec<Range> = ranges(range).filter(|own| !stay(*own).any(|its| its.contains(*own))).collect();
    if alone.is_empty() {
        return false;
    }
    let is_orphan = |address| alone.iter().any(|own| own.has(address) && !stay(*own).any(|its| its.has(address)));
    addresses().into_iter().any(is_orphan)
}

fn finalizers<'a>(meta: &Meta, finalizers: impl Iterator<Item = &'a str>) -> Action {
    Action::Patch {
        resource: resource::<ServiceCIDR>(),
        key: meta.key(),
        subresource: "",
        patch: json!({"metadata": {
            "uid": &*meta.uid,
            "resourceVersion": meta.revision.to_string(),
            "finalizers": finalizers.collect::<Vec<_>>(),
        }}),
    }
}

fn condition(meta: &Meta, mut fields: Value, now: Timestamp) -> Action {
    fields["lastTransitionTime"] = json!(Time(now));
    let (resource, uid) = (resource::<ServiceCIDR>(), meta.uid.to_string());
    Action::SetCondition { resource, key: meta.key(), uid, type_: "Ready", fields }
}

#[cfg(test)]
mod tests;

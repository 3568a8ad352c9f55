//! The addresses and ports of Services, as claims that are written in the same transaction. An address is claimed by
//! two keys: see [`crate::allocation`].

use std::collections::HashSet;
use std::net::Ipv4Addr;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use reeve_api::StatusError;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::service_addresses::ip_address;
use super::{Handlers, check};
use crate::allocation::{ADDRESSES_PREFIX, CLAIMS_PREFIX, address_key, object_key, port_key};
use crate::registry::kinds::service::{Services, needs_health_check};
use crate::registry::{AnyObject, Object, Row};
use crate::storage::Claim;

/// Claims that were lost to another writer in this request, not to be tried again.
#[derive(Debug, Default)]
pub(super) struct Lost(HashSet<String>);

/// What a write must claim and release.
#[derive(Debug, Default)]
pub(super) struct Claims {
    wanted: Vec<Wanted>,
    releases: Vec<String>,
}

#[derive(Debug)]
struct Wanted {
    key: String,
    /// What is put there, where it is more than the name of the holder.
    object: Option<Bytes>,
    /// Chosen by us, so that another may be chosen.
    chosen: bool,
    /// The error when it is taken.
    refusal: ErrorList,
}

impl Claims {
    /// The claims for the store, held by the object at `holder`.
    pub(super) fn claims(&self, holder: &str) -> Vec<Claim> {
        self.wanted
            .iter()
            .map(|wanted| {
                let value = wanted.object.clone().unwrap_or_else(|| {
                    let value = serde_json::json!({"kind": "Claim", "metadata": {}, "holder": holder});
                    value.to_string().into_bytes().into()
                });
                Claim::new(wanted.key.clone(), value)
            })
            .collect()
    }

    /// The keys to release.
    pub(super) fn releases(&self) -> Vec<String> {
        self.releases.clone()
    }

    /// Books a lost claim: one that we chose is chosen anew, one that the user chose is the user's error.
    pub(super) fn lost(&self, key: &str, lost: &mut Lost, row: &Row, name: &str) -> Result<(), StatusError> {
        match self.wanted.iter().find(|wanted| wanted.key == key) {
            Some(wanted) if !wanted.chosen => check(row, name, wanted.refusal.clone()),
            _ => {
                lost.0.insert(key.to_owned());
                Ok(())
            }
        }
    }
}

/// The claims that a stored object holds.
pub(super) fn held(object: &dyn AnyObject) -> Vec<String> {
    service(object).map(|service| held_by(service).into_iter().collect()).unwrap_or_default()
}

fn service(object: &dyn AnyObject) -> Option<&Service> {
    object.as_any().downcast_ref::<Object<Services>>().map(|object| &object.value)
}

fn held_by(service: &Service) -> HashSet<String> {
    let Some(spec) = &service.spec else { return HashSet::new() };
    let check = spec.health_check_node_port.and_then(|number| u16::try_from(number).ok()).filter(|&number| number > 0);
    let check = check.map(|number| port_key(HEALTH_CHECK_PROTOCOL, number));
    let addresses = spec.cluster_ips.iter().flatten().filter_map(|address| address.parse().ok());
    let addresses = addresses.flat_map(|address| [address_key(address), object_key(address)]);
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.node_port?).ok().filter(|&number| number > 0)?;
        Some(port_key(protocol(port), number))
    });
    addresses.chain(ports).chain(check).collect()
}

/// Load balancers ask for a node's health over HTTP.
const HEALTH_CHECK_PROTOCOL: &str = "TCP";

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// Whether objects of this kind claim anything.
pub(super) fn claims(object: &dyn AnyObject) -> bool {
    service(object).is_some()
}

impl Handlers {
    /// Fills in the addresses and ports of a Service and says what that claims. Objects of other kinds claim
    /// nothing.
    pub(super) fn plan_claims(
        &self,
        object: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
        lost: &Lost,
    ) -> Result<Claims, StatusError> {
        let Some(object) = object.as_any_mut().downcast_mut::<Object<Services>>() else {
            return Ok(Claims::default());
        };
        let old = old.and_then(service);
        let before = old.map(held_by).unwrap_or_default();
        let name = object.value.metadata.name.clone().unwrap_or_default();
        let mut wanted = Vec::new();
        let mut errors = ErrorList::new();
        self.plan_address(&mut object.value, old, &before, lost, &mut wanted, &mut errors)?;
        self.plan_ports(&mut object.value, old, &before, lost, &mut wanted, &mut errors);
        self.plan_health_check(&mut object.value, &before, lost, &mut wanted, &mut errors);
        if !errors.is_empty() {
            return Err(StatusError::invalid("", "Service", &name, errors.into_causes()));
        }
        let after = held_by(&object.value);
        let releases = before.difference(&after).cloned().collect();
        Ok(Claims { wanted, releases })
    }

    fn plan_address(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        before: &HashSet<String>,
        lost: &Lost,
        wanted: &mut Vec<Wanted>,
        errors: &mut ErrorList,
    ) -> Result<(), StatusError> {
        let Some(spec) = &mut service.spec else { return Ok(()) };
        if spec.type_.as_deref() == Some("ExternalName") {
            return Ok(());
        }
        let mut address = spec.cluster_ip.clone().filter(|address| !address.is_empty());
        if address.is_none() {
            // A client that sends what it once applied does not mean to change the address.
            address = old
                .and_then(|old| old.spec.as_ref()?.cluster_ip.clone())
                .filter(|address| !address.is_empty() && address != "None");
        }
        let path = Path::new("spec");
        let path = path.child("clusterIPs");
        let mut claim = None;
        let address = match address.as_deref() {
            Some("None") => {
                spec.cluster_ips = Some(vec!["None".to_owned()]);
                return Ok(());
            }
            Some(text) => {
                let shown = BadValue::json(&[text]);
                let Ok(address) = text.parse::<Ipv4Addr>() else {
                    // Validation has the right words for malformed addresses.
                    return Ok(());
                };
                if !before.contains(&address_key(address)) {
                    if !self.service_ranges().iter().any(|range| range.contains(address)) {
                        let why = format!(
                            "failed to allocate IP {address}: the provided network does not match the current range"
                        );
                        errors.invalid(&path, shown, why);
                        return Ok(());
                    }
                    let mut refusal = ErrorList::new();
                    let why = format!("failed to allocate IP {address}: provided IP is already allocated");
                    refusal.invalid(&path, shown, why);
                    claim = Some((false, refusal));
                }
                address
            }
            None => {
                let used = |address| self.is_taken(address, lost);
                let unit = rand::random();
                let Some(address) = self.service_ranges().iter().find_map(|range| range.pick(used, unit)) else {
                    errors.internal(&path, "failed to allocate a serviceIP: range is full");
                    return Ok(());
                };
                claim = Some((true, ErrorList::new()));
                address
            }
        };
        spec.cluster_ip = Some(address.to_string());
        spec.cluster_ips = Some(vec![address.to_string()]);
        if let Some((chosen, refusal)) = claim {
            let key = address_key(address);
            wanted.push(Wanted { key, object: None, chosen, refusal: refusal.clone() });
            let object = Some(ip_address(address, &service.metadata, self.now())?);
            wanted.push(Wanted { key: object_key(address), object, chosen, refusal });
        }
        Ok(())
    }

    fn plan_ports(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        before: &HashSet<String>,
        lost: &Lost,
        wanted: &mut Vec<Wanted>,
        errors: &mut ErrorList,
    ) {
        let Some(spec) = &mut service.spec else { return };
        let needs = match spec.type_.as_deref() {
            Some("NodePort") => true,
            Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
            _ => false,
        };
        let old_ports: Vec<ServicePort> = old.and_then(|old| old.spec.as_ref()?.ports.clone()).unwrap_or_default();
        let range = self.options.node_ports;
        let mut taken: HashSet<String> = HashSet::new();
        for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
            let number = port.node_port.filter(|&number| number != 0);
            if number.is_none() && !needs {
                continue;
            }
            // A port that keeps its number and protocol keeps its node port.
            let number = number.or_else(|| {
                let same = old_ports.iter().find(|old| old.port == port.port && protocol(old) == protocol(port));
                same.and_then(|old| old.node_port).filter(|&number| number != 0)
            });
            let path = Path::new("spec");
            let path = path.child("ports");
            let path = path.index(index);
            let path = path.child("nodePort");
            match number {
                Some(number) => {
                    port.node_port = Some(number);
                    let valid = u16::try_from(number).ok().filter(|&number| range.contains(number));
                    let key = port_key(protocol(port), u16::try_from(number).unwrap_or(0));
                    if before.contains(&key) || !taken.insert(key.clone()) {
                        continue;
                    }
                    if valid.is_none() {
                        let why =
                            format!("provided port is not in the valid range. The range of valid ports is {range}");
                        errors.invalid(&path, number, why);
                        continue;
                    }
                    let mut refusal = ErrorList::new();
                    refusal.invalid(&path, number, "provided port is already allocated");
                    wanted.push(Wanted { key, object: None, chosen: false, refusal });
                }
                None => {
                    let protocol = protocol(port).to_owned();
                    let used = |number| {
                        let key = port_key(&protocol, number);
                        taken.contains(&key) || before.contains(&key) || self.is_claimed(&key, lost)
                    };
                    let Some(number) = range.pick(used, rand::random()) else {
                        errors.internal(&path, "failed to allocate a nodePort: range is full");
                        continue;
                    };
                    port.node_port = Some(i32::from(number));
                    let key = port_key(&protocol, number);
                    taken.insert(key.clone());
                    wanted.push(Wanted { key, object: None, chosen: true, refusal: ErrorList::new() });
                }
            }
        }
    }

    /// The port on which load balancers ask for a node's health.
    fn plan_health_check(
        &self,
        service: &mut Service,
        before: &HashSet<String>,
        lost: &Lost,
        wanted: &mut Vec<Wanted>,
        errors: &mut ErrorList,
    ) {
        let Some(spec) = &mut service.spec else { return };
        if !needs_health_check(spec) {
            return;
        }
        let range = self.options.node_ports;
        let path = Path::new("spec");
        let path = path.child("healthCheckNodePort");
        if let Some(number) = spec.health_check_node_port.filter(|&number| number != 0) {
            let valid = u16::try_from(number).ok().filter(|&number| range.contains(number));
            let key = port_key(HEALTH_CHECK_PROTOCOL, valid.unwrap_or(0));
            if valid.is_none() {
                let why = format!(
                    "failed to allocate requested HealthCheck NodePort {number}: provided port is not in the valid \
                     range. The range of valid ports is {range}"
                );
                errors.internal(&path, why);
            } else if !before.contains(&key) {
                let mut refusal = ErrorList::new();
                let why = format!(
                    "failed to allocate requested HealthCheck NodePort {number}: provided port is already allocated"
                );
                refusal.internal(&path, why);
                wanted.push(Wanted { key, object: None, chosen: false, refusal });
            }
            return;
        }
        let key_of = |number| port_key(HEALTH_CHECK_PROTOCOL, number);
        let taken: HashSet<String> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
        let used = |number| {
            let key = key_of(number);
            taken.contains(&key) || before.contains(&key) || self.is_claimed(&key, lost)
        };
        match range.pick(used, rand::random()) {
            None => errors.internal(&path, "failed to allocate a HealthCheck NodePort: range is full"),
            Some(number) => {
                spec.health_check_node_port = Some(i32::from(number));
                let (key, refusal) = (key_of(number), ErrorList::new());
                wanted.push(Wanted { key, object: None, chosen: true, refusal });
            }
        }
    }

    /// Whether an address is known to be taken: by a Service, or by an IPAddress that somebody made.
    fn is_taken(&self, address: Ipv4Addr, lost: &Lost) -> bool {
        let key = object_key(address);
        let name = &key[ADDRESSES_PREFIX.len()..];
        lost.0.contains(&key)
            || self.is_claimed(&address_key(address), lost)
            || self.stored(ADDRESSES_PREFIX).snapshot().get("", name).is_some()
    }

    /// Whether a claim is known to be taken. The store has the last word.
    fn is_claimed(&self, key: &str, lost: &Lost) -> bool {
        lost.0.contains(key)
            || key.strip_prefix(CLAIMS_PREFIX).is_some_and(|key| self.claims.snapshot().get("", key).is_some())
    }
}

//! What the names of the cluster's domain mean.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use reeve_api::ObjectKey;
use reeve_client::Store;

use crate::services::view::{EndpointSliceView, EndpointView, ServicePortView, ServiceView};
use crate::sync::BY_SERVICE;

/// How long resolvers may keep an answer, and that there is none, in seconds (default of upstream's DNS).
pub const TTL: u32 = 5;

/// The version of the specification, which the name `dns-version` tells.
const SCHEMA_VERSION: &str = "1.1.0";

/// What a question gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records; further ones may be needed for the alias that ends them.
    Records {
        /// What was asked for.
        answers: Vec<Record>,
        /// The addresses of the names in it, which nobody has to ask for then.
        glue: Vec<Record>,
    },
    /// The name exists, but has nothing of this type.
    NoData,
    /// There is no such name.
    NoSuchName,
    /// The name is not of the cluster: ask upstream.
    NotOurs,
}

/// The cluster's domain and what is in it.
#[derive(Clone)]
pub struct Zone {
    domain: Name,
    services: Store<ServiceView>,
    slices: Store<EndpointSliceView>,
}

/// What a name has.
#[derive(Default)]
struct Found {
    data: Vec<RData>,
    glue: Vec<Record>,
}

impl From<Vec<RData>> for Found {
    fn from(data: Vec<RData>) -> Found {
        Found { data, glue: Vec::new() }
    }
}

/// The names below the domain, from the outermost label.
type Labels<'a> = &'a [&'a str];

impl Zone {
    /// The zone of a domain such as `cluster.local`.
    pub fn new(
        domain: &str,
        services: Store<ServiceView>,
        slices: Store<EndpointSliceView>,
    ) -> Result<Zone, hickory_proto::ProtoError> {
        let mut domain = Name::from_ascii(domain)?.to_lowercase();
        domain.set_fqdn(true);
        Ok(Zone { domain, services, slices })
    }

    /// The record that says how long the absence of a name may be remembered.
    pub fn authority(&self) -> Option<Record> {
        let server = self.below(&["ns", "dns"])?;
        let contact = self.below(&["hostmaster"])?;
        // Nobody transfers this zone, so the serial number and the times of secondaries carry no meaning.
        let data = SOA::new(server, contact, 1, 7200, 1800, 86_400, TTL);
        Some(Record::from_rdata(self.domain.clone(), TTL, RData::SOA(data)))
    }

    /// What the question gets.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        let lowercase = name.to_lowercase();
        if let Some(answer) = self.reverse(name, &lowercase, kind) {
            return answer;
        }
        if !self.domain.zone_of(&lowercase) {
            return Answer::NotOurs;
        }
        let below = usize::from(lowercase.num_labels()).saturating_sub(usize::from(self.domain.num_labels()));
        let mut labels = Vec::with_capacity(below);
        for label in lowercase.iter().take(below) {
            match std::str::from_utf8(label) {
                Ok(label) => labels.push(label),
                Err(_) => return Answer::NoSuchName,
            }
        }
        labels.reverse();
        let found = match labels.as_slice() {
            [] => Some(self.apex().into()),
            ["svc"] | ["pod"] | ["dns"] | ["dns", "ns"] => Some(Found::default()),
            ["dns-version"] => Some(vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))].into()),
            ["pod", namespace] | ["svc", namespace] => self.has_namespace(namespace).then(Found::default),
            ["pod", namespace, address] => self.pod(namespace, address),
            ["svc", namespace, service, rest @ ..] => self.service(namespace, service, rest),
            _ => None,
        };
        select(name, kind, found)
    }

    fn apex(&self) -> Vec<RData> {
        let server = self.below(&["ns", "dns"]).map(|name| RData::NS(NS(name)));
        self.authority().map(|record| record.data).into_iter().chain(server).collect()
    }

    /// A name below the domain; labels in reading order.
    fn below(&self, labels: &[&str]) -> Option<Name> {
        let mut name = self.domain.clone();
        for label in labels.iter().rev() {
            name = name.prepend_label(*label).ok()?;
        }
        Some(name)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        // Namespaces themselves are not watched; one without Services has no names in it either.
        !self.services.namespace(namespace).is_empty()
    }

    /// `a-b-c-d` is the pod with that address: the name says it itself, as upstream's default does.
    fn pod(&self, namespace: &str, dashed: &str) -> Option<Found> {
        let address = match dashed.replace('-', ".").parse::<Ipv4Addr>() {
            Ok(address) => IpAddr::V4(address),
            Err(_) => IpAddr::V6(dashed.replace('-', ":").parse().ok()?),
        };
        self.has_namespace(namespace).then(|| vec![data(address)].into())
    }

    fn service(&self, namespace: &str, name: &str, rest: Labels<'_>) -> Option<Found> {
        let key = ObjectKey::new(namespace, name);
        let service = self.services.get(&key)?;
        if service.spec.type_ == "ExternalName" {
            let target = Name::from_ascii(&service.spec.external_name).ok()?;
            return rest.is_empty().then(|| vec![RData::CNAME(CNAME(fully_qualified(target)))].into());
        }
        let cluster_ip: Option<IpAddr> = service.spec.cluster_ip.parse().ok();
        match (rest, cluster_ip) {
            ([], Some(address)) => Some(vec![data(address)].into()),
            ([], None) => {
                let mut addresses: Vec<IpAddr> =
                    self.endpoints(&key, &service).into_iter().map(|endpoint| endpoint.address).collect();
                addresses.sort_unstable();
                addresses.dedup();
                // A headless Service without endpoints is a name without addresses.
                Some(addresses.into_iter().map(data).collect::<Vec<_>>().into())
            }
            ([protocol], _) if is_protocol(protocol) => {
                service.spec.ports.iter().any(|port| has_protocol(port, protocol)).then(Found::default)
            }
            ([protocol, port], _) if is_protocol(protocol) => {
                let port_name = port.strip_prefix('_')?;
                let port = service
                    .spec
                    .ports
                    .iter()
                    .find(|candidate| candidate.name == port_name && has_protocol(candidate, protocol))?;
                Some(self.service_records(&key, &service, port, cluster_ip))
            }
            ([host], None) => {
                let of_host: Vec<RData> = self
                    .endpoints(&key, &service)
                    .into_iter()
                    .filter(|endpoint| endpoint.host == *host)
                    .map(|endpoint| data(endpoint.address))
                    .collect();
                (!of_host.is_empty()).then(|| of_host.into())
            }
            _ => None,
        }
    }

    fn service_records(
        &self,
        key: &ObjectKey,
        service: &ServiceView,
        port: &ServicePortView,
        cluster_ip: Option<IpAddr>,
    ) -> Found {
        let (mut found, mut targets) = (Found::default(), BTreeSet::new());
        let mut add = |number, target: Option<Name>, address| {
            let Some(target) = target else { return };
            // A host with an address of each family is one target.
            if targets.insert((number, target.clone())) {
                found.data.push(RData::SRV(SRV::new(0, 100, number, target.clone())));
            }
            found.glue.push(Record::from_rdata(target, TTL, data(address)));
        };
        if let Some(address) = cluster_ip {
            add(port.port, self.below(&[key.name.as_ref(), key.namespace.as_ref(), "svc"]), address);
            return found;
        }
        for endpoint in self.endpoints(key, service) {
            let number = endpoint.slice.ports.iter().find(|candidate| candidate.name == port.name);
            let Some(number) = number.and_then(|port| port.port) else { continue };
            let target = self.below(&[&endpoint.host, key.name.as_ref(), key.namespace.as_ref(), "svc"]);
            add(number, target, endpoint.address);
        }
        found
    }

    /// The endpoints that have names, each with the label of its own.
    fn endpoints(&self, key: &ObjectKey, service: &ServiceView) -> Vec<Named> {
        let all = service.spec.publish_not_ready_addresses;
        let mut found = Vec::new();
        for slice in self.slices.indexed(BY_SERVICE, &key.to_string()) {
            for endpoint in slice.endpoints.iter().filter(|endpoint| all || endpoint.is_ready()) {
                let Some(address) = endpoint.address else { continue };
                found.push(Named { address, host: host_label(endpoint, address), slice: slice.clone() });
            }
        }
        found
    }

    /// Names of addresses, where the address is one of the cluster's.
    fn reverse(&self, name: &Name, lowercase: &Name, kind: RecordType) -> Option<Answer> {
        let address = reverse_address(lowercase)?;
        let text = address.to_string();
        let targets: Vec<RData> = match self.services.list().iter().find(|service| service.spec.cluster_ip == text) {
            Some(service) => {
                let metadata = &service.metadata;
                self.below(&[&metadata.name, &metadata.namespace, "svc"])
                    .into_iter()
                    .map(|n| RData::PTR(PTR(n)))
                    .collect()
            }
            None => self.endpoint_names(address).into_iter().map(|name| RData::PTR(PTR(name))).collect(),
        };
        (!targets.is_empty()).then(|| select(name, kind, Some(targets.into())))
    }

    fn endpoint_names(&self, address: IpAddr) -> Vec<Name> {
        let mut names = Vec::new();
        for slice in self.slices.list() {
            let Some(endpoint) = slice.endpoints.iter().find(|endpoint| endpoint.address == Some(address)) else {
                continue;
            };
            let Some(service) = slice.service() else { continue };
            let host = host_label(endpoint, address);
            names.extend(self.below(&[&host, service.name.as_ref(), service.namespace.as_ref(), "svc"]));
        }
        names
    }
}

struct Named {
    address: IpAddr,
    host: String,
    slice: Arc<EndpointSliceView>,
}

/// The record of an address.
fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// The hostname, or the address with dashes.
fn host_label(endpoint: &EndpointView, address: IpAddr) -> String {
    match endpoint.hostname.as_deref() {
        Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
        _ => {
            let mut dashed = address.to_string().replace(['.', ':'], "-");
            // A label does not end with a dash (`2001:db8::`); upstream's DNS writes the zero then.
            if dashed.ends_with('-') {
                dashed.push('0');
            }
            dashed
        }
    }
}

fn is_protocol(label: &str) -> bool {
    matches!(label, "_tcp" | "_udp" | "_sctp")
}

fn has_protocol(port: &ServicePortView, label: &str) -> bool {
    let protocol = if port.protocol.is_empty() { "TCP" } else { port.protocol.as_str() };
    label.strip_prefix('_').is_some_and(|name| name.eq_ignore_ascii_case(protocol))
}

fn fully_qualified(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

/// The address of `d.c.b.a.in-addr.arpa`, or of 32 digits below `ip6.arpa`, the last one first.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&str> = name.iter().map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => format!("{a}.{b}.{c}.{d}").parse().ok().map(IpAddr::V4),
        [digits @ .., "ip6", "arpa"] if digits.len() == 32 => {
            let mut bits = 0;
            for digit in digits.iter().rev() {
                let [byte] = digit.as_bytes() else { return None };
                bits = bits << 4 | u128::from(char::from(*byte).to_digit(16)?);
            }
            Some(Ipv6Addr::from(bits).into())
        }
        _ => None,
    }
}

/// Of what a name has, what was asked for. An alias answers every question.
fn select(name: &Name, kind: RecordType, found: Option<Found>) -> Answer {
    let Some(Found { data, glue }) = found else { return Answer::NoSuchName };
    let answers: Vec<Record> = data
        .into_iter()
        .filter(|data| {
            let has = data.record_type();
            has == kind || has == RecordType::CNAME || kind == RecordType::ANY
        })
        .map(|data| Record::from_rdata(name.clone(), TTL, data))
        .collect();
    if answers.is_empty() { Answer::NoData } else { Answer::Records { answers, glue } }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use reeve_client::store::store;
    use reeve_client::watch::Event;

    /// Stores as the watch would fill them.
    pub fn zone() -> Zone {
        let (mut services, service_store) = store::<ServiceView>(&[]);
        let (mut slices, slice_store) =
            store::<EndpointSliceView>(&[(BY_SERVICE, EndpointSliceView::index_by_service)]);
        for (name, spec) in [
            ("web", r#"{"type":"ClusterIP","clusterIP":"10.96.0.20","ports":[{"name":"http","port":80}]}"#),
            ("db", r#"{"type":"ClusterIP","clusterIP":"None","ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}"#),
            ("early", r#"{"type":"ClusterIP","clusterIP":"None","publishNotReadyAddresses":true}"#),
            ("void", r#"{"type":"ClusterIP","clusterIP":"None"}"#),
            ("far", r#"{"type":"ExternalName","externalName":"db.example.org"}"#),
            ("six", r#"{"type":"ClusterIP","clusterIP":"None","ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}"#),
        ] {
            let text =
                format!(r#"{{"metadata":{{"namespace":"shop","name":"{name}","resourceVersion":"1"}},"spec":{spec}}}"#);
            services.write(Event::Apply(serde_json::from_str(&text).expect("a Service")), &mut |_| {});
        }
        for (service, family, endpoints) in [
            (
                "db",
                "IPv4",
                r#"{"addresses":["10.244.1.5"],"hostname":"db-0"},{"addresses":["10.244.2.6"]},{"addresses":["10.244.2.7"],"conditions":{"ready":false}}"#,
            ),
            ("early", "IPv4", r#"{"addresses":["10.244.1.9"],"conditions":{"ready":false}}"#),
            ("six", "IPv4", r#"{"addresses":["192.0.2.6"],"hostname":"both"}"#),
            ("six", "IPv6", r#"{"addresses":["2001:db8::6"],"hostname":"both"},{"addresses":["2001:db8:0:1::"]}"#),
        ] {
            let text = format!(
                r#"{{"metadata":{{"namespace":"shop","name":"{service}-{family}","resourceVersion":"1","labels":{{"kubernetes.io/service-name":"{service}"}}}},
                    "addressType":"{family}","ports":[{{"name":"sql","port":5433,"protocol":"TCP"}}],"endpoints":[{endpoints}]}}"#
            );
            slices.write(Event::Apply(serde_json::from_str(&text).expect("a slice")), &mut |_| {});
        }
        Zone::new("cluster.local", service_store, slice_store).expect("a domain")
    }

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
        match zone.answer(&Name::from_ascii(name).expect("a name"), kind) {
            Answer::Records { answers, glue } => {
                let told = |records: &[Record]| {
                    records.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(", ")
                };
                if glue.is_empty() { told(&answers) } else { format!("{} with {}", told(&answers), told(&glue)) }
            }
            Answer::NoData => "no data".into(),
            Answer::NoSuchName => "no such name".into(),
            Answer::NotOurs => "not ours".into(),
        }
    }

    #[test]
    fn names_mean_what_the_specification_says() {
        use RecordType::{A, AAAA, PTR, SOA, SRV, TXT};
        let zone = zone();
        for (name, kind, expected) in [
            ("web.shop.svc.cluster.local.", A, "10.96.0.20"),
            ("WEB.Shop.svc.CLUSTER.local.", A, "10.96.0.20"),
            ("web.shop.svc.cluster.local.", AAAA, "no data"),
            ("web.shop.svc.cluster.local.", SRV, "no data"),
            ("nope.shop.svc.cluster.local.", A, "no such name"),
            ("x.web.shop.svc.cluster.local.", A, "no such name"),
            ("web.other.svc.cluster.local.", A, "no such name"),
            ("shop.svc.cluster.local.", A, "no data"),
            ("other.svc.cluster.local.", A, "no such name"),
            ("_http._tcp.web.shop.svc.cluster.local.", SRV, "0 100 80 web.shop.svc.cluster.local. with 10.96.0.20"),
            ("_http._udp.web.shop.svc.cluster.local.", SRV, "no such name"),
            ("_tcp.web.shop.svc.cluster.local.", SRV, "no data"),
            ("db.shop.svc.cluster.local.", A, "10.244.1.5, 10.244.2.6"),
            ("db-0.db.shop.svc.cluster.local.", A, "10.244.1.5"),
            ("10-244-2-6.db.shop.svc.cluster.local.", A, "10.244.2.6"),
            ("10-244-2-7.db.shop.svc.cluster.local.", A, "no such name"),
            (
                "_sql._tcp.db.shop.svc.cluster.local.",
                SRV,
                "0 100 5433 db-0.db.shop.svc.cluster.local., 0 100 5433 10-244-2-6.db.shop.svc.cluster.local. \
                 with 10.244.1.5, 10.244.2.6",
            ),
            ("six.shop.svc.cluster.local.", A, "192.0.2.6"),
            ("six.shop.svc.cluster.local.", AAAA, "2001:db8::6, 2001:db8:0:1::"),
            ("both.six.shop.svc.cluster.local.", AAAA, "2001:db8::6"),
            ("2001-db8-0-1--0.six.shop.svc.cluster.local.", AAAA, "2001:db8:0:1::"),
            ("2001-db8-0-1--0.six.shop.svc.cluster.local.", A, "no data"),
            (
                "_sql._tcp.six.shop.svc.cluster.local.",
                SRV,
                "0 100 5433 both.six.shop.svc.cluster.local., \
                 0 100 5433 2001-db8-0-1--0.six.shop.svc.cluster.local. with 192.0.2.6, 2001:db8::6, 2001:db8:0:1::",
            ),
            (
                "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
                PTR,
                "both.six.shop.svc.cluster.local.",
            ),
            ("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", PTR, "not ours"),
            ("8.b.d.0.1.0.0.2.ip6.arpa.", PTR, "not ours"),
            ("db.shop.svc.cluster.local.", AAAA, "no data"),
            ("2001-db8--6.shop.pod.cluster.local.", AAAA, "2001:db8::6"),
            ("early.shop.svc.cluster.local.", A, "10.244.1.9"),
            ("void.shop.svc.cluster.local.", A, "no data"),
            ("far.shop.svc.cluster.local.", A, "db.example.org."),
            ("10-244-1-5.shop.pod.cluster.local.", A, "10.244.1.5"),
            ("10-244-1.shop.pod.cluster.local.", A, "no such name"),
            ("20.0.96.10.in-addr.arpa.", PTR, "web.shop.svc.cluster.local."),
            ("5.1.244.10.in-addr.arpa.", PTR, "db-0.db.shop.svc.cluster.local."),
            ("8.8.8.8.in-addr.arpa.", PTR, "not ours"),
            ("example.org.", A, "not ours"),
            ("cluster.local.", SOA, "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"),
            ("dns-version.cluster.local.", TXT, "1.1.0"),
        ] {
            let got = ask(&zone, name, kind);

            assert_eq!(got, expected, "{name} {kind}");
        }
    }
}

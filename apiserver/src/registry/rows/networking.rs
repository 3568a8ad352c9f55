//! The group `networking.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::networking::{address, ingress, ingress_class, policy, service_range};

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&ingress_class::IngressClasses, "/registry/ingressclasses/", words("ingressclass", &[], &[])),
        row(&ingress::Ingresses, "/registry/ingress/", words("ingress", &["ing"], &[])).with_status(),
        row(&address::IpAddresses, "/registry/ipaddresses/", words("ipaddress", &["ip"], &[])),
        row(&policy::NetworkPolicies, "/registry/networkpolicies/", words("networkpolicy", &["netpol"], &[])),
        row(&service_range::ServiceRanges, "/registry/servicecidrs/", words("servicecidr", &[], &[])).with_status(),
    ]
}

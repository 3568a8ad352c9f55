//! The columns of ingresses, policies, addresses and endpoints.

use super::{Column, OBJECT_AGE, OBJECT_NAME, column};

pub(in crate::print) const ENDPOINTS: &[Column] = &[
    OBJECT_NAME,
    column(
        "Endpoints",
        "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
    ),
    OBJECT_AGE,
];

pub(in crate::print) const INGRESSCLASSES: &[Column] = &[
    OBJECT_NAME,
    column("Controller", "Controller that is responsible for handling this class"),
    column("Parameters", "A reference to a resource with additional parameters"),
    OBJECT_AGE,
];

pub(in crate::print) const INGRESSES: &[Column] = &[
    OBJECT_NAME,
    column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    column("Address", "Address is a list containing ingress points for the load-balancer"),
    column("Ports", "Ports of TLS configurations that open"),
    OBJECT_AGE,
];

pub(in crate::print) const IPADDRESSES: &[Column] = &[
    OBJECT_NAME,
    column(
        "ParentRef",
        "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
    ),
];

pub(in crate::print) const NETWORKPOLICIES: &[Column] = &[
    OBJECT_NAME,
    column(
        "Pod-Selector",
        "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
    ),
    OBJECT_AGE,
];

pub(in crate::print) const SERVICECIDRS: &[Column] = &[
    OBJECT_NAME,
    column(
        "CIDRs",
        "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
    ),
    OBJECT_AGE,
];

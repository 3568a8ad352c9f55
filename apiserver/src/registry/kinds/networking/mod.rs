//! Ways into and inside of the cluster: ingresses, network policies, service addresses
//! (`pkg/apis/networking/validation`).

pub mod address;
pub mod ingress;
pub mod ingress_class;
pub mod policy;
pub mod service_range;

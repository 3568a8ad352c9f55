//! Load balancer addresses: who gives them out and who answers for them.
//!
//! The controller manager gives Services of type `LoadBalancer` addresses of a configured pool. One that it has given
//! is in the Service's own annotations before it is in the status, so that a crash in between gives it to nobody else.
//! It also says which node answers for them on the nodes' link; the proxy of that node does.

/// The annotation of a Service with the address that it was given, before and after the status has it.
pub const ALLOCATED: &str = "proxy.reeve.dev/load-balancer-address";

/// The annotation of a Service with the name of the node that answers for its addresses.
pub const ANNOUNCED_BY: &str = "proxy.reeve.dev/announced-by";

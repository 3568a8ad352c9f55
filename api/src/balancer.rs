//! Load balancer addresses: who gives them out and who answers for them.
//!
//! The controller manager gives Services of type `LoadBalancer` addresses of a configured pool, each by one write of
//! the Service's status, which is the only record of it: what was written is given, whatever crashes afterwards. It
//! also says which node answers for the addresses on the nodes' link; the proxy of that node does.

/// The annotation of a Service with the name of the node that answers for its load balancer's addresses.
pub const ANNOUNCED_BY: &str = "proxy.reeve.dev/announced-by";

/// The `spec.loadBalancerClass` of Services that want an address of the pool; those without a class want one too.
pub const CLASS: &str = "proxy.reeve.dev/pool";

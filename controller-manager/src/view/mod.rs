//! What the controllers read of the kinds that a cluster has many of: narrow, with repeated strings shared.
//!
//! Ten thousand pods of a few workloads share their labels, owners, tolerations, namespace and node names; what
//! remains of a pod is its name, uid, address and a few times.

mod definition;
mod intern;
mod lease;
mod meta;
mod node;
mod pod;
mod pod_usage;
mod service;
mod service_range;

pub use definition::DefinitionView;
pub use intern::{Interned, intern};
pub use lease::LeaseView;
pub use meta::{Labels, Meta, MetaView, Owner};
pub use node::{NodeCondition, NodeView};
pub use pod::{NamedPort, Phase, PodView, Readiness, TolerationView, orphans_of};
pub use pod_usage::{Amounts, PodUsage, add, amounts};
pub use service::{ServicePortView, ServiceView};
pub use service_range::ServiceRangeView;

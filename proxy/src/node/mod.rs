//! The node's own network: what pods get from CNI, how other nodes' pods are reached, kernel settings.

pub mod announce;
mod apply;
pub mod cni;
pub mod link;
pub mod routes;
pub mod sysctl;
pub mod tunnel;
pub mod view;
mod vxlan;
mod watch;

pub use apply::Applied;
pub use watch::{NodeNetwork, requests, tell};

//! The node's own network: what pods get from CNI, how other nodes' pods are reached, kernel settings.

pub mod announce;
pub mod cni;
pub mod link;
pub mod routes;
pub mod sysctl;
pub mod view;
mod watch;

pub use watch::{NodeNetwork, requests, tell};

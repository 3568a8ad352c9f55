//! The strategies, one file per kind.

pub mod config_map;
pub mod deployment;
pub mod endpoint_slice;
pub mod event;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod rbac;
pub mod replica_set;
pub mod secret;
pub mod service;
pub mod service_account;

mod generation;
mod nulls;
mod workload;

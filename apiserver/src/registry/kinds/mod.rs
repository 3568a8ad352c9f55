//! The strategies, one file per kind.

pub mod admission;
pub mod certificate_request;
pub mod config_map;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod flow_control;
pub mod lease;
pub mod limit_range;
pub mod namespace;
pub mod networking;
pub mod node;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod resource_quota;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod storage;

mod difference;
mod generation;
mod nulls;
mod protection;
mod resource_names;
mod rules;
mod workload;

//! The strategies, one file per kind.

pub mod admission;
pub mod autoscaler;
pub mod binding;
pub mod certificate_request;
pub mod component_status;
pub mod config_map;
pub mod controller_revision;
pub mod cron_job;
pub mod daemon_set;
pub mod definition;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod flow_control;
pub mod job;
pub mod lease;
pub mod limit_range;
pub mod namespace;
pub mod networking;
pub mod node;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_disruption_budget;
pub mod pod_template;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod replication_controller;
pub mod resource_quota;
pub mod reviews;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod stateful_set;
pub mod storage;

mod difference;
mod generation;
mod protection;
mod resource_names;
mod rules;
mod workload;

pub(super) use workload::object_selector as label_selector;

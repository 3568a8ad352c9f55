//! The controllers of Reeve: loops that bring the cluster from what is to what was asked for.
//!
//! Each controller is a folder with a pure `reconcile(observed, now) -> Vec<Action>` and a thin `shell` that reads
//! the stores, calls it, and hands the actions to the one [`executor`]. [`manager`] wires stores, queues and runners;
//! [`view`] holds what is kept of kinds that a cluster has many of.
//!
//! A key is not looked at again before the stores show its own last writes, so there are no expectations to keep:
//! see [`executor::Executor::perform`].

pub mod action;
pub mod bootstrap;
pub mod certificates;
pub mod cluster_role;
pub mod deployment;
pub mod dispatch;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod executor;
pub mod garbage;
pub mod handover;
pub mod leases;
pub mod load_balancer;
pub mod manager;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod object;
pub mod options;
pub mod others;
pub mod pod_gc;
pub mod replicaset;
pub mod resource_quota;
pub mod root_ca;
pub mod service_account;
pub mod service_range;
pub mod stores;
pub mod view;

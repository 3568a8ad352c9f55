//! The API server: the only program that talks to etcd; it serves gRPC and REST on one TLS port.
//!
//! From the outside in: [`server`] accepts connections, [`chain`] is the way of every request, [`edges`] speak
//! gRPC and REST, [`handlers`] are the verbs, [`registry`] knows the kinds, [`storage`] keeps the objects.

pub mod allocation;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod chain;
pub mod edges;
pub mod handlers;
pub mod options;
pub mod pod_streams;
pub mod registry;
pub mod request;
pub mod server;
pub mod storage;
pub mod version;

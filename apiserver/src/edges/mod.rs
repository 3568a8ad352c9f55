//! The two thin edges over the same handlers: gRPC and REST.

pub mod grpc;
pub mod rest;
pub mod status;

//! The gRPC API of Reeve (`reeve.v1`): generated code and nothing else.
//!
//! The `.proto` files are the documentation; their comments become the rustdoc of the items here.

/// Version 1 of the API.
#[allow(missing_docs, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("reeve.v1");

    /// The encoded `FileDescriptorSet`, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reeve.v1.bin"));
}

/// The trailer that carries the Kubernetes `Status` (JSON) of a failed call.
pub const STATUS_TRAILER: &str = "reeve-status-bin";

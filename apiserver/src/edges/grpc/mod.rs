//! The gRPC edge: `reeve.v1`.

mod discovery;
mod objects;
mod streams;

pub use streams::logs;

use std::sync::Arc;

use reeve_api::StatusError;
use reeve_proto::v1;
use reeve_proto::v1::api_server::ApiServer;
use reeve_proto::v1::discovery_server::DiscoveryServer;
use reeve_proto::v1::streams_server::StreamsServer;
use tonic::service::Routes;

use crate::handlers::Handlers;
use crate::pod_streams::PodStreams;
use crate::request::User;

/// The largest request: an object may have 1.5 MB in etcd, upstream reads bodies of up to 3 MB.
const MESSAGE_BYTES_MAX: usize = 3 << 20;

/// All gRPC services of the server: the API, reflection (so that generic tools can call it) and health.
pub fn routes(handlers: Arc<Handlers>, pod_streams: Arc<PodStreams>) -> anyhow::Result<Routes> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        health_reporter.set_serving::<ApiServer<objects::Objects>>().await;
    });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let objects = ApiServer::new(objects::Objects::new(handlers.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Routes::new(objects)
        .add_service(DiscoveryServer::new(discovery::Discovery::new(handlers.clone())))
        .add_service(StreamsServer::new(streams::Streams::new(handlers, pod_streams)))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // What most tools still ask for.
        .add_service(reflection().build_v1alpha()?)
        .prepare())
}

/// The user that the chain authenticated.
fn user<T>(request: &tonic::Request<T>) -> Result<Arc<User>, tonic::Status> {
    request
        .extensions()
        .get::<Arc<User>>()
        .cloned()
        .ok_or_else(|| super::status::to_grpc(&StatusError::internal("the request has no user")))
}

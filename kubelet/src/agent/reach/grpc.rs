//! The standard gRPC health check (`grpc.health.v1.Health/Check`), without TLS, as upstream.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::ReachError;

/// Whether the service at the address says that it serves.
pub async fn check(address: SocketAddr, service: &str, timeout: Duration) -> Result<(), ReachError> {
    let refused = |message: String| ReachError::GrpcConnect { address, message };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| refused(error.to_string()))?;
    let deadline = tokio::time::Instant::now() + timeout;
    let channel = match tokio::time::timeout_at(deadline, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| refused(causes(&error)))?,
        Err(_) => return Err(ReachError::GrpcConnectTimeout { address, within: timeout }),
    };
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = match tokio::time::timeout_at(deadline, client.check(request)).await {
        Ok(Ok(answer)) => answer.into_inner().status(),
        Ok(Err(status)) => {
            let message = status.message().to_owned();
            return Err(match status.code() {
                Code::Unimplemented => ReachError::GrpcUnimplemented(message),
                Code::DeadlineExceeded => ReachError::GrpcTimeout(timeout),
                code => ReachError::GrpcRefused(format!("rpc error: code = {} desc = {message}", name(code))),
            });
        }
        Err(_) => return Err(ReachError::GrpcTimeout(timeout)),
    };
    match answer {
        ServingStatus::Serving => Ok(()),
        other => Err(ReachError::GrpcUnhealthy(other.as_str_name())),
    }
}

/// A code's name as upstream's library says it.
fn name(code: Code) -> String {
    match code {
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn serving_is_success_and_the_rest_says_why() {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("sick", tonic_health::ServingStatus::NotServing).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
        let ask =
            async |service| check(address, service, Duration::from_secs(5)).await.map_err(|error| error.to_string());
        assert_eq!(ask("").await, Ok(()));
        assert_eq!(ask("sick").await, Err("service unhealthy (responded with \"NOT_SERVING\")".into()));
        let unknown = ask("unknown").await.unwrap_err();
        assert!(unknown.starts_with("error: health rpc probe failed: rpc error: code = NotFound desc = "), "{unknown}");
        assert_eq!(name(Code::Cancelled), "Canceled");
    }
}

//! Health check node ports: load balancers ask on them whether this node has endpoints of a Service whose external
//! traffic policy is `Local` (upstream's `pkg/proxy/healthcheck`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::{Reply, ServeError, listen, serve};

/// A Service's port, and how many endpoints it has here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The port.
    pub port: u16,
    /// The endpoints of this node that take traffic.
    pub endpoints: usize,
}

struct Served {
    check: Check,
    endpoints: Arc<Mutex<usize>>,
    end: CancellationToken,
}

/// The ports that are served.
pub struct NodePorts {
    health: Health,
    served: Mutex<BTreeMap<ObjectKey, Served>>,
}

impl NodePorts {
    /// None yet.
    pub fn new(health: Health) -> NodePorts {
        NodePorts { health, served: Mutex::default() }
    }

    /// A Service has a port now, or has none.
    pub async fn set(&self, service: &ObjectKey, wanted: Option<Check>) -> Result<(), ServeError> {
        let kept = {
            let mut served = self.served.lock();
            match (served.get_mut(service), &wanted) {
                (Some(present), Some(wanted)) if present.check.port == wanted.port => {
                    *present.endpoints.lock() = wanted.endpoints;
                    present.check = wanted.clone();
                    true
                }
                (Some(_), _) => {
                    if let Some(old) = served.remove(service) {
                        old.end.cancel();
                    }
                    wanted.is_none()
                }
                (None, wanted) => wanted.is_none(),
            }
        };
        let Some(check) = wanted.filter(|_| !kept) else { return Ok(()) };
        let listener = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, check.port))).await?;
        let endpoints = Arc::new(Mutex::new(check.endpoints));
        let end = CancellationToken::new();
        let (counted, health, key) = (endpoints.clone(), self.health.clone(), service.clone());
        let answer = move |_: &str| reply(&key, *counted.lock(), health.is_healthy(Timestamp::now()));
        tokio::spawn(serve(listener, Arc::new(answer), end.clone()));
        self.served.lock().insert(service.clone(), Served { check, endpoints, end });
        Ok(())
    }
}

impl Drop for NodePorts {
    fn drop(&mut self) {
        self.served.lock().values().for_each(|served| served.end.cancel());
    }
}

fn reply(service: &ObjectKey, endpoints: usize, healthy: bool) -> Reply {
    let body = json!({
        "service": {"namespace": &*service.namespace, "name": &*service.name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": healthy,
    });
    let status = if endpoints > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = vec![("x-load-balancing-endpoint-weight", endpoints.to_string())];
    Reply { status, content_type: "application/json", headers, body: format!("{body:#}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_load_with_endpoints_and_rules_that_follow() {
        let service = ObjectKey::new("shop", "web");
        let code = |endpoints, healthy| reply(&service, endpoints, healthy).status.as_u16();
        assert_eq!((code(2, true), code(0, true), code(2, false)), (200, 503, 503));
        let body: serde_json::Value = serde_json::from_str(&reply(&service, 2, true).body).expect("JSON");
        assert_eq!(
            body,
            json!({"service": {"namespace": "shop", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": true})
        );
    }
}

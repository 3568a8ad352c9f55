//! What the proxy counts, with the names that dashboards know: upstream's of the proxy and of its DNS server.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Reply;

/// What a DNS answer is counted by.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Answered {
    /// `NOERROR`, `NXDOMAIN`, and so on.
    pub rcode: &'static str,
    /// `udp` or `tcp`.
    pub proto: &'static str,
}

/// The counters. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    syncs: Option<Histogram>,
    last_sync: Gauge,
    service_changes: Counter,
    endpoint_changes: Counter,
    failures: Counter,
    answers: Family<Answered, Counter>,
    forwarded: Counter,
    cache_hits: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Metrics {
        // From 1 ms to 16 s, as upstream's.
        let syncs = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Metrics { syncs: Some(syncs.clone()), ..Metrics::default() };
        {
            let mut registry = metrics.registry.lock();
            let proxy = registry.sub_registry_with_prefix("kubeproxy_sync_proxy_rules");
            proxy.register("duration_seconds", "SyncProxyRules latency in seconds", syncs);
            proxy.register(
                "last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
                metrics.last_sync.clone(),
            );
            proxy.register(
                "service_changes",
                "Cumulative proxy rules Service changes",
                metrics.service_changes.clone(),
            );
            proxy.register(
                "endpoint_changes",
                "Cumulative proxy rules Endpoint changes",
                metrics.endpoint_changes.clone(),
            );
            proxy.register(
                "nftables_sync_failures",
                "Cumulative proxy nftables sync failures",
                metrics.failures.clone(),
            );
            let dns = registry.sub_registry_with_prefix("coredns");
            dns.register("dns_responses", "Counter of response status codes", metrics.answers.clone());
            dns.register("forward_requests", "Counter of requests made to upstream", metrics.forwarded.clone());
            dns.register("cache_hits", "The count of cache hits", metrics.cache_hits.clone());
        }
        metrics
    }

    /// A sync succeeded.
    pub fn synced(&self, took: Duration, now: Timestamp) {
        if let Some(syncs) = &self.syncs {
            syncs.observe(took.as_secs_f64());
        }
        self.last_sync.set(now.as_second());
    }

    /// A sync failed.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// A Service changed.
    pub fn service_changed(&self) {
        self.service_changes.inc();
    }

    /// An EndpointSlice changed.
    pub fn endpoints_changed(&self) {
        self.endpoint_changes.inc();
    }

    /// A DNS question was answered.
    pub fn answered(&self, answered: Answered) {
        self.answers.get_or_create(&answered).inc();
    }

    /// A DNS question was passed on.
    pub fn forwarded(&self) {
        self.forwarded.inc();
    }

    /// A DNS question of the rest of the world was answered from memory.
    pub fn cache_hit(&self) {
        self.cache_hits.inc();
    }

    /// The answer on a path.
    pub fn answer(&self, path: &str, healthy: bool) -> Reply {
        match path {
            "/metrics" => {
                let mut text = String::new();
                match encode(&mut text, &self.registry.lock()) {
                    Ok(()) => Reply {
                        status: StatusCode::OK,
                        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
                        headers: Vec::new(),
                        body: text,
                    },
                    Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
                }
            }
            "/healthz" if healthy => Reply::text(StatusCode::OK, "ok"),
            "/healthz" => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the rules do not follow the API"),
            "/proxyMode" => Reply::text(StatusCode::OK, "nftables"),
            _ => Reply::not_found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_counted_under_upstreams_names() {
        let metrics = Metrics::new();
        metrics.synced(Duration::from_millis(3), Timestamp::UNIX_EPOCH);
        metrics.endpoints_changed();
        metrics.answered(Answered { rcode: "NXDOMAIN", proto: "udp" });
        let text = metrics.answer("/metrics", true).body;
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_count 1",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 1",
            "coredns_dns_responses_total{rcode=\"NXDOMAIN\",proto=\"udp\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(metrics.answer("/healthz", true).body, "ok");
        assert_eq!(metrics.answer("/healthz", false).status.as_u16(), 500);
    }
}

//! `/metrics`: what the process tells of itself, with the names that dashboards and alerts of Kubernetes know.

mod process;

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::request::{Target, Verb};
use crate::version;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upstream's buckets of request durations, in seconds.
const DURATION_BUCKETS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlightLabels {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    major: &'static str,
    minor: &'static str,
    git_version: String,
    git_commit: String,
    platform: String,
}

/// What a request turned out to ask for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Verb and target; none for paths that are no resources.
    pub resource: Option<(Verb, Target)>,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// Whether a patch was a server-side apply.
    pub apply: bool,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    in_flight: Family<InFlightLabels, Gauge<i64, AtomicI64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register(
            "apiserver_request",
            "Counter of apiserver requests by what they asked for and their code",
            requests.clone(),
        );
        let durations = Family::<DurationLabels, Histogram>::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        registry.register(
            "apiserver_request_sli_duration_seconds",
            "Response latency of requests that are not streams, in seconds",
            durations.clone(),
        );
        let in_flight = Family::<InFlightLabels, Gauge<i64, AtomicI64>>::default();
        registry.register("apiserver_current_inflight_requests", "Requests that are being decided", in_flight.clone());
        let build = Family::<BuildLabels, Gauge>::default();
        build
            .get_or_create(&BuildLabels {
                major: version::MAJOR,
                minor: version::MINOR,
                git_version: version::git_version(),
                git_commit: version::build(),
                platform: version::platform(),
            })
            .set(1);
        registry.register("kubernetes_build_info", "What this program is", build);
        registry.register_collector(Box::new(process::Process));
        Self { registry, requests, durations, in_flight }
    }
}

/// A request that is being decided; its end is counted when this is dropped.
pub struct InFlight {
    gauge: Gauge<i64, AtomicI64>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Metrics {
    /// Counts a request as long as the answer lives.
    pub fn begin(&self, is_mutating: bool) -> InFlight {
        let request_kind = if is_mutating { "mutating" } else { "readOnly" };
        let gauge = self.in_flight.get_or_create_owned(&InFlightLabels { request_kind });
        gauge.inc();
        InFlight { gauge }
    }

    /// Counts an answered request.
    pub fn end(&self, asked: &Asked, code: u16, took: Duration) {
        let Some((verb, target)) = &asked.resource else { return };
        let labels = RequestLabels {
            verb: verb_label(*verb, asked.apply),
            group: target.resource.group.clone(),
            version: target.resource.version.clone(),
            resource: target.resource.resource.clone(),
            subresource: target.subresource.clone(),
            scope: scope(target),
            component: "apiserver",
            dry_run: if asked.dry_run { "All" } else { "" },
            code,
        };
        self.requests.get_or_create(&labels).inc();
        if *verb == Verb::Watch || matches!(target.subresource.as_str(), "log" | "exec" | "attach" | "portforward") {
            return;
        }
        let labels = DurationLabels {
            verb: labels.verb,
            group: labels.group,
            version: labels.version,
            resource: labels.resource,
            subresource: labels.subresource,
            scope: labels.scope,
            component: labels.component,
        };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// All metrics as text.
    ///
    /// # Errors
    ///
    /// None that writing to memory does not have.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Upstream's words of verbs in metrics.
fn verb_label(verb: Verb, apply: bool) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch if apply => "APPLY",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

fn scope(target: &Target) -> &'static str {
    match (target.name.is_empty(), target.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

#[cfg(test)]
mod tests {
    use reeve_api::GroupVersionResource;

    use super::*;

    #[test]
    fn the_names_are_those_of_dashboards() {
        let metrics = Metrics::default();
        let target = Target {
            resource: GroupVersionResource::new("apps", "v1", "deployments"),
            namespace: "a".into(),
            name: String::new(),
            subresource: String::new(),
        };
        let asked = Asked { resource: Some((Verb::List, target)), ..Asked::default() };
        let in_flight = metrics.begin(false);
        metrics.end(&asked, 200, Duration::from_millis(30));
        let text = metrics.text().unwrap();
        for wanted in [
            "apiserver_request_total{verb=\"LIST\",group=\"apps\",version=\"v1\",resource=\"deployments\",subresource=\"\",scope=\"namespace\",component=\"apiserver\",dry_run=\"\",code=\"200\"} 1",
            "apiserver_request_sli_duration_seconds_bucket{le=\"0.05\",verb=\"LIST\"",
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1",
            "kubernetes_build_info{",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        drop(in_flight);
        assert!(metrics.text().unwrap().contains("request_kind=\"readOnly\"} 0"));
    }
}

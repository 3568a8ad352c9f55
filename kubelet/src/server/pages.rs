//! What the port serves over HTTP: health, figures, the pods, containers' logs.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use k8s_openapi::api::core::v1::Pod;
use reeve_proto::v1::LogsRequest;
use reeve_proto::v1::streams_server::Streams as _;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::body::Body;

use super::Service;
use crate::config::Config;
use crate::stats::collect::{Collector, Extent, own_usage};
use crate::stats::probes::ProbeFigures;
use crate::stats::{summary, text};

const TEXT: &str = "text/plain; charset=utf-8";
const FIGURES: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The pages of a node.
#[derive(Clone)]
pub struct Pages {
    service: Service,
    collector: Collector,
    probes: ProbeFigures,
    config: Arc<Config>,
}

impl Pages {
    /// The pages of these streams and figures.
    pub fn new(service: Service, collector: Collector, probes: ProbeFigures, config: Config) -> Self {
        Self { service, collector, probes, config: Arc::new(config) }
    }

    /// Answers a request that was let in.
    pub async fn serve(&self, method: &Method, path: &str, query: &str) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "405: Method Not Allowed".to_owned());
        }
        let query = |name: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        match path.trim_end_matches('/') {
            "/healthz" | "/healthz/ping" | "/healthz/log" | "/healthz/syncloop" => ok(TEXT, "ok".to_owned()),
            "/pods" => ok(JSON, self.pods().to_string()),
            "/configz" => ok(JSON, self.settings().to_string()),
            "/stats/summary" => {
                let short = query("only_cpu_and_memory").is_some_and(|it| matches!(it.as_str(), "true" | "1"));
                let extent = if short { Extent::Resources } else { Extent::Volumes };
                match self.collector.collect(extent).await {
                    Ok(snapshot) => ok(JSON, summary::summary(&snapshot, short).to_string()),
                    Err(error) => failed(&error),
                }
            }
            "/metrics" => ok(FIGURES, self.own_figures()),
            "/metrics/probes" => ok(FIGURES, self.probes.page()),
            "/metrics/resource" => match self.collector.collect(Extent::Resources).await {
                Ok(snapshot) => ok(FIGURES, text::resource(&snapshot)),
                Err(error) => failed(&error),
            },
            "/metrics/cadvisor" => match self.collector.collect(Extent::All).await {
                Ok(snapshot) => ok(FIGURES, text::cadvisor(&snapshot)),
                Err(error) => failed(&error),
            },
            path => match path.strip_prefix("/containerLogs/").map(|rest| rest.split('/').collect::<Vec<_>>()) {
                Some(parts) if parts.len() == 3 => self.logs(&parts, query).await,
                _ => page(StatusCode::NOT_FOUND, TEXT, "404 page not found".to_owned()),
            },
        }
    }

    async fn logs(&self, parts: &[&str], query: impl Fn(&str) -> Option<String>) -> Response<Body> {
        let flag = |name: &str| query(name).is_some_and(|it| matches!(it.as_str(), "true" | "1"));
        let number = |name: &str| query(name).and_then(|it| it.parse().ok());
        let request = LogsRequest {
            namespace: parts[0].to_owned(),
            pod: parts[1].to_owned(),
            container: parts[2].to_owned(),
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            since_seconds: number("sinceSeconds"),
            since_time: query("sinceTime").unwrap_or_default(),
            tail_lines: number("tailLines"),
            limit_bytes: number("limitBytes"),
        };
        match self.service.logs(tonic::Request::new(request)).await {
            Ok(answer) => {
                let frames = answer.into_inner().map(|chunk| chunk.map(|chunk| Frame::data(chunk.data)));
                let mut response = Response::new(Body::new(StreamBody::new(frames)));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
                response
            }
            Err(status) => {
                let code = match status.code() {
                    tonic::Code::NotFound => StatusCode::NOT_FOUND,
                    tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                page(code, TEXT, status.message().to_owned())
            }
        }
    }

    fn pods(&self) -> Value {
        let pods = self.service.pods.list();
        let items: Vec<Value> = pods.iter().filter_map(|pod| serde_json::to_value(&**pod).ok()).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn settings(&self) -> Value {
        let config = &self.config;
        json!({"kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "port": config.port,
            "clusterDomain": config.cluster_domain,
            "clusterDNS": config.cluster_dns,
            "maxPods": config.max_pods,
            "cgroupRoot": config.cgroup_root,
            "cgroupDriver": "cgroupfs",
            "podLogsDir": config.pod_logs_dir,
            "containerRuntimeEndpoint": format!("unix://{}", config.runtime_endpoint.display()),
        }})
    }

    /// The kubelet's figures about itself.
    fn own_figures(&self) -> String {
        let mut text = text::Text::default();
        let pods = self.service.pods.list();
        let running = |pod: &&Arc<Pod>| pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Running");
        let containers = pods.iter().flat_map(|pod| pod.status.iter()).flat_map(|it| it.container_statuses.iter());
        let mut states = [("running", 0_u32), ("waiting", 0), ("exited", 0)];
        for state in containers.flatten().filter_map(|container| container.state.as_ref()) {
            let index = if state.running.is_some() {
                0
            } else if state.waiting.is_some() {
                1
            } else {
                2
            };
            states[index].1 += 1;
        }
        text.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.");
        text.value("kubelet_node_name", &[("node", &self.config.node_name)], 1.0, None);
        let help = "Number of pods that have a running pod sandbox";
        text.family("kubelet_running_pods", "gauge", help);
        text.value(
            "kubelet_running_pods",
            &[],
            u32::try_from(pods.iter().filter(running).count()).unwrap_or(0).into(),
            None,
        );
        text.family("kubelet_running_containers", "gauge", "Number of containers currently running");
        for (state, count) in states {
            text.value("kubelet_running_containers", &[("container_state", state)], count.into(), None);
        }
        let own = own_usage();
        if let Some(cpu) = own.cpu {
            text.family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.");
            let seconds = std::time::Duration::from_nanos(cpu).as_secs_f64();
            text.value("process_cpu_seconds_total", &[], seconds, None);
        }
        if let Some(memory) = own.rss {
            text.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
            #[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floating point")]
            text.value("process_resident_memory_bytes", &[], memory as f64, None);
        }
        text.finish()
    }
}

fn ok(kind: &'static str, body: String) -> Response<Body> {
    page(StatusCode::OK, kind, body)
}

fn failed(error: &crate::runtime::RuntimeError) -> Response<Body> {
    page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("the figures cannot be gathered: {error}"))
}

/// A page.
pub fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

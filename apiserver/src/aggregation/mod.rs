//! Versions of groups that another server serves (`apiregistration.k8s.io`): who that is, whether it answers, and the
//! way to it.
//!
//! The registrations are followed as long as the server runs. While there is one with a backend, its service and its
//! endpoints are followed too, and the backend is asked for what it serves: after each change, and twice a minute as
//! upstream does. A backend is reached by its endpoints: this host need not forward cluster addresses.

mod judge;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceStatus};
use reeve_api::{GroupVersionResource, Reason, StatusError};
use serde_json::Value;
use tonic::body::Body;

use crate::edges::status::full;
use crate::handlers::{Handlers, WriteOptions, server};
use crate::outbound::tls::{self, Identity};
use crate::outbound::{Destination, hand_on, send};
use crate::request::{Target, User};
use judge::Finding;

/// How often a backend is asked, as upstream.
const PROBE_PERIOD: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
const PREFIX: &str = "/registry/apiregistration.k8s.io/apiservices/";
const SERVICES_PREFIX: &str = "/registry/services/specs/";
const SLICES_PREFIX: &str = "/registry/endpointslices/";

/// A version that another server serves.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The group.
    pub group: String,
    /// The version.
    pub version: String,
    /// What it has, as it told at last: an `APIResourceList`. `None` while it does not answer.
    pub resources: Option<Arc<Value>>,
    registration: Arc<APIService>,
}

/// The certificate and key that backends know this server by.
pub struct FrontProxy {
    /// The chain, as PEM.
    pub certificate: Vec<u8>,
    /// The private key, as PEM.
    pub key: Vec<u8>,
}

/// All versions that others serve.
pub struct Aggregation {
    handlers: Arc<Handlers>,
    identity: Option<FrontProxy>,
    remotes: ArcSwap<Vec<Remote>>,
}

impl Aggregation {
    /// Nothing is known until [`Self::follow`] runs.
    pub fn new(handlers: Arc<Handlers>, identity: Option<FrontProxy>) -> Self {
        Self { handlers, identity, remotes: ArcSwap::default() }
    }

    /// What others serve now. The same pointer as long as nothing changes.
    pub fn remotes(&self) -> Arc<Vec<Remote>> {
        self.remotes.load_full()
    }

    /// The other server that a path belongs to.
    pub fn find(&self, path: &str) -> Option<Remote> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        remotes.iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }

    /// Follows the registrations until a watch ends.
    ///
    /// # Errors
    /// Why it ended; to be taken up again.
    pub async fn follow(&self) -> Result<(), StatusError> {
        let mut registrations = self.handlers.watch_in(PREFIX, "").await?;
        loop {
            self.refresh().await;
            if self.remotes.load().is_empty() {
                ended(registrations.next().await)?;
                continue;
            }
            let mut backends = Vec::new();
            for namespace in self.namespaces() {
                for prefix in [SERVICES_PREFIX, SLICES_PREFIX] {
                    backends.push(self.handlers.watch_in(prefix, &namespace).await?);
                }
            }
            let mut backends = futures::stream::select_all(backends);
            tokio::select! {
                batch = registrations.next() => ended(batch)?,
                batch = backends.next() => ended(batch)?,
                () = tokio::time::sleep(PROBE_PERIOD) => {}
            }
        }
    }

    /// Where the backends are.
    fn namespaces(&self) -> BTreeSet<String> {
        let remotes = self.remotes.load();
        let specs = remotes.iter().filter_map(|remote| remote.registration.spec.as_ref()?.service.as_ref());
        specs.filter_map(|service| service.namespace.clone()).collect()
    }

    /// Looks at all registrations, asks the backends, and tells what it found.
    async fn refresh(&self) {
        let mut remotes = Vec::new();
        for registration in self.handlers.all::<APIService>(PREFIX) {
            let Some(spec) = registration.spec.clone().filter(|spec| spec.service.is_some()) else { continue };
            let registration = Arc::new(registration);
            let (finding, resources) = self.examine(&registration).await;
            if let Err(error) = self.tell(&registration, &finding).await {
                tracing::warn!(registration = registration.metadata.name, %error, "what was found could not be stored");
            }
            remotes.push(Remote {
                group: spec.group.unwrap_or_default(),
                version: spec.version.unwrap_or_default(),
                resources: resources.map(Arc::new),
                registration,
            });
        }
        let known = self.remotes.load();
        let same = known.len() == remotes.len()
            && known.iter().zip(&remotes).all(|(one, other)| {
                one.resources == other.resources && one.registration.spec == other.registration.spec
            });
        if !same {
            self.remotes.store(Arc::new(remotes));
        }
    }

    /// Whether a backend answers, and what it has.
    async fn examine(&self, registration: &APIService) -> (Finding, Option<Value>) {
        let spec = registration.spec.clone().unwrap_or_default();
        let Some(reference) = &spec.service else { return (Finding::passed(), None) };
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let service = self.handlers.cached_service(namespace, reference.name.as_deref().unwrap_or_default());
        if let Some(finding) = judge::service(reference, service.as_ref()) {
            return (finding, None);
        }
        let destination = match self.destination(registration) {
            Ok(destination) => destination,
            Err(_) => return (judge::no_endpoints(reference, service.as_ref()), None),
        };
        let path = format!(
            "/apis/{}/{}",
            spec.group.as_deref().unwrap_or_default(),
            spec.version.as_deref().unwrap_or_default()
        );
        let url = format!("https://{}{path}", destination.authority());
        match tokio::time::timeout(PROBE_TIMEOUT, probe(&destination, &path)).await {
            Ok(Ok(resources)) => (Finding::passed(), Some(resources)),
            Ok(Err(why)) => (judge::failed(&url, &why), None),
            Err(_) => (judge::failed(&url, "context deadline exceeded"), None),
        }
    }

    async fn tell(&self, registration: &APIService, finding: &Finding) -> Result<(), StatusError> {
        let known = registration.status.as_ref().and_then(|status| status.conditions.as_ref());
        let known = known.and_then(|all| all.iter().find(|condition| condition.type_ == "Available"));
        if known.is_some_and(|known| finding.is_told_by(known)) {
            return Ok(());
        }
        let mut told = registration.clone();
        let since =
            known.filter(|known| known.status == finding.status()).and_then(|known| known.last_transition_time.clone());
        let condition = finding.condition(since.unwrap_or(Time(self.handlers.now())));
        told.status = Some(APIServiceStatus { conditions: Some(vec![condition]) });
        let target = Target {
            resource: GroupVersionResource::of::<APIService>(),
            namespace: String::new(),
            name: told.metadata.name.clone().unwrap_or_default(),
            subresource: "status".to_owned(),
        };
        let body = serde_json::to_vec(&told).map_err(StatusError::internal)?;
        match self.handlers.update(&server(), &target, body.into(), &WriteOptions::default()).await {
            // Somebody else was quicker; the change comes as an event.
            Err(error) if !matches!(error.reason, Reason::Conflict | Reason::NotFound) => Err(error),
            _ => Ok(()),
        }
    }

    fn destination(&self, registration: &APIService) -> Result<Destination, StatusError> {
        let spec = registration.spec.clone().unwrap_or_default();
        let reference = spec.service.unwrap_or_default();
        let namespace = reference.namespace.unwrap_or_default();
        let name = reference.name.unwrap_or_default();
        let place = self.handlers.service_endpoint(&namespace, &name, reference.port.unwrap_or(443))?;
        let identity = self.identity.as_ref();
        let identity = identity.map(|own| Identity { certificate: &own.certificate, key: &own.key });
        let bundle = spec.ca_bundle.map(|bundle| bundle.0).unwrap_or_default();
        let config = if spec.insecure_skip_tls_verify == Some(true) {
            tls::unverified(identity)
        } else {
            tls::verified(&bundle, identity)
        };
        let tls = Some(config.map_err(StatusError::internal)?);
        Ok(place.destination(tls, format!("{name}.{namespace}.svc")))
    }

    /// Hands a request on to the server that serves its version, and tells it who asks.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    pub async fn answer(
        &self,
        remote: &Remote,
        user: &User,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, StatusError> {
        if remote.resources.is_none() {
            return Ok(unavailable());
        }
        let Ok(destination) = self.destination(&remote.registration) else { return Ok(unavailable()) };
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let headers = request.headers_mut();
        headers.remove(http::header::AUTHORIZATION);
        let claimed: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
        for name in claimed {
            headers.remove(name);
        }
        hand_on(&destination, &path, &told_of(user), request).await.map_err(|error| {
            StatusError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {error}"))
        })
    }
}

/// Who a user is, as backends are told by `--requestheader-username-headers` and the like.
fn told_of(user: &User) -> Vec<(HeaderName, HeaderValue)> {
    let mut texts = vec![("x-remote-user".to_owned(), user.name.clone())];
    if !user.uid.is_empty() {
        texts.push(("x-remote-uid".to_owned(), user.uid.clone()));
    }
    texts.extend(user.groups.iter().map(|group| ("x-remote-group".to_owned(), group.clone())));
    for (key, values) in &user.extra {
        let key = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
        texts.extend(values.iter().map(|value| (format!("x-remote-extra-{key}"), value.clone())));
    }
    let header = |(name, value): (String, String)| {
        Some((HeaderName::try_from(name.to_ascii_lowercase()).ok()?, HeaderValue::from_str(&value).ok()?))
    };
    texts.into_iter().filter_map(header).collect()
}

/// What upstream answers for a version whose server does not.
fn unavailable() -> Response<Body> {
    let mut response = Response::new(full("service unavailable\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    response
}

/// Asks a backend what it has.
async fn probe(destination: &Destination, path: &str) -> Result<Value, String> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let user = User {
        name: "system:kube-aggregator".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    };
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in told_of(&user) {
        request.headers_mut().append(name, value);
    }
    let response = send(destination, request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("bad status from {path}: {}", status.as_u16()));
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

fn ended<T>(batch: Option<Result<T, StatusError>>) -> Result<(), StatusError> {
    match batch {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error),
        None => Err(StatusError::unavailable("a watch of the aggregator ended", 1)),
    }
}

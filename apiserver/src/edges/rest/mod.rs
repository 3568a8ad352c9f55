//! The REST edge: the Kubernetes HTTP contract over the same handlers.

mod answer;
mod body;
mod compress;
mod discovery;
mod health;
mod issuer;
mod logs;
mod negotiation;
mod openapi;
mod options;
pub mod parsers;
mod path;
mod proxy;
mod streams;
mod table;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use reeve_api::status::StatusDetails;
use reeve_api::{Reason, StatusError};
use tokio::time::Instant;
use tonic::body::Body;

use self::negotiation::{Asked, Form, Offer, negotiate};
use self::path::{Query, Route, route};
use crate::aggregation::{Aggregation, Remote};
use crate::authentication::impersonation;
use crate::authorization::{self, Attributes, On};
use crate::handlers::{Handlers, ObjectAnswer, PatchKind};
use crate::metrics::{self, Metrics};
use crate::pod_streams::PodStreams;
use crate::registry::{Registry, Row};
use crate::request::{Target, User, Verb};

pub use self::body::BodyRead;
pub use self::health::Readiness;
pub use self::proxy::Proxy;

/// The documents of discovery, made of a registry.
struct Discovered {
    registry: Arc<Registry>,
    remotes: Arc<Vec<Remote>>,
    documents: discovery::Documents,
}

impl Discovered {
    fn new(registry: Arc<Registry>, remotes: Arc<Vec<Remote>>, address: &str) -> Self {
        Self { documents: discovery::Documents::new(registry.rows(), &remotes, address), registry, remotes }
    }
}

/// The REST edge.
pub struct Rest {
    handlers: Arc<Handlers>,
    pods: Arc<PodStreams>,
    proxy: Proxy,
    aggregation: Arc<Aggregation>,
    readiness: Readiness,
    discovery: ArcSwap<Discovered>,
    metrics: Metrics,
    /// Where clients reach this server.
    address: String,
}

impl Rest {
    /// An edge over handlers.
    pub fn new(
        handlers: Arc<Handlers>,
        pods: Arc<PodStreams>,
        proxy: Proxy,
        aggregation: Arc<Aggregation>,
        readiness: Readiness,
        address: &str,
    ) -> Self {
        let discovery = ArcSwap::from_pointee(Discovered::new(handlers.registry(), aggregation.remotes(), address));
        Self {
            handlers,
            pods,
            proxy,
            aggregation,
            readiness,
            discovery,
            metrics: Metrics::default(),
            address: address.to_owned(),
        }
    }

    /// The documents of what is served now.
    fn discovery(&self) -> Arc<Discovered> {
        let known = self.discovery.load_full();
        let (registry, remotes) = (self.handlers.registry(), self.aggregation.remotes());
        if Arc::ptr_eq(&known.registry, &registry) && Arc::ptr_eq(&known.remotes, &remotes) {
            return known;
        }
        let made = Arc::new(Discovered::new(registry, remotes, &self.address));
        self.discovery.store(made.clone());
        made
    }

    /// Health, asked without credentials; `None` for other paths.
    pub fn health(&self, path: &str, query: Option<&str>) -> Option<Response<Body>> {
        health::answer(&self.readiness, path, &Query::parse(query))
    }

    /// The user that a request acts as.
    ///
    /// # Errors
    /// `Forbidden` when its sender may not act as that one.
    pub fn impersonate(&self, user: User, request: &Request<Incoming>) -> Result<User, StatusError> {
        if !impersonation::is_asked(request.headers()) {
            return Ok(user);
        }
        let authorizer = self.handlers.authorizer();
        let path = request.uri().path();
        if let Route::Resource { target, watch } = route(path) {
            let query = Query::parse(request.uri().query());
            if let Some(verb) = path::verb(request.method(), &target, path::watches(&target, watch, &query)) {
                let nobody = User::default();
                let asked = Attributes::of_target(&nobody, verb, &target, query.text("fieldSelector"));
                return impersonation::apply(authorizer, user, request.headers(), verb.as_str(), asked.on);
            }
        }
        let verb = request.method().as_str().to_ascii_lowercase();
        impersonation::apply(authorizer, user, request.headers(), &verb, On::Path(path))
    }

    /// Refuses paths that are not objects' to whoever may not use them.
    fn authorize_path(&self, user: &User, request: &Request<Incoming>) -> Result<(), StatusError> {
        let verb = request.method().as_str().to_ascii_lowercase();
        let on = On::Path(request.uri().path());
        authorization::check(self.handlers.authorizer(), &Attributes { user, verb: &verb, on })
    }

    /// Serves one request of an authenticated user.
    pub async fn serve(&self, user: Arc<User>, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        let head = request.method() == Method::HEAD;
        let encoding = negotiation::error_encoding(request.headers());
        let _in_flight = self.metrics.begin(!matches!(*request.method(), Method::GET | Method::HEAD));
        let mut seen = Seen::default();
        let mut response = match self.dispatch(&user, request, &mut seen).await {
            Ok(response) => response,
            Err(error) => {
                let mut response = answer::error(&error, encoding);
                answer::warn(&mut response, &error.warnings);
                response
            }
        };
        self.metrics.end(&seen.measured, response.status().as_u16(), begun.elapsed());
        answer::warn_first(&mut response, seen.deprecation);
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    /// Whether a target's resource is served, and what its users are told.
    fn is_served(&self, target: &Target, seen: &mut Seen) -> bool {
        let registry = self.handlers.registry();
        let Some(row) = registry.get(&target.resource) else { return false };
        seen.deprecation = row.deprecation.as_deref().map(str::to_owned);
        true
    }

    async fn dispatch(
        &self,
        user: &User,
        request: Request<Incoming>,
        seen: &mut Seen,
    ) -> Result<Response<Body>, StatusError> {
        let path = request.uri().path();
        let route = route(path);
        if *request.method() == Method::HEAD && !matches!(&route, Route::Resource { target, .. } if is_proxy(target)) {
            return Err(method_not_allowed());
        }
        let query = Query::parse(request.uri().query());
        if let Route::Resource { target, watch } = &route
            && !self.is_served(target, seen)
            && let Some(verb) = path::verb(request.method(), target, path::watches(target, *watch, &query))
        {
            // A stranger must not learn what exists.
            let asked = Attributes::of_target(user, verb, target, query.text("fieldSelector"));
            authorization::check(self.handlers.authorizer(), &asked)?;
        }
        if !matches!(route, Route::Resource { .. }) {
            self.authorize_path(user, &request)?;
            if let Some(response) = issuer::answer(&self.handlers, &self.address, path, request.headers())? {
                return Ok(response);
            }
        }
        if path == "/metrics" {
            let text = self.metrics.text().map_err(StatusError::internal)?;
            let asked = Asked { gzip: negotiation::wants_gzip(request.headers()), ..Asked::JSON };
            return answer::ready(text.into(), metrics::MEDIA_TYPE, asked, 200);
        }
        let (discovered, now) = (self.discovery(), self.handlers.now());
        let (registry, documents) = (&*discovered.registry, &discovered.documents);
        if let Some(response) = openapi::answer(registry, path, &query, request.method(), request.headers(), now)? {
            return Ok(response);
        }
        if !documents.has_path(path)
            && !matches!(&route, Route::Resource { target, .. } if registry.get(&target.resource).is_some())
            && let Some(remote) = self.aggregation.find(path)
        {
            return self.aggregation.answer(&remote, user, request).await;
        }
        if let Some(response) = documents.answer(&route, path, &query, request.method(), request.headers())? {
            return Ok(response);
        }
        let Route::Resource { target, watch } = route else {
            return Err(unknown_resource());
        };
        let watch = path::watches(&target, watch, &query);
        let verb = path::verb(request.method(), &target, watch).ok_or_else(method_not_allowed)?;
        let target = canonical(target, verb);
        let group = &target.resource.group;
        let unknown = registry.get(&target.resource).is_none();
        if !documents.has_group(group) || (unknown && !discovery::is_builtin(group)) {
            // A stranger must not learn that either.
            let attributes = Attributes::of_target(user, verb, &target, query.text("fieldSelector"));
            authorization::check(self.handlers.authorizer(), &attributes)?;
            return Ok(discovery::page_not_found());
        }
        seen.measured = metrics::Asked {
            resource: Some((verb, target.clone())),
            dry_run: query.text("dryRun") == "All",
            apply: body::media_type(request.headers()) == "application/apply-patch+yaml",
        };
        if verb == Verb::Get && target.resource.resource == "pods" && target.subresource == "log" {
            let log = logs::answer(&self.handlers, &self.pods, user, &target, &query).await?;
            let upgrades = log.status() == StatusCode::OK && streams::is_upgrade(request.headers());
            return if upgrades { streams::upgrade_log(request, log) } else { Ok(log) };
        }
        if is_proxy(&target) {
            return self.proxy.answer(&self.handlers, user, verb, &target, request).await;
        }
        if matches!(verb, Verb::Get | Verb::Create) && streams::is_stream(&target) {
            return streams::answer(&self.handlers, &self.pods, user, &target, request).await;
        }
        let row = registry.get(&target.resource).cloned();
        self.on_objects(user, verb, &target, row, &query, request).await
    }

    /// The verbs on objects: what is sent and answered is of the row's kind, in the form that the client asked for.
    async fn on_objects(
        &self,
        user: &User,
        verb: Verb,
        target: &Target,
        row: Option<Arc<Row>>,
        query: &Query,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, StatusError> {
        // The kind of what is sent and answered: that of the subresource, where it has its own.
        let kind = row.as_ref().map(|row| match row.subresource(&target.subresource) {
            Some(subresource) => subresource.kind.clone(),
            None => row.info.kind(),
        });
        let kind = kind.as_ref();
        let asked = {
            let offer = match verb {
                Verb::List | Verb::DeleteCollection => Offer::Collection(kind),
                Verb::Watch => Offer::Watch(kind),
                _ => Offer::Objects(kind),
            };
            negotiate(request.headers(), query, offer)?
        };
        if asked.form == Form::Table && row.as_ref().is_some_and(|row| row.review.is_some()) {
            // Answers to questions have no columns.
            return Err(negotiation::not_acceptable(kind));
        }
        match verb {
            Verb::Get => {
                options::check_get(query)?;
                let answer = self.handlers.get(user, target, query.text("resourceVersion")).await?;
                self.object(row.as_deref(), answer, asked, query, 200)
            }
            Verb::List => {
                let listing = self.handlers.list(user, target, options::list(query)?).await?;
                match asked.form {
                    Form::Object | Form::AggregatedDiscovery => answer::list(listing, asked),
                    Form::Metadata | Form::MetadataList => answer::metadata_list(listing, asked),
                    Form::Table => table::list(listing, self.handlers.now(), query, asked),
                }
            }
            Verb::Watch => {
                let stream = self.handlers.watch(user, target, options::watch(query)?).await?;
                let lines = answer::watch(stream, asked, row, self.handlers.clock(), query);
                if streams::is_upgrade(request.headers()) {
                    return streams::upgrade_watch(request, lines);
                }
                Ok(lines)
            }
            Verb::Create => {
                let mut options = options::write(query, request.headers(), verb)?;
                let body = body::object(request, kind).await?;
                options.repeated = body.repeated;
                let answer = self.handlers.create(user, target, body.json, &options).await?;
                self.object(row.as_deref(), answer, asked, query, 201)
            }
            Verb::Update => {
                let mut options = options::write(query, request.headers(), verb)?;
                let body = body::object(request, kind).await?;
                options.repeated = body.repeated;
                let answer = self.handlers.update(user, target, body.json, &options).await?;
                let status = if answer.created { 201 } else { 200 };
                self.object(row.as_deref(), answer, asked, query, status)
            }
            Verb::Patch => {
                let kind = options::patch_kind(request.headers(), query)?;
                let mut options = options::write(query, request.headers(), verb)?;
                let mut body = body::bytes(request).await?;
                if matches!(kind, PatchKind::Apply { .. }) {
                    let read = body::yaml(&body)?;
                    (body, options.repeated) = (read.json, read.repeated);
                }
                let answer = self.handlers.patch(user, target, kind, body, &options).await?;
                let status = if answer.created { 201 } else { 200 };
                self.object(row.as_deref(), answer, asked, query, status)
            }
            Verb::Delete => {
                let body = body::object(request, None).await?;
                let options = options::delete(&body.json, query)?;
                let answer = self.handlers.delete(user, target, &options).await?;
                self.object(row.as_deref(), answer.object, asked, query, 200)
            }
            Verb::DeleteCollection => {
                let list = options::list(query)?;
                let body = body::object(request, None).await?;
                let options = options::delete(&body.json, query)?;
                let (deleted, revision) = self.handlers.delete_collection(user, target, list, &options).await?;
                answer::collection(row.as_deref(), &deleted, revision, asked)
            }
        }
    }

    fn object(
        &self,
        row: Option<&Row>,
        object: ObjectAnswer,
        asked: Asked,
        query: &Query,
        status: u16,
    ) -> Result<Response<Body>, StatusError> {
        match asked.form {
            Form::Object | Form::AggregatedDiscovery => answer::object(object, asked, status),
            Form::Metadata | Form::MetadataList => answer::metadata_object(object, row, asked, status),
            Form::Table => table::object(object, row, self.handlers.now(), query, asked, status),
        }
    }
}

/// Whether requests are handed on, whatever their method and query.
fn is_proxy(target: &Target) -> bool {
    target.subresource == "proxy" && path::is_proxied(&target.resource.group, &target.resource.resource)
}

/// What is learnt of a request on its way.
#[derive(Default)]
struct Seen {
    measured: metrics::Asked,
    /// What users of a resource that should not be used any more are told.
    deprecation: Option<String>,
}

/// A namespace is an object of the cluster: its path has its name also where others have their namespace.
fn canonical(mut target: Target, verb: Verb) -> Target {
    if target.resource.group.is_empty() && target.resource.resource == "namespaces" {
        target.namespace = String::new();
    }
    if verb == Verb::Watch && !target.name.is_empty() {
        // A watch of one object is a watch of the collection that selects its name.
        target.subresource = String::new();
    }
    target
}

/// There is no such resource.
fn unknown_resource() -> StatusError {
    without_details(Reason::NotFound, "the server could not find the requested resource")
}

/// The resource is there, but not for this method.
fn method_not_allowed() -> StatusError {
    without_details(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

/// Upstream's router answers with details that say nothing.
fn without_details(reason: Reason, message: &str) -> StatusError {
    let mut error = StatusError::new(reason, message);
    error.details = Some(Box::new(StatusDetails::default()));
    error
}

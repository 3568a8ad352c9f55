//! The REST edge: the Kubernetes HTTP contract over the same handlers.

mod answer;
mod discovery;
mod health;
mod issuer;
mod logs;
mod negotiation;
mod path;
mod streams;
mod table;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions as MetaDeleteOptions;
use reeve_api::{Reason, StatusError};
use tonic::body::Body;

use self::negotiation::{Form, negotiate};
use self::path::{Query, Route, route};
use super::status::to_http;
use crate::authentication::impersonation;
use crate::authorization::{self, Attributes, On};
use crate::handlers::{DeleteOptions, Handlers, ListOptions, PatchKind, Selection, WatchOptions, WriteOptions};
use crate::pod_streams::PodStreams;
use crate::request::{Target, User, Verb};

pub use self::health::Readiness;

/// The largest body, as upstream.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The REST edge.
pub struct Rest {
    handlers: Arc<Handlers>,
    pods: Arc<PodStreams>,
    readiness: Readiness,
    discovery: discovery::Documents,
    /// Where clients reach this server.
    address: String,
}

impl Rest {
    /// An edge over handlers.
    pub fn new(handlers: Arc<Handlers>, pods: Arc<PodStreams>, readiness: Readiness, address: &str) -> Self {
        let discovery = discovery::Documents::new(handlers.registry(), address);
        Self { handlers, pods, readiness, discovery, address: address.to_owned() }
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
        let authorizer = self.handlers.authorizer();
        let path = request.uri().path();
        if let Route::Resource { target, watch } = route(path) {
            let query = Query::parse(request.uri().query());
            if let Some(verb) = path::verb(request.method(), &target, watch || query.flag("watch")) {
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
        let head = request.method() == Method::HEAD;
        let mut response = match self.dispatch(&user, request).await {
            Ok(response) => response,
            Err(error) => to_http(&error),
        };
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn dispatch(&self, user: &User, request: Request<Incoming>) -> Result<Response<Body>, StatusError> {
        let path = request.uri().path();
        let route = route(path);
        let query = Query::parse(request.uri().query());
        if !matches!(route, Route::Resource { .. }) {
            self.authorize_path(user, &request)?;
            if let Some(response) = issuer::answer(&self.handlers, &self.address, path, request.headers())? {
                return Ok(response);
            }
        }
        if let Some(response) = self.discovery.answer(&route, path, request.method(), request.headers())? {
            return Ok(response);
        }
        let Route::Resource { target, watch } = route else {
            return Err(StatusError::new(Reason::NotFound, "the server could not find the requested resource"));
        };
        let watch = watch || query.flag("watch");
        let verb = path::verb(request.method(), &target, watch).ok_or_else(|| {
            StatusError::new(
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            )
        })?;
        let target = canonical(target, verb);
        if verb == Verb::Get && target.resource.resource == "pods" && target.subresource == "log" {
            return logs::answer(&self.handlers, &self.pods, user, &target, &query).await;
        }
        if matches!(verb, Verb::Get | Verb::Create) && streams::is_stream(&target) {
            return streams::answer(&self.handlers, &self.pods, user, &target, request).await;
        }
        match verb {
            Verb::Get => {
                let (form, encoding) = negotiate(request.headers())?;
                let answer = self.handlers.get(user, &target, query.text("resourceVersion")).await?;
                self.object(&target, answer, form, encoding, &query, 200)
            }
            Verb::List => {
                let (form, encoding) = negotiate(request.headers())?;
                let listing = self.handlers.list(user, &target, list_options(&query)?).await?;
                match form {
                    Form::Object => answer::list(listing, encoding),
                    Form::Metadata => answer::metadata_list(listing, encoding),
                    Form::Table => table::list(listing, self.handlers.now(), &query, encoding),
                }
            }
            Verb::Watch => {
                let (form, _) = negotiate(request.headers())?;
                let options = watch_options(&query)?;
                let registry = self.handlers.registry();
                let row = registry.get(&target.resource).cloned();
                let stream = self.handlers.watch(user, &target, options).await?;
                let lines = answer::watch(stream, form, row, self.handlers.clock(), &query);
                if streams::is_upgrade(request.headers()) {
                    return streams::upgrade_watch(request, lines);
                }
                Ok(lines)
            }
            Verb::Create => {
                let (form, encoding) = negotiate(request.headers())?;
                let options = write_options(&query, request.headers())?;
                let body = body(request, BodyKind::Object).await?;
                let answer = self.handlers.create(user, &target, body, &options).await?;
                self.object(&target, answer, form, encoding, &query, 201)
            }
            Verb::Update => {
                let (form, encoding) = negotiate(request.headers())?;
                let options = write_options(&query, request.headers())?;
                let body = body(request, BodyKind::Object).await?;
                let answer = self.handlers.update(user, &target, body, &options).await?;
                let status = if answer.created { 201 } else { 200 };
                self.object(&target, answer, form, encoding, &query, status)
            }
            Verb::Patch => {
                let (form, encoding) = negotiate(request.headers())?;
                let options = write_options(&query, request.headers())?;
                let kind = patch_kind(request.headers(), &query)?;
                let body_kind = if matches!(kind, PatchKind::Apply { .. }) { BodyKind::Yaml } else { BodyKind::Json };
                let body = body(request, body_kind).await?;
                let answer = self.handlers.patch(user, &target, kind, body, &options).await?;
                let status = if answer.created { 201 } else { 200 };
                self.object(&target, answer, form, encoding, &query, status)
            }
            Verb::Delete => {
                let (_, encoding) = negotiate(request.headers())?;
                let options = delete_options(request, &query).await?;
                let answer = self.handlers.delete(user, &target, &options).await?;
                answer::object(answer.object, encoding, 200)
            }
            Verb::DeleteCollection => {
                let (_, encoding) = negotiate(request.headers())?;
                let list = list_options(&query)?;
                let options = delete_options(request, &query).await?;
                let deleted = self.handlers.delete_collection(user, &target, list, &options).await?;
                let row = self.handlers.registry().get(&target.resource);
                answer::collection(row.map(AsRef::as_ref), &deleted, encoding)
            }
        }
    }

    fn object(
        &self,
        target: &Target,
        object: crate::handlers::ObjectAnswer,
        form: Form,
        encoding: negotiation::Encoding,
        query: &Query,
        status: u16,
    ) -> Result<Response<Body>, StatusError> {
        match form {
            Form::Object => answer::object(object, encoding, status),
            Form::Metadata => answer::metadata_object(object, encoding, status),
            Form::Table => {
                let row = self.handlers.registry().get(&target.resource);
                table::object(object, row.map(AsRef::as_ref), self.handlers.now(), query, encoding, status)
            }
        }
    }
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

fn selection(query: &Query) -> Selection {
    Selection { labels: query.text("labelSelector").to_owned(), fields: query.text("fieldSelector").to_owned() }
}

fn list_options(query: &Query) -> Result<ListOptions, StatusError> {
    Ok(ListOptions {
        selection: selection(query),
        resource_version: query.text("resourceVersion").to_owned(),
        resource_version_match: query.text("resourceVersionMatch").to_owned(),
        limit: query.number("limit")?.unwrap_or(0),
        continue_token: query.text("continue").to_owned(),
    })
}

fn watch_options(query: &Query) -> Result<WatchOptions, StatusError> {
    Ok(WatchOptions {
        selection: selection(query),
        resource_version: query.text("resourceVersion").to_owned(),
        resource_version_match: query.text("resourceVersionMatch").to_owned(),
        send_initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
        allow_bookmarks: query.flag("allowWatchBookmarks"),
        timeout_seconds: query.number("timeoutSeconds")?.unwrap_or(0),
    })
}

fn write_options(query: &Query, headers: &HeaderMap) -> Result<WriteOptions, StatusError> {
    let dry_run = match query.text("dryRun") {
        "" => false,
        "All" => true,
        other => {
            return Err(StatusError::new(
                Reason::Invalid,
                format!(
                    "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: {other:?}: supported values: \"All\""
                ),
            ));
        }
    };
    let mut field_manager = query.text("fieldManager").to_owned();
    if field_manager.is_empty() {
        let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        field_manager = agent.split('/').next().unwrap_or_default().to_owned();
    }
    Ok(WriteOptions { dry_run, field_manager, field_validation: query.text("fieldValidation").to_owned() })
}

async fn delete_options(request: Request<Incoming>, query: &Query) -> Result<DeleteOptions, StatusError> {
    let bytes = body(request, BodyKind::Object).await?;
    let asked: MetaDeleteOptions = if bytes.is_empty() {
        MetaDeleteOptions::default()
    } else {
        // Clients send apiVersion `v1`, `meta.k8s.io/v1`, `policy/v1` or any other group's.
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(undecodable)?;
        if let Some(object) = value.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        serde_json::from_value(value).map_err(undecodable)?
    };
    let preconditions = asked.preconditions.unwrap_or_default();
    let policy = asked.propagation_policy.unwrap_or_default();
    let policy = if policy.is_empty() { query.text("propagationPolicy").to_owned() } else { policy };
    Ok(DeleteOptions {
        grace_period_seconds: asked.grace_period_seconds.or(query.number("gracePeriodSeconds")?),
        propagation_policy: match (policy.is_empty(), asked.orphan_dependents) {
            (true, Some(true)) => "Orphan".to_owned(),
            (true, Some(false)) => "Background".to_owned(),
            _ => policy,
        },
        uid: preconditions.uid.unwrap_or_default(),
        resource_version: preconditions.resource_version.unwrap_or_default(),
        dry_run: asked.dry_run.is_some_and(|run| !run.is_empty()) || query.text("dryRun") == "All",
    })
}

fn patch_kind(headers: &HeaderMap, query: &Query) -> Result<PatchKind, StatusError> {
    let media = media_type(headers);
    match media.as_str() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply { force: query.flag("force") }),
        _ => Err(StatusError::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml",
        )),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn undecodable(error: impl std::fmt::Display) -> StatusError {
    StatusError::bad_request(format!("the object provided is unrecognized: {error}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    /// JSON or YAML, by content type.
    Object,
    /// JSON.
    Json,
    /// YAML, of which JSON is a part.
    Yaml,
}

/// The whole body as JSON.
async fn body(request: Request<Incoming>, kind: BodyKind) -> Result<Bytes, StatusError> {
    let media = media_type(request.headers());
    let yaml = match (kind, media.as_str()) {
        (BodyKind::Json, _) => false,
        (BodyKind::Yaml, _) | (BodyKind::Object, "application/yaml") => true,
        (BodyKind::Object, "" | "application/json") => false,
        (BodyKind::Object, _) => {
            return Err(StatusError::new(
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml",
            ));
        }
    };
    let bytes = Limited::new(request.into_body(), BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                StatusError::new(
                    Reason::RequestEntityTooLarge,
                    format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
                )
            } else {
                StatusError::bad_request(format!("the body cannot be read: {error}"))
            }
        })?
        .to_bytes();
    if !yaml {
        return Ok(bytes);
    }
    let value: serde_json::Value = serde_yaml::from_slice(&bytes)
        .map_err(|error| StatusError::bad_request(format!("error decoding YAML: {error}")))?;
    Ok(serde_json::to_vec(&value).map_err(undecodable)?.into())
}

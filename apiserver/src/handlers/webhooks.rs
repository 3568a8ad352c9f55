//! Asks the admission webhooks ([`crate::admission::webhooks`]) that a request concerns.
//!
//! Webhooks that change objects are asked one after the other, those that judge all at once. Nothing is locked while
//! they think: an update that they took is written on the version that they saw, or they are asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use k8s_openapi::api::core::v1::Namespace;
use reeve_api::patch;
use reeve_api::{ObjectMeta, StatusError};
use serde_json::Value;

use super::{Handlers, WriteOptions, encode};
use crate::admission;
use crate::admission::webhooks::{Ask, Hook, Operation, Verdict, review, verdict};
use crate::outbound::{Destination, send, tls};
use crate::registry::{AnyObject, Row};
use crate::request::{Target, User};

const MUTATING_PREFIX: &str = "/registry/mutatingwebhookconfigurations/";
const VALIDATING_PREFIX: &str = "/registry/validatingwebhookconfigurations/";
/// An answer holds at most a patch of an object.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Which webhooks are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Mutating,
    Validating,
}

/// A request as webhooks are asked about it.
pub(super) struct Subject<'a> {
    pub user: &'a User,
    pub row: &'a Row,
    pub target: &'a Target,
    pub operation: Operation,
    pub dry_run: bool,
    pub field_manager: &'a str,
}

impl<'a> Subject<'a> {
    /// Of a request that plug-ins see too.
    pub fn of(request: &admission::Request<'a>, operation: Operation, options: &'a WriteOptions) -> Self {
        Self {
            user: request.user,
            row: request.row,
            target: request.target,
            operation,
            dry_run: options.dry_run,
            field_manager: &options.field_manager,
        }
    }
}

fn value_of(object: &dyn AnyObject) -> Result<Value, StatusError> {
    serde_json::from_slice(&encode(object)?).map_err(StatusError::internal)
}

impl Handlers {
    /// Whether there are any webhooks at all.
    pub(super) fn has_webhooks(&self) -> bool {
        [MUTATING_PREFIX, VALIDATING_PREFIX].iter().any(|prefix| !self.stored(prefix).snapshot().is_empty())
    }

    fn hooks(&self, sort: Sort) -> Vec<Hook> {
        match sort {
            Sort::Mutating => Hook::of_mutating(self.cached.list(MUTATING_PREFIX, "")),
            Sort::Validating => Hook::of_validating(self.cached.list(VALIDATING_PREFIX, "")),
        }
    }

    fn ask<'a>(
        &self,
        subject: &Subject<'a>,
        metadata: &ObjectMeta,
        object: Option<Value>,
        old: Option<Value>,
    ) -> Ask<'a> {
        let resource = &subject.row.info.resource;
        let of_namespace = |name: &str| -> BTreeMap<String, String> {
            let namespace: Option<Namespace> = self.cached.get("/registry/namespaces/", "", name);
            namespace.and_then(|namespace| namespace.metadata.labels).unwrap_or_default()
        };
        let namespace = if subject.row.info.namespaced { subject.target.namespace.as_str() } else { "" };
        let is_namespace = resource.group.is_empty() && resource.resource == "namespaces";
        let namespace_labels = match (is_namespace, namespace) {
            (true, _) => Some(metadata.labels.clone().unwrap_or_default()),
            (false, "") => None,
            (false, namespace) => Some(of_namespace(namespace)),
        };
        Ask {
            user: subject.user,
            operation: subject.operation,
            kind: subject.row.info.kind(),
            resource,
            subresource: &subject.target.subresource,
            namespace,
            name: &subject.target.name,
            namespace_labels,
            object,
            old,
            dry_run: subject.dry_run,
            field_manager: subject.field_manager,
        }
    }

    /// Lets webhooks change an object.
    ///
    /// # Errors
    /// The first refusal, or that a webhook did not answer that must.
    pub(super) async fn mutate_by_webhooks(
        &self,
        subject: &Subject<'_>,
        object: Box<dyn AnyObject>,
        old: Option<&dyn AnyObject>,
        warnings: &mut Vec<String>,
    ) -> Result<Box<dyn AnyObject>, StatusError> {
        let hooks = self.hooks(Sort::Mutating);
        if hooks.is_empty() {
            return Ok(object);
        }
        let old = old.map(value_of).transpose()?;
        let mut ask = self.ask(subject, object.metadata(), Some(value_of(object.as_ref())?), old);
        let mut changed = false;
        for hook in &hooks {
            if !hook.concerns(&ask) {
                continue;
            }
            let verdict = self.consult(hook, &ask).await?;
            warnings.extend(verdict.warnings);
            if let Some(refusal) = verdict.refusal {
                return Err(refusal);
            }
            if let (Some(patch), Some(value)) = (verdict.patch, &mut ask.object) {
                patch::apply_json_patch(value, &patch)
                    .map_err(|error| StatusError::internal(format_args!("{}: {error}", hook.name)))?;
                changed = true;
            }
        }
        let Some(value) = ask.object.filter(|_| changed) else { return Ok(object) };
        let bytes = serde_json::to_vec(&value).map_err(StatusError::internal)?;
        let mut object = subject.row.kind.decode_stored(&bytes)?;
        object.default();
        Ok(object)
    }

    /// Lets webhooks judge a change, or a deletion where there is no new object.
    ///
    /// # Errors
    /// The first refusal, or that a webhook did not answer that must.
    pub(super) async fn judge_by_webhooks(
        &self,
        subject: &Subject<'_>,
        object: Option<&dyn AnyObject>,
        old: Option<&dyn AnyObject>,
        warnings: &mut Vec<String>,
    ) -> Result<(), StatusError> {
        let hooks = self.hooks(Sort::Validating);
        let Some(metadata) = object.or(old).map(AnyObject::metadata).filter(|_| !hooks.is_empty()) else {
            return Ok(());
        };
        let (new, before) = (object.map(value_of).transpose()?, old.map(value_of).transpose()?);
        let ask = self.ask(subject, metadata, new, before);
        let asked = hooks.iter().filter(|hook| hook.concerns(&ask)).map(|hook| self.consult(hook, &ask));
        for verdict in futures::future::join_all(asked).await {
            let verdict = verdict?;
            warnings.extend(verdict.warnings);
            if let Some(refusal) = verdict.refusal {
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Lets webhooks judge the deletion of a stored object.
    ///
    /// # Errors
    /// As [`Self::judge_by_webhooks`].
    pub(super) async fn judge_deletion(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        if !self.has_webhooks() {
            return Ok(());
        }
        let Some(present) = self.cached(target) else { return Ok(()) };
        let old = super::decode_stored(row, &present)?;
        let subject = Subject { user, row, target, operation: Operation::Delete, dry_run, field_manager: "" };
        // Both sorts are asked; there is nothing to change.
        let mut warnings = Vec::new();
        let ask = self.ask(&subject, old.metadata(), None, Some(value_of(old.as_ref())?));
        for hook in self.hooks(Sort::Mutating).iter().filter(|hook| hook.concerns(&ask)) {
            if let Some(refusal) = self.consult(hook, &ask).await?.refusal {
                return Err(refusal);
            }
        }
        self.judge_by_webhooks(&subject, None, Some(old.as_ref()), &mut warnings).await
    }

    /// Asks one webhook. One that may fail and does has nothing against the request.
    async fn consult(&self, hook: &Hook, ask: &Ask<'_>) -> Result<Verdict, StatusError> {
        hook.check_dry_run(ask.dry_run)?;
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review(hook, ask, &uid).to_string();
        let seconds = u64::try_from(hook.timeout_seconds).unwrap_or(1);
        let answer = match self.call(hook, body, Duration::from_secs(seconds)).await {
            Ok(bytes) => verdict(hook, &bytes, &uid),
            Err(why) => Err(format!("failed to call webhook: {why}")),
        };
        match answer {
            Ok(verdict) => Ok(verdict),
            Err(why) if hook.may_fail => {
                tracing::warn!(webhook = hook.name, error = why, "a webhook did not answer; the request goes on");
                Ok(Verdict::default())
            }
            Err(why) => Err(hook.failure(&why)),
        }
    }

    async fn call(&self, hook: &Hook, body: String, timeout: Duration) -> Result<Bytes, String> {
        let (destination, url, path) = self.address(hook, timeout)?;
        let told = |why: String| format!("Post {url:?}: {why}");
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| told(error.to_string()))?;
        for header in [CONTENT_TYPE, ACCEPT] {
            request.headers_mut().insert(header, HeaderValue::from_static("application/json"));
        }
        let exchange = async {
            let response = send(&destination, request).await.map_err(|error| told(error.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| told(error.to_string()))?.to_bytes();
            if status != StatusCode::OK {
                return Err(format!("the server responded with the status code {}", status.as_u16()));
            }
            Ok(body)
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(told("context deadline exceeded".to_owned())),
        }
    }

    /// Where a webhook is, its URL as messages say it, and the path of the request.
    fn address(&self, hook: &Hook, timeout: Duration) -> Result<(Destination, String, String), String> {
        let authorities = hook.client.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default();
        let tls = Some(tls::verified(authorities, None).map_err(|error| error.to_string())?);
        let seconds = timeout.as_secs();
        if let Some(url) = &hook.client.url {
            let uri: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let separator = if uri.query().is_some() { '&' } else { '?' };
            let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let port = uri.port_u16().unwrap_or(443);
            let destination = Destination { host, port, tls, server_name: None, through: None };
            let timeout = format!("{separator}timeout={seconds}s");
            return Ok((destination, format!("{url}{timeout}"), format!("{path}{timeout}")));
        }
        let Some(service) = &hook.client.service else { return Err("webhook has neither url nor service".to_owned()) };
        let port = service.port.unwrap_or(443);
        let path = format!("{}?timeout={seconds}s", service.path.as_deref().unwrap_or("/"));
        let name = format!("{}.{}.svc", service.name, service.namespace);
        let url = format!("https://{name}:{port}{path}");
        let place = self
            .service_endpoint(&service.namespace, &service.name, port)
            .map_err(|error| format!("Post {url:?}: {error}"))?;
        Ok((place.destination(tls, name), url, path))
    }
}

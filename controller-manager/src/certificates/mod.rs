//! Certificate requests: kubelets' own are approved, approved ones are signed, old ones go.
//!
//! Watches CertificateSigningRequests; writes their approval (`approve`), their status (`sign`), and deletes them
//! (`clean`). A request is pending, denied, approved, issued or failed: see [`State`].
//!
//! Rules from `pkg/controller/certificates`.

pub mod approve;
pub mod authority;
pub mod clean;
pub mod request;
pub mod shell;
pub mod sign;

#[cfg(test)]
mod tests;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::ObjectKey;

use crate::action::Action;
use crate::object::{resource, to_json};

/// Clients of the API server.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Kubelets as clients of the API server.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Kubelets as servers.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has judged it.
    Pending,
    /// It was refused.
    Denied,
    /// It waits for its signer.
    Approved,
    /// It has its certificate.
    Issued,
    /// Its signer cannot sign it.
    Failed,
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    type_: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    conditions(request).iter().find(|condition| condition.type_ == type_)
}

/// The state of a request.
pub fn state(request: &CertificateSigningRequest) -> State {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    if condition(request, "Denied").is_some() {
        State::Denied
    } else if condition(request, "Failed").is_some() {
        State::Failed
    } else if certificate.is_some_and(|certificate| !certificate.0.is_empty()) {
        State::Issued
    } else if condition(request, "Approved").is_some() {
        State::Approved
    } else {
        State::Pending
    }
}

fn with_condition(
    request: &CertificateSigningRequest,
    type_: &str,
    (reason, message): (&str, &str),
    now: jiff::Timestamp,
) -> CertificateSigningRequest {
    let mut changed = request.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: None,
    });
    changed
}

fn replace(subresource: &'static str, object: &CertificateSigningRequest) -> Action {
    Action::Replace {
        resource: resource::<CertificateSigningRequest>(),
        key: ObjectKey::of(&object.metadata),
        subresource,
        object: to_json(object),
    }
}

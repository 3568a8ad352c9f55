//! Removes requests that nobody needs any more: a request is read by its asker soon after it was issued, or never.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;

use super::{State, condition, state};
use crate::action::Action;
use crate::object::{resource, until};

/// How long a request may wait for a verdict.
const PENDING: SignedDuration = SignedDuration::from_hours(24);
/// How long a request stays after its verdict or failure.
const JUDGED: SignedDuration = SignedDuration::from_hours(1);

/// Deletes a request whose time is over, or says when that will be.
pub fn reconcile(csr: &CertificateSigningRequest, now: Timestamp) -> Option<Action> {
    if csr.metadata.is_deleting() {
        return None;
    }
    let created = csr.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let since = |type_: &str| {
        let told = condition(csr, type_).and_then(|condition| condition.last_update_time.as_ref());
        told.map(|time| time.0).or(created)
    };
    let (since, stays) = match state(csr) {
        State::Pending => (created, PENDING),
        State::Denied => (since("Denied"), JUDGED),
        State::Failed => (since("Failed"), JUDGED),
        State::Approved | State::Issued => (since("Approved"), JUDGED),
    };
    let ends = since?.saturating_add(stays).ok()?;
    if let Some(wait) = until(ends, now) {
        return Some(Action::Again(wait + Duration::from_secs(1)));
    }
    Some(Action::Delete {
        resource: resource::<CertificateSigningRequest>(),
        key: ObjectKey::of(&csr.metadata),
        uid: csr.metadata.uid().to_owned(),
        revision: None,
        grace_seconds: None,
        propagation: None,
        told: None,
    })
}

//! Decides which approved requests are signed, and for how long.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::request::{self, Request};
use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, State, replace, state, with_condition};
use crate::action::Action;

const MINIMUM: SignedDuration = SignedDuration::from_mins(10);
/// Clocks may differ by this much.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Shorter certificates do not lose the backdating at their end.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

/// A certificate to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Subject, key and names.
    pub request: Request,
    /// The usages, by the names of the API.
    pub usages: Vec<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is not for this signer, or not yet.
    Leave,
    /// It is signed.
    Sign(Box<Template>),
    /// It cannot be signed ever.
    Fail(Box<Action>),
}

/// Decides about a request. `longest` is how long a certificate may be valid at most, `authority_ends` when the
/// authority's own certificate ends.
///
/// # Errors
/// The request cannot be read, or the authority's own certificate has ended.
pub fn decide(
    csr: &CertificateSigningRequest,
    longest: SignedDuration,
    authority_ends: Timestamp,
    now: Timestamp,
) -> Result<Decision, String> {
    let spec = &csr.spec;
    let signer = spec.signer_name.as_str();
    if state(csr) != State::Approved || ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&signer) {
        return Ok(Decision::Leave);
    }
    let request = Request::parse(&spec.request.0)?;
    let usages = spec.usages.clone().unwrap_or_default();
    let verdict = match signer {
        KUBELET_CLIENT => request::kubelet_client(&request, &usages),
        KUBELET_SERVING => request::kubelet_serving(&request, &usages),
        _ => request::client(&usages),
    };
    if let Err(why) = verdict {
        let failed = with_condition(csr, "Failed", ("SignerValidationFailure", &why), now);
        return Ok(Decision::Fail(Box::new(replace("status", &failed))));
    }
    if now >= authority_ends {
        return Err("the signer's own certificate has expired: give another one in --cluster-signing-cert-file".into());
    }
    let wanted = spec.expiration_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let valid = wanted.map_or(longest, |wanted| if wanted > longest { longest } else { wanted.max(MINIMUM) });
    let from_now = if valid < SHORT { valid } else { valid - BACKDATE };
    let not_after = now.saturating_add(from_now).unwrap_or(Timestamp::MAX).min(authority_ends);
    let not_before = now.saturating_sub(BACKDATE).unwrap_or(now);
    Ok(Decision::Sign(Box::new(Template { request, usages, not_before, not_after })))
}

/// The request with its certificate, in PEM.
pub fn issued(csr: &CertificateSigningRequest, certificate: String) -> Action {
    let mut issued = csr.clone();
    issued.status.get_or_insert_default().certificate = Some(ByteString(certificate.into_bytes()));
    replace("status", &issued)
}

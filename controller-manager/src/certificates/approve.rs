//! Approves the client certificates of kubelets that may have them.

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::request::{Request, kubelet_client};
use super::{KUBELET_CLIENT, State, replace, state, with_condition};
use crate::action::Action;

/// A sort of request that is approved for those who may create a subresource of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// The subresource.
    pub permission: &'static str,
    /// The condition's text.
    message: &'static str,
}

/// A node that renews its own certificate.
const SELF: Recognized = Recognized {
    permission: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
/// Whoever may ask for any node, as bootstrap tokens may.
const ANY: Recognized = Recognized {
    permission: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

/// The sorts that a pending request is of, in the order in which permission is asked for.
///
/// # Errors
/// The request cannot be read.
pub fn recognize(csr: &CertificateSigningRequest) -> Result<Vec<Recognized>, String> {
    let spec = &csr.spec;
    if state(csr) != State::Pending || spec.signer_name != KUBELET_CLIENT {
        return Ok(vec![]);
    }
    let request = Request::parse(&spec.request.0)?;
    if kubelet_client(&request, spec.usages.as_deref().unwrap_or_default()).is_err() {
        return Ok(vec![]);
    }
    let own = spec.username.as_deref() == Some(request.common_name.as_str());
    Ok(own.then_some(SELF).into_iter().chain([ANY]).collect())
}

/// The question whether the asker may.
pub fn question(csr: &CertificateSigningRequest, recognized: Recognized) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: csr.spec.username.clone(),
            uid: csr.spec.uid.clone(),
            groups: csr.spec.groups.clone(),
            extra: csr.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(recognized.permission.to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// The approval of a request whose asker may.
pub fn approve(csr: &CertificateSigningRequest, recognized: Recognized, now: Timestamp) -> Action {
    replace("approval", &with_condition(csr, "Approved", ("AutoApproved", recognized.message), now))
}

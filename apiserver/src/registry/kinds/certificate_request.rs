//! CertificateSigningRequest: somebody asks for a certificate, somebody approves, a signer signs
//! (`pkg/apis/certificates/validation`).

use std::collections::BTreeSet;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{BadValue, ErrorList, Path, format};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::registry::strategy::{RequestContext, Strategy};

const SECONDS_MIN: i32 = 600;
const BLOCK: &str = "CERTIFICATE REQUEST";
const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The strategy.
pub struct CertificateRequests;

impl Strategy for CertificateRequests {
    type Object = CertificateSigningRequest;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, request: &mut CertificateSigningRequest) {
        request.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, context: &RequestContext, request: &mut CertificateSigningRequest) {
        // Who asks is what the server knows, not what the request tells.
        let user = &context.user;
        let spec = &mut request.spec;
        spec.username = Some(user.name.clone());
        spec.uid = Some(user.uid.clone()).filter(|uid| !uid.is_empty());
        spec.groups = Some(user.groups.clone()).filter(|groups| !groups.is_empty());
        spec.extra = Some(user.extra.clone()).filter(|extra| !extra.is_empty());
        request.status = Some(CertificateSigningRequestStatus::default());
    }

    fn validate(&self, request: &CertificateSigningRequest) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(&request.spec, &mut errors);
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        request: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        request.spec.clone_from(&old.spec);
        request.status.clone_from(&old.status);
    }

    fn validate_update(&self, _request: &CertificateSigningRequest, _old: &CertificateSigningRequest) -> ErrorList {
        // Nothing of the kind can change here.
        ErrorList::new()
    }

    fn prepare_for_status_update(
        &self,
        context: &RequestContext,
        request: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        request.spec.clone_from(&old.spec);
        // A signer does not approve: those conditions stay as they are.
        let is_verdict =
            |condition: &CertificateSigningRequestCondition| matches!(condition.type_.as_str(), APPROVED | DENIED);
        let verdicts: Vec<_> = conditions(old).iter().filter(|condition| is_verdict(condition)).cloned().collect();
        let status = request.status.get_or_insert_default();
        let mut merged: Vec<_> = verdicts;
        merged.extend(status.conditions.take().into_iter().flatten().filter(|condition| !is_verdict(condition)));
        status.conditions = Some(merged).filter(|conditions| !conditions.is_empty());
        stamp(request, old, Time(context.now));
    }

    fn prepare_for_subresource_update(
        &self,
        _subresource: &str,
        context: &RequestContext,
        request: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        // An approval changes the conditions and nothing else.
        let approved = request.status.take().and_then(|status| status.conditions);
        request.spec.clone_from(&old.spec);
        request.status.clone_from(&old.status);
        request.status.get_or_insert_default().conditions = approved;
        stamp(request, old, Time(context.now));
    }

    fn validate_status_update(
        &self,
        request: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_conditions(request, old, &mut errors);
        if let Some(before) = old.status.as_ref().and_then(|status| status.certificate.as_ref())
            && request.status.as_ref().and_then(|status| status.certificate.as_ref()) != Some(before)
        {
            let path = Path::new("status");
            errors.forbidden(&path.child("certificate"), "updates may not modify a set status.certificate");
        }
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, request: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", request.spec.signer_name.clone())]
    }
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// Sets the times of conditions that are new or changed.
fn stamp(request: &mut CertificateSigningRequest, old: &CertificateSigningRequest, now: Time) {
    let before = conditions(old).to_vec();
    let Some(status) = &mut request.status else { return };
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_update_time.get_or_insert_with(|| now.clone());
        if condition.status.is_empty() {
            condition.status = "True".to_owned();
        }
        if condition.last_transition_time.is_none() {
            let same = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
            let moment = same.and_then(|old| old.last_transition_time.clone());
            condition.last_transition_time = Some(moment.unwrap_or_else(|| now.clone()));
        }
    }
}

fn validate_spec(spec: &CertificateSigningRequestSpec, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(problem) = request_problem(&spec.request.0) {
        errors.invalid(&path.child("request"), BadValue::json(&spec.request), problem);
    }
    let usages = spec.usages.as_deref().unwrap_or_default();
    let path_usages = path.child("usages");
    if usages.is_empty() {
        errors.required(&path_usages, "");
    }
    let mut seen = BTreeSet::new();
    for (index, usage) in usages.iter().enumerate() {
        let path = path_usages.index(index);
        if !USAGES.contains(&usage.as_str()) {
            errors.not_supported(&path, usage, &USAGES);
        }
        if !seen.insert(usage) {
            errors.duplicate(&path, usage);
        }
    }
    let path_signer = path.child("signerName");
    if spec.signer_name == "kubernetes.io/legacy-unknown" {
        let why = "the legacy signerName is not allowed via this API version";
        errors.invalid(&path_signer, &spec.signer_name, why);
    } else {
        signer_name(&spec.signer_name, &path_signer, errors);
    }
    if let Some(seconds) = spec.expiration_seconds.filter(|seconds| *seconds < SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), seconds, why);
    }
}

/// What is wrong with the request itself.
fn request_problem(bytes: &[u8]) -> Option<String> {
    let block = Pem::iter_from_buffer(bytes).next().and_then(Result::ok).filter(|block| block.label == BLOCK);
    let Some(block) = block else {
        return Some(format!("PEM block type must be {BLOCK}"));
    };
    X509CertificationRequest::from_der(&block.contents).err().map(|error| format!("asn1: structure error: {error}"))
}

fn signer_name(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, rest] = segments[..] else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path, name, why);
        return;
    };
    let labels = domain.split('.');
    for label in labels.clone() {
        for problem in format::dns1123_label(label) {
            errors.invalid(path, domain, format!("validating label {label:?}: {problem}"));
        }
    }
    if labels.count() < 2 {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    if rest.is_empty() {
        errors.invalid(path, rest, "validating label \"\": must not be empty");
    }
    for label in rest.split('.').filter(|label| !label.is_empty()) {
        for problem in format::dns1123_subdomain(label) {
            errors.invalid(path, rest, format!("validating label {label:?}: {problem}"));
        }
    }
}

fn validate_conditions(request: &CertificateSigningRequest, old: &CertificateSigningRequest, errors: &mut ErrorList) {
    let path = Path::new("status");
    let path = path.child("conditions");
    let present = conditions(request);
    let mut seen = BTreeSet::new();
    for (index, condition) in present.iter().enumerate() {
        let path = path.index(index);
        let kind = condition.type_.as_str();
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        match (kind, condition.status.as_str()) {
            (APPROVED | DENIED | FAILED, "True") => {}
            (APPROVED | DENIED | FAILED, status) => {
                errors.not_supported(&path.child("status"), status, &["True"]);
            }
            (_, status) => {
                if !["True", "False", "Unknown"].contains(&status) {
                    errors.not_supported(&path.child("status"), status, &["False", "True", "Unknown"]);
                }
            }
        }
        let opposite = match kind {
            APPROVED => DENIED,
            DENIED => APPROVED,
            _ => "",
        };
        if seen.contains(opposite) {
            let why = format!("{APPROVED} and {DENIED} conditions are mutually exclusive");
            errors.invalid(&path.child("type"), kind, why);
        }
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
    }
    for condition in conditions(old) {
        let kind = condition.type_.as_str();
        if matches!(kind, APPROVED | DENIED | FAILED) && !present.iter().any(|condition| condition.type_ == kind) {
            errors.forbidden(&path, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str) -> CertificateSigningRequestCondition {
        CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            ..CertificateSigningRequestCondition::default()
        }
    }

    fn with(kinds: &[&str]) -> CertificateSigningRequest {
        CertificateSigningRequest {
            status: Some(CertificateSigningRequestStatus {
                conditions: Some(kinds.iter().map(|kind| condition(kind)).collect()),
                certificate: None,
            }),
            ..CertificateSigningRequest::default()
        }
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_verdict_stays() {
        assert_eq!(
            texts(&CertificateRequests.validate_status_update(&with(&[]), &with(&["Approved"]))),
            [r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#]
        );
        assert_eq!(
            texts(&CertificateRequests.validate_status_update(&with(&["Approved", "Denied"]), &with(&[]))),
            [
                r#"status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#
            ]
        );
    }

    #[test]
    fn a_request_is_in_its_own_form() {
        assert_eq!(request_problem(b"abc").as_deref(), Some("PEM block type must be CERTIFICATE REQUEST"));
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        for name in ["example.com/s", "kubernetes.io/kube-apiserver-client"] {
            signer_name(name, &path, &mut errors);
        }
        assert!(errors.is_empty());
        for name in ["example", "com/s", ""] {
            signer_name(name, &path, &mut errors);
        }
        assert_eq!(errors.len(), 3);
    }
}

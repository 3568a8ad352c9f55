//! Certificate requests: who approves and signs for a signer needs its leave, and nobody is made a master.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use reeve_api::StatusError;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::FromDer as _;

use super::{Request, typed};
use crate::authorization::{Attributes, Decision, MASTERS, On, ResourceAttributes};
use crate::registry::AnyObject;
use crate::request::Verb;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Whether the user may do something for a signer, or for all of its domain.
fn may(request: &Request<'_>, verb: &str, signer: &str) -> bool {
    let allowed = |name: &str| {
        let on = ResourceAttributes { group: GROUP, resource: "signers", name, ..ResourceAttributes::default() };
        let asked = Attributes { user: request.user, verb, on: On::Resource(on) };
        matches!(request.authorizer.authorize(&asked), Decision::Allow(_))
    };
    let domain = signer.split('/').next().unwrap_or_default();
    allowed(signer) || allowed(&format!("{domain}/*"))
}

pub fn approval(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    if !request.is_of(GROUP, REQUESTS, "approval") {
        return Ok(());
    }
    let Some(csr) = old.or(Some(object)).and_then(typed::<CertificateSigningRequest>) else { return Ok(()) };
    let signer = &csr.spec.signer_name;
    if may(request, "approve", signer) {
        return Ok(());
    }
    Err(request.forbidden(object, format!("user not permitted to approve requests with signerName {signer:?}")))
}

pub fn signing(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    if !request.is_of(GROUP, REQUESTS, "status") {
        return Ok(());
    }
    let new = typed::<CertificateSigningRequest>(object);
    let (Some(new), Some(old)) = (new, old.and_then(typed::<CertificateSigningRequest>)) else { return Ok(()) };
    let certificate =
        |csr: &CertificateSigningRequest| csr.status.as_ref().and_then(|status| status.certificate.clone());
    let signer = &old.spec.signer_name;
    if certificate(new) == certificate(old) && failed(new) == failed(old) || may(request, "sign", signer) {
        return Ok(());
    }
    Err(request.forbidden(object, format!("user not permitted to sign requests with signerName {signer:?}")))
}

fn failed(csr: &CertificateSigningRequest) -> bool {
    let conditions = csr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Failed")
}

pub fn subject(
    request: &Request<'_>,
    object: &dyn AnyObject,
    _old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    if request.verb != Verb::Create || !request.is_of(GROUP, REQUESTS, "") {
        return Ok(());
    }
    let Some(csr) = typed::<CertificateSigningRequest>(object) else { return Ok(()) };
    if csr.spec.signer_name != CLIENT_SIGNER {
        return Ok(());
    }
    let groups = organizations(&csr.spec.request.0)
        .map_err(|why| request.forbidden(object, format!("failed to parse CSR: {why}")))?;
    if groups.iter().any(|group| group == MASTERS) {
        return Err(
            request.forbidden(object, format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"))
        );
    }
    Ok(())
}

/// The groups that a request for a certificate asks for.
fn organizations(pem: &[u8]) -> Result<Vec<String>, String> {
    let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&der)
        .map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_request_are_read() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, MASTERS);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        assert_eq!(organizations(pem.as_bytes()).unwrap(), [MASTERS]);
        assert!(organizations(b"nonsense").is_err());
    }
}

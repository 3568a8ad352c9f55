//! A request's way: recognized, approved, signed, removed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use x509_parser::prelude::*;

use super::authority::Authority;
use super::sign::{Decision, decide};
use super::*;

const NODE_USAGES: [&str; 2] = ["digital signature", "client auth"];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn request(common_name: &str, groups: &[&str], names: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(group) = groups.first() {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    if let Some(group) = groups.get(1) {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), *group);
    }
    params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn csr(signer: &str, pem: &str, usages: &[&str], user: &str, conditions: &[&str]) -> CertificateSigningRequest {
    let mut csr: CertificateSigningRequest = serde_json::from_value(json!({
        "metadata": {"name": "r", "uid": "u", "resourceVersion": "7", "creationTimestamp": at(0).to_string()},
        "spec": {"signerName": signer, "usages": usages, "username": user, "request": ""},
        "status": {"conditions": conditions.iter().map(|type_| {
            json!({"type": type_, "status": "True", "lastUpdateTime": at(0).to_string()})
        }).collect::<Vec<_>>()},
    }))
    .unwrap();
    csr.spec.request = ByteString(pem.as_bytes().to_vec());
    csr
}

fn authority() -> (Authority, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    (Authority::new(&certificate, &key.serialize_pem()).unwrap(), certificate)
}

fn permissions(csr: &CertificateSigningRequest) -> Vec<&'static str> {
    approve::recognize(csr).unwrap().iter().map(|one| one.permission).collect()
}

#[test]
fn kubelets_are_recognized() {
    let pem = request("system:node:n1", &["system:nodes"], &[]);
    let of = |user, conditions| permissions(&csr(KUBELET_CLIENT, &pem, &NODE_USAGES, user, conditions));
    assert_eq!(of("system:bootstrap:abcdef", &[]), ["nodeclient"]);
    assert_eq!(of("system:node:n1", &[]), ["selfnodeclient", "nodeclient"]);
    assert!(of("system:node:n1", &["Approved"]).is_empty());
    assert!(of("system:node:n1", &["Denied"]).is_empty());
    let with_name = request("system:node:n1", &["system:nodes"], &["n1"]);
    assert!(permissions(&csr(KUBELET_CLIENT, &with_name, &NODE_USAGES, "x", &[])).is_empty());
    assert!(permissions(&csr(KUBELET_SERVING, &pem, &NODE_USAGES, "x", &[])).is_empty());
    assert!(approve::recognize(&csr(KUBELET_CLIENT, "nonsense", &NODE_USAGES, "x", &[])).is_err());
    let asked = csr(KUBELET_CLIENT, &pem, &NODE_USAGES, "system:node:n1", &[]);
    let recognized = approve::recognize(&asked).unwrap();
    let Action::Replace { subresource, object, .. } = approve::approve(&asked, recognized[0], at(9)) else { panic!() };
    assert_eq!((subresource, &object["status"]["conditions"][0]["reason"]), ("approval", &json!("AutoApproved")));
}

#[test]
fn an_approved_request_is_signed_as_it_was_asked_for() {
    let (authority, ca) = authority();
    let pem = request("jane", &["dev", "ops"], &["jane.example.com"]);
    let approved = csr(CLIENT, &pem, &["client auth", "digital signature"], "x", &["Approved"]);
    let longest = SignedDuration::from_hours(24);
    let Ok(Decision::Sign(template)) = decide(&approved, longest, authority.ends, at(0)) else { panic!() };
    assert_eq!((template.not_before, template.not_after), (at(-300), at(24 * 3600 - 300)));
    let certificate = authority.make(&template, [0x40; 16]).unwrap();
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).unwrap();
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    parsed.verify_signature(Some(ca.public_key())).unwrap();
    assert_eq!(parsed.issuer(), ca.subject());
    let groups: Vec<_> = parsed.subject().iter_organization().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(groups, ["dev", "ops"]);
    assert_eq!(parsed.validity().not_after.timestamp(), at(24 * 3600 - 300).as_second());
    assert!(!parsed.is_ca());
    let usages = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.client_auth && !usages.server_auth);
    let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names, &[GeneralName::DNSName("jane.example.com")]);
}

#[test]
fn what_no_signer_signs_fails_with_its_reason() {
    let failure = |signer, pem: &str, usages: &[&str]| {
        let approved = csr(signer, pem, usages, "x", &["Approved"]);
        match decide(&approved, SignedDuration::from_hours(1), at(9_999_999), at(0)) {
            Ok(Decision::Fail(action)) => {
                let Action::Replace { object, .. } = *action else { panic!("{action}") };
                object["status"]["conditions"][1]["message"].as_str().unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        }
    };
    let jane = request("jane", &["dev"], &[]);
    assert_eq!(failure(CLIENT, &jane, &["server auth"]), "invalid usage for client certificate: server auth");
    assert_eq!(
        failure(CLIENT, &jane, &["digital signature"]),
        "missing required usage for client certificate: client auth"
    );
    assert_eq!(failure(KUBELET_SERVING, &jane, &[]), "subject organization is not system:nodes");
    let node = request("system:node:n1", &["system:nodes"], &[]);
    assert_eq!(failure(KUBELET_SERVING, &node, &[]), "DNS or IP subjectAltName is required");
    assert_eq!(
        failure(KUBELET_CLIENT, &node, &["server auth"]),
        "usages did not match [client auth digital signature key encipherment]"
    );
}

#[test]
fn only_approved_requests_of_these_signers_are_looked_at() {
    let pem = request("jane", &[], &[]);
    for (signer, conditions) in [(CLIENT, &[][..]), (CLIENT, &["Approved", "Denied"]), ("example.com/x", &["Approved"])]
    {
        let csr = csr(signer, &pem, &["client auth"], "x", conditions);
        assert_eq!(decide(&csr, SignedDuration::from_hours(1), at(99), at(0)), Ok(Decision::Leave), "{conditions:?}");
    }
}

#[test]
fn the_time_asked_for_is_kept_between_bounds() {
    let pem = request("jane", &[], &[]);
    let mut csr = csr(CLIENT, &pem, &["client auth"], "x", &["Approved"]);
    let mut ends = |seconds, authority_ends| {
        csr.spec.expiration_seconds = Some(seconds);
        match decide(&csr, SignedDuration::from_hours(2), authority_ends, at(0)) {
            Ok(Decision::Sign(template)) => template.not_after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ends(3600, at(999_999)), at(3600));
    assert_eq!(ends(60, at(999_999)), at(600));
    assert_eq!(ends(999_999, at(999_999)), at(7200));
    assert_eq!(ends(3600, at(1000)), at(1000));
}

#[test]
fn old_requests_go() {
    let decide = |conditions: &[&str], second| {
        clean::reconcile(&csr(CLIENT, "", &[], "x", conditions), at(second)).unwrap().to_string()
    };
    assert_eq!(decide(&[], 3600), "again after 82801s");
    let gone = "delete certificatesigningrequests.certificates.k8s.io r";
    assert_eq!(decide(&[], 24 * 3600), gone);
    for verdict in ["Approved", "Denied", "Failed"] {
        assert_eq!(decide(&[verdict], 3599), "again after 2s", "{verdict}");
        assert_eq!(decide(&[verdict], 3600), gone, "{verdict}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (_, certificate) = authority();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let error = Authority::new(&certificate, &other).unwrap_err().to_string();
    assert_eq!(error, "the signer's files: the key is not that of the certificate");
}

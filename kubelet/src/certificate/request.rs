//! One CertificateSigningRequest, from its filing to its certificate.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SanType};
use reeve_api::GroupVersionResource;
use reeve_client::watch::Event;
use reeve_client::{Client, Follower, Scope};
use sha2::{Digest as _, Sha512};

use super::{CertificateError, Purpose};

/// How long is waited for a signature, as upstream does.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How a request is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By its key and subject: asking again with the same key finds the request of before.
    Digest,
    /// By the API server.
    Generated,
}

/// Asks for a certificate and waits for it. Returns the chain in PEM.
///
/// # Errors
/// The request is refused, or stays without an answer.
pub async fn certificate(
    client: &Client,
    node: &str,
    purpose: &Purpose,
    key: &KeyPair,
    naming: Naming,
) -> Result<String, CertificateError> {
    let api = client.all::<CertificateSigningRequest>();
    let wanted = document(node, purpose, key, naming)?;
    let name = match api.create(&wanted).await {
        Ok(filed) => filed.metadata.name.unwrap_or_default(),
        // Filed before a restart.
        Err(error) if error.is_already_exists() => wanted.metadata.name.unwrap_or_default(),
        Err(error) => return Err(error.into()),
    };
    tracing::info!(request = name, signer = purpose.signer(), "a certificate is asked for");
    match tokio::time::timeout(PATIENCE, signed(client, &name)).await {
        Ok(chain) => chain,
        Err(_) => Err(CertificateError::Unanswered { name, minutes: PATIENCE.as_secs() / 60 }),
    }
}

async fn signed(client: &Client, name: &str) -> Result<String, CertificateError> {
    let resource = GroupVersionResource::of::<CertificateSigningRequest>();
    let scope = Scope::all().fields(&format!("metadata.name={name}"));
    let mut follower = Follower::new(client.clone(), resource, scope, &[]);
    loop {
        match follower.next::<CertificateSigningRequest>().await {
            Ok(Event::InitApply(request) | Event::Apply(request)) => {
                if let Some(chain) = verdict(&request)? {
                    return Ok(chain);
                }
            }
            Ok(Event::Delete(_)) => return Err(CertificateError::Deleted { name: name.to_owned() }),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the watch of a certificate signing request is interrupted"),
        }
    }
}

/// What has become of a request: its certificate, nothing yet, or a refusal.
fn verdict(request: &CertificateSigningRequest) -> Result<Option<String>, CertificateError> {
    let Some(status) = &request.status else { return Ok(None) };
    for condition in status.conditions.iter().flatten() {
        let verdict = match condition.type_.as_str() {
            "Denied" => "denied",
            "Failed" => "failed",
            _ => continue,
        };
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        return Err(CertificateError::Refused {
            name: request.metadata.name.clone().unwrap_or_default(),
            verdict,
            message: format!("{}: {}", part(&condition.reason), part(&condition.message)),
        });
    }
    let chain = status.certificate.as_ref().map(|chain| String::from_utf8_lossy(&chain.0).into_owned());
    Ok(chain.filter(|chain| !chain.is_empty()))
}

fn document(
    node: &str,
    purpose: &Purpose,
    key: &KeyPair,
    naming: Naming,
) -> Result<CertificateSigningRequest, CertificateError> {
    let invalid = |error: rcgen::Error| CertificateError::Invalid {
        what: format!("certificate request of node {node}"),
        message: error.to_string(),
    };
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    subject.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name = subject;
    if let Purpose::Serving { names, addresses } = purpose {
        for name in names {
            let name = name.as_str().try_into().map_err(invalid)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    }
    let pem = params.serialize_request(key).and_then(|request| request.pem()).map_err(invalid)?;
    let metadata = match naming {
        Naming::Digest => ObjectMeta { name: Some(digest(node, purpose, key)), ..ObjectMeta::default() },
        Naming::Generated => ObjectMeta { generate_name: Some("csr-".into()), ..ObjectMeta::default() },
    };
    Ok(CertificateSigningRequest {
        metadata,
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: purpose.signer().into(),
            usages: Some(purpose.usages().map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

/// `node-csr-` and a digest of what is asked for.
fn digest(node: &str, purpose: &Purpose, key: &KeyPair) -> String {
    let mut hash = Sha512::new();
    hash.update(key.subject_public_key_info());
    for part in ["system:nodes", &format!("system:node:{node}"), purpose.signer()].into_iter().chain(purpose.usages()) {
        hash.update(b"|");
        hash.update(part);
    }
    format!("node-csr-{}", URL_SAFE_NO_PAD.encode(&hash.finalize()[..32]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::certificates::v1::{CertificateSigningRequestCondition, CertificateSigningRequestStatus};

    #[test]
    fn the_same_key_asks_under_the_same_name() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let name = |key| document("n1", &Purpose::Client, key, Naming::Digest).unwrap().metadata.name.unwrap();
        assert_eq!(name(&one), name(&one));
        assert_ne!(name(&one), name(&other));
        assert!(name(&one).starts_with("node-csr-"));
    }

    #[test]
    fn a_refusal_says_why() {
        let mut request = document("n1", &Purpose::Client, &KeyPair::generate().unwrap(), Naming::Digest).unwrap();
        request.metadata.name = Some("r".into());
        assert!(verdict(&request).unwrap().is_none());
        request.status = Some(CertificateSigningRequestStatus {
            certificate: None,
            conditions: Some(vec![CertificateSigningRequestCondition {
                type_: "Denied".into(),
                status: "True".into(),
                reason: Some("NotOurs".into()),
                message: Some("who is this?".into()),
                ..Default::default()
            }]),
        });
        let error = verdict(&request).unwrap_err().to_string();
        assert_eq!(error, "certificate signing request r was denied: NotOurs: who is this?");
    }
}

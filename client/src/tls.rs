//! TLS servers that ask for client certificates, and who the certificates say the clients are.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ConfigError;

/// Who a client certificate belongs to: upstream takes the user from the common name and the groups from the
/// organizations of the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The subject's common name.
    pub user: String,
    /// The subject's organizations.
    pub groups: Vec<String>,
}

/// A TLS server configuration from PEM files. Client certificates are verified against `client_ca` when one is
/// sent; `require_client` refuses connections without.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    client_ca: &Path,
    require_client: bool,
    protocols: &[&[u8]],
) -> Result<rustls::ServerConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(certificate, "TLS certificate")?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| invalid("TLS private key", key, &error))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(client_ca, "client CA")? {
        roots.add(root).map_err(|error| invalid("client CA", client_ca, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = if require_client { verifier } else { verifier.allow_unauthenticated() };
    let verifier = verifier.build().map_err(|error| invalid("client CA", client_ca, &error))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("TLS versions", certificate, &error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private_key)
        .map_err(|error| invalid("TLS certificate", certificate, &error))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The user that a verified client certificate names; `None` when it names none.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Option<PeerIdentity> {
    let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    Some(PeerIdentity { user, groups })
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| invalid(what, path, &error))?;
    if chain.is_empty() {
        return Err(invalid(what, path, &"holds no certificate"));
    }
    Ok(chain)
}

fn invalid(what: &str, path: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Invalid { what: format!("{what} {}", path.display()), message: error.to_string() }
}

//! TLS servers that ask for client certificates, and who the certificates say the clients are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ConfigError;
use crate::renewal;

/// The files that make a server's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The serving certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM.
    pub client_ca: PathBuf,
}

impl ServerFiles {
    fn all(&self) -> [&PathBuf; 3] {
        [&self.certificate, &self.key, &self.client_ca]
    }

    /// What the files hold; empty where one cannot be read, which is told when it is used.
    fn contents(&self) -> Vec<Vec<u8>> {
        self.all().iter().map(|path| std::fs::read(path).unwrap_or_default()).collect()
    }
}

/// The TLS of a server that goes on with new files while it runs. Client certificates are asked for and verified, but
/// not required.
#[derive(Clone)]
pub struct ServerTls {
    current: Arc<ArcSwap<rustls::ServerConfig>>,
    /// What the present configuration was made from.
    contents: Arc<Mutex<Vec<Vec<u8>>>>,
    files: Arc<ServerFiles>,
    protocols: Arc<[&'static [u8]]>,
}

impl ServerTls {
    /// Reads the files. `protocols` are those of ALPN, the preferred first.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn load(files: ServerFiles, protocols: &[&'static [u8]]) -> Result<Self, ConfigError> {
        let contents = files.contents();
        let config = server_config(&files, protocols)?;
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(config)),
            contents: Arc::new(Mutex::new(contents)),
            files: Arc::new(files),
            protocols: protocols.into(),
        })
    }

    /// What the next connection is to be accepted with.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(self.current.load_full())
    }

    /// Takes up the files whenever they are replaced, for ever. Connections that stand go on.
    pub async fn follow(self) {
        let files = || self.files.all().map(Clone::clone).to_vec();
        renewal::follow(files, || self.reload()).await;
    }

    fn reload(&self) {
        let contents = self.files.contents();
        if *self.contents.lock() == contents {
            return;
        }
        match server_config(&self.files, &self.protocols) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                *self.contents.lock() = contents;
                tracing::info!(certificate = %self.files.certificate.display(), "serving with the new certificates");
            }
            Err(error) => tracing::warn!(%error, "the new certificates are not taken up; the old ones stay"),
        }
    }
}

/// Who a client certificate belongs to: upstream takes the user from the common name and the groups from the
/// organizations of the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The subject's common name.
    pub user: String,
    /// The subject's organizations.
    pub groups: Vec<String>,
}

fn server_config(files: &ServerFiles, protocols: &[&[u8]]) -> Result<rustls::ServerConfig, ConfigError> {
    let ServerFiles { certificate, key, client_ca } = files;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(certificate, "TLS certificate")?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| invalid("TLS private key", key, &error))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(client_ca, "client CA")? {
        roots.add(root).map_err(|error| invalid("client CA", client_ca, &error))?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated();
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

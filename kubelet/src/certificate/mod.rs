//! The kubelet's own certificates: how a machine joins with a bootstrap token, and how certificates are renewed.
//!
//! - [`join`]: with no usable kubeconfig, asks for a client certificate with the bootstrap kubeconfig and writes the
//!   kubeconfig that names it.
//! - [`rotation`]: when a certificate is renewed, a pure decision; and the task that does it.
//! - [`request`]: one CertificateSigningRequest from its filing to its certificate.
//! - [`store`]: the files, by upstream's names.
//!
//! Whoever uses the certificates follows the files ([`reeve_client::renewal`]): the client's new connections and the
//! server's next handshakes take what was written last.

pub mod join;
pub mod request;
pub mod rotation;
pub mod store;

use std::net::IpAddr;

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be a client of the API server.
    Client,
    /// To serve, under these names and addresses.
    Serving {
        /// The names.
        names: Vec<String>,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
}

impl Purpose {
    /// Who signs.
    pub fn signer(&self) -> &'static str {
        match self {
            Purpose::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Serving { .. } => "kubernetes.io/kubelet-serving",
        }
    }

    /// What the certificate may be used for. The keys are elliptic: they encipher nothing.
    pub fn usages(&self) -> [&'static str; 2] {
        match self {
            Purpose::Client => ["digital signature", "client auth"],
            Purpose::Serving { .. } => ["digital signature", "server auth"],
        }
    }

    /// What its files' names begin with.
    pub fn prefix(&self) -> &'static str {
        match self {
            Purpose::Client => "kubelet-client",
            Purpose::Serving { .. } => "kubelet-server",
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should, or a key cannot be used.
    #[error("{what}: {message}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// Why.
        message: String,
    },
    /// The API server refused the request, or could not be reached.
    #[error(transparent)]
    Api(#[from] reeve_client::Error),
    /// The request was judged, and there will be no certificate.
    #[error("certificate signing request {name} was {verdict}: {message}")]
    Refused {
        /// The request's name.
        name: String,
        /// `denied` or `failed`.
        verdict: &'static str,
        /// The condition's reason and message.
        message: String,
    },
    /// Nobody approved or signed it.
    #[error("certificate signing request {name} is not signed after {minutes} minutes; see `kubectl get csr`")]
    Unanswered {
        /// The request's name.
        name: String,
        /// How long was waited.
        minutes: u64,
    },
    /// It was deleted before it was signed.
    #[error("certificate signing request {name} was deleted before it was signed")]
    Deleted {
        /// The request's name.
        name: String,
    },
}

pub(crate) fn file_error(path: &std::path::Path) -> impl Fn(std::io::Error) -> CertificateError {
    let path = path.display().to_string();
    move |source| CertificateError::File { path: path.clone(), source }
}

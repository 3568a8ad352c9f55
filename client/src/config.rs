//! What a connection needs: the server's address, whom to trust, and who we are.

use std::path::PathBuf;

/// Where a PEM document comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file, read when the connection is made.
    File(PathBuf),
    /// The document itself.
    Inline(Vec<u8>),
}

// Keys must not reach a log.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Inline(bytes) => write!(f, "<{} bytes>", bytes.len()),
        }
    }
}

impl Pem {
    /// The document. `what` names it in the error.
    pub fn read(&self, what: &'static str) -> Result<Vec<u8>, ConfigError> {
        match self {
            Pem::Inline(bytes) => Ok(bytes.clone()),
            Pem::File(path) => {
                std::fs::read(path).map_err(|source| ConfigError::Read { what, path: path.clone(), source })
            }
        }
    }
}

/// How to reach and authenticate to an API server.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// `https://host:port`.
    pub server: String,
    /// The CA that signed the server's certificate.
    pub certificate_authority: Option<Pem>,
    /// Client certificate and key.
    pub client_certificate: Option<(Pem, Pem)>,
    /// Bearer token.
    pub token: Option<String>,
    /// The file that `token` was read from.
    pub token_file: Option<PathBuf>,
    /// Whom to act as, if not as oneself.
    pub impersonate: Impersonation,
    /// The name to expect in the server's certificate instead of the host in `server`.
    pub tls_server_name: Option<String>,
    /// The namespace of the context; `default` when it names none.
    pub namespace: String,
    /// Sent as the user agent; the default field manager is its first word up to `/`.
    pub user_agent: String,
    /// Where the configuration came from, for error messages: `/root/.kube/config, context "a"`.
    pub origin: String,
}

/// A user to act as; nobody when the name and the groups are empty. Upstream's `Impersonate-*` headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// The user's uid.
    pub uid: String,
    /// Extra attributes; a key may come several times.
    pub extra: Vec<(String, String)>,
}

impl std::fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionConfig").field("server", &self.server).field("origin", &self.origin).finish()
    }
}

impl ConnectionConfig {
    /// The files that it names, with those whose contents it holds already.
    pub fn files(&self) -> Vec<PathBuf> {
        let pems = self.certificate_authority.iter().chain(self.client_certificate.iter().flat_map(|(c, k)| [c, k]));
        let files = pems.filter_map(|pem| match pem {
            Pem::File(path) => Some(path.clone()),
            Pem::Inline(_) => None,
        });
        files.chain(self.token_file.clone()).collect()
    }

    /// The same with the files' contents in their place.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn inlined(&self) -> Result<Self, ConfigError> {
        let inline = |pem: &Pem, what| pem.read(what).map(Pem::Inline);
        let mut config = self.clone();
        if let Some(authority) = &self.certificate_authority {
            config.certificate_authority = Some(inline(authority, "certificate authority")?);
        }
        if let Some((certificate, key)) = &self.client_certificate {
            config.client_certificate = Some((inline(certificate, "client certificate")?, inline(key, "client key")?));
        }
        Ok(config)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is missing or unreadable.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Read {
        /// What the file is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A kubeconfig that is not YAML of the right shape.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The kubeconfig.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A context, cluster or user that is named but not there.
    #[error("{what} {name:?} does not exist")]
    Missing {
        /// `context`, `cluster`, `user`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No context is current and none was named.
    #[error("no current context is set in {origin}: choose one with `rctl config use-context NAME`")]
    NoContext {
        /// The files that were read.
        origin: String,
    },
    /// A value that cannot be used.
    #[error("{what}: {message}")]
    Invalid {
        /// The field.
        what: String,
        /// What is wrong with it.
        message: String,
    },
}

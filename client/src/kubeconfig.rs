//! kubeconfig files: clusters, users and contexts, with upstream's field names.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, ConnectionConfig, Impersonation, Pem};

/// A kubeconfig, possibly merged from several files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kubeconfig {
    /// `v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `Config`.
    pub kind: String,
    /// Unused; kept as it is.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub preferences: serde_json::Value,
    /// Servers.
    pub clusters: Vec<NamedCluster>,
    /// Credentials.
    pub users: Vec<NamedUser>,
    /// Pairs of both, with a namespace.
    pub contexts: Vec<NamedContext>,
    /// The context that is used when none is named.
    pub current_context: String,
    #[serde(skip)]
    origins: Vec<PathBuf>,
}

/// A cluster and its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedCluster {
    /// The name.
    pub name: String,
    /// The cluster.
    #[serde(default)]
    pub cluster: Cluster,
}

/// A server and whom to trust.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Cluster {
    /// `https://host:port`.
    pub server: String,
    /// Path of the CA's certificate, relative to the kubeconfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
    /// The CA's certificate, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    /// The name to expect in the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    /// Not supported; a connection is refused when it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_tls_verify: Option<bool>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Credentials and their name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedUser {
    /// The name.
    pub name: String,
    /// The credentials.
    #[serde(default)]
    pub user: User,
}

/// Credentials.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct User {
    /// Path of the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// The client certificate, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_data: Option<String>,
    /// Path of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// The key, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_data: Option<String>,
    /// A bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A file with a bearer token.
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

// Keys and tokens must not reach a log.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

/// A context and its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedContext {
    /// The name.
    pub name: String,
    /// The context.
    #[serde(default)]
    pub context: Context,
}

/// A cluster, a user and a namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Name of a cluster.
    pub cluster: String,
    /// Name of a user.
    pub user: String,
    /// The namespace that commands work in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Kubeconfig {
    /// Reads one file. Relative paths in it become relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            what: "kubeconfig",
            path: path.to_owned(),
            source,
        })?;
        let mut config: Kubeconfig = if text.trim().is_empty() {
            Kubeconfig::default()
        } else {
            serde_yaml::from_str(&text)
                .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let absolute = |file: &mut Option<String>| {
            if let Some(file) = file {
                *file = folder.join(&*file).to_string_lossy().into_owned();
            }
        };
        for cluster in &mut config.clusters {
            absolute(&mut cluster.cluster.certificate_authority);
        }
        for user in &mut config.users {
            absolute(&mut user.user.client_certificate);
            absolute(&mut user.user.client_key);
            absolute(&mut user.user.token_file);
        }
        config.origins = vec![path.to_owned()];
        Ok(config)
    }

    /// Reads several files; the first that names a thing wins, as with `KUBECONFIG=a:b`.
    pub fn load_all(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut merged = Kubeconfig { api_version: "v1".into(), kind: "Config".into(), ..Kubeconfig::default() };
        for path in paths {
            let next = Kubeconfig::load(path)?;
            for cluster in next.clusters {
                if !merged.clusters.iter().any(|known| known.name == cluster.name) {
                    merged.clusters.push(cluster);
                }
            }
            for user in next.users {
                if !merged.users.iter().any(|known| known.name == user.name) {
                    merged.users.push(user);
                }
            }
            for context in next.contexts {
                if !merged.contexts.iter().any(|known| known.name == context.name) {
                    merged.contexts.push(context);
                }
            }
            if merged.current_context.is_empty() {
                merged.current_context = next.current_context;
            }
            merged.origins.extend(next.origins);
        }
        Ok(merged)
    }

    /// The files that were read, for error messages.
    pub fn origin(&self) -> String {
        let paths: Vec<String> = self.origins.iter().map(|path| path.display().to_string()).collect();
        paths.join(":")
    }

    /// The connection that a context describes; the current context when none is named.
    pub fn connection(&self, context: Option<&str>) -> Result<ConnectionConfig, ConfigError> {
        let name = context.unwrap_or(&self.current_context);
        if name.is_empty() {
            return Err(ConfigError::NoContext { origin: self.origin() });
        }
        let context = self
            .contexts
            .iter()
            .find(|context| context.name == name)
            .ok_or_else(|| ConfigError::Missing { what: "context", name: name.to_owned() })?;
        self.connection_of(&context.context, name)
    }

    /// The connection of a context that need not be in the file (its parts must be).
    pub fn connection_of(&self, context: &Context, name: &str) -> Result<ConnectionConfig, ConfigError> {
        let cluster = self
            .clusters
            .iter()
            .find(|cluster| cluster.name == context.cluster)
            .map(|cluster| &cluster.cluster)
            .ok_or_else(|| ConfigError::Missing { what: "cluster", name: context.cluster.clone() })?;
        let user = self
            .users
            .iter()
            .find(|user| user.name == context.user)
            .map(|user| &user.user)
            .ok_or_else(|| ConfigError::Missing { what: "user", name: context.user.clone() })?;
        if cluster.insecure_skip_tls_verify == Some(true) {
            return Err(ConfigError::Invalid {
                what: format!("cluster {:?}", context.cluster),
                message: "insecure-skip-tls-verify is not supported; set certificate-authority instead".into(),
            });
        }
        let certificate = pem(&user.client_certificate, &user.client_certificate_data, "client-certificate-data")?;
        let key = pem(&user.client_key, &user.client_key_data, "client-key-data")?;
        let token = match (&user.token, &user.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => {
                let token = Pem::File(file.into()).read("token file")?;
                Some(String::from_utf8_lossy(&token).trim().to_owned())
            }
            (None, None) => None,
        };
        Ok(ConnectionConfig {
            server: cluster.server.trim_end_matches('/').to_owned(),
            certificate_authority: pem(
                &cluster.certificate_authority,
                &cluster.certificate_authority_data,
                "certificate-authority-data",
            )?,
            client_certificate: certificate.zip(key),
            token,
            token_file: user.token_file.as_ref().filter(|_| user.token.is_none()).map(PathBuf::from),
            impersonate: Impersonation::default(),
            tls_server_name: cluster.tls_server_name.clone(),
            namespace: context.namespace.clone().unwrap_or_else(|| "default".into()),
            user_agent: user_agent(),
            origin: format!("{}, context {name:?}", self.origin()),
        })
    }
}

/// `program/version`, as clients of the ecosystem name themselves.
fn user_agent() -> String {
    let program = std::env::args().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
    format!("{program}/{}", env!("CARGO_PKG_VERSION"))
}

fn pem(file: &Option<String>, data: &Option<String>, what: &str) -> Result<Option<Pem>, ConfigError> {
    if let Some(data) = data {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data.split_whitespace().collect::<String>())
            .map_err(|error| ConfigError::Invalid { what: what.to_owned(), message: error.to_string() })?;
        return Ok(Some(Pem::Inline(bytes)));
    }
    Ok(file.as_ref().map(|file| Pem::File(file.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_names_what_is_missing() {
        let config: Kubeconfig = serde_yaml::from_str(
            "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://x:1/'}}]\n",
        )
        .unwrap();
        let error = config.connection(None).unwrap_err();
        assert_eq!(error.to_string(), "user \"u\" does not exist");
        let error = config.connection(Some("b")).unwrap_err();
        assert_eq!(error.to_string(), "context \"b\" does not exist");
    }

    #[test]
    fn unknown_fields_survive_a_rewrite() {
        let text = "users: [{name: u, user: {exec: {command: x}}}]\n";
        let config: Kubeconfig = serde_yaml::from_str(text).unwrap();
        assert!(serde_yaml::to_string(&config).unwrap().contains("command: x"));
    }
}

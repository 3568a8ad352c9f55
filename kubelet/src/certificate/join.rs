//! How a machine becomes a node: with the bootstrap kubeconfig it asks for a client certificate, and writes the
//! kubeconfig that names it. A kubeconfig that can be used ends it before it begins.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, SanType};
use reeve_client::backoff::{Backoff, retry};
use reeve_client::config::Pem;
use reeve_client::{Client, ConfigError, ConnectionConfig, Kubeconfig};

use super::request::{self, Naming};
use super::store::{Store, Validity, new_key, write_private};
use super::{CertificateError, Purpose};

/// Between requests that failed: the token may be offered a moment after the machine is there.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(30) };

/// What joining needs to know.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Whom to ask, and as whom.
    pub bootstrap_kubeconfig: PathBuf,
    /// What is written.
    pub kubeconfig: PathBuf,
    /// Where the certificate lies.
    pub cert_dir: PathBuf,
    /// The node's name.
    pub node: String,
}

/// Joins, unless the kubeconfig can be used already.
///
/// # Errors
/// A file cannot be read or written. A request that fails is tried again.
pub async fn join(joining: &Joining) -> Result<(), CertificateError> {
    if usable(&joining.kubeconfig, Timestamp::now()) {
        return Ok(());
    }
    let bootstrap = Kubeconfig::load(&joining.bootstrap_kubeconfig)
        .and_then(|config| config.connection(None))
        .map_err(unusable("--bootstrap-kubeconfig"))?;
    let store = Store::new(&joining.cert_dir, Purpose::Client.prefix());
    // A certificate without its kubeconfig: the last start ended between the two.
    if store.validity().ok().flatten().is_none_or(|validity| validity.not_after <= Timestamp::now()) {
        let client = Client::new(bootstrap.clone()).map_err(unusable("--bootstrap-kubeconfig"))?;
        let key = store.pending_key()?;
        tracing::info!(node = joining.node, server = bootstrap.server, "joining with the bootstrap kubeconfig");
        let ask = || request::certificate(&client, &joining.node, &Purpose::Client, &key, Naming::Digest);
        let chain = retry(BACKOFF, "asking for the kubelet's first certificate", ask).await;
        store.put(&chain, &key, Timestamp::now())?;
    }
    write_kubeconfig(&joining.kubeconfig, &bootstrap, &store.current())
}

fn unusable(what: &'static str) -> impl Fn(ConfigError) -> CertificateError {
    move |error| CertificateError::Invalid { what: what.into(), message: error.to_string() }
}

/// Whether a kubeconfig exists whose certificate has not ended.
fn usable(path: &Path, now: Timestamp) -> bool {
    if !path.exists() {
        return false;
    }
    let inlined = Kubeconfig::load(path).and_then(|config| config.connection(None)).and_then(|config| config.inlined());
    match inlined {
        Ok(ConnectionConfig { client_certificate: Some((Pem::Inline(certificate), _)), .. }) => {
            Validity::of(&certificate).is_ok_and(|validity| validity.not_after > now)
        }
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "the kubeconfig cannot be used; joining anew");
            false
        }
    }
}

/// Writes the kubeconfig of a node whose certificate lies in `certificate`, for the server that `connection` names.
///
/// # Errors
/// It cannot be written.
pub fn write_kubeconfig(
    path: &Path,
    connection: &ConnectionConfig,
    certificate: &Path,
) -> Result<(), CertificateError> {
    // JSON's strings are YAML's.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let authority = match &connection.certificate_authority {
        Some(Pem::File(file)) => format!("\n    certificate-authority: {}", quoted(&file.to_string_lossy())),
        Some(Pem::Inline(bytes)) => format!("\n    certificate-authority-data: {}", STANDARD.encode(bytes)),
        None => String::new(),
    };
    let name = connection.tls_server_name.as_ref();
    let name = name.map(|name| format!("\n    tls-server-name: {}", quoted(name))).unwrap_or_default();
    let (server, file) = (quoted(&connection.server), quoted(&certificate.to_string_lossy()));
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: default-cluster
  cluster:
    server: {server}{authority}{name}
users:
- name: default-auth
  user:
    client-certificate: {file}
    client-key: {file}
contexts:
- name: default-context
  context:
    cluster: default-cluster
    user: default-auth
    namespace: default
current-context: default-context
"
    );
    write_private(path, text.as_bytes())
}

/// A serving certificate that the kubelet signs itself, where nobody gave it one: `kubelet.crt` and `kubelet.key`.
/// What is there and has not ended is kept.
///
/// # Errors
/// A file cannot be written.
pub fn self_signed(
    cert_dir: &Path,
    node: &str,
    address: IpAddr,
    now: Timestamp,
) -> Result<(PathBuf, PathBuf), CertificateError> {
    let (certificate, key_file) = (cert_dir.join("kubelet.crt"), cert_dir.join("kubelet.key"));
    let kept = std::fs::read(&certificate).ok().and_then(|pem| Validity::of(&pem).ok());
    if kept.is_some_and(|validity| validity.not_after > now) && key_file.exists() {
        return Ok((certificate, key_file));
    }
    let key = new_key()?;
    let invalid = |error: rcgen::Error| CertificateError::Invalid {
        what: format!("serving certificate of {node}"),
        message: error.to_string(),
    };
    let mut params = CertificateParams::new(vec![node.to_owned()]).map_err(invalid)?;
    params.subject_alt_names.push(SanType::IpAddress(address));
    params.distinguished_name.push(DnType::CommonName, format!("{node}@{}", now.as_second()));
    let begin = std::time::SystemTime::from(now);
    params.not_before = (begin - std::time::Duration::from_secs(3600)).into();
    params.not_after = (begin + std::time::Duration::from_secs(365 * 24 * 3600)).into();
    let pem = params.self_signed(&key).map_err(invalid)?.pem();
    write_private(&key_file, key.serialize_pem().as_bytes())?;
    write_private(&certificate, pem.as_bytes())?;
    Ok((certificate, key_file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_is_usable_until_its_certificate_ends() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (certificate, key) = self_signed(folder.path(), "n1", "10.0.0.1".parse().unwrap(), now).unwrap();
        let path = folder.path().join("kubelet.conf");
        assert!(!usable(&path, now));
        let text = "clusters: [{name: c, cluster: {server: 'https://s:1', certificate-authority: ca.crt}}]\n\
                    users: [{name: u, user: {token: abcdef.0123456789abcdef}}]\n\
                    contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
        std::fs::write(folder.path().join("bootstrap.conf"), text).unwrap();
        std::fs::write(folder.path().join("ca.crt"), "").unwrap();
        let bootstrap = Kubeconfig::load(&folder.path().join("bootstrap.conf")).unwrap().connection(None).unwrap();
        let both = folder.path().join("both.pem");
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        std::fs::write(&both, text(&certificate) + &text(&key)).unwrap();
        write_kubeconfig(&path, &bootstrap, &both).unwrap();
        assert!(usable(&path, now));
        assert!(!usable(&path, "2027-02-01T00:00:00Z".parse().unwrap()));
        assert!(!text(&path).contains("abcdef"), "the token does not stay");
        let written = Kubeconfig::load(&path).unwrap().connection(None).unwrap();
        assert_eq!(written.server, "https://s:1");
        assert!(matches!(written.certificate_authority, Some(Pem::File(file)) if file == folder.path().join("ca.crt")));
        let again = self_signed(folder.path(), "n1", "10.0.0.1".parse().unwrap(), now).unwrap();
        assert_eq!(text(&again.0), text(&certificate));
    }
}

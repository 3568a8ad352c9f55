//! Writes kubeconfig files that carry their certificates in themselves.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    instance::write_private,
    pki::{Pair, Pki},
};

/// Writes a kubeconfig for the user whose certificate is called `identity`; `server` is the API server's URL.
///
/// # Errors
/// A certificate cannot be read, or the file cannot be written.
pub fn write(server: &str, pki: &Pki, identity: &str, user: &str, path: &Path) -> Result<()> {
    let authority = encoded(&pki.pair("ca").certificate)?;
    let Pair { certificate, key } = pki.pair(identity);
    let (certificate, key) = (encoded(&certificate)?, encoded(&key)?);
    let credentials = format!("client-certificate-data: {certificate}\n    client-key-data: {key}");
    let text = render(server, user, &authority, &credentials);
    // Unchanged files are left alone: a kubeconfig may carry a user's edits of context or namespace.
    if path.exists() {
        return Ok(());
    }
    write_private(path, text.as_bytes())
}

/// A file as kubeconfigs carry it.
///
/// # Errors
/// It cannot be read.
pub fn encoded(path: &Path) -> Result<String> {
    Ok(BASE64_STANDARD.encode(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

/// The text of a kubeconfig with one cluster and one user, whose `credentials` are lines indented by four blanks.
pub fn render(server: &str, user: &str, authority: &str, credentials: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: reeve
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: {user}
  user:
    {credentials}
contexts:
- name: {user}@reeve
  context:
    cluster: reeve
    user: {user}
current-context: {user}@reeve
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_ties_cluster_and_user() {
        let text = render("https://127.0.0.1:6443", "system:kube-proxy", "QQ==", "client-key-data: Qw==");
        assert!(text.contains("current-context: system:kube-proxy@reeve"));
        assert!(text.contains("server: https://127.0.0.1:6443"));
        assert!(text.contains("client-key-data: Qw=="));
    }
}

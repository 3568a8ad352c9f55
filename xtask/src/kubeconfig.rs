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
    let text = render(server, user, &authority, &encoded(&certificate)?, &encoded(&key)?);
    // Unchanged files are left alone: a kubeconfig may carry a user's edits of context or namespace.
    if path.exists() {
        return Ok(());
    }
    write_private(path, text.as_bytes())
}

fn encoded(path: &Path) -> Result<String> {
    Ok(BASE64_STANDARD.encode(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

fn render(server: &str, user: &str, authority: &str, certificate: &str, key: &str) -> String {
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
    client-certificate-data: {certificate}
    client-key-data: {key}
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
        let text = render("https://127.0.0.1:6443", "system:kube-proxy", "QQ==", "Qg==", "Qw==");
        assert!(text.contains("current-context: system:kube-proxy@reeve"));
        assert!(text.contains("server: https://127.0.0.1:6443"));
        assert!(text.contains("client-key-data: Qw=="));
    }
}

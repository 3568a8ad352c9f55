//! How nodes join: with a bootstrap token that is made for this testbed and ends after a day, as `kubeadm` offers it.

use std::{
    fs,
    io::{Read, Write as _},
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{
    command,
    instance::{Instance, write_private},
    kubeconfig,
    pki::Pki,
    rctl::Rctl,
};

/// How long a token is taken, as `kubeadm`'s.
const VALID_HOURS: i64 = 24;
/// The group of those who join, as `kubeadm` names it.
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// The kubeconfig that nodes join with.
pub fn bootstrap_kubeconfig(instance: &Instance) -> PathBuf {
    instance.path("kubeconfigs").join("bootstrap-kubelet.kubeconfig")
}

/// Writes the kubeconfig that nodes join with; one that is there is kept, with its token.
///
/// # Errors
/// A file cannot be read or written.
pub fn write_kubeconfig(instance: &Instance, pki: &Pki) -> Result<()> {
    token(instance).and_then(|token| {
        let path = bootstrap_kubeconfig(instance);
        if path.exists() {
            return Ok(());
        }
        let authority = kubeconfig::encoded(&pki.pair("ca").certificate)?;
        let credentials = format!("token: {token}");
        let text = kubeconfig::render(&instance.api_url(), "kubelet-bootstrap", &authority, &credentials);
        write_private(&path, text.as_bytes())
    })
}

/// The testbed's token.
fn token(instance: &Instance) -> Result<String> {
    let path = instance.path("pki").join("bootstrap-token");
    if let Ok(token) = fs::read_to_string(&path) {
        return Ok(token);
    }
    let mut random = [0_u8; 11];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("cannot read /dev/urandom")?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = format!("{}.{}", &digits[..6], &digits[6..]);
    write_private(&path, token.as_bytes())?;
    Ok(token)
}

/// Has the API server believe the token, and the controller manager approve what is asked for with it.
///
/// # Errors
/// rctl fails: with what it said.
pub fn offer(instance: &Instance, rctl: &Rctl) -> Result<()> {
    let token = token(instance)?;
    let (id, secret) = token.split_once('.').context("a token has two parts")?;
    let expiration = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(VALID_HOURS))?;
    let text = manifest(id, secret, &expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let mut apply = rctl.command(&["apply", "-f", "-"]);
    let mut child = apply
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command::line(&apply)))?;
    // Dropping the pipe ends the input.
    child.stdin.take().context("rctl has an input")?.write_all(text.as_bytes())?;
    let said = child.wait_with_output()?;
    if !said.status.success() {
        bail!("`{}`: {}", command::line(&apply), String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(())
}

fn manifest(id: &str, secret: &str, expiration: &str) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Secret
metadata:
  name: bootstrap-token-{id}
  namespace: kube-system
type: bootstrap.kubernetes.io/token
stringData:
  token-id: \"{id}\"
  token-secret: \"{secret}\"
  expiration: \"{expiration}\"
  usage-bootstrap-authentication: \"true\"
  auth-extra-groups: {GROUP}
"
    );
    let requests = "system:certificates.k8s.io:certificatesigningrequests";
    for (name, role, group) in [
        ("kubelet-bootstrap", "system:node-bootstrapper".to_owned(), GROUP),
        ("node-autoapprove-bootstrap", format!("{requests}:nodeclient"), GROUP),
        ("node-autoapprove-certificate-rotation", format!("{requests}:selfnodeclient"), "system:nodes"),
    ] {
        text.push_str(&format!(
            "---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: kubeadm:{name}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {role}
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: Group
  name: {group}
"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_gives_the_right_to_ask_and_no_more() {
        let text = manifest("abcdef", "0123456789abcdef", "2026-01-01T00:00:00Z");
        assert!(text.contains("name: bootstrap-token-abcdef"));
        assert!(!text.contains("usage-bootstrap-signing") && !text.contains("system:masters"));
        assert_eq!(text.matches("kind: ClusterRoleBinding").count(), 3);
    }
}

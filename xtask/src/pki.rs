//! The cluster's certificates: ECDSA P-256 keys, one authority for the cluster and one for etcd.
//! Whatever exists is kept, so that a second `up` does not cut off what runs.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};

use crate::instance::{CLUSTER_DOMAIN, Instance, KUBERNETES_SERVICE, write_private};

/// Days that a certificate of the testbed is valid: one year, as upstream's tools issue them.
const VALID_DAYS: u64 = 365;
/// Days that an authority is valid.
const CA_VALID_DAYS: u64 = 3650;

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, readable by its owner only.
    pub key: PathBuf,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    Client,
    Server,
    Both,
}

/// The folder of the certificates.
#[derive(Debug, Clone)]
pub struct Pki {
    folder: PathBuf,
    servers: ServerNames,
}

/// The names and addresses under which servers are reached, beside loopback.
#[derive(Debug, Clone, Default)]
pub struct ServerNames {
    /// The API server's, beside those of its Service.
    pub apiserver: Vec<String>,
    /// etcd's.
    pub etcd: Vec<String>,
}

impl Pki {
    /// The certificates of a testbed; nothing is written yet.
    pub fn new(instance: &Instance) -> Self {
        let servers = ServerNames { apiserver: vec![instance.host_address().to_string()], etcd: Vec::new() };
        Self::in_folder(instance.path("pki"), servers)
    }

    /// The certificates in a folder; nothing is written yet.
    pub fn in_folder(folder: PathBuf, servers: ServerNames) -> Self {
        Self { folder, servers }
    }

    /// The files that carry a name.
    pub fn pair(&self, name: &str) -> Pair {
        Pair { certificate: self.folder.join(format!("{name}.crt")), key: self.folder.join(format!("{name}.key")) }
    }

    /// The public key with which service account tokens are checked.
    pub fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("sa.pub")
    }

    /// The private key with which service account tokens are signed.
    pub fn service_account_key(&self) -> PathBuf {
        self.folder.join("sa.key")
    }

    /// Issues what the control plane and the administrator need.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn issue_control_plane(&self) -> Result<()> {
        self.authority("ca", "reeve-ca")?;
        self.authority("etcd-ca", "reeve-etcd-ca")?;
        self.service_account_pair()?;
        let loopback = ["127.0.0.1", "localhost"];
        let names = |more: &[String]| -> Result<Vec<SanType>> {
            loopback.into_iter().chain(more.iter().map(String::as_str)).map(san).collect()
        };
        let etcd = names(&self.servers.etcd)?;
        // etcd's own gateway connects to itself with the server's certificate.
        self.issue("etcd-ca", "etcd-server", "etcd", None, etcd.clone(), Usage::Both)?;
        self.issue("etcd-ca", "etcd-peer", "etcd-peer", None, etcd, Usage::Both)?;
        self.issue("etcd-ca", "apiserver-etcd-client", "kube-apiserver-etcd-client", None, Vec::new(), Usage::Client)?;

        let mut names = names(&self.servers.apiserver)?;
        let service = "kubernetes.default.svc";
        for name in ["kubernetes", "kubernetes.default", service, &format!("{service}.{CLUSTER_DOMAIN}")] {
            names.push(san(name)?);
        }
        names.push(SanType::IpAddress(IpAddr::V4(KUBERNETES_SERVICE)));
        self.issue("ca", "apiserver", "kube-apiserver", None, names, Usage::Server)?;

        for (name, common_name, organization) in [
            ("admin", "kubernetes-admin", Some("system:masters")),
            ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
            ("scheduler", "system:kube-scheduler", None),
            ("controller-manager", "system:kube-controller-manager", None),
            ("proxy", "system:kube-proxy", None),
        ] {
            self.issue("ca", name, common_name, organization, Vec::new(), Usage::Client)?;
        }
        Ok(())
    }

    /// Issues a kubelet's client and serving certificates.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn issue_node(&self, node: &str, address: Ipv4Addr) -> Result<()> {
        let user = format!("system:node:{node}");
        self.issue("ca", &format!("kubelet-{node}"), &user, Some("system:nodes"), Vec::new(), Usage::Client)?;
        self.issue_node_serving(node, address)
    }

    /// Issues a kubelet's serving certificate alone: for one that asks for the other itself.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn issue_node_serving(&self, node: &str, address: Ipv4Addr) -> Result<()> {
        let user = format!("system:node:{node}");
        let names = vec![san(node)?, SanType::IpAddress(IpAddr::V4(address)), san("127.0.0.1")?];
        self.issue("ca", &format!("kubelet-server-{node}"), &user, Some("system:nodes"), names, Usage::Server)
    }

    fn authority(&self, name: &str, common_name: &str) -> Result<()> {
        let pair = self.pair(name);
        if pair.exists() {
            return Ok(());
        }
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = parameters(common_name, None, Vec::new(), CA_VALID_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).with_context(|| format!("cannot sign {common_name}"))?;
        pair.write(&certificate.pem(), &key)
    }

    fn service_account_pair(&self) -> Result<()> {
        let (private, public) = (self.service_account_key(), self.service_account_public_key());
        if private.exists() && public.exists() {
            return Ok(());
        }
        let key = KeyPair::generate().context("cannot make a key")?;
        write_private(&private, key.serialize_pem().as_bytes())?;
        write_private(&public, key.public_key_pem().as_bytes())
    }

    fn issue(
        &self,
        authority: &str,
        name: &str,
        common_name: &str,
        organization: Option<&str>,
        alternative_names: Vec<SanType>,
        usage: Usage,
    ) -> Result<()> {
        let pair = self.pair(name);
        if pair.exists() {
            return Ok(());
        }
        let authority = self.pair(authority);
        let authority_key = KeyPair::from_pem(&read(&authority.key)?)
            .with_context(|| format!("{} is not a private key", authority.key.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&read(&authority.certificate)?, authority_key)
            .with_context(|| format!("{} is not a certificate", authority.certificate.display()))?;
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = parameters(common_name, organization, alternative_names, VALID_DAYS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        let certificate = params.signed_by(&key, &issuer).with_context(|| format!("cannot sign {common_name}"))?;
        pair.write(&certificate.pem(), &key)
    }
}

impl Pair {
    fn exists(&self) -> bool {
        self.certificate.exists() && self.key.exists()
    }

    fn write(&self, certificate: &str, key: &KeyPair) -> Result<()> {
        write_private(&self.key, key.serialize_pem().as_bytes())?;
        write_private(&self.certificate, certificate.as_bytes())
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn parameters(
    common_name: &str,
    organization: Option<&str>,
    alternative_names: Vec<SanType>,
    valid_days: u64,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.subject_alt_names = alternative_names;
    // An hour of slack for clocks that differ.
    let now = std::time::SystemTime::now();
    params.not_before = (now - std::time::Duration::from_secs(3600)).into();
    params.not_after = (now + std::time::Duration::from_secs(valid_days * 24 * 3600)).into();
    params
}

/// A name or an address, as a certificate carries it.
fn san(text: &str) -> Result<SanType> {
    if let Ok(address) = text.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let name = Ia5String::try_from(text).with_context(|| format!("{text:?} cannot stand in a certificate"))?;
    Ok(SanType::DnsName(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_a_second_issue_keeps_them() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::in_folder(folder.path().to_owned(), ServerNames::default());
        pki.issue_control_plane()?;
        pki.issue_node("node-1", Ipv4Addr::new(172, 30, 0, 11))?;
        let before = fs::read(pki.pair("kubelet-node-1").certificate)?;
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            assert_eq!(entry.metadata()?.permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        pki.issue_control_plane()?;
        pki.issue_node("node-1", Ipv4Addr::new(172, 30, 0, 11))?;
        assert_eq!(fs::read(pki.pair("kubelet-node-1").certificate)?, before);
        Ok(())
    }
}

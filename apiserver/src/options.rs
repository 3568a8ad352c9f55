//! The command line: upstream's flags.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use reeve_client::process::LogOptions;

use crate::aggregation::FrontProxy;
use crate::allocation::{PortRange, ServiceRange};
use crate::authentication::keys::Keys;
use crate::authorization::Mode;
use crate::bootstrap::Trust;
use crate::handlers::AccessOptions;

/// Serves the Kubernetes API, over gRPC and REST on one TLS port, and keeps its state in etcd.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "apiserver", version, about, max_term_width = 100)]
pub struct Options {
    /// List of etcd servers to connect with (scheme://ip:port), comma separated
    #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
    pub etcd_servers: Vec<String>,
    /// SSL Certificate Authority file used to secure etcd communication
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_cafile: Option<PathBuf>,
    /// SSL certification file used to secure etcd communication
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// SSL key file used to secure etcd communication
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,

    /// The IP address on which to listen for the --secure-port port
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED), value_name = "IP")]
    pub bind_address: IpAddr,
    /// The port on which to serve HTTPS with authentication and authorization
    #[arg(long, default_value_t = 6443, value_name = "PORT")]
    pub secure_port: u16,
    /// The IP address on which to advertise the API server to members of the cluster (default: --bind-address, or
    /// the address of the default route's interface)
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,

    /// File containing the x509 Certificate for HTTPS
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: PathBuf,
    /// File containing the x509 private key matching --tls-cert-file
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: PathBuf,
    /// Requests presenting a client certificate signed by one of the authorities in this file are authenticated with
    /// the identity of its CommonName
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: PathBuf,

    /// A CIDR notation IP range from which to assign service cluster IPs
    #[arg(long, default_value = "10.96.0.0/16", value_name = "CIDR")]
    pub service_cluster_ip_range: ServiceRange,
    /// A port range to reserve for services with NodePort visibility
    #[arg(long, default_value = "30000-32767", value_name = "FROM-TO")]
    pub service_node_port_range: PortRange,

    /// File containing the key used to verify ServiceAccount tokens (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// Path to the file that contains the current private key of the service account token issuer
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Identifier of the service account token issuer
    #[arg(long, value_name = "URL")]
    pub service_account_issuer: Option<String>,
    /// Identifiers of the API in service account tokens, comma separated (default: the issuer)
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub api_audiences: Vec<String>,
    /// Enables anonymous requests to the secure port of the API server
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: bool,
    /// Enable to allow secrets of type 'bootstrap.kubernetes.io/token' in the 'kube-system' namespace to be used for
    /// TLS bootstrapping authentication
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_bootstrap_token_auth: bool,

    /// Client certificate used to prove the identity of the API server to the servers behind API services
    #[arg(long, value_name = "FILE", requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Private key for the client certificate used to prove the identity of the API server to those servers
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,

    /// Root certificate bundle that the servers behind API services verify this server's certificate with
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of the certificates that those servers take users' names from, comma separated (default: any)
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub requestheader_allowed_names: Vec<String>,

    /// Ordered list of plug-ins to do authorization on secure port
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC", value_name = "MODES")]
    pub authorization_mode: Vec<Mode>,

    /// Path to a client cert file for TLS to kubelets
    #[arg(long, value_name = "FILE", requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Path to a client key file for TLS to kubelets
    #[arg(long, value_name = "FILE")]
    pub kubelet_client_key: Option<PathBuf>,
    /// Path to a cert file for the certificate authority that signed the kubelets' serving certificates
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,

    /// Amount of time to retain events, in seconds
    #[arg(long, default_value = "1h0m0s", value_parser = parse_duration, value_name = "DURATION")]
    pub event_ttl: std::time::Duration,
    /// The maximum number of requests that change state in flight at a given time, beyond which the server answers
    /// 429; reads may be twice as many
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub max_mutating_requests_inflight: usize,
    /// The maximum number of requests that only read in flight at a given time
    #[arg(long, default_value_t = 400, value_name = "N")]
    pub max_requests_inflight: usize,

    /// How the server logs.
    #[command(flatten)]
    pub logging: LogOptions,
}

/// The issuer of service account tokens unless another is named.
const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc";

impl Options {
    /// What the servers behind API services are told of who to believe.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn trust(&self) -> anyhow::Result<Trust> {
        use anyhow::Context as _;
        let read =
            |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Trust {
            client_authority: read(&self.client_ca_file)?,
            front_proxy_authority: self.requestheader_client_ca_file.as_ref().map(read).transpose()?,
            front_proxy_names: self.requestheader_allowed_names.clone(),
        })
    }

    /// What the servers behind API services know this server by.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn front_proxy(&self) -> anyhow::Result<Option<FrontProxy>> {
        use anyhow::Context as _;
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        match (&self.proxy_client_cert_file, &self.proxy_client_key_file) {
            (Some(certificate), Some(key)) => Ok(Some(FrontProxy { certificate: read(certificate)?, key: read(key)? })),
            _ => Ok(None),
        }
    }

    /// What authentication and authorization need.
    ///
    /// # Errors
    /// When a key file cannot be used.
    pub fn access(&self) -> anyhow::Result<AccessOptions> {
        let keys = Keys::load(self.service_account_signing_key_file.as_deref(), &self.service_account_key_file)?;
        let issuer = self.service_account_issuer.clone().unwrap_or_else(|| DEFAULT_ISSUER.to_owned());
        let audiences = if self.api_audiences.is_empty() { vec![issuer.clone()] } else { self.api_audiences.clone() };
        Ok(AccessOptions {
            modes: self.authorization_mode.clone(),
            anonymous: self.anonymous_auth,
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            keys: Arc::new(keys),
            issuer,
            audiences,
        })
    }
}

/// Go's notation of durations, as upstream's flags take it: `1h0m0s`, `90s`, `1.5h`.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let error = || format!("{text:?} is not a duration such as 1h0m0s or 90s");
    let mut rest = text;
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let value: f64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += value
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return Err(error()),
            };
        rest = &rest[unit..];
    }
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(parse_duration("1h0m0s").unwrap().as_secs(), 3600);
        assert_eq!(parse_duration("1m30s").unwrap().as_secs(), 90);
        for bad in ["", "5", "h", "1d", "-1s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}

//! Options about who the kubelet is and who may use its port.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{ArgAction, Args};
use jiff::Timestamp;
use reeve_client::Client;
use reeve_client::process::KubeconfigOptions;
use reeve_kubelet::certificate::Purpose;
use reeve_kubelet::certificate::join::{self, Joining};
use reeve_kubelet::certificate::rotation::Rotation;
use reeve_kubelet::certificate::store::Store;
use reeve_kubelet::config::Config;
use reeve_kubelet::pressure::thresholds;
use reeve_kubelet::server::ServerFiles;
use reeve_kubelet::server::access::AccessOptions;
use tokio::sync::watch;

/// The flags about who may use the kubelet's port.
#[derive(Args, Debug)]
pub struct AccessFlags {
    /// Enables anonymous requests to the kubelet server
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    anonymous_auth: bool,
    /// Use the TokenReview API to determine authentication for bearer tokens
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    authentication_token_webhook: bool,
    /// The duration to cache responses from the webhook token authenticator
    #[arg(long, default_value = "2m0s", value_parser = duration, value_name = "DURATION")]
    authentication_token_webhook_cache_ttl: Duration,
    /// Authorization mode for kubelet server
    #[arg(long, default_value = "Webhook", value_name = "MODE", value_parser = ["Webhook", "AlwaysAllow"])]
    authorization_mode: String,
    /// The duration to cache 'authorized' responses from the webhook authorizer
    #[arg(long, default_value = "5m0s", value_parser = duration, value_name = "DURATION")]
    authorization_webhook_cache_authorized_ttl: Duration,
    /// The duration to cache 'unauthorized' responses from the webhook authorizer
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    authorization_webhook_cache_unauthorized_ttl: Duration,
}

impl AccessFlags {
    /// What they say.
    pub fn options(&self) -> AccessOptions {
        AccessOptions {
            anonymous: self.anonymous_auth,
            token_webhook: self.authentication_token_webhook,
            token_ttl: self.authentication_token_webhook_cache_ttl,
            webhook: self.authorization_mode == "Webhook",
            allowed_ttl: self.authorization_webhook_cache_authorized_ttl,
            denied_ttl: self.authorization_webhook_cache_unauthorized_ttl,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    thresholds::duration(text).ok_or_else(|| format!("{text:?} is not a duration like 30s or 2m0s"))
}

/// The flags about the kubelet's own certificates.
#[derive(Args, Debug)]
pub struct CertificateOptions {
    /// Path to a kubeconfig file that will be used to get client certificate for kubelet. If the file specified by
    /// --kubeconfig does not exist, the bootstrap kubeconfig is used to request a client certificate from the API
    /// server. On success, a kubeconfig file referencing the generated client certificate and key is written to the
    /// path specified by --kubeconfig
    #[arg(long, value_name = "FILE")]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// The directory where the TLS certs are located
    #[arg(long, default_value = "/var/lib/kubelet/pki", value_name = "DIR")]
    cert_dir: PathBuf,
    /// Auto rotate the kubelet client certificates by requesting new certificates from the API server when the
    /// certificate expiration approaches
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    rotate_certificates: bool,
    /// Auto-request and rotate the kubelet serving certificates by requesting new certificates from the API server
    /// when the certificate expiration approaches; the requests must be approved by somebody
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    rotate_server_certificates: bool,
    /// File containing the x509 certificate used for serving. If neither it nor --rotate-server-certificates is given,
    /// a self-signed certificate is made in --cert-dir
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// File containing the x509 private key matching --tls-cert-file
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
}

impl CertificateOptions {
    /// Joins the cluster where this machine has not, and returns the client of the node.
    pub async fn client(&self, kubeconfig: &KubeconfigOptions, config: &Config) -> Result<Client> {
        if let Some(bootstrap_kubeconfig) = &self.bootstrap_kubeconfig {
            let joining = Joining {
                bootstrap_kubeconfig: bootstrap_kubeconfig.clone(),
                kubeconfig: kubeconfig.kubeconfig.clone(),
                cert_dir: self.cert_dir.clone(),
                node: config.node_name.clone(),
            };
            join::join(&joining).await?;
        }
        let client = kubeconfig.client()?;
        if self.rotate_certificates {
            let store = Store::new(&self.cert_dir, Purpose::Client.prefix());
            if client.config().files().contains(&store.current()) {
                self.rotate(&client, config, Purpose::Client);
            } else {
                let path = kubeconfig.kubeconfig.display();
                tracing::warn!(kubeconfig = %path, "does not name --cert-dir's certificate, which is not rotated");
            }
        }
        Ok(client)
    }

    /// Keeps a certificate valid; tells when there is one.
    fn rotate(&self, client: &Client, config: &Config, purpose: Purpose) -> watch::Receiver<bool> {
        let (present, receiver) = watch::channel(false);
        let store = Store::new(&self.cert_dir, purpose.prefix());
        let rotation = Rotation { client: client.clone(), node: config.node_name.clone(), purpose, store, present };
        tokio::spawn(async move {
            if let Err(error) = rotation.run().await {
                tracing::error!(%error, "the kubelet's certificate is not renewed");
            }
        });
        receiver
    }

    /// What is served with, once it is there.
    pub async fn serving(&self, client: &Client, config: &Config, client_ca: PathBuf) -> Result<ServerFiles> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_private_key_file) {
            return Ok(ServerFiles { certificate: certificate.clone(), key: key.clone(), client_ca });
        }
        if !self.rotate_server_certificates {
            let (certificate, key) =
                join::self_signed(&self.cert_dir, &config.node_name, config.node_ip, Timestamp::now())?;
            return Ok(ServerFiles { certificate, key, client_ca });
        }
        let purpose = Purpose::Serving { names: vec![config.node_name.clone()], addresses: vec![config.node_ip] };
        let current = Store::new(&self.cert_dir, purpose.prefix()).current();
        self.rotate(client, config, purpose).wait_for(|present| *present).await?;
        Ok(ServerFiles { certificate: current.clone(), key: current, client_ca })
    }
}

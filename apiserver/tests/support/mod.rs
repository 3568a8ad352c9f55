//! A real API server over a real etcd, for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use clap::Parser as _;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reeve_apiserver::options::Options;
use reeve_client::config::Pem;
use reeve_client::{Client, ConnectionConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The server, its etcd and its certificates. Everything ends when it is dropped.
pub struct TestServer {
    folder: tempfile::TempDir,
    port: u16,
    etcd_port: u16,
    etcd: Child,
    /// Flags beside those of every test.
    flags: Vec<String>,
    authority: Issuer<'static, KeyPair>,
    server: Option<(CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>)>,
}

/// An HTTP answer.
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The texts of its warnings.
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl TestServer {
    /// Starts etcd and the server, and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port, etcd_port, peer_port] = free_ports();
        let etcd = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{etcd_port}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{etcd_port}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"))
            .arg("--log-level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd must be installed");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let certificate = params.self_signed(&key).expect("a CA");
        write(folder.path(), "ca.crt", &certificate.pem());
        let authority = Issuer::new(params, key);
        let flags = flags.iter().map(ToString::to_string).collect();
        let mut server = Self { folder, port, etcd_port, etcd, flags, authority, server: None };
        server.issue("server", "apiserver", &[]);
        server.issue("kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"]);
        server.run().await;
        // What the controller manager makes in every namespace: pods need it.
        let account = json!({"metadata": {"name": "default"}});
        let path = "/api/v1/namespaces/default/serviceaccounts";
        let made = server.rest(Method::POST, path, Some(("application/json", account))).await;
        assert_eq!(made.status, 201, "{}", made.body);
        server
    }

    async fn run(&mut self) {
        let flag = |name: &str, value: String| format!("--{name}={value}");
        let file = |name: &str| self.file(name).display().to_string();
        let common = [
            "apiserver".to_owned(),
            flag("etcd-servers", format!("http://127.0.0.1:{}", self.etcd_port)),
            flag("bind-address", "127.0.0.1".into()),
            flag("secure-port", self.port.to_string()),
            flag("client-ca-file", file("ca.crt")),
            flag("tls-cert-file", file("server.crt")),
            flag("tls-private-key-file", file("server.key")),
            flag("kubelet-client-certificate", file("kubelet-client.crt")),
            flag("kubelet-client-key", file("kubelet-client.key")),
            flag("kubelet-certificate-authority", file("ca.crt")),
        ];
        let options = Options::parse_from(common.into_iter().chain(self.flags.iter().cloned()));
        let token = CancellationToken::new();
        let running = tokio::spawn(reeve_apiserver::run(options, token.clone()));
        self.server = Some((token, running));
        let ready = reeve_client::backoff::retry(reeve_client::backoff::Backoff::RECONNECT, "readiness", || async {
            match self.try_rest("admin", Method::GET, "/readyz", None, None).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(error.to_string()),
            }
        });
        tokio::time::timeout(std::time::Duration::from_secs(30), ready).await.expect("the server becomes ready");
    }

    /// Stops the server and starts it again on the same etcd.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Starts the server again after it was stopped.
    pub async fn restart_stopped(&mut self) {
        self.run().await;
    }

    /// The store behind the server.
    pub async fn etcd(&self) -> etcd_client::Client {
        let address = format!("http://127.0.0.1:{}", self.etcd_port);
        etcd_client::Client::connect([address], None).await.expect("etcd runs")
    }

    /// Stops the server; returns how long it took.
    pub async fn stop(&mut self) -> std::time::Duration {
        let (token, running) = self.server.take().expect("a running server");
        let begun = std::time::Instant::now();
        token.cancel();
        running.await.expect("no panic").expect("a clean end");
        begun.elapsed()
    }

    /// A file of the server, such as `ca.crt` or `server.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for a user; made once.
    fn issue(&self, file: &str, user: &str, groups: &[&str]) {
        if self.file(&format!("{file}.crt")).exists() {
            return;
        }
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        write(self.folder.path(), &format!("{file}.crt"), &certificate.pem());
        write(self.folder.path(), &format!("{file}.key"), &key.serialize_pem());
    }

    /// The certificate's file stem of a user.
    fn user(&self, user: &str) -> String {
        match user {
            "admin" => self.issue("admin", "kubernetes-admin", &["system:masters"]),
            node if node.starts_with("system:node:") => self.issue(user, node, &["system:nodes"]),
            other => self.issue(user, other, &[]),
        }
        user.to_owned()
    }

    /// A gRPC client of a user (`admin`, `system:node:NAME`, or any name without rights).
    pub fn client(&self, user: &str) -> Client {
        let user = self.user(user);
        Client::new(ConnectionConfig {
            server: format!("https://127.0.0.1:{}", self.port),
            certificate_authority: Some(Pem::File(self.file("ca.crt"))),
            client_certificate: Some((
                Pem::File(self.file(&format!("{user}.crt"))),
                Pem::File(self.file(&format!("{user}.key"))),
            )),
            token: None,
            token_file: None,
            impersonate: reeve_client::Impersonation::default(),
            tls_server_name: None,
            namespace: "default".into(),
            user_agent: "test/1".into(),
            origin: "test".into(),
        })
        .expect("a client")
    }

    /// One REST request of the administrator.
    pub async fn rest(&self, method: Method, path: &str, body: Option<(&str, Value)>) -> Answer {
        self.rest_as("admin", method, path, None, body).await
    }

    /// One REST request of a user; the empty user has no certificate.
    pub async fn rest_as(
        &self,
        user: &str,
        method: Method,
        path: &str,
        accept: Option<&str>,
        body: Option<(&str, Value)>,
    ) -> Answer {
        self.try_rest(user, method, path, accept, body).await.expect("an answer")
    }

    /// One REST request of a user, with a body of a media type as it stands.
    pub async fn rest_text(&self, user: &str, method: Method, path: &str, (media, body): (&str, &str)) -> Answer {
        self.send(user, method, path, None, Some((media, body.as_bytes().to_vec()))).await.expect("an answer")
    }

    /// A connection of a user; the empty user has no certificate.
    pub async fn connect(&self, user: &str) -> anyhow::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.crt"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = if user.is_empty() {
            builder.with_no_client_auth()
        } else {
            let user = self.user(user);
            let chain = vec![CertificateDer::from_pem_file(self.file(&format!("{user}.crt")))?];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(self.file(&format!("{user}.key")))?)?
        };
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let name = ServerName::try_from("localhost")?;
        Ok(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    async fn try_rest(
        &self,
        user: &str,
        method: Method,
        path: &str,
        accept: Option<&str>,
        body: Option<(&str, Value)>,
    ) -> anyhow::Result<Answer> {
        let body = body.map(|(media, value)| (media, value.to_string().into_bytes()));
        self.send(user, method, path, accept, body).await
    }

    async fn send(
        &self,
        user: &str,
        method: Method,
        path: &str,
        accept: Option<&str>,
        body: Option<(&str, Vec<u8>)>,
    ) -> anyhow::Result<Answer> {
        let stream = self.connect(user).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let bytes = match body {
            Some((media, bytes)) => {
                request = request.header("content-type", media);
                bytes
            }
            None => vec![],
        };
        let response = sender.send_request(request.body(Full::new(bytes::Bytes::from(bytes)))?).await?;
        let status = response.status().as_u16();
        let warnings =
            response.headers().get_all("warning").iter().map(|value| warning(value.to_str().unwrap_or(""))).collect();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), warnings })
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some((token, _)) = &self.server {
            token.cancel();
        }
        self.etcd.kill().expect("etcd is ours to end");
        self.etcd.wait().expect("etcd ends");
    }
}

/// The text of a `Warning` header.
fn warning(header: &str) -> String {
    let quoted = header.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"')).unwrap_or(header);
    quoted.replace("\\\"", "\"").replace("\\\\", "\\")
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file in our own folder");
}

/// Ports that were free a moment ago; all are held until all are known.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    std::array::from_fn(|index| held[index].local_addr().expect("an address").port())
}

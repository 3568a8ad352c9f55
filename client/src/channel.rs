//! The HTTP/2 channel to the API server: TLS, keep-alive, credentials.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::config::{ConfigError, ConnectionConfig};

/// A connection that authenticates each call.
pub type AuthenticatedChannel = InterceptedService<Channel, Credentials>;

/// How long a connection may be silent before it is probed, and how long the probe may take. A server that
/// vanished is noticed after their sum.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Lists are large bodies; a window of this size keeps them flowing over one stream.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

type Header = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// Adds the bearer token, if there is one, and whom to act as.
#[derive(Clone)]
pub struct Credentials {
    headers: Vec<Header>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        for (name, value) in &self.headers {
            request.metadata_mut().append(name.clone(), value.clone());
        }
        Ok(request)
    }
}

/// The channel in use, which is replaced when the credentials are.
pub(crate) struct Live {
    channel: ArcSwap<AuthenticatedChannel>,
    /// Told when the channel is replaced: streams on the old one move over.
    replaced: watch::Sender<()>,
}

impl Live {
    pub(crate) fn new(config: &ConnectionConfig) -> Result<Self, ConfigError> {
        Ok(Self { channel: ArcSwap::from_pointee(open(config)?), replaced: watch::Sender::new(()) })
    }

    pub(crate) fn channel(&self) -> AuthenticatedChannel {
        AuthenticatedChannel::clone(&self.channel.load())
    }

    pub(crate) fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// New calls go out with these credentials, on a connection of their own. Calls under way end on the old one, which
    /// is closed after the last of them.
    pub(crate) fn replace(&self, config: &ConnectionConfig) -> Result<(), ConfigError> {
        self.channel.store(Arc::new(open(config)?));
        self.replaced.send_replace(());
        Ok(())
    }
}

/// Prepares a channel; it connects with the first call and again whenever the connection is lost.
fn open(config: &ConnectionConfig) -> Result<AuthenticatedChannel, ConfigError> {
    let invalid = |message: String| ConfigError::Invalid {
        what: format!("server {:?} ({})", config.server, config.origin),
        message,
    };
    if !config.server.starts_with("https://") {
        return Err(invalid("must begin with https://; Reeve has no plaintext port".into()));
    }
    let mut tls = ClientTlsConfig::new();
    if let Some(authority) = &config.certificate_authority {
        tls = tls.ca_certificate(Certificate::from_pem(authority.read("certificate authority")?));
    }
    if let Some((certificate, key)) = &config.client_certificate {
        tls = tls.identity(Identity::from_pem(certificate.read("client certificate")?, key.read("client key")?));
    }
    if let Some(name) = &config.tls_server_name {
        tls = tls.domain_name(name);
    }
    let endpoint = Endpoint::from_shared(config.server.clone())
        .and_then(|endpoint| endpoint.user_agent(config.user_agent.clone()))
        .map_err(|error| invalid(error.to_string()))?
        .tls_config(tls)
        .map_err(|error| ConfigError::Invalid {
            what: format!("TLS settings ({})", config.origin),
            message: causes(&error),
        })?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true);
    Ok(InterceptedService::new(endpoint.connect_lazy(), Credentials { headers: headers(config)? }))
}

/// What each call carries: who we are, and whom to act as.
fn headers(config: &ConnectionConfig) -> Result<Vec<Header>, ConfigError> {
    let mut texts: Vec<(String, String, &str)> = Vec::new();
    if let Some(token) = &config.token {
        texts.push(("authorization".to_owned(), format!("Bearer {token}"), "token"));
    }
    let as_user = &config.impersonate;
    for (name, value) in [("impersonate-user", &as_user.user), ("impersonate-uid", &as_user.uid)] {
        if !value.is_empty() {
            texts.push((name.to_owned(), value.clone(), "the user to act as"));
        }
    }
    let groups =
        as_user.groups.iter().map(|group| ("impersonate-group".to_owned(), group.clone(), "a group to act as"));
    texts.extend(groups);
    let extra = as_user.extra.iter();
    texts.extend(extra.map(|(key, value)| (extra_header(key), value.clone(), "an attribute to act with")));
    texts
        .into_iter()
        .map(|(name, value, what)| {
            let invalid = || ConfigError::Invalid {
                what: what.to_owned(),
                message: "holds characters that a header cannot carry".into(),
            };
            Ok((name.parse().map_err(|_| invalid())?, value.parse().map_err(|_| invalid())?))
        })
        .collect()
}

/// `Impersonate-Extra-KEY`, in lower case; what a header's name cannot hold is percent-encoded.
fn extra_header(key: &str) -> String {
    let mut name = "impersonate-extra-".to_owned();
    for byte in key.to_ascii_lowercase().bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

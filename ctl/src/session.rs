//! One run of rctl: its input and output, its global flags, and the connection that they describe.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use reeve_api::{Reason, ResourceInfo, StatusError};
use reeve_client::config::ConfigError;
use reeve_client::{
    Api, Client, ConnectionConfig, Error, Impersonation, Kubeconfig, Patch, Pem, WriteOptions, Written,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::cli::Globals;
use crate::discovery_cache::DiscoveryCache;
use crate::duration;
use crate::errors::{Failure, Layer, Outcome, fail};
use crate::io::Io;
use crate::kubeconfig::Paths;
use crate::output::colour::Palette;

/// One run.
pub struct Session {
    /// Input and output.
    pub io: Io,
    /// Global flags.
    pub globals: Globals,
    field_validation: Rc<RefCell<String>>,
    warnings: Rc<RefCell<Vec<String>>>,
}

impl Session {
    /// A run that has not connected yet.
    pub fn new(io: Io, globals: Globals) -> Self {
        Self { io, globals, field_validation: Rc::default(), warnings: Rc::default() }
    }

    /// What writes ask the server to do about unknown fields: `Strict`, `Warn`, `Ignore`.
    pub fn validate_fields(&self, how: &str) {
        how.clone_into(&mut self.field_validation.borrow_mut());
    }

    /// Prints what the server warned of, each warning once.
    pub fn print_warnings(&mut self) -> Outcome {
        let mut seen = BTreeSet::new();
        for warning in self.warnings.take() {
            if seen.insert(warning.clone()) {
                self.io.warn(&warning)?;
            }
        }
        match seen.len() {
            count if count > 0 && self.globals.warnings_as_errors => {
                fail(format!("{count} warning{} received", if count == 1 { "" } else { "s" }))
            }
            _ => Ok(()),
        }
    }

    /// How to colour standard output.
    pub fn palette(&self) -> Palette {
        Palette::choose(self.globals.color, &self.io)
    }

    /// The connection that flags and kubeconfig describe. Nothing is sent yet. Must be called inside a runtime.
    pub fn cluster(&self) -> Outcome<Cluster> {
        let config = self.with_credentials(self.connection_config()?)?;
        let (_, timeout) = duration::parse(&self.globals.request_timeout).map_err(Failure::Message)?;
        let namespace = match self.globals.namespace.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => config.namespace.clone(),
        };
        let cache = DiscoveryCache::of_server(&config.server, &self.globals, &self.io);
        Ok(Cluster {
            client: Client::new(config).map_err(configuration)?,
            namespace,
            namespace_is_explicit: self.globals.namespace.as_deref().is_some_and(|name| !name.is_empty()),
            timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
            discovered: Rc::new(OnceCell::new()),
            remembered: Rc::new(OnceCell::new()),
            cache,
            field_validation: self.field_validation.clone(),
            field_manager: Rc::default(),
            warnings: self.warnings.clone(),
        })
    }

    /// Where to connect to and as whom.
    pub fn connection_config(&self) -> Outcome<ConnectionConfig> {
        let paths = Paths::choose(&self.globals, &self.io);
        let files = paths.existing()?;
        if let (true, Some(server)) = (files.is_empty(), self.globals.server.as_deref()) {
            return Ok(ConnectionConfig {
                server: server.trim_end_matches('/').to_owned(),
                certificate_authority: None,
                client_certificate: None,
                token: None,
                token_file: None,
                impersonate: Impersonation::default(),
                tls_server_name: None,
                namespace: "default".to_owned(),
                user_agent: format!("rctl/{}", env!("CARGO_PKG_VERSION")),
                origin: "--server".to_owned(),
            });
        }
        if files.is_empty() {
            let looked: Vec<String> = paths.files.iter().map(|path| path.display().to_string()).collect();
            return Err(Failure::Layer {
                layer: Layer::Configuration,
                message: "no kubeconfig: no cluster is known to connect to".to_owned(),
                hints: vec![
                    format!(
                        "Looked for {}.",
                        if looked.is_empty() { "~/.kube/config".to_owned() } else { looked.join(", ") }
                    ),
                    "Give --kubeconfig FILE or set KUBECONFIG to the file that the cluster's set-up wrote.".to_owned(),
                ],
            });
        }
        let config = Kubeconfig::load_all(&files).map_err(configuration)?;
        self.select(config)
    }

    /// Applies the flags that say who asks and whom to trust.
    fn with_credentials(&self, mut config: ConnectionConfig) -> Outcome<ConnectionConfig> {
        let globals = &self.globals;
        if globals.insecure_skip_tls_verify {
            return Err(Failure::Layer {
                layer: Layer::Configuration,
                message: "--insecure-skip-tls-verify is not supported".to_owned(),
                hints: vec![
                    "Give the CA that signed the server's certificate: --certificate-authority FILE.".to_owned(),
                ],
            });
        }
        let file = |path: &Option<String>| path.as_ref().map(|path| Pem::File(path.into()));
        if let Some(authority) = file(&globals.certificate_authority) {
            config.certificate_authority = Some(authority);
        }
        match (file(&globals.client_certificate), file(&globals.client_key)) {
            (Some(certificate), Some(key)) => config.client_certificate = Some((certificate, key)),
            (None, None) => {}
            _ => return fail("--client-certificate and --client-key must be given together"),
        }
        if let Some(token) = &globals.token {
            // Whoever names a token means to be its user.
            if globals.client_certificate.is_none() {
                config.client_certificate = None;
            }
            config.token = Some(token.clone());
            config.token_file = None;
        }
        if let Some(name) = &globals.tls_server_name {
            config.tls_server_name = Some(name.clone());
        }
        if let Some(server) = &globals.server {
            config.server = server.trim_end_matches('/').to_owned();
        }
        let extra = globals.as_user_extra.iter().map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => fail(format!("invalid argument {pair:?} for \"--as-user-extra\" flag: it is not KEY=VALUE")),
        });
        config.impersonate = Impersonation {
            user: globals.as_user.clone().unwrap_or_default(),
            groups: globals.as_groups.clone(),
            uid: globals.as_uid.clone().unwrap_or_default(),
            extra: extra.collect::<Outcome<_>>()?,
        };
        let asked = &config.impersonate;
        if asked.user.is_empty() && (!asked.groups.is_empty() || !asked.uid.is_empty() || !asked.extra.is_empty()) {
            return fail("requesting uid, groups or user-extra for a user requires a user name: --as USER");
        }
        Ok(config)
    }

    /// Applies `--context`, `--cluster`, `--user` and `--server`.
    fn select(&self, mut config: Kubeconfig) -> Outcome<ConnectionConfig> {
        let name =
            self.globals.context.clone().filter(|name| !name.is_empty()).unwrap_or(config.current_context.clone());
        let mut context = match config.contexts.iter().find(|context| context.name == name) {
            Some(context) => context.context.clone(),
            None if !name.is_empty() => {
                let known: Vec<&str> = config.contexts.iter().map(|context| context.name.as_str()).collect();
                return Err(Failure::Layer {
                    layer: Layer::Configuration,
                    message: format!("context {name:?} does not exist in {}", config.origin()),
                    hints: vec![format!(
                        "Known contexts: {}.",
                        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                    )],
                });
            }
            None if self.globals.cluster.is_some() => Default::default(),
            None => return Err(configuration(ConfigError::NoContext { origin: config.origin() })),
        };
        if let Some(cluster) = &self.globals.cluster {
            context.cluster.clone_from(cluster);
        }
        if let Some(user) = &self.globals.user {
            context.user.clone_from(user);
        }
        if let Some(server) = &self.globals.server {
            for cluster in config.clusters.iter_mut().filter(|cluster| cluster.name == context.cluster) {
                cluster.cluster.server.clone_from(server);
            }
        }
        config.connection_of(&context, &name).map_err(|error| match error {
            ConfigError::Missing { what, name: missing } => Failure::Layer {
                layer: Layer::Configuration,
                message: format!("{what} {missing:?} does not exist in {}", config.origin()),
                hints: vec![format!("Context {name:?} names it; see 'rctl config view'.")],
            },
            other => configuration(other),
        })
    }
}

fn configuration(error: ConfigError) -> Failure {
    let hints = match &error {
        ConfigError::Read { .. } => {
            vec!["The kubeconfig names this file; check that it exists and that you may read it.".to_owned()]
        }
        ConfigError::Invalid { .. } => vec!["See 'rctl config view --minify'.".to_owned()],
        _ => vec![],
    };
    Failure::Layer { layer: Layer::Configuration, message: error.to_string(), hints }
}

/// Where an object, or a subresource of it, is found.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
}

/// A cluster to talk to, and the namespace to work in. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// The namespace of `-n`, else that of the context, else `default`.
    pub namespace: String,
    /// Whether `-n` named it.
    pub namespace_is_explicit: bool,
    timeout: Option<Duration>,
    discovered: Rc<OnceCell<Vec<ResourceInfo>>>,
    remembered: Rc<OnceCell<Option<Vec<ResourceInfo>>>>,
    cache: DiscoveryCache,
    field_validation: Rc<RefCell<String>>,
    field_manager: Rc<RefCell<String>>,
    warnings: Rc<RefCell<Vec<String>>>,
}

impl Cluster {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The verbs of a resource in a namespace (which is ignored for cluster-scoped ones; empty for all).
    pub fn api(&self, info: &ResourceInfo, namespace: &str) -> Api<Value> {
        self.client.dynamic(&info.resource, info.namespaced.then_some(namespace))
    }

    /// Awaits a call, within `--request-timeout`, and explains its failure.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Outcome<T> {
        self.attempt(call).await?.map_err(|error| self.explain(error))
    }

    /// As [`Cluster::call`], with the client's own error for those who look at its reason.
    pub async fn attempt<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Outcome<Result<T, Error>> {
        let Some(timeout) = self.timeout else { return Ok(call.await) };
        match tokio::time::timeout(timeout, call).await {
            Ok(result) => Ok(result),
            Err(_) => Err(Failure::Layer {
                layer: Layer::Network,
                message: format!("no answer from {} within {timeout:?}", self.client.config().server),
                hints: vec!["Raise or drop --request-timeout, or look at the API server's log.".to_owned()],
            }),
        }
    }

    /// All resources of the server as it is remembered, else as it says.
    pub async fn known(&self) -> Outcome<&[ResourceInfo]> {
        if self.discovered.get().is_none()
            && let Some(known) = self.remembered.get_or_init(async || self.cache.load()).await
        {
            return Ok(known);
        }
        self.discovered().await
    }

    /// All resources of the server, asked for once.
    pub async fn discovered(&self) -> Outcome<&[ResourceInfo]> {
        let resources = self
            .discovered
            .get_or_try_init(|| async {
                let found = self.call(self.client.resources()).await;
                if let Ok(resources) = &found {
                    self.cache.store(resources);
                }
                found.map_err(|failure| match failure {
                    Failure::Server { status, context: None } => Failure::Layer {
                        layer: Layer::Discovery,
                        message: format!("the server's resources could not be listed: {status}"),
                        hints: vec!["So it is not known whether the resource type exists.".to_owned()],
                    },
                    other => other,
                })
            })
            .await?;
        Ok(resources)
    }

    /// Creates an object; with `dry_run` the server only says what it would store.
    pub async fn create(&self, info: &ResourceInfo, namespace: &str, object: &Value, dry_run: bool) -> Outcome<Value> {
        let options = self.write_options(dry_run);
        let written = self.call(self.api(info, namespace).create_written(object, &options)).await?;
        Ok(self.note_warnings(written))
    }

    /// Changes parts of an object; with `dry_run` the server only says what it would store.
    pub async fn patch(
        &self,
        info: &ResourceInfo,
        namespace: &str,
        name: &str,
        patch: &Patch,
        dry_run: bool,
    ) -> Outcome<Value> {
        let options = self.write_options(dry_run);
        let written = self.call(self.api(info, namespace).patch_written(name, patch, &options)).await?;
        Ok(self.note_warnings(written))
    }

    /// Changes parts of an object or, if one is named, of its subresource.
    pub async fn patch_at(
        &self,
        info: &ResourceInfo,
        place: Place<'_>,
        patch: &Patch,
        dry_run: bool,
    ) -> Outcome<Value> {
        let Place { namespace, name, subresource } = place;
        if subresource.is_empty() {
            return self.patch(info, namespace, name, patch, dry_run).await;
        }
        let options = self.write_options(dry_run);
        let api = self.api(info, namespace);
        let written = self.call(api.patch_subresource_written(name, subresource, patch, &options)).await?;
        Ok(self.note_warnings(written))
    }

    /// Replaces an object; with `dry_run` the server only says what it would store.
    pub async fn replace(&self, info: &ResourceInfo, namespace: &str, object: &Value, dry_run: bool) -> Outcome<Value> {
        let options = self.write_options(dry_run);
        let written = self.call(self.api(info, namespace).update_written(object, &options)).await?;
        Ok(self.note_warnings(written))
    }

    /// Merges an object's fields on the server, as a manager; `force` takes fields over from others.
    pub async fn apply(
        &self,
        info: &ResourceInfo,
        namespace: &str,
        object: &Value,
        force: bool,
        manager: &str,
        dry_run: bool,
    ) -> Outcome<Value> {
        let options = WriteOptions { field_manager: manager.to_owned(), ..self.write_options(dry_run) };
        let written = self.call(self.api(info, namespace).apply(object, force, &options)).await?;
        Ok(self.note_warnings(written))
    }

    /// Names who owns the fields that are written from here on.
    pub fn write_as(&self, manager: &str) {
        manager.clone_into(&mut self.field_manager.borrow_mut());
    }

    fn write_options(&self, dry_run: bool) -> WriteOptions {
        let field_validation = self.field_validation.borrow().clone();
        WriteOptions { dry_run, field_manager: self.field_manager.borrow().clone(), field_validation }
    }

    fn note_warnings(&self, written: Written<Value>) -> Value {
        self.warnings.borrow_mut().extend(written.warnings);
        written.object
    }

    /// What a failed call tells the user.
    pub fn explain(&self, error: Error) -> Failure {
        if error.status().is_some_and(|status| status.message.contains("could not find the requested resource")) {
            // What is remembered of the server may be why.
            self.cache.forget();
        }
        let config = self.client.config();
        explain(error, &config.server, &config.origin)
    }
}

/// What a failed call tells the user: the layer, the address and where it comes from, the next step.
pub fn explain(error: Error, server: &str, origin: &str) -> Failure {
    let address = server.trim_start_matches("https://");
    let from = format!("The address comes from {origin}.");
    match error {
        Error::Status(status) => Failure::from(*status),
        Error::Transport { message, .. } => transport(&message, address, from),
        Error::Tls { message, .. } => tls(&message, address, origin),
        Error::Decode { message } => Failure::Layer {
            layer: Layer::Server,
            message: format!("the answer of {address} cannot be read: {message}"),
            hints: vec![from, "Is this the gRPC port of a Reeve API server of a matching version?".to_owned()],
        },
        other => Failure::Message(other.to_string()),
    }
}

fn transport(message: &str, address: &str, from: String) -> Failure {
    let lower = message.to_ascii_lowercase();
    let layer =
        |layer, message, next: &str| Failure::Layer { layer, message, hints: vec![from.clone(), next.to_owned()] };
    if lower.contains("connection refused") {
        let port = address.rsplit(':').next().unwrap_or(address);
        layer(
            Layer::Network,
            format!("the connection to the server {address} was refused - did you specify the right host or port?"),
            &format!(
                "Nothing listens there: check that the API server runs (ss -ltn 'sport = :{port}'), or choose another context (rctl config get-contexts)."
            ),
        )
    } else if lower.contains("dns") || lower.contains("lookup address") || lower.contains("name or service not known") {
        layer(
            Layer::Network,
            format!("the name of the server {address} cannot be resolved: {message}"),
            "Check the spelling and this machine's name service (getent hosts).",
        )
    } else if lower.contains("timed out") || lower.contains("deadline") || lower.contains("unreachable") {
        layer(
            Layer::Network,
            format!("the server {address} cannot be reached: {message}"),
            "Check the route and firewalls between this machine and the server.",
        )
    } else if lower.contains("certificate") || lower.contains("tls") || lower.contains("handshake") {
        tls(message, address, from.trim_start_matches("The address comes from ").trim_end_matches('.'))
    } else {
        layer(
            Layer::Network,
            format!("unable to connect to the server {address}: {message}"),
            "The connection broke before an answer; look at the API server's log, then try again.",
        )
    }
}

fn tls(message: &str, address: &str, origin: &str) -> Failure {
    let lower = message.to_ascii_lowercase();
    let next = if lower.contains("unknownissuer") {
        "The server's certificate is not signed by the certificate-authority of this cluster: is it another cluster's kubeconfig?"
    } else if lower.contains("notvalidforname") || lower.contains("not valid for name") {
        "The server's certificate does not name this address: use one that it names, or set tls-server-name."
    } else if lower.contains("expired") {
        "A certificate is expired: renew it, and check the clocks of both machines."
    } else if lower.contains("alert") {
        "The server refused our side: check that client-certificate is of this cluster's CA and not expired."
    } else {
        "Check certificate-authority, client-certificate and client-key of this context (rctl config view --minify)."
    };
    Failure::Layer {
        layer: Layer::Tls,
        message: format!("no trusted connection to {address}: {message}"),
        hints: vec![format!("Address and certificates come from {origin}."), next.to_owned()],
    }
}

/// Runs an asynchronous verb on this thread.
pub fn block_on<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => fail(format!("cannot start: {error}")),
    }
}

/// Whether an error is the server's "no such object or resource".
pub fn is_not_found(failure: &Failure) -> bool {
    failure.reason() == Some(Reason::NotFound)
}

/// The error of an object that is missing.
pub fn not_found(info: &ResourceInfo, name: &str) -> Failure {
    Failure::from(StatusError::not_found(&info.resource, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: Error) -> String {
        explain(error, "https://127.0.0.1:6443", "/home/a/.kube/config, context \"reeve\"").text()
    }

    #[test]
    fn a_refused_connection_says_where_it_went_and_why() {
        let error = Error::Transport {
            server: String::new(),
            message: "tcp connect error: Connection refused (os error 111)".into(),
        };
        assert_eq!(
            text(error),
            "error: network: the connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?\n  \
             The address comes from /home/a/.kube/config, context \"reeve\".\n  \
             Nothing listens there: check that the API server runs (ss -ltn 'sport = :6443'), or choose another context (rctl config get-contexts)."
        );
    }

    #[test]
    fn layers_are_told_apart() {
        let transport = |message: &str| text(Error::Transport { server: String::new(), message: message.into() });
        assert!(
            transport("dns error: failed to lookup address information").starts_with("error: network: the name of")
        );
        assert!(transport("operation timed out").starts_with("error: network: the server 127.0.0.1:6443 cannot"));
        assert!(transport("received fatal alert: HandshakeFailure").starts_with("error: TLS:"));
        let tls = text(Error::Tls { server: String::new(), message: "invalid peer certificate: UnknownIssuer".into() });
        assert!(tls.starts_with("error: TLS:") && tls.contains("another cluster's kubeconfig"), "{tls}");
        let unauthorized = text(StatusError::new(Reason::Unauthorized, "Unauthorized").into());
        assert!(unauthorized.starts_with("error: You must be logged in to the server (Unauthorized)"));
    }
}

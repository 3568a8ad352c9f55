//! A small API server: objects in memory, no rules but those that the command line depends on.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use reeve_api::selector::{FieldSelector, LabelSelector};
use reeve_api::{GroupVersionResource, StatusError};
use reeve_proto::v1::{self, api_server, discovery_server, streams_server};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// A running server.
pub struct Running {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The server ends with it.
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// Starts a server and writes `kubeconfig` into the folder; other contexts of it lead to what does not work.
pub fn start(folder: &Path) -> Running {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, address) = std::sync::mpsc::sync_channel(1);
    let authority = Authority::new("test");
    let stranger = Authority::new("stranger");
    let (server_certificate, server_key) = authority.issue("127.0.0.1");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(server_certificate, server_key))
        .client_ca_root(Certificate::from_pem(&authority.certificate));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ready.send(listener.local_addr().expect("an address").to_string()).expect("somebody waits");
            let fake = Fake::new();
            Server::builder()
                .tls_config(tls)
                .expect("TLS")
                .add_service(api_server::ApiServer::new(fake.clone()))
                .add_service(discovery_server::DiscoveryServer::new(fake.clone()))
                .add_service(streams_server::StreamsServer::new(fake))
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                    // The sender is dropped at the end of the test.
                    if stopped.await.is_ok() {}
                })
                .await
                .expect("the server runs");
        });
    });
    let address = address.recv().expect("the server started");
    let (client_certificate, client_key) = authority.issue("admin");
    for (name, content) in [
        ("ca.crt", &authority.certificate),
        ("other-ca.crt", &stranger.certificate),
        ("admin.crt", &client_certificate),
        ("admin.key", &client_key),
    ] {
        std::fs::write(folder.join(name), content).expect("written");
    }
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters:\n\
         - {{name: test, cluster: {{server: 'https://{address}', certificate-authority: ca.crt}}}}\n\
         - {{name: down, cluster: {{server: 'https://127.0.0.1:1', certificate-authority: ca.crt}}}}\n\
         - {{name: foreign, cluster: {{server: 'https://{address}', certificate-authority: other-ca.crt}}}}\n\
         users:\n\
         - {{name: admin, user: {{client-certificate: admin.crt, client-key: admin.key}}}}\n\
         contexts:\n\
         - {{name: test, context: {{cluster: test, user: admin}}}}\n\
         - {{name: down, context: {{cluster: down, user: admin}}}}\n\
         - {{name: foreign, context: {{cluster: foreign, user: admin}}}}\n\
         - {{name: shop, context: {{cluster: test, user: admin, namespace: shop}}}}\n"
    );
    std::fs::write(folder.join("kubeconfig"), kubeconfig).expect("written");
    Running { address, _stop: stop }
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = common_name(name);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("names");
        params.distinguished_name = common_name(name);
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Resource, namespace, name.
type Key = (String, String, String);

#[derive(Clone)]
struct Fake {
    world: Arc<Mutex<World>>,
    changes: broadcast::Sender<Change>,
}

struct World {
    objects: BTreeMap<Key, Value>,
    revision: i64,
    history: Vec<Change>,
    /// Watches from before this version must begin anew.
    oldest: i64,
}

/// The creation of an object of this name ends all watches in good order.
const END_WATCHES: &str = "end-watches";
/// The creation of an object of this name ends all watches, and what was before it is forgotten.
const EXPIRE_WATCHES: &str = "expire-watches";

#[derive(Clone)]
struct Change {
    kind: v1::watch_event::Type,
    key: Key,
    object: Value,
    revision: i64,
}

impl Fake {
    fn new() -> Self {
        let mut objects = BTreeMap::new();
        for (resource, kind, name) in [("namespaces", "Namespace", "default"), ("nodes", "Node", "node-1")] {
            objects.insert(
                (resource.to_owned(), String::new(), name.to_owned()),
                json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "uid": name, "resourceVersion": "1",
                       "creationTimestamp": "2026-01-01T00:00:00Z"}}),
            );
        }
        Self {
            world: Arc::new(Mutex::new(World { objects, revision: 1, history: Vec::new(), oldest: 0 })),
            changes: broadcast::channel(256).0,
        }
    }

    fn key(reference: &v1::ResourceRef) -> Key {
        (reference.resource.clone(), reference.namespace.clone(), reference.name.clone())
    }

    fn write(&self, kind: v1::watch_event::Type, key: Key, mut object: Value) -> Value {
        let mut world = self.world.lock().expect("no handler panics");
        world.revision += 1;
        object["metadata"]["resourceVersion"] = json!(world.revision.to_string());
        if kind == v1::watch_event::Type::Deleted {
            world.objects.remove(&key);
        } else {
            world.objects.insert(key.clone(), object.clone());
        }
        let change = Change { kind, key, object: object.clone(), revision: world.revision };
        world.history.push(change.clone());
        if change.key.2 == EXPIRE_WATCHES {
            world.oldest = world.revision;
        }
        // Nobody may be watching.
        if self.changes.receiver_count() > 0 {
            self.changes.send(change).unwrap_or_default();
        }
        object
    }

    fn get(&self, reference: &v1::ResourceRef) -> Result<Value, Status> {
        let world = self.world.lock().expect("no handler panics");
        world
            .objects
            .get(&Self::key(reference))
            .cloned()
            .ok_or_else(|| failed(StatusError::not_found(&resource_of(reference), &reference.name)))
    }
}

fn resource_of(reference: &v1::ResourceRef) -> GroupVersionResource {
    GroupVersionResource::new(&reference.group, &reference.version, &reference.resource)
}

/// A Kubernetes status as a gRPC error.
fn failed(error: StatusError) -> Status {
    let mut status = Status::unknown(error.message.clone());
    let json = serde_json::to_vec(&error.to_status()).expect("a status is JSON");
    status.metadata_mut().insert_bin(reeve_proto::STATUS_TRAILER, tonic::metadata::MetadataValue::from_bytes(&json));
    status
}

fn bytes(object: &Value) -> bytes::Bytes {
    serde_json::to_vec(object).expect("JSON").into()
}

fn answer(object: &Value) -> Result<Response<v1::ObjectResponse>, Status> {
    let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Response::new(v1::ObjectResponse { object: bytes(object), resource_version: revision, warnings: vec![] }))
}

fn named(reference: Option<v1::ResourceRef>) -> Result<v1::ResourceRef, Status> {
    reference.ok_or_else(|| Status::invalid_argument("no resource"))
}

fn selected(selection: &v1::Selection, object: &Value) -> bool {
    let labels = LabelSelector::parse(&selection.label_selector).expect("a selector");
    let fields = FieldSelector::parse(&selection.field_selector).expect("a selector");
    labels.matches_by(|key| object["metadata"]["labels"].get(key)?.as_str())
        && fields.matches_by(|path| path.split('.').try_fold(object, |value, step| value.get(step))?.as_str())
}

fn in_scope(reference: &v1::ResourceRef, key: &Key) -> bool {
    key.0 == reference.resource && (reference.namespace.is_empty() || key.1 == reference.namespace)
}

fn watch_event(change: &Change) -> v1::WatchEvent {
    v1::WatchEvent {
        r#type: change.kind.into(),
        object: bytes(&change.object),
        resource_version: change.revision,
        initial_events_end: false,
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl api_server::Api for Fake {
    type ListStream = Replies<v1::ListResponse>;
    type WatchStream = Replies<v1::WatchResponse>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        answer(&Fake::get(self, &named(request.into_inner().resource)?)?)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let request = request.into_inner();
        let (reference, selection) = (named(request.resource)?, request.selection.unwrap_or_default());
        let world = self.world.lock().expect("no handler panics");
        let chosen = |(key, object): &(&Key, &Value)| in_scope(&reference, key) && selected(&selection, object);
        let objects = world.objects.iter().filter(chosen).map(|(_, object)| bytes(object)).collect();
        let chunk = v1::ListResponse { objects, resource_version: world.revision, ..v1::ListResponse::default() };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(chunk)]))))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let (reference, selection) = (named(request.resource)?, request.selection.unwrap_or_default());
        let world = self.world.lock().expect("no handler panics");
        let changes = BroadcastStream::new(self.changes.subscribe());
        let mut first = Vec::new();
        if request.send_initial_events {
            for (key, object) in &world.objects {
                if in_scope(&reference, key) && selected(&selection, object) {
                    first.push(v1::WatchEvent {
                        r#type: v1::watch_event::Type::Added.into(),
                        object: bytes(object),
                        resource_version: world.revision,
                        initial_events_end: false,
                    });
                }
            }
            first.push(v1::WatchEvent {
                r#type: v1::watch_event::Type::Bookmark.into(),
                resource_version: world.revision,
                initial_events_end: true,
                ..v1::WatchEvent::default()
            });
        }
        let wanted = move |change: &Change| in_scope(&reference, &change.key) && selected(&selection, &change.object);
        if let Ok(after) = request.resource_version.parse::<i64>() {
            if after < world.oldest {
                return Err(failed(StatusError::expired("too old resource version")));
            }
            first.extend(
                world.history.iter().filter(|change| change.revision > after && wanted(change)).map(watch_event),
            );
        }
        let later = changes
            .take_while(|change| {
                let ends = change.as_ref().is_ok_and(|it| [END_WATCHES, EXPIRE_WATCHES].contains(&it.key.2.as_str()));
                futures::future::ready(!ends)
            })
            .filter_map(move |change| {
                let event = change.ok().filter(&wanted).map(|change| watch_event(&change));
                futures::future::ready(event.map(|event| Ok(v1::WatchResponse { events: vec![event] })))
            });
        let first = futures::stream::iter([Ok(v1::WatchResponse { events: first })]);
        Ok(Response::new(Box::pin(first.chain(later))))
    }

    async fn create(&self, request: Request<v1::CreateRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let request = request.into_inner();
        let reference = named(request.resource)?;
        if reference.subresource == "eviction" {
            let object = Fake::get(self, &reference)?;
            return answer(&self.write(v1::watch_event::Type::Deleted, Self::key(&reference), object));
        }
        let mut object: Value = serde_json::from_slice(&request.object).expect("JSON");
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (reference.resource.clone(), reference.namespace.clone(), name.clone());
        if self.world.lock().expect("no handler panics").objects.contains_key(&key) {
            return Err(failed(StatusError::already_exists(&resource_of(&reference), &name)));
        }
        if object["spec"]["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
            let cause = reeve_api::status::StatusCause {
                field: Some("spec.replicas".into()),
                message: Some("Invalid value: -1: must be greater than or equal to 0".into()),
                ..Default::default()
            };
            return Err(failed(StatusError::invalid("apps", "Deployment", &name, vec![cause])));
        }
        let options = request.options.unwrap_or_default();
        let mut warnings = Vec::new();
        if object["spec"].get("unknown").is_some() {
            let text = "unknown field \"spec.unknown\"";
            match options.field_validation.as_str() {
                "Strict" => {
                    let kind = object["kind"].as_str().unwrap_or_default();
                    let message = format!(
                        "{kind} in version \"v1\" cannot be handled as a {kind}: strict decoding error: {text}"
                    );
                    return Err(failed(StatusError::new(reeve_api::Reason::BadRequest, message)));
                }
                "Ignore" => {}
                _ => warnings.push(text.to_owned()),
            }
        }
        object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["generation"] = json!(1);
        if options.dry_run || reference.resource.ends_with("reviews") {
            object["status"] = match reference.resource.as_str() {
                "selfsubjectaccessreviews" => {
                    json!({"allowed": object["spec"]["resourceAttributes"]["verb"] != "delete"})
                }
                "selfsubjectreviews" => json!({"userInfo": {"username": "admin", "groups": ["a", "b"]}}),
                _ => object["status"].take(),
            };
            return answer(&object);
        }
        let mut response = answer(&self.write(v1::watch_event::Type::Added, key, object))?;
        response.get_mut().warnings = warnings;
        Ok(response)
    }

    async fn update(&self, request: Request<v1::UpdateRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let request = request.into_inner();
        let reference = named(request.resource)?;
        let object: Value = serde_json::from_slice(&request.object).expect("JSON");
        answer(&self.write(v1::watch_event::Type::Modified, Self::key(&reference), object))
    }

    async fn patch(&self, request: Request<v1::PatchRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let request = request.into_inner();
        let kind = request.r#type();
        let reference = named(request.resource)?;
        let before = Fake::get(self, &reference)?;
        let patch: Value = serde_json::from_slice(&request.patch).expect("JSON");
        let mut object = before.clone();
        match kind {
            v1::patch_request::Type::Json => {
                let patch: json_patch::Patch = serde_json::from_value(patch).expect("a JSON patch");
                json_patch::patch(&mut object, &patch).map_err(|error| Status::invalid_argument(error.to_string()))?;
            }
            _ => json_patch::merge(&mut object, &patch),
        }
        if object["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
            return Err(failed(StatusError::modified(&resource_of(&reference), &reference.name)));
        }
        if object == before || request.options.is_some_and(|options| options.dry_run) {
            return answer(&object);
        }
        answer(&self.write(v1::watch_event::Type::Modified, Self::key(&reference), object))
    }

    /// Merges; the annotation `owner` says who may without force.
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let request = request.into_inner();
        let (reference, options) = (named(request.resource)?, request.options.unwrap_or_default());
        let wanted: Value = serde_json::from_slice(&request.object).expect("JSON");
        let mut object = match Fake::get(self, &reference) {
            Ok(object) => object,
            Err(_) => json!({"metadata": {"uid": format!("uid-of-{}", reference.name)}}),
        };
        let owner = object["metadata"]["annotations"]["owner"].as_str().unwrap_or(&options.field_manager).to_owned();
        if owner != options.field_manager && !request.force {
            let message = format!("Apply failed with 1 conflict: conflict with {owner:?}: .data.a");
            let mut error = StatusError::new(reeve_api::Reason::Conflict, message);
            let cause = reeve_api::status::StatusCause {
                reason: Some("FieldManagerConflict".into()),
                ..reeve_api::status::StatusCause::default()
            };
            let causes = Some(vec![cause]);
            error.details = Some(Box::new(reeve_api::status::StatusDetails { causes, ..Default::default() }));
            return Err(failed(error));
        }
        json_patch::merge(&mut object, &wanted);
        object["metadata"]["annotations"]["owner"] = json!(options.field_manager);
        if options.dry_run {
            return answer(&object);
        }
        answer(&self.write(v1::watch_event::Type::Modified, Self::key(&reference), object))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let request = request.into_inner();
        let reference = named(request.resource)?;
        let object = Fake::get(self, &reference)?;
        if request.options.is_some_and(|options| options.dry_run) {
            return Ok(Response::new(v1::DeleteResponse { object: bytes(&object), deleted: false }));
        }
        let object = self.write(v1::watch_event::Type::Deleted, Self::key(&reference), object);
        // As a server does that waits for a kubelet: the answer says nothing about the end.
        Ok(Response::new(v1::DeleteResponse { object: bytes(&object), deleted: false }))
    }

    async fn delete_collection(
        &self,
        _: Request<v1::DeleteCollectionRequest>,
    ) -> Result<Response<v1::DeleteCollectionResponse>, Status> {
        Err(Status::unimplemented("delete collection"))
    }
}

#[tonic::async_trait]
impl discovery_server::Discovery for Fake {
    async fn resources(&self, _: Request<v1::ResourcesRequest>) -> Result<Response<v1::ResourcesResponse>, Status> {
        let row = |group: &str, resource: &str, kind: &str, categories: &[&str]| v1::ResourceInfo {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            singular: kind.to_lowercase(),
            kind: kind.into(),
            namespaced: true,
            categories: categories.iter().map(|&category| category.to_owned()).collect(),
            verbs: vec!["get".into(), "list".into()],
            ..v1::ResourceInfo::default()
        };
        let resources = vec![
            row("", "pods", "Pod", &["all"]),
            row("apps", "deployments", "Deployment", &["all"]),
            row("shop.example", "orders", "Order", &[]),
        ];
        Ok(Response::new(v1::ResourcesResponse { resources }))
    }

    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        Ok(Response::new(v1::VersionResponse { git_version: "v1.36.0+test".into(), ..v1::VersionResponse::default() }))
    }
}

#[tonic::async_trait]
impl streams_server::Streams for Fake {
    type LogsStream = Replies<v1::LogsResponse>;
    type ExecStream = Replies<v1::ExecResponse>;
    type AttachStream = Replies<v1::ExecResponse>;
    type PortForwardStream = Replies<v1::PortForwardResponse>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let text = format!(
            "{}/{} tail={:?} previous={}\n",
            request.pod, request.container, request.tail_lines, request.previous
        );
        let chunk = v1::LogsResponse { data: bytes::Bytes::from(text) };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(chunk)]))))
    }

    /// Says what it was asked, then exits with the number that the command is.
    async fn exec(&self, request: Request<Streaming<v1::ExecRequest>>) -> Result<Response<Self::ExecStream>, Status> {
        use v1::exec_response::Output;
        let mut input = request.into_inner();
        let Some(v1::exec_request::Input::Start(start)) = input.message().await?.and_then(|first| first.input) else {
            return Err(Status::invalid_argument("the first request is the start"));
        };
        if start.command.first().is_some_and(|word| word == "shell") {
            return Ok(Response::new(shell(start, input)));
        }
        let code = start.command.first().and_then(|word| word.parse().ok()).unwrap_or(0);
        let out = format!("{}/{}: {}\n", start.pod, start.container, start.command.join(" "));
        let outputs = [
            Output::Stdout(bytes::Bytes::from(out)),
            Output::Stderr(bytes::Bytes::from_static(b"a note\n")),
            Output::ExitCode(code),
        ];
        let replies = outputs.map(|output| Ok(v1::ExecResponse { output: Some(output) }));
        Ok(Response::new(Box::pin(futures::stream::iter(replies))))
    }

    async fn attach(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        drop(request);
        let output = Some(v1::exec_response::Output::Stdout(bytes::Bytes::from_static(b"attached\n")));
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(v1::ExecResponse { output })]))))
    }

    /// Sends everything back in capitals.
    async fn port_forward(
        &self,
        request: Request<Streaming<v1::PortForwardRequest>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        let answers = request.into_inner().filter_map(|request| {
            futures::future::ready(match request.map(|request| request.input) {
                Ok(Some(v1::port_forward_request::Input::Data(data))) => {
                    Some(Ok(v1::PortForwardResponse { data: data.to_ascii_uppercase().into() }))
                }
                Ok(_) => None,
                Err(status) => Some(Err(status)),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A command that says what it was asked: `size WxH` for each size of the terminal, `got LINE` for input. The line
/// `exit N` ends it, `break` breaks the connection, and so does the end of input end it.
fn shell(start: v1::ExecStart, mut input: Streaming<v1::ExecRequest>) -> Replies<v1::ExecResponse> {
    use v1::exec_request::Input;
    use v1::exec_response::Output;
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let say = async |output| sender.send(Ok(v1::ExecResponse { output: Some(output) })).await.is_ok();
        let text = |text: String| Output::Stdout(bytes::Bytes::from(format!("{text}\r\n")));
        say(text(format!("tty={} stdin={}", start.tty, start.stdin))).await;
        let mut line = String::new();
        while let Ok(Some(request)) = input.message().await {
            match request.input {
                Some(Input::Resize(size)) => {
                    say(text(format!("size {}x{}", size.width, size.height))).await;
                }
                Some(Input::Stdin(bytes)) => line.push_str(&String::from_utf8_lossy(&bytes)),
                Some(Input::StdinClosed(_)) => break,
                _ => {}
            }
            while let Some((whole, rest)) = line.clone().split_once(['\r', '\n']) {
                rest.clone_into(&mut line);
                if let Some(code) = whole.strip_prefix("exit ") {
                    say(Output::ExitCode(code.parse().expect("a number"))).await;
                    return;
                }
                if whole == "break" {
                    sender.send(Err(Status::unavailable("broken"))).await.unwrap_or_default();
                    return;
                }
                say(text(format!("got {whole}"))).await;
            }
        }
        say(Output::ExitCode(0)).await;
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

//! `reeve.v1.Api` over objects in memory: enough of an API server for one kubelet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_proto::v1::api_server::{Api, ApiServer};
use reeve_proto::v1::watch_event::Type;
use reeve_proto::v1::{
    ApplyRequest, CreateRequest, DeleteCollectionRequest, DeleteCollectionResponse, DeleteRequest, DeleteResponse,
    GetRequest, ListRequest, ListResponse, ObjectResponse, PatchRequest, ResourceRef, UpdateRequest, WatchEvent,
    WatchRequest, WatchResponse,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

type Key = (String, String, String);

#[derive(Clone)]
struct Happened {
    resource: String,
    kind: Type,
    object: Value,
    revision: i64,
}

/// The objects, and everyone who watches them. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<(i64, BTreeMap<Key, Value>)>>,
    changes: broadcast::Sender<Happened>,
    tokens: Arc<std::sync::atomic::AtomicU64>,
    absent: Arc<std::sync::atomic::AtomicBool>,
}

impl Memory {
    /// Without objects.
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changes: broadcast::channel(4096).0,
            tokens: Arc::default(),
            absent: Arc::default(),
        }
    }

    /// Answers no new request, or answers again.
    pub fn set_absent(&self, absent: bool) {
        self.absent.store(absent, std::sync::atomic::Ordering::Relaxed);
    }

    /// Serves on a free port of the loopback with mutual TLS.
    pub async fn serve(&self, identity: Identity, authority: Certificate) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServerTlsConfig::new().identity(identity).client_ca_root(authority);
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let incoming = incoming.map(|stream| stream.and_then(|it| it.set_nodelay(true).map(|()| it)));
        let absent = self.absent.clone();
        let service = ApiServer::with_interceptor(self.clone(), move |request| {
            if absent.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Status::unavailable("nobody is here"));
            }
            Ok(request)
        });
        let server = Server::builder().tls_config(tls).unwrap().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state.lock().1.get(&(resource.into(), namespace.into(), name.into())).cloned()
    }

    pub fn list(&self, resource: &str) -> Vec<Value> {
        self.state.lock().1.iter().filter(|(key, _)| key.0 == resource).map(|(_, value)| value.clone()).collect()
    }

    /// Creates or replaces an object.
    pub fn put(&self, resource: &str, mut object: Value) -> Value {
        let mut state = self.state.lock();
        state.0 += 1;
        let revision = state.0;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (resource.to_owned(), text("/metadata/namespace"), text("/metadata/name"));
        let uid = text("/metadata/uid");
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        if uid.is_empty() {
            object["metadata"]["uid"] = json!(format!("uid-{revision}"));
        }
        let known = state.1.insert(key, object.clone()).is_some();
        let kind = if known { Type::Modified } else { Type::Added };
        self.tell(resource, kind, &object, revision);
        object
    }

    /// Asks for a graceful end, as a user's delete does.
    pub fn delete_gracefully(&self, name: &str, grace_seconds: i64) {
        let mut pod = self.get("pods", "default", name).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_seconds);
        self.put("pods", pod);
    }

    /// Removes an object at once.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut state = self.state.lock();
        let mut object = state.1.remove(&(resource.into(), namespace.into(), name.into()))?;
        state.0 += 1;
        object["metadata"]["resourceVersion"] = json!(state.0.to_string());
        self.tell(resource, Type::Deleted, &object, state.0);
        Some(object)
    }

    fn tell(&self, resource: &str, kind: Type, object: &Value, revision: i64) {
        // Nobody may be watching.
        self.changes.send(Happened { resource: resource.into(), kind, object: object.clone(), revision }).ok();
    }
}

fn response(object: &Value) -> Response<ObjectResponse> {
    Response::new(ObjectResponse { object: object.to_string().into(), ..Default::default() })
}

/// An error with the Kubernetes `Status` that clients decide on.
fn failed(error: reeve_api::status::StatusError) -> Status {
    let code = if error.code() == 404 { tonic::Code::NotFound } else { tonic::Code::Aborted };
    let mut status = Status::new(code, error.to_string());
    let body = serde_json::to_vec(&error.to_status()).unwrap();
    status.metadata_mut().insert_bin(reeve_proto::STATUS_TRAILER, tonic::metadata::MetadataValue::from_bytes(&body));
    status
}

fn missing(resource: &ResourceRef) -> Status {
    let kind = reeve_api::GroupVersionResource::new(&resource.group, &resource.version, &resource.resource);
    failed(reeve_api::status::StatusError::not_found(&kind, &resource.name))
}

fn parts(resource: Option<ResourceRef>) -> ResourceRef {
    resource.unwrap_or_default()
}

fn matches(resource: &ResourceRef, fields: &str, object: &Value) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let in_namespace = resource.namespace.is_empty() || text("/metadata/namespace") == resource.namespace;
    in_namespace
        && fields
            .split(',')
            .filter_map(|it| it.split_once('='))
            .all(|(path, value)| text(&format!("/{}", path.replace('.', "/"))) == value)
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Api for Memory {
    type ListStream = Answers<ListResponse>;
    type WatchStream = Answers<WatchResponse>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<ObjectResponse>, Status> {
        let resource = parts(request.into_inner().resource);
        let object = self.get(&resource.resource, &resource.namespace, &resource.name);
        object.map(|it| response(&it)).ok_or_else(|| missing(&resource))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let request = request.into_inner();
        let (resource, fields) = (parts(request.resource), request.selection.unwrap_or_default().field_selector);
        let state = self.state.lock();
        let objects =
            state.1.iter().filter(|(key, value)| key.0 == resource.resource && matches(&resource, &fields, value));
        let objects = objects.map(|(_, value)| value.to_string().into()).collect();
        let answer = ListResponse { objects, resource_version: state.0, ..Default::default() };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(answer)))))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let (resource, fields) = (parts(request.resource), request.selection.unwrap_or_default().field_selector);
        let (later, mut first) = {
            let state = self.state.lock();
            let events =
                state.1.iter().filter(|(key, value)| key.0 == resource.resource && matches(&resource, &fields, value));
            let mut first: Vec<WatchEvent> = Vec::new();
            if request.send_initial_events {
                first.extend(events.map(|(_, value)| event(Type::Added, value, revision_of(value))));
                first.push(WatchEvent {
                    r#type: Type::Bookmark.into(),
                    resource_version: state.0,
                    initial_events_end: true,
                    ..Default::default()
                });
            }
            (self.changes.subscribe(), first)
        };
        let later = tokio_stream::wrappers::BroadcastStream::new(later).filter_map(move |happened| {
            let happened = happened.ok()?;
            let wanted = happened.resource == resource.resource && matches(&resource, &fields, &happened.object);
            wanted
                .then(|| Ok(WatchResponse { events: vec![event(happened.kind, &happened.object, happened.revision)] }))
        });
        let first = tokio_stream::once(Ok(WatchResponse { events: std::mem::take(&mut first) }));
        Ok(Response::new(Box::pin(first.chain(later))))
    }

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<ObjectResponse>, Status> {
        let request = request.into_inner();
        let resource = parts(request.resource);
        let mut object: Value = serde_json::from_slice(&request.object).unwrap();
        if resource.resource == "serviceaccounts" && resource.subresource == "token" {
            // Each token is another one; it tells for whom and for how long it is.
            let number = self.tokens.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (spec, name) = (&object["spec"], &resource.name);
            let of = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (audience, pod) = (of("/spec/audiences/0"), of("/spec/boundObjectRef/name"));
            let token = format!("{number} {name} {audience} {pod} {}", spec["expirationSeconds"]);
            let mut status = json!({"token": token});
            if audience == "short" {
                // As a server does that lets no token live for long.
                let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
                status["expirationTimestamp"] = json!(end.to_string());
            }
            return Ok(response(&json!({"kind": "TokenRequest", "status": status})));
        }
        if !resource.subresource.is_empty() {
            return Err(missing(&resource));
        }
        if !resource.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(resource.namespace);
        }
        Ok(response(&self.put(&resource.resource, object)))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<ObjectResponse>, Status> {
        let request = request.into_inner();
        let object: Value = serde_json::from_slice(&request.object).unwrap();
        Ok(response(&self.put(&parts(request.resource).resource, object)))
    }

    async fn patch(&self, request: Request<PatchRequest>) -> Result<Response<ObjectResponse>, Status> {
        let request = request.into_inner();
        let resource = parts(request.resource);
        let mut object =
            self.get(&resource.resource, &resource.namespace, &resource.name).ok_or_else(|| missing(&resource))?;
        let patch: Value = serde_json::from_slice(&request.patch).unwrap();
        for field in ["uid", "resourceVersion"] {
            let wanted = patch.pointer(&format!("/metadata/{field}"));
            if wanted.is_some_and(|it| !it.is_null() && Some(it) != object.pointer(&format!("/metadata/{field}"))) {
                let kind = reeve_api::GroupVersionResource::new(&resource.group, &resource.version, &resource.resource);
                return Err(failed(reeve_api::status::StatusError::modified(&kind, &resource.name)));
            }
        }
        json_patch::merge(&mut object, &patch);
        Ok(response(&self.put(&resource.resource, object)))
    }

    async fn apply(&self, _: Request<ApplyRequest>) -> Result<Response<ObjectResponse>, Status> {
        Err(Status::unimplemented("apply"))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let request = request.into_inner();
        let resource = parts(request.resource);
        let gone = self.remove(&resource.resource, &resource.namespace, &resource.name);
        let gone = gone.ok_or_else(|| missing(&resource))?;
        Ok(Response::new(DeleteResponse { object: gone.to_string().into(), deleted: true }))
    }

    async fn delete_collection(
        &self,
        _: Request<DeleteCollectionRequest>,
    ) -> Result<Response<DeleteCollectionResponse>, Status> {
        Err(Status::unimplemented("delete collection"))
    }
}

fn revision_of(object: &Value) -> i64 {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn event(kind: Type, object: &Value, revision: i64) -> WatchEvent {
    WatchEvent {
        r#type: kind.into(),
        object: object.to_string().into(),
        resource_version: revision,
        initial_events_end: false,
    }
}

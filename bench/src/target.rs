//! The API server that is measured.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use reeve_client::{Client, ConnectionConfig};
use reeve_proto::v1;
use serde_json::{Value, json};

/// Connections for requests; the load is spread over them.
const CONNECTIONS: usize = 4;

/// Some connections to one API server, and the namespace to work in.
pub struct Target {
    config: ConnectionConfig,
    clients: Vec<Client>,
    next: AtomicUsize,
    /// The namespace to work in.
    pub namespace: String,
}

/// A resource of the API.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    group: &'static str,
    version: &'static str,
    name: &'static str,
}

/// `pods`.
pub const PODS: Resource = Resource { group: "", version: "v1", name: "pods" };
/// `nodes`.
pub const NODES: Resource = Resource { group: "", version: "v1", name: "nodes" };
/// `namespaces`.
pub const NAMESPACES: Resource = Resource { group: "", version: "v1", name: "namespaces" };
/// `leases.coordination.k8s.io`.
pub const LEASES: Resource = Resource { group: "coordination.k8s.io", version: "v1", name: "leases" };
/// `deployments.apps`.
pub const DEPLOYMENTS: Resource = Resource { group: "apps", version: "v1", name: "deployments" };
/// Services.
pub const SERVICES: Resource = Resource { group: "", version: "v1", name: "services" };
/// EndpointSlices.
pub const ENDPOINT_SLICES: Resource = Resource { group: "discovery.k8s.io", version: "v1", name: "endpointslices" };

impl Resource {
    /// One object, or the collection where `name` is empty.
    pub fn at(self, namespace: &str, name: &str, subresource: &str) -> Option<v1::ResourceRef> {
        Some(v1::ResourceRef {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            resource: self.name.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        })
    }
}

impl Target {
    /// Prepares the connections.
    pub fn new(config: ConnectionConfig, namespace: &str) -> Result<Self> {
        let clients = (0..CONNECTIONS).map(|_| Client::new(config.clone())).collect::<Result<_, _>>()?;
        Ok(Self { config, clients, next: AtomicUsize::new(0), namespace: namespace.to_owned() })
    }

    /// One of the connections.
    pub fn client(&self) -> &Client {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    /// A connection of its own.
    pub fn connect(&self) -> Result<Client> {
        Ok(Client::new(self.config.clone())?)
    }

    /// Creates an object and returns it as stored; `None` if it is there already.
    pub async fn create(&self, resource: Resource, namespace: &str, object: &Value) -> Result<Option<Bytes>> {
        let request = v1::CreateRequest {
            resource: resource.at(namespace, "", ""),
            object: serde_json::to_vec(object)?.into(),
            options: None,
        };
        match self.client().grpc().create(request).await {
            Ok(response) => Ok(Some(response.into_inner().object)),
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(None),
            Err(status) => Err(status).with_context(|| format!("cannot create {}", resource.name)),
        }
    }

    /// Merges a patch into an object.
    pub async fn patch(&self, reference: Option<v1::ResourceRef>, patch: &Value) -> Result<()> {
        let request = v1::PatchRequest {
            resource: reference,
            r#type: v1::patch_request::Type::Merge.into(),
            patch: serde_json::to_vec(patch)?.into(),
            options: None,
        };
        self.client().grpc().patch(request).await.context("cannot patch")?;
        Ok(())
    }

    /// Deletes an object at once.
    pub async fn delete(&self, reference: Option<v1::ResourceRef>) -> Result<()> {
        let options = v1::DeleteOptions { grace_period_seconds: Some(0), ..v1::DeleteOptions::default() };
        let request = v1::DeleteRequest { resource: reference, options: Some(options) };
        match self.client().grpc().delete(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            Err(status) => Err(status).context("cannot delete"),
        }
    }

    /// Makes sure that the namespace is there.
    pub async fn ensure_namespace(&self) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.create(NAMESPACES, "", &namespace).await.map(|_| ())
    }

    /// Lists a collection; returns the number of objects, their bytes and the version.
    pub async fn list(&self, resource: Resource, limit: i64) -> Result<(usize, usize, i64)> {
        let request = v1::ListRequest {
            resource: resource.at(&self.namespace, "", ""),
            resource_version: "0".to_owned(),
            limit,
            ..v1::ListRequest::default()
        };
        let mut chunks = self.client().grpc().list(request).await.context("cannot list")?.into_inner();
        let (mut count, mut bytes, mut version) = (0, 0, 0);
        while let Some(chunk) = chunks.message().await.context("the list broke off")? {
            count += chunk.objects.len();
            bytes += chunk.objects.iter().map(|object| object.len()).sum::<usize>();
            version = version.max(chunk.resource_version);
        }
        Ok((count, bytes, version))
    }
}

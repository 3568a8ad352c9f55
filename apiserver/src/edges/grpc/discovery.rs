//! What the server serves, and its version.

use std::sync::Arc;

use reeve_proto::v1;
use reeve_proto::v1::discovery_server::Discovery as Service;
use tonic::{Request, Response, Status};

use crate::handlers::Handlers;
use crate::version;

/// `reeve.v1.Discovery`.
pub struct Discovery {
    handlers: Arc<Handlers>,
}

impl Discovery {
    pub fn new(handlers: Arc<Handlers>) -> Self {
        Self { handlers }
    }
}

#[tonic::async_trait]
impl Service for Discovery {
    async fn resources(&self, _: Request<v1::ResourcesRequest>) -> Result<Response<v1::ResourcesResponse>, Status> {
        let mut resources = Vec::new();
        for row in self.handlers.registry().rows() {
            let info = &row.info;
            let base = v1::ResourceInfo {
                group: info.resource.group.clone(),
                version: info.resource.version.clone(),
                resource: info.resource.resource.clone(),
                singular: info.singular.clone(),
                kind: info.kind.clone(),
                namespaced: info.namespaced,
                short_names: info.short_names.clone(),
                categories: info.categories.clone(),
                verbs: info.verbs.clone(),
                subresource: String::new(),
            };
            resources.push(base.clone());
            for subresource in &row.subresources {
                resources.push(v1::ResourceInfo {
                    kind: subresource.kind.kind.to_owned(),
                    verbs: subresource.verbs.iter().map(|&verb| verb.to_owned()).collect(),
                    subresource: subresource.name.to_owned(),
                    short_names: vec![],
                    categories: vec![],
                    ..base.clone()
                });
            }
        }
        Ok(Response::new(v1::ResourcesResponse { resources }))
    }

    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        Ok(Response::new(v1::VersionResponse {
            major: version::MAJOR.into(),
            minor: version::MINOR.into(),
            git_version: version::git_version(),
            git_commit: String::new(),
            build_date: String::new(),
            platform: version::platform(),
            reeve_version: env!("CARGO_PKG_VERSION").into(),
        }))
    }
}

//! `extension-apiserver-authentication`: how servers behind API services tell who asks.

use k8s_openapi::api::core::v1::ConfigMap;
use reeve_api::StatusError;
use serde_json::json;

use super::{create, named, server, target};
use crate::handlers::{Handlers, WriteOptions};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Whom such servers may believe.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The authority of users' certificates, as PEM.
    pub client_authority: String,
    /// The authority of this server's certificate there, as PEM, when it has one.
    pub front_proxy_authority: Option<String>,
    /// The common names of such certificates; empty for any.
    pub front_proxy_names: Vec<String>,
}

fn config_map(trust: &Trust) -> ConfigMap {
    let mut data = vec![("client-ca-file", trust.client_authority.clone())];
    if let Some(authority) = &trust.front_proxy_authority {
        data.extend([
            ("requestheader-client-ca-file", authority.clone()),
            ("requestheader-allowed-names", json!(trust.front_proxy_names).to_string()),
            ("requestheader-username-headers", json!(["X-Remote-User"]).to_string()),
            ("requestheader-uid-headers", json!(["X-Remote-Uid"]).to_string()),
            ("requestheader-group-headers", json!(["X-Remote-Group"]).to_string()),
            ("requestheader-extra-headers-prefix", json!(["X-Remote-Extra-"]).to_string()),
        ]);
    }
    ConfigMap {
        metadata: named(NAME, Some(NAMESPACE)),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ..ConfigMap::default()
    }
}

/// Writes what is true now.
pub(super) async fn publish(handlers: &Handlers, trust: &Trust) -> Result<(), StatusError> {
    let wanted = config_map(trust);
    if create(handlers, NAMESPACE, &wanted).await? {
        return Ok(());
    }
    let body = serde_json::to_vec(&wanted).map_err(StatusError::internal)?;
    let target = target::<ConfigMap>(NAMESPACE, NAME);
    handlers.update(&server(), &target, body.into(), &WriteOptions::default()).await.map(drop)
}

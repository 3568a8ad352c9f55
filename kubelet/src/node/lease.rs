//! The node's lease: renewed on its period, it says that the node lives.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use parking_lot::Mutex;
use reeve_client::{Api, Client, Error};

use crate::config::Config;

/// The namespace of node leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Renews the lease of one node.
pub(super) struct LeaseKeeper {
    api: Api<Lease>,
    node: String,
    node_uid: String,
    duration_seconds: i32,
    /// As it was written last; taken while a renewal is under way, lost with one that fails.
    known: Mutex<Option<Lease>>,
}

impl LeaseKeeper {
    pub fn new(client: &Client, config: &Config, node_uid: String) -> Self {
        Self {
            api: client.namespaced::<Lease>(LEASE_NAMESPACE),
            node: config.node_name.clone(),
            node_uid,
            duration_seconds: i32::try_from(config.tuning.lease_duration.as_secs()).unwrap_or(i32::MAX),
            known: Mutex::new(None),
        }
    }

    /// Renews the lease, or makes it.
    pub async fn renew(&self) -> Result<(), Error> {
        let known = self.known.lock().take();
        let known = match known {
            Some(lease) => Some(lease),
            None => self.api.get_opt(&self.node).await?,
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.node.clone()),
            lease_duration_seconds: Some(self.duration_seconds),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let written = match known {
            Some(mut lease) => {
                lease.spec = Some(spec);
                self.api.update(&lease).await?
            }
            None => {
                let owner = OwnerReference {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: self.node.clone(),
                    uid: self.node_uid.clone(),
                    ..OwnerReference::default()
                };
                let metadata = ObjectMeta {
                    name: Some(self.node.clone()),
                    namespace: Some(LEASE_NAMESPACE.into()),
                    owner_references: Some(vec![owner]),
                    ..ObjectMeta::default()
                };
                self.api.create(&Lease { metadata, spec: Some(spec) }).await?
            }
        };
        *self.known.lock() = Some(written);
        Ok(())
    }
}

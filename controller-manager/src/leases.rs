//! Leases, of which there are two copies: those of nodes, which are renewed all the time and read for it, and the
//! metadata of all others, which only the garbage collector and the deletion of namespaces are concerned with. The
//! server tells them apart, so that no node's sign of life comes twice.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::Store;

use crate::object::resource;
use crate::stores::AnyStore;
use crate::view::{LeaseView, Meta, MetaView};

/// Where nodes and their proxies keep their Leases.
pub const NODE_NAMESPACE: &str = "kube-node-lease";
/// Selects all others.
pub const ELSEWHERE: &str = "metadata.namespace!=kube-node-lease";

/// All Leases.
#[derive(Clone)]
pub struct Leases {
    /// Those of nodes and their proxies.
    pub nodes: Store<LeaseView>,
    /// The metadata of those in other namespaces.
    pub elsewhere: Store<MetaView<Lease>>,
}

impl Leases {
    /// Waits until both first copies are whole.
    pub async fn wait_synced(&self) {
        tokio::join!(self.nodes.wait_synced(), self.elsewhere.wait_synced());
    }

    fn of(&self, namespace: &str) -> &dyn AnyStore {
        if namespace == NODE_NAMESPACE { &self.nodes } else { &self.elsewhere }
    }
}

#[async_trait::async_trait]
impl AnyStore for Leases {
    fn resource(&self) -> GroupVersionResource {
        resource::<Lease>()
    }

    fn meta(&self, key: &ObjectKey) -> Option<Meta> {
        self.of(&key.namespace).meta(key)
    }

    fn count(&self, namespace: &str) -> usize {
        self.of(namespace).count(namespace)
    }

    fn dependents(&self, owner_uid: &str) -> Vec<Meta> {
        let mut found = AnyStore::dependents(&self.nodes, owner_uid);
        found.extend(AnyStore::dependents(&self.elsewhere, owner_uid));
        found
    }

    fn visit(&self, visit: &mut dyn FnMut(&Meta)) {
        AnyStore::visit(&self.nodes, visit);
        AnyStore::visit(&self.elsewhere, visit);
    }

    /// Whichever copy shows the version first: only one of them is told of the object, the other one passes the version
    /// with a later change. A decision on a state that is behind is refused for its version.
    async fn wait_revision(&self, revision: i64) {
        tokio::select! {
            () = self.nodes.wait_revision(revision) => {}
            () = self.elsewhere.wait_revision(revision) => {}
        }
    }

    async fn wait_deleted(&self, key: &ObjectKey, uid: &str) {
        self.of(&key.namespace).wait_deleted(key, uid).await;
    }

    fn shared(&self) -> Arc<dyn AnyStore> {
        Arc::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use reeve_client::store::store;
    use reeve_client::watch::Event;
    use serde_json::json;

    use super::*;
    use crate::stores::BY_OWNER;

    fn lease(namespace: &str, name: &str, owner: &str) -> serde_json::Value {
        json!({"metadata": {
            "namespace": namespace, "name": name, "uid": name, "resourceVersion": "5",
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner}],
        }})
    }

    #[test]
    fn both_copies_are_one_resource() {
        let (mut of_nodes, nodes) = store::<LeaseView>(&[(BY_OWNER, |lease| owners(&lease.metadata))]);
        let (mut of_others, elsewhere) = store::<MetaView<Lease>>(&[(BY_OWNER, |lease| owners(&lease.metadata))]);
        of_nodes.write(Event::Apply(serde_json::from_value(lease(NODE_NAMESPACE, "n1", "u")).unwrap()), &mut |_| {});
        for name in ["a", "b"] {
            let owner = if name == "a" { "u" } else { "w" };
            of_others.write(Event::Apply(serde_json::from_value(lease("default", name, owner)).unwrap()), &mut |_| {});
        }
        let leases = Leases { nodes, elsewhere };
        let names = |found: Vec<Meta>| found.into_iter().map(|meta| meta.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(AnyStore::dependents(&leases, "u")), ["n1", "a"]);
        assert_eq!(names(AnyStore::dependents(&leases, "w")), ["b"]);
        assert_eq!([NODE_NAMESPACE, "default", "kube-system"].map(|namespace| leases.count(namespace)), [1, 2, 0]);
        assert!(leases.meta(&ObjectKey::new("default", "a")).is_some());
        assert!(leases.meta(&ObjectKey::new(NODE_NAMESPACE, "a")).is_none());
        let mut all = 0;
        AnyStore::visit(&leases, &mut |_| all += 1);
        assert_eq!(all, 3);
        assert_eq!(ELSEWHERE, format!("metadata.namespace!={NODE_NAMESPACE}"));
    }

    fn owners(meta: &Meta) -> Vec<String> {
        meta.owners.iter().map(|owner| owner.uid.clone()).collect()
    }
}

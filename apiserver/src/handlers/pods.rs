//! Where a pod runs, for the streams of pods.

use k8s_openapi::api::core::v1::{Node, Pod};
use reeve_api::{GroupVersionResource, StatusError};

use super::Handlers;
use crate::pod_streams::PodLocation;
use crate::request::{Target, User, Verb};
use crate::storage::cache::Version;

const PODS_PREFIX: &str = "/registry/pods/";
const NODES_PREFIX: &str = "/registry/minions/";
/// Where a kubelet listens whose node does not say.
const KUBELET_PORT: i32 = 10250;

impl Handlers {
    /// Finds the kubelet and the container that a stream means, after authorization.
    pub async fn locate_pod(
        &self,
        user: &User,
        verb: Verb,
        namespace: &str,
        name: &str,
        subresource: &str,
        container: &str,
    ) -> Result<PodLocation, StatusError> {
        let located = self.locate_if_assigned(user, verb, namespace, name, subresource, container).await?;
        located.ok_or_else(|| StatusError::bad_request(format!("pod {name} does not have a host assigned")))
    }

    /// The same; nothing for a pod that has no node yet.
    ///
    /// # Errors
    /// When the user may not, and when there is no such pod, container or node.
    pub async fn locate_if_assigned(
        &self,
        user: &User,
        verb: Verb,
        namespace: &str,
        name: &str,
        subresource: &str,
        container: &str,
    ) -> Result<Option<PodLocation>, StatusError> {
        let pods = GroupVersionResource::of::<Pod>();
        let target = Target {
            resource: pods.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        };
        self.row(user, verb, &target)?;
        let entry = self
            .stored(PODS_PREFIX)
            .get(namespace, name, Version::Consistent)
            .await?
            .ok_or_else(|| StatusError::not_found(&pods, name))?;
        let pod: Pod = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
        // A forwarded port belongs to the pod, whose containers share the network.
        let container = match subresource {
            "portforward" => String::new(),
            _ => container_of(&pod, name, container)?,
        };
        let spec = pod.spec.unwrap_or_default();
        let Some(node_name) = spec.node_name.filter(|node| !node.is_empty()) else { return Ok(None) };
        let entry = self
            .stored(NODES_PREFIX)
            .get("", &node_name, Version::Any)
            .await?
            .ok_or_else(|| StatusError::not_found(&GroupVersionResource::of::<Node>(), &node_name))?;
        let node: Node = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
        let kubelet = kubelet_address(&node)
            .ok_or_else(|| StatusError::internal(format_args!("node {node_name} tells no address of its kubelet")))?;
        Ok(Some(PodLocation { node: node_name, kubelet, container }))
    }
}

pub(super) fn kubelet_address(node: &Node) -> Option<String> {
    let status = node.status.as_ref()?;
    let addresses = status.addresses.as_ref()?;
    // The order in which upstream's --kubelet-preferred-address-types prefers an address that needs no resolver.
    let address =
        ["InternalIP", "ExternalIP"].iter().find_map(|kind| addresses.iter().find(|address| address.type_ == *kind))?;
    let port = status
        .daemon_endpoints
        .as_ref()
        .and_then(|endpoints| endpoints.kubelet_endpoint.as_ref())
        .map_or(KUBELET_PORT, |endpoint| endpoint.port);
    let host = &address.address;
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The named container, or the only one.
fn container_of(pod: &Pod, name: &str, container: &str) -> Result<String, StatusError> {
    let Some(spec) = &pod.spec else { return Ok(container.to_owned()) };
    let init = spec.init_containers.iter().flatten().map(|container| &container.name);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.name);
    if container.is_empty() {
        if let [only] = spec.containers.as_slice() {
            return Ok(only.name.clone());
        }
        let names: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
        return Err(StatusError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            names.join(" ")
        )));
    }
    let mut known = spec.containers.iter().map(|container| &container.name).chain(init).chain(ephemeral);
    if known.any(|known| known == container) {
        return Ok(container.to_owned());
    }
    Err(StatusError::bad_request(format!("container {container} is not valid for pod {name}")))
}

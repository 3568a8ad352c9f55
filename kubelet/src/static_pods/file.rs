//! A manifest becomes a static pod, by upstream's rules (`pkg/kubelet/config`): its name ends with the node's, its UID
//! is a hash of what the file says, it tolerates every taint that would drive it away, and it refers to nothing that
//! only the API has.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, Toleration};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::pod::spec::{self, SOURCE_ANNOTATION};

/// The static pod's UID, again, for those that look for it.
const HASH_ANNOTATION: &str = "kubernetes.io/config.hash";
/// When the file was read.
const SEEN_ANNOTATION: &str = "kubernetes.io/config.seen";

/// Why a file is no static pod.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no YAML or JSON.
    #[error("not YAML or JSON: {0}")]
    Syntax(#[from] reeve_api::yaml::Error),
    /// It is no pod.
    #[error("not a pod: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is of another kind.
    #[error("holds a {0:?}; only a Pod of v1 can be static")]
    Kind(String),
    /// Something that every pod has is missing.
    #[error("{0}: Required value")]
    Missing(&'static str),
    /// It refers to an object of the API.
    #[error("static pods may not reference {0}")]
    Reference(&'static str),
}

/// Reads a manifest.
///
/// # Errors
/// Why it is no static pod.
pub fn parse(text: &str, path: &Path, node: &str, now: Timestamp) -> Result<Pod, ManifestError> {
    let value: Value = reeve_api::yaml::from_str(text)?;
    let kind = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    if (kind("apiVersion").as_str(), kind("kind").as_str()) != ("v1", "Pod") {
        return Err(ManifestError::Kind(kind("kind")));
    }
    let canonical = value.to_string();
    let mut pod: Pod = serde_json::from_value(value)?;
    let metadata = &mut pod.metadata;
    let name = metadata.name.as_deref().filter(|it| !it.is_empty()).ok_or(ManifestError::Missing("metadata.name"))?;
    metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    metadata.namespace = metadata.namespace.take().filter(|it| !it.is_empty()).or_else(|| Some("default".into()));
    let mut hasher = Sha256::new();
    for part in [canonical.as_bytes(), node.as_bytes(), path.as_os_str().as_encoded_bytes()] {
        hasher.update(part);
        hasher.update([0]);
    }
    let uid: String = hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    metadata.uid = Some(uid.clone());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(HASH_ANNOTATION.into(), uid);
    annotations.insert(SOURCE_ANNOTATION.into(), "file".into());
    annotations.insert(SEEN_ANNOTATION.into(), now.to_string());
    let pod_spec = pod.spec.as_mut().ok_or(ManifestError::Missing("spec"))?;
    pod_spec.node_name = Some(node.to_owned());
    pod_spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Toleration::default()
    });
    pod.status = Some(PodStatus { phase: Some("Pending".into()), ..PodStatus::default() });
    check(&pod)?;
    Ok(pod)
}

fn check(pod: &Pod) -> Result<(), ManifestError> {
    let pod_spec: &PodSpec = spec::spec(pod);
    if pod_spec.containers.is_empty() {
        return Err(ManifestError::Missing("spec.containers"));
    }
    for container in spec::all_containers(pod) {
        if container.name.is_empty() {
            return Err(ManifestError::Missing("spec.containers[].name"));
        }
        if container.image.as_deref().unwrap_or_default().is_empty() {
            return Err(ManifestError::Missing("spec.containers[].image"));
        }
        let sources = container.env.iter().flatten().filter_map(|it| it.value_from.as_ref());
        for source in sources {
            let maps = [source.config_map_key_ref.is_some(), source.secret_key_ref.is_some()];
            refuse(maps[0], "configmaps")?;
            refuse(maps[1], "secrets")?;
        }
        for source in container.env_from.iter().flatten() {
            refuse(source.config_map_ref.is_some(), "configmaps")?;
            refuse(source.secret_ref.is_some(), "secrets")?;
        }
    }
    for volume in pod_spec.volumes.iter().flatten() {
        refuse(volume.config_map.is_some(), "configmaps")?;
        refuse(volume.secret.is_some(), "secrets")?;
        refuse(volume.persistent_volume_claim.is_some(), "persistentvolumeclaims")?;
        let sources = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
        for source in sources {
            refuse(source.config_map.is_some(), "configmaps")?;
            refuse(source.secret.is_some(), "secrets")?;
            refuse(source.service_account_token.is_some(), "serviceaccounts")?;
        }
    }
    refuse(pod_spec.service_account_name.as_deref().is_some_and(|it| !it.is_empty()), "serviceaccounts")?;
    refuse(pod_spec.ephemeral_containers.as_ref().is_some_and(|it| !it.is_empty()), "ephemeral containers")
}

fn refuse(referenced: bool, what: &'static str) -> Result<(), ManifestError> {
    if referenced { Err(ManifestError::Reference(what)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str =
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: c\n    image: i\n";

    fn read(text: &str, node: &str) -> Result<Pod, String> {
        parse(text, Path::new("/etc/m/web.yaml"), node, Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_is_a_pod_of_the_node() {
        let pod = read(WEB, "N1").unwrap();
        assert_eq!(spec::key(&pod).to_string(), "default/web-n1");
        assert_eq!(spec::uid(&pod).len(), 32);
        assert!(spec::is_static(&pod));
        // The same text is the same pod, another text or node another.
        assert_eq!(spec::uid(&read(&format!("# changed\n{WEB}"), "N1").unwrap()), spec::uid(&pod));
        assert_ne!(spec::uid(&read(&WEB.replace("image: i", "image: j"), "N1").unwrap()), spec::uid(&pod));
        assert_ne!(spec::uid(&read(WEB, "n2").unwrap()), spec::uid(&pod));
        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        assert!(read(json, "n").is_ok());
        let volume = "  volumes: [{name: v, downwardAPI: {defaultMode: 0400}}]\n";
        let pod = read(&format!("{WEB}{volume}"), "n").unwrap();
        let volumes = pod.spec.unwrap().volumes.unwrap();
        assert_eq!(volumes[0].downward_api.as_ref().and_then(|it| it.default_mode), Some(256), "octal, as everywhere");
    }

    #[test]
    fn what_cannot_be_static_says_why() {
        let error = |text: String| read(&text, "n").unwrap_err();
        assert_eq!(error(WEB.replace("Pod", "Service")), "holds a \"Service\"; only a Pod of v1 can be static");
        assert_eq!(error(WEB.replace("name: web", "labels: {}")), "metadata.name: Required value");
        let with = |line: &str| format!("{WEB}{line}\n");
        assert_eq!(
            error(with("  volumes: [{name: v, secret: {secretName: s}}]")),
            "static pods may not reference secrets"
        );
        assert_eq!(error(with("  serviceAccountName: robot")), "static pods may not reference serviceaccounts");
        assert!(error("a: [".into()).starts_with("not YAML or JSON: "));
    }
}

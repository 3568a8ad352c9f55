//! ServiceAccount: every pod runs as an account that exists, and finds that account's token in a volume.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod,
    ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use reeve_api::{StatusError, names};

use super::{Request, typed_mut};
use crate::registry::AnyObject;
use crate::request::Verb;

const ACCOUNTS: &str = "/registry/serviceaccounts/";
const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const ROOT_CA: &str = "kube-root-ca.crt";
/// An hour and a little: the lifetime by which the server knows tokens of this volume.
const TOKEN_SECONDS: i64 = 3607;

pub fn fill(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.verb != Verb::Create || !request.is_of("", "pods", "") {
        return Ok(());
    }
    let refusal = request.forbidden(object, "");
    let Some(pod) = typed_mut::<Pod>(object) else { return Ok(()) };
    let refuse = |why: String| {
        let mut error = refusal.clone();
        error.message.push_str(&why);
        error
    };
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
    let spec = pod.spec.get_or_insert_default();
    if mirror {
        if spec.service_account_name.as_deref().is_some_and(|name| !name.is_empty()) {
            return Err(refuse("a mirror pod may not reference service accounts".to_owned()));
        }
        return Ok(());
    }
    let name = spec.service_account_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT.to_owned());
    spec.service_account_name = Some(name.clone());
    spec.service_account = Some(name.clone());
    let namespace = request.target.namespace.as_str();
    let account: ServiceAccount = request.cached.get(ACCOUNTS, namespace, &name).ok_or_else(|| {
        refuse(format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"))
    })?;
    let wanted = spec.automount_service_account_token.or(account.automount_service_account_token).unwrap_or(true);
    if wanted {
        mount(pod);
    }
    let spec = pod.spec.get_or_insert_default();
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        spec.image_pull_secrets = account.image_pull_secrets.filter(|secrets| !secrets.is_empty());
    }
    Ok(())
}

/// Gives the token to every container that has nothing of its own in its place.
fn mount(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    let present = spec.volumes.iter().flatten().find(|volume| volume.name.starts_with(VOLUME_PREFIX));
    let (name, is_new) = match present {
        Some(volume) => (volume.name.clone(), false),
        None => (names::generate(VOLUME_PREFIX, rand::random()), true),
    };
    let mut used = false;
    let mut add = |container: &mut Container| {
        let mounts = container.volume_mounts.get_or_insert_default();
        if mounts.iter().any(|mount| mount.mount_path == MOUNT_PATH) {
            return;
        }
        mounts.push(VolumeMount {
            name: name.clone(),
            read_only: Some(true),
            mount_path: MOUNT_PATH.to_owned(),
            ..VolumeMount::default()
        });
        used = true;
    };
    spec.init_containers.iter_mut().flatten().for_each(&mut add);
    spec.containers.iter_mut().for_each(&mut add);
    if used && is_new {
        spec.volumes.get_or_insert_default().push(volume(name));
    }
}

fn volume(name: String) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            expiration_seconds: Some(TOKEN_SECONDS),
            path: "token".to_owned(),
            audience: None,
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: ROOT_CA.to_owned(),
            items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.namespace".to_owned(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name,
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authority, namespace]),
            default_mode: Some(0o644),
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_with_their_own_mount_keep_it() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "c"},
            {"name": "own", "volumeMounts": [{"name": "mine", "mountPath": MOUNT_PATH}]},
        ]}}))
        .unwrap();
        mount(&mut pod);
        let spec = pod.spec.as_ref().unwrap();
        let volumes = spec.volumes.as_ref().unwrap();
        assert_eq!(volumes.len(), 1);
        assert!(volumes[0].name.starts_with(VOLUME_PREFIX));
        assert_eq!(spec.containers[0].volume_mounts.as_ref().unwrap()[0].name, volumes[0].name);
        assert_eq!(spec.containers[1].volume_mounts.as_ref().unwrap().len(), 1);
        mount(&mut pod);
        assert_eq!(pod.spec.unwrap().volumes.unwrap().len(), 1, "once");
    }
}

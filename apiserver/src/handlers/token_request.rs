//! TokenRequest: a token for a service account, for as long as its pod, secret or node is there.
//!
//! Rules from `pkg/registry/core/serviceaccount/storage/token.go`.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use reeve_api::validation::{ErrorList, Path};
use reeve_api::{GroupVersionResource, StatusError};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Handlers, ObjectAnswer, WriteOptions};
use crate::authentication::service_account::{Claims, Private, Reference, USER_PREFIX};
use crate::request::Target;
use crate::storage::cache::{Entry, Version};

const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;
/// What the kubelet asks for with projected volumes: old clients that never read the file again get a token of a
/// year, which says in it when it should have been renewed.
const RENEWED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// An object's name and uid.
#[derive(Deserialize)]
struct Named {
    metadata: NamedMetadata,
}

#[derive(Deserialize)]
struct NamedMetadata {
    #[serde(default)]
    uid: String,
}

impl Handlers {
    /// Makes a token for the account of the target.
    pub(super) async fn request_token(
        &self,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let request: TokenRequest = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("the body is not a TokenRequest: {error}")))?;
        let accounts = GroupVersionResource::of::<ServiceAccount>();
        let entry = self.bound("/registry/serviceaccounts/", &target.namespace, &target.name, &accounts).await?;
        let account: Named = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
        let tokens = self.authenticator().tokens();

        let mut spec = request.spec.unwrap_or_default();
        let audiences = spec.audiences.take().filter(|audiences| !audiences.is_empty());
        let audiences = audiences.unwrap_or_else(|| tokens.audiences().to_vec());
        let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        check_seconds(seconds)?;
        let reference = |name: &str, uid: &str| Reference { name: name.to_owned(), uid: uid.to_owned() };
        let mut private = Private {
            namespace: target.namespace.clone(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: reference(&target.name, &account.metadata.uid),
            warnafter: None,
        };
        if let Some(bound) = &mut spec.bound_object_ref {
            self.bind_token(target, bound, &mut private).await?;
        }

        let now = self.now();
        let mut lifetime = seconds;
        if seconds == RENEWED_SECONDS && private.pod.is_some() && audiences == tokens.audiences() {
            lifetime = EXTENDED_SECONDS;
            private.warnafter = Some(now.as_second() + seconds);
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: now.as_second() + lifetime,
            iat: now.as_second(),
            iss: tokens.issuer().to_owned(),
            jti: Uuid::new_v4().to_string(),
            nbf: now.as_second(),
            sub: format!("{USER_PREFIX}{}:{}", target.namespace, target.name),
            private,
        };
        let token =
            if options.dry_run { String::new() } else { tokens.keys().sign(&claims).map_err(StatusError::internal)? };
        let end = now.checked_add(SignedDuration::from_secs(seconds)).map_err(StatusError::internal)?;
        let answer = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": target.name, "namespace": target.namespace,
                "uid": account.metadata.uid, "creationTimestamp": seconds_text(now),
            },
            "spec": {
                "audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": spec.bound_object_ref,
            },
            "status": { "token": token, "expirationTimestamp": seconds_text(end) },
        });
        let bytes = serde_json::to_vec(&answer).map_err(StatusError::internal)?;
        Ok(ObjectAnswer { created: true, ..ObjectAnswer::unstored(bytes) })
    }

    /// The object that a token is bound to, as new as it gets: it may have been made a moment ago.
    async fn bound(
        &self,
        prefix: &str,
        namespace: &str,
        name: &str,
        resource: &GroupVersionResource,
    ) -> Result<std::sync::Arc<Entry>, StatusError> {
        let source = self.stored(prefix);
        if let Some(entry) = source.snapshot().get(namespace, name) {
            return Ok(entry);
        }
        let entry = source.get(namespace, name, Version::Consistent).await?;
        entry.ok_or_else(|| StatusError::not_found(resource, name))
    }

    async fn bind_token(
        &self,
        target: &Target,
        bound: &mut BoundObjectReference,
        private: &mut Private,
    ) -> Result<(), StatusError> {
        let kind = bound.kind.clone().unwrap_or_default();
        let version = bound.api_version.clone().unwrap_or_default();
        let name = bound.name.clone().unwrap_or_default();
        let (prefix, resource, namespace) = match (version.as_str(), kind.as_str()) {
            ("v1", "Pod") => ("/registry/pods/", "pods", target.namespace.as_str()),
            ("v1", "Secret") => ("/registry/secrets/", "secrets", target.namespace.as_str()),
            ("v1", "Node") => ("/registry/minions/", "nodes", ""),
            _ => {
                let group_version = if version.contains('/') { version } else { format!("/{version}") };
                let why = format!("cannot bind token to object of type {group_version}, Kind={kind}");
                return Err(StatusError::bad_request(why));
            }
        };
        let resource = GroupVersionResource::new("", "v1", resource);
        let entry = self.bound(prefix, namespace, &name, &resource).await?;
        let object: Named = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
        let uid = object.metadata.uid;
        if let Some(asked) = bound.uid.as_deref().filter(|asked| !asked.is_empty() && *asked != uid) {
            let why = format!(
                "the UID in the bound object reference ({asked}) does not match the UID in record. \
                               The object might have been deleted and then recreated"
            );
            return Err(StatusError::conflict(&resource, &name, why));
        }
        bound.uid = Some(uid.clone());
        let reference = Reference { name, uid };
        match kind.as_str() {
            "Secret" => private.secret = Some(reference),
            "Node" => private.node = Some(reference),
            _ => {
                let pod: Pod = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
                let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
                if account.unwrap_or_default() != target.name {
                    let why = format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        target.name
                    );
                    return Err(StatusError::bad_request(why));
                }
                private.node = self.authenticator().tokens().node_of(&pod);
                private.pod = Some(reference);
            }
        }
        Ok(())
    }
}

fn seconds_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn check_seconds(seconds: i64) -> Result<(), StatusError> {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let path = path.child("expirationSeconds");
    if seconds < LEAST_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > MOST_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(StatusError::invalid("authentication.k8s.io", "TokenRequest", "", errors.into_causes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_live_ten_minutes_at_least() {
        assert!(check_seconds(600).is_ok());
        assert_eq!(
            check_seconds(60).unwrap_err().to_string(),
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not \
             specify a duration less than 10 minutes"
        );
    }
}

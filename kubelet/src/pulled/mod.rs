//! Whose credentials have pulled which image: a pod may use an image that is on the node only if anybody may, or with
//! credentials that are known to have pulled it (KEP-2535). The decision is pure; [`records`] keeps what it needs on disk.

pub mod policy;
pub mod records;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::policy::VerificationPolicy;
pub use self::records::PulledImages;

/// Secrets beyond this number are not added to a record because they match one; upstream's number.
const MOST_SECRETS: usize = 100;

/// A secret's credentials for an image, as far as they are remembered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullSecret {
    /// The secret's UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// A salted hash of user and password.
    pub credential_hash: String,
}

impl PullSecret {
    fn is_same_object(&self, other: &Self) -> bool {
        (&self.uid, &self.namespace, &self.name) == (&other.uid, &other.namespace, &other.name)
    }
}

/// Who may use an image under one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullCredentials {
    /// Those who have one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<PullSecret>,
    /// Every pod of the node: no credentials were needed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
}

/// What is known of an image that this kubelet pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PulledRecord {
    /// When it was changed last.
    pub last_updated_time: Timestamp,
    /// The runtime's id of the image.
    pub image_ref: String,
    /// Who may use it, by its name without tag and digest.
    #[serde(default)]
    pub credential_mapping: BTreeMap<String, PullCredentials>,
}

/// Whether a pod may use an image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Granted,
    /// It may, and these credentials are to be remembered as well.
    GrantedBy(PullSecret),
    /// It has to show that it can pull it.
    Denied,
}

impl PulledRecord {
    fn new(image_ref: &str, now: Timestamp) -> Self {
        Self { last_updated_time: now, image_ref: image_ref.to_owned(), credential_mapping: BTreeMap::new() }
    }

    /// Takes in how the image was pulled; whether that is new.
    fn add(&mut self, name: &str, pulled_by: Option<PullSecret>, now: Timestamp) -> bool {
        let known = self.credential_mapping.entry(name.to_owned()).or_default();
        let before = known.clone();
        match pulled_by {
            _ if known.node_pods_accessible => {}
            None => *known = PullCredentials { node_pods_accessible: true, kubernetes_secrets: Vec::new() },
            Some(secret) => {
                known.kubernetes_secrets.retain(|it| !it.is_same_object(&secret));
                known.kubernetes_secrets.push(secret);
                known.kubernetes_secrets.sort();
            }
        }
        let changed = *known != before;
        if changed {
            self.last_updated_time = now;
        }
        changed
    }

    /// Whether a pod with these secrets may use the image under this name. A secret that has changed since is trusted: it
    /// is the same object, and who may change it may see it.
    fn access(&self, name: &str, secrets: &[PullSecret]) -> Access {
        let Some(known) = self.credential_mapping.get(name) else { return Access::Denied };
        if known.node_pods_accessible {
            return Access::Granted;
        }
        for secret in secrets {
            if known.kubernetes_secrets.contains(secret) {
                return Access::Granted;
            }
            let same = |it: &PullSecret| it.is_same_object(secret) || it.credential_hash == secret.credential_hash;
            if known.kubernetes_secrets.iter().any(same) {
                let room = known.kubernetes_secrets.len() < MOST_SECRETS;
                return if room { Access::GrantedBy(secret.clone()) } else { Access::Granted };
            }
        }
        Access::Denied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(uid: &str, hash: &str) -> PullSecret {
        PullSecret { uid: uid.into(), namespace: "n".into(), name: "s".into(), credential_hash: hash.into() }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1000).unwrap()
    }

    #[test]
    fn only_credentials_that_have_pulled_it_are_let_in() {
        let mut record = PulledRecord::new("sha256:1", now());
        assert_eq!(record.access("a", &[secret("u", "h")]), Access::Denied, "it is not known how it was pulled");
        assert!(record.add("a", Some(secret("u", "h")), now()));
        assert!(!record.add("a", Some(secret("u", "h")), now()));
        assert_eq!(record.access("a", &[]), Access::Denied);
        assert_eq!(record.access("a", &[secret("x", "y"), secret("u", "h")]), Access::Granted);
        assert_eq!(
            record.access("a", &[secret("v", "h")]),
            Access::GrantedBy(secret("v", "h")),
            "a copy of the secret"
        );
        assert_eq!(record.access("a", &[secret("u", "i")]), Access::GrantedBy(secret("u", "i")), "a renewed secret");
        assert_eq!(record.access("b", &[secret("u", "h")]), Access::Denied, "another repository with the same image");
    }

    #[test]
    fn what_everybody_may_pull_everybody_may_use() {
        let mut record = PulledRecord::new("sha256:1", now());
        record.add("a", Some(secret("u", "h")), now());
        assert!(record.add("a", None, now()));
        assert_eq!(record.access("a", &[]), Access::Granted);
        assert!(!record.add("a", Some(secret("u", "h")), now()), "it stays so");
    }

    #[test]
    fn records_are_written_as_upstream_writes_them() {
        let mut record = PulledRecord::new("sha256:1", now());
        record.add("a", None, now());
        record.add("b", Some(secret("u", "h")), now());
        let written = serde_json::to_value(&record).unwrap();
        let secrets = serde_json::json!([{"uid": "u", "namespace": "n", "name": "s", "credentialHash": "h"}]);
        let mapping = serde_json::json!({"a": {"nodePodsAccessible": true}, "b": {"kubernetesSecrets": secrets}});
        assert_eq!(written["credentialMapping"], mapping);
        assert_eq!(
            (&written["imageRef"], &written["lastUpdatedTime"]),
            (&"sha256:1".into(), &"1970-01-01T00:16:40Z".into())
        );
        assert_eq!(serde_json::from_value::<PulledRecord>(written).unwrap(), record);
    }
}

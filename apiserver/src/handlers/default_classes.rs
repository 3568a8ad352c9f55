//! The class of claims and ingresses that name none: the one that is marked as the default.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::networking::v1::Ingress;
use reeve_api::{ObjectMeta, StatusError};
use serde::Deserialize;

use super::Handlers;
use crate::registry::kinds::networking::ingress::Ingresses;
use crate::registry::kinds::persistent_volume_claim::PersistentVolumeClaims;
use crate::registry::{AnyObject, Object, Row};

const STORAGE_CLASSES: &str = "/registry/storageclasses/";
const INGRESS_CLASSES: &str = "/registry/ingressclasses/";
const STORAGE_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const INGRESS_DEFAULT: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];
const STORAGE_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What is read of a class.
#[derive(Deserialize)]
struct Class {
    metadata: ObjectMeta,
}

fn has_annotation(metadata: &ObjectMeta, key: &str) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key))
}

fn is_default(metadata: &ObjectMeta, keys: &[&str]) -> bool {
    let annotations = metadata.annotations.as_ref();
    keys.iter().any(|key| annotations.and_then(|map| map.get(*key)).is_some_and(|value| value == "true"))
}

impl Handlers {
    /// Gives a new object the class that is the default.
    pub(super) fn admit_default_class(&self, row: &Row, object: &mut dyn AnyObject) -> Result<(), StatusError> {
        if let Some(claim) = object.as_any_mut().downcast_mut::<Object<PersistentVolumeClaims>>() {
            self.default_storage_class(&mut claim.value)
        } else if let Some(ingress) = object.as_any_mut().downcast_mut::<Object<Ingresses>>() {
            self.default_ingress_class(row, &mut ingress.value)
        } else {
            Ok(())
        }
    }

    fn default_storage_class(&self, claim: &mut PersistentVolumeClaim) -> Result<(), StatusError> {
        let spec = claim.spec.get_or_insert_default();
        if spec.storage_class_name.is_some() || has_annotation(&claim.metadata, STORAGE_ANNOTATION) {
            return Ok(());
        }
        // Of several the newest wins.
        let newest = self.defaults(STORAGE_CLASSES, &STORAGE_DEFAULT)?.into_iter().next();
        spec.storage_class_name = newest;
        Ok(())
    }

    fn default_ingress_class(&self, row: &Row, ingress: &mut Ingress) -> Result<(), StatusError> {
        let spec = ingress.spec.get_or_insert_default();
        if spec.ingress_class_name.is_some() || has_annotation(&ingress.metadata, INGRESS_ANNOTATION) {
            return Ok(());
        }
        let mut defaults = self.defaults(INGRESS_CLASSES, &INGRESS_DEFAULT)?;
        if defaults.len() > 1 {
            let name = ingress.metadata.name.as_deref().unwrap_or_default();
            let why = format!("{} default IngressClasses were found, only 1 allowed", defaults.len());
            return Err(StatusError::forbidden(&row.info.resource, name, why));
        }
        spec.ingress_class_name = defaults.pop();
        Ok(())
    }

    /// The names of the classes that are marked, the newest first.
    fn defaults(&self, prefix: &str, keys: &[&str]) -> Result<Vec<String>, StatusError> {
        let mut found: Vec<(Option<Timestamp>, String)> = Vec::new();
        for entry in self.stored(prefix).snapshot().entries() {
            let class: Class = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
            if is_default(&class.metadata, keys) {
                found.push((class.metadata.creation_timestamp.map(|time| time.0), entry.name().to_owned()));
            }
        }
        found.sort_by(|(left_time, left), (right_time, right)| right_time.cmp(left_time).then(left.cmp(right)));
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }
}

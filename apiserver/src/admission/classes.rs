//! DefaultStorageClass and DefaultIngressClass: the class of those that name none.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::api::storage::v1::StorageClass;
use reeve_api::{ObjectMeta, StatusError};

use super::{Request, typed, typed_mut};
use crate::registry::AnyObject;
use crate::request::Verb;

const STORAGE_CLASSES: &str = "/registry/storageclasses/";
const INGRESS_CLASSES: &str = "/registry/ingressclasses/";
const STORAGE_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const STORAGE_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_DEFAULT: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];
const INGRESS_OLD: &str = "kubernetes.io/ingress.class";

fn is_default(metadata: &ObjectMeta, annotations: &[&str]) -> bool {
    let own = metadata.annotations.as_ref();
    annotations.iter().any(|name| own.and_then(|all| all.get(*name)).is_some_and(|value| value == "true"))
}

/// The newest of several defaults, then the first by name.
fn newest(mut all: Vec<ObjectMeta>) -> Option<String> {
    all.sort_by(|one, other| {
        let time = |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0);
        time(other).cmp(&time(one)).then_with(|| one.name.cmp(&other.name))
    });
    all.into_iter().next()?.name
}

pub fn default_storage_class(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.verb != Verb::Create || !request.target.subresource.is_empty() {
        return Ok(());
    }
    let Some(claim) = typed_mut::<PersistentVolumeClaim>(object) else { return Ok(()) };
    let spec = claim.spec.get_or_insert_default();
    let named = spec.storage_class_name.is_some()
        || claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(STORAGE_BETA));
    if named {
        return Ok(());
    }
    let classes = request.cached.list::<StorageClass>(STORAGE_CLASSES, "").into_iter();
    let classes = classes.map(|class| class.metadata).filter(|metadata| is_default(metadata, &STORAGE_DEFAULT));
    spec.storage_class_name = newest(classes.collect());
    Ok(())
}

pub fn default_ingress_class(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.verb != Verb::Create || !request.target.subresource.is_empty() {
        return Ok(());
    }
    let Some(ingress) = typed::<Ingress>(object) else { return Ok(()) };
    let named = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some())
        || ingress.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(INGRESS_OLD));
    if named {
        return Ok(());
    }
    let classes = request.cached.list::<IngressClass>(INGRESS_CLASSES, "").into_iter();
    let classes = classes.map(|class| class.metadata).filter(|metadata| is_default(metadata, &INGRESS_DEFAULT));
    let name = newest(classes.collect());
    if let (Some(name), Some(ingress)) = (name, typed_mut::<Ingress>(object)) {
        ingress.spec.get_or_insert_default().ingress_class_name = Some(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn the_newest_default_counts() {
        let metadata = |name: &str, second| ObjectMeta {
            name: Some(name.into()),
            creation_timestamp: Some(Time(jiff::Timestamp::from_second(second).unwrap())),
            ..ObjectMeta::default()
        };
        assert_eq!(newest(vec![metadata("b", 1), metadata("a", 1), metadata("c", 2)]).as_deref(), Some("c"));
        assert_eq!(newest(vec![metadata("b", 1), metadata("a", 1)]).as_deref(), Some("a"));
        assert_eq!(newest(vec![]), None);
    }
}

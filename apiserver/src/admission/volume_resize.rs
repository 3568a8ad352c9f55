//! PersistentVolumeClaimResize: a claim grows only where its class lets it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use reeve_api::StatusError;
use reeve_api::quantity::Quantity;

use super::{Request, typed};
use crate::registry::AnyObject;

const CLASSES: &str = "/registry/storageclasses/";

fn asked(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let text = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    Quantity::parse(text).ok()
}

pub fn judge(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    let (Some(new), Some(old)) = (typed::<PersistentVolumeClaim>(object), old.and_then(typed::<PersistentVolumeClaim>))
    else {
        return Ok(());
    };
    if !request.target.subresource.is_empty() || asked(new) <= asked(old) {
        return Ok(());
    }
    let bound = old.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !bound {
        return Err(request.forbidden(object, "Only bound persistent volume claims can be expanded"));
    }
    let name = new.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()).unwrap_or_default();
    let class = request.cached.get::<StorageClass>(CLASSES, "", &name);
    if class.is_some_and(|class| class.allow_volume_expansion == Some(true)) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
               support resize";
    Err(request.forbidden(object, why))
}

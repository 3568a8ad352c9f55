//! RuntimeClass: what a pod's runtime costs, and where it is.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use reeve_api::StatusError;

use super::{Request, typed, typed_mut};
use crate::registry::AnyObject;
use crate::request::Verb;

const CLASSES: &str = "/registry/runtimeclasses/";

pub fn fill(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.verb != Verb::Create || !request.is_of("", "pods", "") || request.cached.resource(CLASSES).is_none() {
        return Ok(());
    }
    let Some(spec) = typed::<Pod>(object).and_then(|pod| pod.spec.as_ref()) else { return Ok(()) };
    let overhead = spec.overhead.clone();
    let Some(name) = spec.runtime_class_name.clone() else {
        return match overhead {
            Some(_) => Err(request.forbidden(
                object,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            None => Ok(()),
        };
    };
    let Some(class) = request.cached.get::<RuntimeClass>(CLASSES, "", &name) else {
        return Err(request.forbidden(object, format!("pod rejected: RuntimeClass {name:?} not found")));
    };
    let fixed = class.overhead.and_then(|overhead| overhead.pod_fixed);
    if overhead.is_some() && overhead != fixed {
        let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        return Err(request.forbidden(object, why));
    }
    let selector = class.scheduling.as_ref().and_then(|scheduling| scheduling.node_selector.clone());
    for (key, value) in selector.iter().flatten() {
        let own = spec.node_selector.as_ref().and_then(|own| own.get(key));
        if own.is_some_and(|own| own != value) {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {}",
                own.map_or("", String::as_str)
            );
            return Err(request.forbidden(object, why));
        }
    }
    if let Some(pod) = typed_mut::<Pod>(object) {
        let spec = pod.spec.get_or_insert_default();
        spec.overhead = fixed;
        if let Some(selector) = selector {
            spec.node_selector.get_or_insert_default().extend(selector);
        }
        for toleration in class.scheduling.into_iter().flat_map(|scheduling| scheduling.tolerations.unwrap_or_default())
        {
            let own = spec.tolerations.get_or_insert_default();
            if !own.contains(&toleration) {
                own.push(toleration);
            }
        }
    }
    Ok(())
}

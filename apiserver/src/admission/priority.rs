//! Priority: a pod's class becomes a number, and there is one default class at most.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use reeve_api::StatusError;

use super::{Cached, Request, typed, typed_mut};
use crate::registry::AnyObject;
use crate::request::Verb;

const CLASSES: &str = "/registry/priorityclasses/";
/// Classes that are always there.
const SYSTEM: [(&str, i32); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const PREEMPT: &str = "PreemptLowerPriority";

/// A class by name.
fn class(cached: &Cached, name: &str) -> Option<PriorityClass> {
    let system = SYSTEM.iter().find(|(own, _)| *own == name);
    cached.get(CLASSES, "", name).or_else(|| {
        let (_, value) = system?;
        Some(PriorityClass { value: Some(*value), ..PriorityClass::default() })
    })
}

/// The class of pods that name none: of several defaults the lowest.
fn default_class(cached: &Cached) -> Option<PriorityClass> {
    let classes = cached.list_having::<PriorityClass>(CLASSES, "\"globalDefault\":true");
    classes.into_iter().filter(|class| class.global_default == Some(true)).min_by_key(|class| class.value)
}

pub fn fill(request: &Request<'_>, object: &mut dyn AnyObject, old: Option<&dyn AnyObject>) -> Result<(), StatusError> {
    if !request.is_of("", "pods", "") {
        return Ok(());
    }
    if request.verb != Verb::Create {
        // A client that leaves the numbers out does not mean to change them.
        let old = old.and_then(typed::<Pod>).and_then(|pod| pod.spec.as_ref());
        if let (Some(pod), Some(old)) = (typed_mut::<Pod>(object), old) {
            let spec = pod.spec.get_or_insert_default();
            spec.priority = spec.priority.or(old.priority);
            spec.preemption_policy = spec.preemption_policy.take().or_else(|| old.preemption_policy.clone());
        }
        return Ok(());
    }
    let forbidden = |object: &dyn AnyObject, why: String| Err(request.forbidden(object, why));
    let Some(pod) = typed::<Pod>(object) else { return Ok(()) };
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|spec| spec.priority_class_name.clone()).unwrap_or_default();
    let chosen = if name.is_empty() {
        default_class(request.cached)
    } else {
        match class(request.cached, &name) {
            Some(class) => Some(class),
            None => return forbidden(object, format!("no PriorityClass with name {name} was found")),
        }
    };
    let value = chosen.as_ref().map_or(0, |class| class.value.unwrap_or(0));
    if let Some(given) = spec.and_then(|spec| spec.priority).filter(|given| *given != value) {
        return forbidden(
            object,
            format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {value} from the given PriorityClass name"
            ),
        );
    }
    let policy =
        chosen.as_ref().and_then(|class| class.preemption_policy.clone()).unwrap_or_else(|| PREEMPT.to_owned());
    let given = spec.and_then(|spec| spec.preemption_policy.as_ref());
    if let Some(given) = given.filter(|given| **given != policy) {
        return forbidden(
            object,
            format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            ),
        );
    }
    if let Some(pod) = typed_mut::<Pod>(object) {
        let spec = pod.spec.get_or_insert_default();
        spec.priority = Some(value);
        spec.preemption_policy = Some(policy);
        if name.is_empty() {
            spec.priority_class_name = chosen.and_then(|class| class.metadata.name);
        }
    }
    Ok(())
}

pub fn judge(
    request: &Request<'_>,
    object: &dyn AnyObject,
    _old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    let Some(class) = typed::<PriorityClass>(object) else { return Ok(()) };
    if class.global_default != Some(true) {
        return Ok(());
    }
    let own = class.metadata.name.as_deref();
    match default_class(request.cached).filter(|other| other.metadata.name.as_deref() != own) {
        None => Ok(()),
        Some(other) => {
            let other = other.metadata.name.unwrap_or_default();
            Err(request.forbidden(
                object,
                format!("PriorityClass {other} is already marked as default. Only one default can exist"),
            ))
        }
    }
}

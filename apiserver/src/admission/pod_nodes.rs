//! TaintNodesByCondition and DefaultTolerationSeconds: pods do not start on nodes that are not ready yet, and stay a
//! while on nodes that are in trouble.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use reeve_api::StatusError;

use super::{Request, typed_mut};
use crate::registry::AnyObject;
use crate::request::Verb;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Seconds that a pod stays on a node that is not ready or cannot be reached.
const TROUBLE_SECONDS: i64 = 300;

pub fn taint(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.verb == Verb::Create
        && let Some(node) = typed_mut::<Node>(object)
    {
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        if !taints.iter().any(|taint| taint.key == NOT_READY && taint.effect == "NoSchedule") {
            taints.push(Taint { key: NOT_READY.into(), effect: "NoSchedule".into(), ..Taint::default() });
        }
    }
    Ok(())
}

pub fn tolerate(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.target.subresource.is_empty()
        && request.verb == Verb::Create
        && let Some(pod) = typed_mut::<Pod>(object)
    {
        let spec = pod.spec.get_or_insert_default();
        for key in [NOT_READY, UNREACHABLE] {
            let tolerations = spec.tolerations.get_or_insert_default();
            if !tolerations.iter().any(|toleration| covers(toleration, key)) {
                tolerations.push(Toleration {
                    key: Some(key.to_owned()),
                    operator: Some("Exists".to_owned()),
                    effect: Some("NoExecute".to_owned()),
                    toleration_seconds: Some(TROUBLE_SECONDS),
                    value: None,
                });
            }
        }
    }
    Ok(())
}

fn covers(toleration: &Toleration, key: &str) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let own = text(&toleration.key);
    let effect = text(&toleration.effect);
    (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}

//! LimitRanger: what pods and claims of a namespace ask for by default, at least and at most.

use k8s_openapi::api::core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod};
use reeve_api::StatusError;
use reeve_api::quantity::Quantity;

use super::pod_limits::{self, Amounts, Part, amounts};
use super::{Request, typed, typed_mut};
use crate::registry::AnyObject;
use crate::request::Verb;

const RANGES: &str = "/registry/limitranges/";
/// Names a pod's defaults that came from here.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn items(request: &Request<'_>) -> Vec<LimitRangeItem> {
    let ranges = request.cached.list::<LimitRange>(RANGES, &request.target.namespace);
    ranges.into_iter().flat_map(|range| range.spec.map(|spec| spec.limits).unwrap_or_default()).collect()
}

pub fn fill(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    _old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    if request.verb != Verb::Create || !request.is_of("", "pods", "") {
        return Ok(());
    }
    let items = items(request);
    if items.is_empty() {
        return Ok(());
    }
    let (mut requests, mut limits) = (Default::default(), Default::default());
    for item in items.into_iter().filter(|item| item.type_ == "Container") {
        // Of several ranges the last one's defaults count.
        merge(&mut requests, item.default_request);
        merge(&mut limits, item.default);
    }
    let Some(pod) = typed_mut::<Pod>(object) else { return Ok(()) };
    let mut notes = Vec::new();
    if let Some(spec) = &mut pod.spec {
        for container in &mut spec.containers {
            note(&mut notes, "container", fill_container(container, &requests, &limits), &container.name);
        }
        for container in spec.init_containers.iter_mut().flatten() {
            note(&mut notes, "init container", fill_container(container, &requests, &limits), &container.name);
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata.annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), text);
    }
    Ok(())
}

type Texts = std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn merge(into: &mut Texts, more: Option<Texts>) {
    into.extend(more.into_iter().flatten());
}

fn note(notes: &mut Vec<String>, what: &str, (requests, limits): (Vec<String>, Vec<String>), name: &str) {
    if !requests.is_empty() {
        notes.push(format!("{} request for {what} {name}", requests.join(", ")));
    }
    if !limits.is_empty() {
        notes.push(format!("{} limit for {what} {name}", limits.join(", ")));
    }
}

/// Fills in what is absent; returns the names of what was.
fn fill_container(container: &mut Container, requests: &Texts, limits: &Texts) -> (Vec<String>, Vec<String>) {
    let resources = container.resources.get_or_insert_default();
    let add = |own: &mut Option<Texts>, defaults: &Texts| {
        let mut added = Vec::new();
        for (name, amount) in defaults {
            let own = own.get_or_insert_default();
            if !own.contains_key(name) {
                own.insert(name.clone(), amount.clone());
                added.push(name.clone());
            }
        }
        added
    };
    let limits = add(&mut resources.limits, limits);
    let requests = add(&mut resources.requests, requests);
    (requests, limits)
}

pub fn judge(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    let is_pod = request.is_of("", "pods", "");
    let is_claim = request.is_of("", "persistentvolumeclaims", "");
    // A running pod keeps what it was let in with.
    if !(is_pod && old.is_none() || is_claim) {
        return Ok(());
    }
    let items = items(request);
    let mut faults = Vec::new();
    for item in &items {
        match item.type_.as_str() {
            "Container" | "Pod" => {
                let Some(spec) = typed::<Pod>(object).and_then(|pod| pod.spec.as_ref()) else { continue };
                if item.type_ == "Pod" {
                    let (requests, limits) =
                        (pod_limits::of_pod(spec, Part::Requests), pod_limits::of_pod(spec, Part::Limits));
                    check(item, &requests, &limits, &mut faults);
                    continue;
                }
                for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
                    let part = |part| pod_limits::of_container(container, part);
                    check(item, &part(Part::Requests), &part(Part::Limits), &mut faults);
                }
            }
            "PersistentVolumeClaim" => {
                let Some(claim) = typed::<PersistentVolumeClaim>(object) else { continue };
                let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
                let requests = amounts(resources.and_then(|resources| resources.requests.as_ref()));
                for (name, least) in amounts(item.min.as_ref()) {
                    minimum(item, &name, least, requests.get(&name), None, &mut faults);
                }
                for (name, most) in amounts(item.max.as_ref()) {
                    maximum_request(item, &name, most, requests.get(&name), &mut faults);
                }
            }
            _ => {}
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(request.forbidden(object, one)),
        many => Err(request.forbidden(object, format!("[{}]", many.join(", ")))),
    }
}

fn check(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    for (name, least) in amounts(item.min.as_ref()) {
        minimum(item, &name, least, requests.get(&name), limits.get(&name), faults);
    }
    for (name, most) in amounts(item.max.as_ref()) {
        maximum(item, &name, most, requests.get(&name), limits.get(&name), faults);
    }
    for (name, most) in amounts(item.max_limit_request_ratio.as_ref()) {
        ratio(item, &name, most, requests.get(&name), limits.get(&name), faults);
    }
}

fn minimum(
    item: &LimitRangeItem,
    name: &str,
    least: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    faults: &mut Vec<String>,
) {
    let kind = &item.type_;
    match (request, limit) {
        (None, _) => faults.push(format!("minimum {name} usage per {kind} is {least}.  No request is specified")),
        (Some(request), _) if *request < least => {
            faults.push(format!("minimum {name} usage per {kind} is {least}, but request is {request}"));
        }
        (_, Some(limit)) if *limit < least => {
            faults.push(format!("minimum {name} usage per {kind} is {least}, but limit is {limit}"));
        }
        _ => {}
    }
}

fn maximum(
    item: &LimitRangeItem,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    faults: &mut Vec<String>,
) {
    let kind = &item.type_;
    match (request, limit) {
        (_, None) => faults.push(format!("maximum {name} usage per {kind} is {most}.  No limit is specified")),
        (_, Some(limit)) if *limit > most => {
            faults.push(format!("maximum {name} usage per {kind} is {most}, but limit is {limit}"));
        }
        (Some(request), _) if *request > most => {
            faults.push(format!("maximum {name} usage per {kind} is {most}, but request is {request}"));
        }
        _ => {}
    }
}

fn maximum_request(
    item: &LimitRangeItem,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    faults: &mut Vec<String>,
) {
    let kind = &item.type_;
    match request {
        None => faults.push(format!("maximum {name} usage per {kind} is {most}.  No request is specified")),
        Some(request) if *request > most => {
            faults.push(format!("maximum {name} usage per {kind} is {most}, but request is {request}"));
        }
        Some(_) => {}
    }
}

fn ratio(
    item: &LimitRangeItem,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    faults: &mut Vec<String>,
) {
    let kind = &item.type_;
    let nothing = |amount: Option<&Quantity>| amount.is_none_or(|amount| amount.is_zero());
    if nothing(request) {
        faults.push(format!(
            "{name} max limit to request ratio per {kind} is {most}, but no request is specified or request is 0"
        ));
        return;
    }
    if nothing(limit) {
        faults.push(format!(
            "{name} max limit to request ratio per {kind} is {most}, but no limit is specified or limit is 0"
        ));
        return;
    }
    let millis = |amount: Option<&Quantity>| amount.map_or(0, |amount| amount.millis());
    #[expect(clippy::cast_precision_loss, reason = "the ratio is shown with six digits")]
    let observed = millis(limit) as f64 / millis(request) as f64;
    #[expect(clippy::cast_precision_loss, reason = "ratios are small")]
    let allowed = most.millis() as f64 / 1000.0;
    if observed > allowed {
        faults.push(format!(
            "{name} max limit to request ratio per {kind} is {most}, but provided ratio is {observed:.6}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_upstreams() {
        let item: LimitRangeItem = serde_json::from_value(serde_json::json!({
            "type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"},
        }))
        .unwrap();
        let one = |text: &str| Amounts::from([("cpu".to_owned(), text.parse().unwrap())]);
        let mut faults = Vec::new();
        check(&item, &one("50m"), &one("2"), &mut faults);
        assert_eq!(
            faults,
            [
                "minimum cpu usage per Container is 100m, but request is 50m",
                "maximum cpu usage per Container is 1, but limit is 2",
                "cpu max limit to request ratio per Container is 2, but provided ratio is 40.000000",
            ]
        );
        faults.clear();
        check(&item, &Amounts::new(), &Amounts::new(), &mut faults);
        assert_eq!(faults[0], "minimum cpu usage per Container is 100m.  No request is specified");
    }
}

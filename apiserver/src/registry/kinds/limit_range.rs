//! LimitRange: bounds and defaults of what pods and claims of a namespace ask for.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{ErrorList, Path, format};

use super::{resource_names, rules};
use crate::registry::strategy::Strategy;

type Amounts = BTreeMap<String, Text>;

const TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
const NOT_FOR_PODS: &str = "may not be specified when `type` is 'Pod'";

/// The strategy.
pub struct LimitRanges;

impl Strategy for LimitRanges {
    type Object = LimitRange;

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn default(&self, range: &mut LimitRange) {
        let spec = range.spec.get_or_insert_default();
        for item in &mut spec.limits {
            for amounts in [
                &mut item.default,
                &mut item.default_request,
                &mut item.max,
                &mut item.max_limit_request_ratio,
                &mut item.min,
            ] {
                rules::canonical(amounts.as_mut());
            }
            if item.type_ == "Container" {
                default_container(item);
            }
        }
    }

    fn validate(&self, range: &LimitRange) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let path_limits = path.child("limits");
        let mut types = BTreeSet::new();
        for (index, item) in range.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            let path = path_limits.index(index);
            let path_type = path.child("type");
            let problems = format::qualified_name(&item.type_);
            let well_formed = problems.is_empty();
            errors.invalid_each(&path_type, &item.type_, problems);
            if well_formed && !item.type_.contains('/') && !TYPES.contains(&item.type_.as_str()) {
                errors.invalid(&path_type, &item.type_, "must be a standard limit type or fully qualified");
            }
            if !types.insert(&item.type_) {
                errors.duplicate(&path_type, &item.type_);
            }
            validate_item(item, &path, &mut errors);
        }
        errors
    }
}

/// Limits follow from the maximum, requests from the limits or the minimum.
fn default_container(item: &mut LimitRangeItem) {
    fill(&mut item.default, item.max.as_ref());
    fill(&mut item.default_request, item.default.as_ref());
    fill(&mut item.default_request, item.min.as_ref());
}

fn fill(target: &mut Option<Amounts>, source: Option<&Amounts>) {
    for (name, amount) in source.into_iter().flatten() {
        target.get_or_insert_default().entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn names(amounts: Option<&Amounts>, kind: &str, path: &Path<'_>, errors: &mut ErrorList) {
    for name in amounts.into_iter().flat_map(BTreeMap::keys) {
        resource_names::limited(kind, name, &path.key(name), errors);
    }
}

fn validate_item(item: &LimitRangeItem, path: &Path<'_>, errors: &mut ErrorList) {
    let kind = item.type_.as_str();
    names(item.max.as_ref(), kind, &path.child("max"), errors);
    names(item.min.as_ref(), kind, &path.child("min"), errors);
    for (field, amounts) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
        if kind != "Pod" {
            names(amounts.as_ref(), kind, &path.child(field), errors);
        } else if amounts.as_ref().is_some_and(|amounts| !amounts.is_empty()) {
            errors.forbidden(&path.child(field), NOT_FOR_PODS);
        }
    }
    if kind == "PersistentVolumeClaim" {
        let has = |amounts: &Option<Amounts>| amounts.as_ref().is_some_and(|amounts| amounts.contains_key("storage"));
        if !has(&item.min) && !has(&item.max) {
            errors.required(
                &path.child("limits"),
                "either minimum or maximum storage value is required, but neither was provided",
            );
        }
    }
    names(item.max_limit_request_ratio.as_ref(), kind, &path.child("maxLimitRequestRatio"), errors);
    let all = [&item.max, &item.min, &item.default, &item.default_request, &item.max_limit_request_ratio];
    let resources: BTreeSet<&String> = all.into_iter().flatten().flat_map(BTreeMap::keys).collect();
    for resource in resources {
        compare(item, resource, path, errors);
    }
}

/// The rules between the bounds of one resource.
fn compare(item: &LimitRangeItem, resource: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let read = |amounts: &Option<Amounts>| {
        let text = amounts.as_ref()?.get(resource)?;
        Quantity::parse(text).ok()
    };
    let is_pod = item.type_ == "Pod";
    let (min, max) = (read(&item.min), read(&item.max));
    let default = read(&item.default).filter(|_| !is_pod);
    let request = read(&item.default_request).filter(|_| !is_pod);
    let ratio = read(&item.max_limit_request_ratio);
    let mut exceeds = |low: Option<Quantity>, high: Option<Quantity>, field: &str, shown: Option<Quantity>, words| {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            let (low_words, high_words): (&str, &str) = words;
            let why = format!("{low_words} value {low} is greater than {high_words} value {high}");
            errors.invalid(&path.child(field).key(resource), shown.to_string(), why);
        }
    };
    exceeds(min, max, "min", min, ("min", "max"));
    exceeds(min, request, "defaultRequest", request, ("min", "default request"));
    exceeds(request, max, "defaultRequest", request, ("default request", "max"));
    exceeds(request, default, "defaultRequest", request, ("default request", "default limit"));
    // Upstream shows the bound here, not the default.
    exceeds(min, default, "default", min, ("min", "default"));
    exceeds(default, max, "default", max, ("default", "max"));
    let Some(ratio) = ratio else { return };
    let path_ratio = path.child("maxLimitRequestRatio");
    let path_ratio = path_ratio.key(resource);
    if ratio < Quantity::from_units(1) {
        errors.invalid(&path_ratio, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max) {
        let bound = max.millis() as f64 / min.millis() as f64;
        if ratio.millis() as f64 / 1000.0 > bound {
            let why = format!("ratio {ratio} is greater than max/min = {bound:.6}");
            errors.invalid(&path_ratio, ratio.to_string(), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limits: serde_json::Value) -> LimitRange {
        let spec = serde_json::from_value(serde_json::json!({ "limits": limits })).unwrap();
        let mut range = LimitRange { spec: Some(spec), ..LimitRange::default() };
        LimitRanges.default(&mut range);
        range
    }

    #[test]
    fn bounds_agree_with_each_other() {
        let bad = range(serde_json::json!([
            {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "5"}},
            {"type": "Pod", "default": {"cpu": "1"}},
        ]));
        let texts: Vec<String> = LimitRanges.validate(&bad).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#,
                r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "5": default request value 5 is greater than max value 1"#,
                r#"spec.limits[0].default[cpu]: Invalid value: "1": default value 5 is greater than max value 1"#,
                "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
            ]
        );
    }

    #[test]
    fn containers_get_what_follows() {
        let range = range(serde_json::json!([{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}]));
        let item = &range.spec.unwrap().limits[0];
        assert_eq!(item.default.as_ref().unwrap()["cpu"].0, "1");
        let requests = item.default_request.as_ref().unwrap();
        assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("1", "1Mi"));
    }
}

//! The kinds of `resource.k8s.io`, and the rules of requests for devices that they share.

pub mod claim;
pub mod class;
pub mod slice;
pub mod template;

use std::collections::BTreeSet;

use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceToleration, OpaqueDeviceConfiguration,
};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::rules;

const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const CONFIGURATIONS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const TOLERATIONS_MAX: usize = 16;
const DRIVER_NAME_MAX: usize = 63;

/// Fills in how many devices each request asks for, and how tolerations compare.
fn fill(claim: &mut DeviceClaim) {
    for request in claim.requests.iter_mut().flatten() {
        if let Some(exactly) = &mut request.exactly {
            amount(&mut exactly.allocation_mode, &mut exactly.count);
            compare(exactly.tolerations.as_mut());
        }
        for alternative in request.first_available.iter_mut().flatten() {
            amount(&mut alternative.allocation_mode, &mut alternative.count);
            compare(alternative.tolerations.as_mut());
        }
    }
}

fn amount(mode: &mut Option<String>, count: &mut Option<i64>) {
    let mode = mode.get_or_insert_with(|| "ExactCount".to_owned());
    if mode == "ExactCount" && count.unwrap_or_default() == 0 {
        *count = Some(1);
    }
}

fn compare(tolerations: Option<&mut Vec<DeviceToleration>>) {
    for toleration in tolerations.into_iter().flatten() {
        toleration.operator.get_or_insert_with(|| "Equal".to_owned());
    }
}

fn at_most(len: usize, most: usize, path: &Path<'_>, errors: &mut ErrorList) -> bool {
    if len > most {
        errors.too_many(path, len, most);
    }
    len <= most
}

fn validate_claim(claim: &DeviceClaim, path: &Path<'_>, errors: &mut ErrorList) {
    let requests = claim.requests.as_deref().unwrap_or_default();
    let path_requests = path.child("requests");
    let mut names = BTreeSet::new();
    if at_most(requests.len(), REQUESTS_MAX, &path_requests, errors) {
        for (index, request) in requests.iter().enumerate() {
            let path = path_requests.index(index);
            validate_request(request, &path, errors);
            if !names.insert(request.name.clone()) {
                errors.duplicate(&path.child("name"), &request.name);
            }
        }
    }
    for request in requests {
        for alternative in request.first_available.iter().flatten() {
            names.insert(format!("{}/{}", request.name, alternative.name));
        }
    }
    let constraints = claim.constraints.as_deref().unwrap_or_default();
    let path_constraints = path.child("constraints");
    if at_most(constraints.len(), CONSTRAINTS_MAX, &path_constraints, errors) {
        for (index, constraint) in constraints.iter().enumerate() {
            validate_constraint(constraint, &names, &path_constraints.index(index), errors);
        }
    }
    let configurations = claim.config.as_deref().unwrap_or_default();
    let path_config = path.child("config");
    if at_most(configurations.len(), CONFIGURATIONS_MAX, &path_config, errors) {
        for (index, configuration) in configurations.iter().enumerate() {
            let path = path_config.index(index);
            named_requests(configuration.requests.as_deref(), &names, &path.child("requests"), errors);
            validate_configuration(configuration.opaque.as_ref(), &path, errors);
        }
    }
}

fn validate_request(request: &DeviceRequest, path: &Path<'_>, errors: &mut ErrorList) {
    label(&request.name, &path.child("name"), errors);
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    match (&request.exactly, alternatives) {
        (None, []) => errors.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
        (Some(_), [_, ..]) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path, BadValue::json(&None::<()>), why);
        }
        (Some(exactly), []) => {
            let path = path.child("exactly");
            let asked = Asked {
                class: &exactly.device_class_name,
                selectors: exactly.selectors.as_deref(),
                mode: exactly.allocation_mode.as_deref(),
                count: exactly.count,
                tolerations: exactly.tolerations.as_deref(),
            };
            validate_asked(&asked, &path, errors);
        }
        (None, alternatives) => {
            let path = path.child("firstAvailable");
            let mut names = BTreeSet::new();
            for (index, alternative) in alternatives.iter().enumerate() {
                let path = path.index(index);
                label(&alternative.name, &path.child("name"), errors);
                let asked = Asked {
                    class: &alternative.device_class_name,
                    selectors: alternative.selectors.as_deref(),
                    mode: alternative.allocation_mode.as_deref(),
                    count: alternative.count,
                    tolerations: alternative.tolerations.as_deref(),
                };
                validate_asked(&asked, &path, errors);
                if !names.insert(&alternative.name) {
                    errors.duplicate(&path.child("name"), &alternative.name);
                }
            }
        }
    }
}

/// What one request, or one of its alternatives, asks for.
struct Asked<'a> {
    class: &'a str,
    selectors: Option<&'a [DeviceSelector]>,
    mode: Option<&'a str>,
    count: Option<i64>,
    tolerations: Option<&'a [DeviceToleration]>,
}

fn validate_asked(asked: &Asked<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    let path_class = path.child("deviceClassName");
    if asked.class.is_empty() {
        errors.required(&path_class, "");
    } else {
        errors.invalid_each(&path_class, asked.class, format::dns1123_subdomain(asked.class));
    }
    validate_selectors(asked.selectors, &path.child("selectors"), errors);
    let count = asked.count.unwrap_or_default();
    match asked.mode.unwrap_or_default() {
        "All" if count != 0 => {
            errors.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(&path.child("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        mode => errors.not_supported(&path.child("allocationMode"), mode, &["All", "ExactCount"]),
    }
    let tolerations = asked.tolerations.unwrap_or_default();
    let path = path.child("tolerations");
    if !at_most(tolerations.len(), TOLERATIONS_MAX, &path, errors) {
        return;
    }
    for (index, toleration) in tolerations.iter().enumerate() {
        validate_toleration(toleration, &path.index(index), errors);
    }
}

fn validate_toleration(toleration: &DeviceToleration, path: &Path<'_>, errors: &mut ErrorList) {
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    if !key.is_empty() {
        errors.invalid_each(&path.child("key"), key, format::qualified_name(key));
    }
    let path_operator = path.child("operator");
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => {
            if !value.is_empty() {
                errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`");
            }
        }
        "Equal" => errors.invalid_each(&path.child("value"), value, format::label_value(value)),
        "" => errors.required(&path_operator, ""),
        other => errors.not_supported(&path_operator, other, &["Equal", "Exists"]),
    }
    match toleration.effect.as_deref().unwrap_or_default() {
        "" | "NoSchedule" | "NoExecute" => {}
        other => errors.not_supported(&path.child("effect"), other, &["NoExecute", "NoSchedule"]),
    }
}

fn validate_selectors(selectors: Option<&[DeviceSelector]>, path: &Path<'_>, errors: &mut ErrorList) {
    let selectors = selectors.unwrap_or_default();
    if !at_most(selectors.len(), SELECTORS_MAX, path, errors) {
        return;
    }
    for (index, selector) in selectors.iter().enumerate() {
        let path = path.index(index);
        match &selector.cel {
            None => errors.required(&path.child("cel"), ""),
            Some(cel) if cel.expression.is_empty() => {
                errors.required(&path.child("cel").child("expression"), "");
            }
            Some(_) => {}
        }
    }
}

fn validate_constraint(
    constraint: &DeviceConstraint,
    names: &BTreeSet<String>,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    named_requests(constraint.requests.as_deref(), names, &path.child("requests"), errors);
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (None, None) => errors.required(path, "exactly one of `matchAttribute` or `distinctAttribute` is required"),
        (Some(attribute), _) => qualified_attribute(attribute, &path.child("matchAttribute"), errors),
        (None, Some(attribute)) => qualified_attribute(attribute, &path.child("distinctAttribute"), errors),
    }
}

fn qualified_attribute(attribute: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if attribute.is_empty() {
        errors.required(path, "name cannot be empty");
    } else if !attribute.contains('/') {
        errors.invalid(path, attribute, "must include a domain");
    }
}

fn named_requests(named: Option<&[String]>, names: &BTreeSet<String>, path: &Path<'_>, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, name) in named.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        if !names.contains(name) {
            let why = "must be the name of a request in the claim or the name of a request and a subrequest separated \
                       by '/'";
            errors.invalid(&path, name, why);
        }
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn validate_configuration(opaque: Option<&OpaqueDeviceConfiguration>, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child("opaque");
    let Some(opaque) = opaque else {
        errors.required(&path, "");
        return;
    };
    driver(&opaque.driver, &path.child("driver"), errors);
    let path = path.child("parameters");
    if opaque.parameters.0.is_null() {
        errors.required(&path, "");
    } else if !opaque.parameters.0.is_object() {
        errors.invalid(&path, "<value omitted>", "must be a valid JSON object");
    }
}

/// The name of a driver: a domain of bounded length.
fn driver(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
    } else if name.len() > DRIVER_NAME_MAX {
        errors.too_long(path, DRIVER_NAME_MAX);
    } else {
        errors.invalid_each(path, name, format::dns1123_subdomain(&name.to_ascii_lowercase()));
    }
}

fn label(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
    } else {
        errors.invalid_each(path, name, format::dns1123_label(name));
    }
}

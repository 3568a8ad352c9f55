//! PersistentVolumeClaim: storage that somebody asks for.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference,
    TypedObjectReference, VolumeResourceRequirements,
};
use reeve_api::quantity::Quantity;
use reeve_api::validation::{BadValue, ErrorList, Path, format};
use serde::Serialize;
use serde_json::Value;

use super::persistent_volume::{MODES, access_modes, positive};
use super::{difference, protection, rules, workload};
use crate::registry::strategy::{RequestContext, Strategy};

const SPEC_IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// The strategy.
pub struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    fn default(&self, claim: &mut PersistentVolumeClaim) {
        default_spec(claim.spec.get_or_insert_default());
        let status = claim.status.get_or_insert_default();
        if status.phase.as_deref().unwrap_or_default().is_empty() {
            status.phase = Some("Pending".to_owned());
        }
        rules::canonical(status.capacity.as_mut());
        rules::canonical(status.allocated_resources.as_mut());
    }

    fn prepare_for_create(&self, _context: &RequestContext, claim: &mut PersistentVolumeClaim) {
        claim.status = Some(PersistentVolumeClaimStatus {
            phase: Some("Pending".to_owned()),
            ..PersistentVolumeClaimStatus::default()
        });
        same_data_source(claim.spec.get_or_insert_default());
    }

    fn admit_create(&self, _context: &RequestContext, claim: &mut PersistentVolumeClaim) {
        protection::protect(&mut claim.metadata, "kubernetes.io/pvc-protection");
    }

    fn validate(&self, claim: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = PersistentVolumeClaimSpec::default();
        validate_spec(claim.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        claim: &mut PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) {
        claim.status.clone_from(&old.status);
        same_data_source(claim.spec.get_or_insert_default());
    }

    fn validate_update(&self, claim: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = self.validate(claim);
        if let (Some(new), Some(before)) = (&claim.spec, &old.spec) {
            let capacity = old.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
            let capacity = capacity.and_then(|amount| Quantity::parse(amount).ok());
            validate_change(new, before, is_bound(claim), capacity, &mut errors);
        }
        errors
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        claim: &mut PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) {
        claim.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, claim: &PersistentVolumeClaim, _old: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &claim.status else { return errors };
        let modes = status.access_modes.as_deref().unwrap_or_default();
        access_modes(modes, &path.child("accessModes"), &mut errors);
        for (field, amounts) in [("capacity", &status.capacity), ("allocatedResources", &status.allocated_resources)] {
            let path = path.child(field);
            for (name, amount) in amounts.iter().flatten() {
                errors.invalid_each(&path.key(name), name, format::qualified_name(name));
                rules::not_negative_amount(amount, &path.key(name), &mut errors);
            }
        }
        errors
    }
}

/// Fills in a claim, also one inside of a template.
pub(in crate::registry) fn default_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    let resources = spec.resources.get_or_insert_default();
    rules::canonical(resources.requests.as_mut());
    rules::canonical(resources.limits.as_mut());
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

/// The two fields for a claim's content tell the same where they can.
fn same_data_source(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if source.namespace.as_deref().unwrap_or_default().is_empty() => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            });
        }
        _ => {}
    }
}

/// Checks a claim, also one inside of a template.
pub(in crate::registry) fn validate_spec(spec: &PersistentVolumeClaimSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let path_modes = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&path_modes, "at least 1 access mode is required");
    }
    if let Some(selector) = &spec.selector {
        workload::object_selector(selector, &path.child("selector"), errors);
    }
    access_modes(modes, &path_modes, errors);
    let path_resources = path.child("resources");
    match spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage")) {
        None => errors.required(&path_resources.key("storage"), ""),
        Some(amount) => positive(amount, &path_resources.key("storage"), errors),
    }
    for (field, class) in [
        ("storageClassName", &spec.storage_class_name),
        ("volumeAttributesClassName", &spec.volume_attributes_class_name),
    ] {
        if let Some(class) = class.as_deref().filter(|class| !class.is_empty()) {
            errors.invalid_each(&path.child(field), class, format::dns1123_subdomain(class));
        }
    }
    if let Some(mode) = spec.volume_mode.as_deref() {
        rules::one_of(mode, &MODES, &path.child("volumeMode"), errors);
    }
    if let Some(source) = &spec.data_source {
        data_source(source.api_group.as_deref(), &source.kind, &source.name, &path.child("dataSource"), errors);
    }
    if let Some(source) = &spec.data_source_ref {
        data_source(source.api_group.as_deref(), &source.kind, &source.name, &path.child("dataSourceRef"), errors);
    }
    if let (Some(own), Some(other)) = (&spec.data_source, &spec.data_source_ref) {
        // Upstream shows a path here, which has nothing to show.
        let shown = BadValue::shown("{}".to_owned());
        if !other.namespace.as_deref().unwrap_or_default().is_empty() {
            errors.invalid(path, shown, "may not be specified when dataSourceRef.namespace is specified");
        } else if (&own.api_group, &own.kind, &own.name) != (&other.api_group, &other.kind, &other.name) {
            errors.invalid(path, shown, "must match dataSourceRef");
        }
    }
}

fn data_source(group: Option<&str>, kind: &str, name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    if kind.is_empty() {
        errors.required(&path.child("kind"), "");
    }
    let group = group.unwrap_or_default();
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        errors.invalid_each(&path.child("apiGroup"), group, format::dns1123_subdomain(group));
    }
}

/// What of a claim changes: its volume once, its size and attributes when it is bound.
fn validate_change(
    new: &PersistentVolumeClaimSpec,
    old: &PersistentVolumeClaimSpec,
    bound: bool,
    capacity: Option<Quantity>,
    errors: &mut ErrorList,
) {
    let path = Path::new("spec");
    let requests = |spec: &PersistentVolumeClaimSpec| spec.resources.clone().and_then(|resources| resources.requests);
    let mut allowed = new.clone();
    if old.volume_name.as_deref().unwrap_or_default().is_empty() {
        allowed.volume_name.clone_from(&old.volume_name);
    }
    if bound {
        allowed.resources.get_or_insert_default().requests = requests(old);
        allowed.volume_attributes_class_name.clone_from(&old.volume_attributes_class_name);
    }
    if allowed != *old {
        let shown = difference::unified(&Shown::of(old), &Shown::of(&allowed));
        errors.forbidden(&path, format!("{SPEC_IMMUTABLE}\n{shown}"));
        return;
    }
    let storage = |spec| {
        let requests = requests(spec)?;
        Quantity::parse(requests.get("storage")?).ok()
    };
    // A claim that could not grow may ask for less again, but not for less than it has.
    if let (true, Some(after), Some(before), Some(has)) = (bound, storage(new), storage(old), capacity)
        && after < before
        && after <= has
    {
        let path = path.child("resources");
        errors.forbidden(&path.child("requests").child("storage"), "field can not be less than status.capacity");
    }
    rules::immutable(&new.volume_mode, &old.volume_mode, &path.child("volumeMode"), errors);
}

/// A claim as upstream's messages show it, in the order of its fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    access_modes: Value,
    selector: Value,
    resources: ShownResources,
    volume_name: String,
    storage_class_name: Option<String>,
    volume_mode: Option<String>,
    data_source: Value,
    data_source_ref: Value,
    volume_attributes_class_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownResources {
    limits: Value,
    requests: Value,
}

impl Shown {
    fn of(spec: &PersistentVolumeClaimSpec) -> Self {
        fn value<T: Serialize>(part: &T) -> Value {
            serde_json::to_value(part).unwrap_or_default()
        }
        let resources: VolumeResourceRequirements = spec.resources.clone().unwrap_or_default();
        Self {
            access_modes: value(&spec.access_modes),
            selector: value(&spec.selector),
            resources: ShownResources { limits: value(&resources.limits), requests: value(&resources.requests) },
            volume_name: spec.volume_name.clone().unwrap_or_default(),
            storage_class_name: spec.storage_class_name.clone(),
            volume_mode: spec.volume_mode.clone(),
            data_source: value(&spec.data_source),
            data_source_ref: value(&spec.data_source_ref),
            volume_attributes_class_name: spec.volume_attributes_class_name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(spec: serde_json::Value, phase: &str) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim {
            spec: serde_json::from_value(spec).unwrap(),
            status: Some(PersistentVolumeClaimStatus {
                phase: Some(phase.to_owned()),
                ..PersistentVolumeClaimStatus::default()
            }),
            ..PersistentVolumeClaim::default()
        };
        PersistentVolumeClaims.default(&mut claim);
        claim
    }

    fn sized(size: &str, mode: &str, phase: &str) -> PersistentVolumeClaim {
        let resources = serde_json::json!({"requests": {"storage": size}});
        claim(serde_json::json!({"accessModes": [mode], "resources": resources}), phase)
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_claim_asks_for_something() {
        assert_eq!(
            texts(&PersistentVolumeClaims.validate(&claim(serde_json::json!({}), ""))),
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ]
        );
    }

    #[test]
    fn a_claim_grows_when_it_is_bound() {
        let change = |new: PersistentVolumeClaim, old: PersistentVolumeClaim| {
            texts(&PersistentVolumeClaims.validate_update(&new, &old))
        };
        let none: [&str; 0] = [];
        let once = "ReadWriteOnce";
        assert_eq!(change(sized("2Gi", once, "Bound"), sized("1Gi", once, "Bound")), none);
        let mut full = sized("2Gi", once, "Bound");
        assert_eq!(change(sized("1Gi", once, "Bound"), full.clone()), none);
        let capacity = [("storage".to_owned(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("2Gi".into()))];
        full.status.as_mut().unwrap().capacity = Some(capacity.into());
        assert_eq!(
            change(sized("1Gi", once, "Bound"), full),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
        let refused = change(sized("1Gi", "ReadWriteMany", "Pending"), sized("1Gi", once, "Pending"));
        assert!(refused[0].starts_with("spec: Forbidden: spec is immutable after creation"), "{refused:?}");
        assert!(refused[0].ends_with("  ],\n  \"Selector\": null,\n  \"Resources\": {\n"), "{refused:?}");
    }
}

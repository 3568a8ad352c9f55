//! IngressClass: which controller serves an ingress.

use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::kinds::{generation, rules};
use crate::registry::strategy::{RequestContext, Strategy};

const CONTROLLER_MAX: usize = 250;

/// The strategy.
pub struct IngressClasses;

impl Strategy for IngressClasses {
    type Object = IngressClass;

    fn default(&self, class: &mut IngressClass) {
        let spec = class.spec.get_or_insert_default();
        if let Some(parameters) = &mut spec.parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".to_owned());
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, class: &mut IngressClass) {
        generation::start(&mut class.metadata);
    }

    fn validate(&self, class: &IngressClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = class.spec.clone().unwrap_or_default();
        let controller = spec.controller.as_deref().unwrap_or_default();
        if controller.len() > CONTROLLER_MAX {
            errors.too_long(&path.child("controller"), CONTROLLER_MAX);
        }
        rules::domain_prefixed_path(controller, &path.child("controller"), &mut errors);
        if let Some(reference) = &spec.parameters {
            parameters(reference, &path.child("parameters"), &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, class: &mut IngressClass, old: &IngressClass) {
        let changed = class.spec != old.spec;
        generation::follow(&mut class.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, class: &IngressClass, old: &IngressClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
        rules::immutable(&controller(class), &controller(old), &path.child("controller"), &mut errors);
        if let Some(reference) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) {
            parameters(reference, &path.child("parameters"), &mut errors);
        }
        errors
    }
}

fn parameters(reference: &IngressClassParametersReference, path: &Path<'_>, errors: &mut ErrorList) {
    rules::typed_reference(reference.api_group.as_deref(), &reference.kind, &reference.name, path, errors);
    let path_namespace = path.child("namespace");
    match (reference.scope.as_deref(), reference.namespace.as_deref()) {
        (None, _) => errors.required(&path.child("scope"), ""),
        (Some("Namespace"), None) => {
            errors.required(&path_namespace, "`parameters.scope` is set to 'Namespace'");
        }
        (Some("Namespace"), Some(name)) => errors.invalid_each(&path_namespace, name, format::dns1123_label(name)),
        (Some("Cluster"), Some(_)) => {
            errors.forbidden(&path_namespace, "`parameters.scope` is set to 'Cluster'");
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

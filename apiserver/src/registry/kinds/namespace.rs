//! Namespace: a scope of names, held by its own finalizers until it is empty.

use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use reeve_api::validation::metadata::{NameRule, finalizer_name};
use reeve_api::validation::{ErrorList, Path};

use crate::registry::strategy::{RequestContext, Strategy};

/// The finalizer that the namespace controller removes when the namespace is empty.
const FINALIZER: &str = "kubernetes";

/// The strategy.
pub struct Namespaces;

impl Strategy for Namespaces {
    type Object = Namespace;

    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Label
    }

    fn default(&self, namespace: &mut Namespace) {
        namespace.spec.get_or_insert_default();
        namespace.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, namespace: &mut Namespace) {
        namespace.status = Some(NamespaceStatus { phase: Some("Active".to_owned()), conditions: None });
        let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn validate(&self, namespace: &Namespace) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let path = path.child("finalizers");
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        for (index, finalizer) in finalizers.into_iter().flatten().enumerate() {
            finalizer_name(finalizer, &path.index(index), &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, namespace: &mut Namespace, old: &Namespace) {
        namespace.spec.clone_from(&old.spec);
        namespace.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, namespace: &mut Namespace, old: &Namespace) {
        namespace.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, namespace: &Namespace, _old: &Namespace) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() {
            if phase != "Active" {
                errors.invalid(&path.child("phase"), phase, "may only be 'Active' if `deletionTimestamp` is empty");
            }
        } else if phase != "Terminating" {
            errors.invalid(
                &path.child("phase"),
                phase,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            );
        }
        errors
    }

    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        _context: &RequestContext,
        namespace: &mut Namespace,
        old: &Namespace,
    ) {
        if subresource == "finalize" {
            namespace.status.clone_from(&old.status);
        }
    }

    fn begin_deletion(&self, namespace: &mut Namespace) {
        namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
    }

    fn is_held(&self, namespace: &Namespace) -> bool {
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        finalizers.is_some_and(|finalizers| !finalizers.is_empty())
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["name", "status.phase"]
    }

    fn fields(&self, namespace: &Namespace) -> Vec<(&'static str, String)> {
        let phase = namespace.status.as_ref().and_then(|status| status.phase.clone());
        vec![("name", namespace.metadata.name.clone().unwrap_or_default()), ("status.phase", phase.unwrap_or_default())]
    }
}

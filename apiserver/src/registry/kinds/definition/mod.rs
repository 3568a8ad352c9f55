//! CustomResourceDefinition: a kind that a user makes.

pub mod names;
mod schema;
mod validation;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames, CustomResourceDefinitionStatus,
};
use reeve_api::validation::ErrorList;

use super::generation;
use crate::registry::custom::schema::Node;
use crate::registry::strategy::{RequestContext, Strategy};

/// Holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The strategy.
pub struct Definitions;

impl Strategy for Definitions {
    type Object = CustomResourceDefinition;

    fn default(&self, definition: &mut CustomResourceDefinition) {
        let spec = &mut definition.spec;
        let names = &mut spec.names;
        if names.singular.as_deref().unwrap_or_default().is_empty() {
            names.singular = Some(names.kind.to_lowercase());
        }
        if names.list_kind.as_deref().unwrap_or_default().is_empty() && !names.kind.is_empty() {
            names.list_kind = Some(format!("{}List", names.kind));
        }
        let conversion = spec
            .conversion
            .get_or_insert_with(|| CustomResourceConversion { strategy: "None".to_owned(), webhook: None });
        if let Some(client) = conversion.webhook.as_mut().and_then(|webhook| webhook.client_config.as_mut())
            && let Some(service) = &mut client.service
        {
            service.port.get_or_insert(443);
        }
        // An explicit false is what is meant anyway, and upstream does not write it.
        spec.preserve_unknown_fields = spec.preserve_unknown_fields.filter(|preserve| *preserve);
    }

    fn prepare_for_create(&self, _context: &RequestContext, definition: &mut CustomResourceDefinition) {
        let stored = definition.spec.versions.iter().filter(|version| version.storage);
        definition.status = Some(CustomResourceDefinitionStatus {
            accepted_names: Some(CustomResourceDefinitionNames::default()),
            stored_versions: Some(stored.map(|version| version.name.clone()).collect()),
            ..CustomResourceDefinitionStatus::default()
        });
        generation::start(&mut definition.metadata);
    }

    fn validate(&self, definition: &CustomResourceDefinition) -> ErrorList {
        validation::new(definition)
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        definition: &mut CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) {
        definition.status.clone_from(&old.status);
        let status = definition.status.get_or_insert_default();
        let stored = status.stored_versions.get_or_insert_default();
        for version in definition.spec.versions.iter().filter(|version| version.storage) {
            if !stored.contains(&version.name) {
                stored.push(version.name.clone());
            }
        }
        generation::follow(&mut definition.metadata, &old.metadata, definition.spec != old.spec);
    }

    fn validate_update(&self, definition: &CustomResourceDefinition, old: &CustomResourceDefinition) -> ErrorList {
        validation::change(definition, old)
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        definition: &mut CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) {
        definition.spec = old.spec.clone();
        definition.metadata = old.metadata.clone();
    }

    fn validate_status_update(
        &self,
        definition: &CustomResourceDefinition,
        _old: &CustomResourceDefinition,
    ) -> ErrorList {
        validation::stored_versions(definition)
    }

    fn begin_deletion(&self, definition: &mut CustomResourceDefinition) {
        let finalizers = definition.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        let now = definition.metadata.deletion_timestamp.clone();
        names::set_condition(
            definition.status.get_or_insert_default(),
            CustomResourceDefinitionCondition {
                type_: "Terminating".to_owned(),
                status: "True".to_owned(),
                reason: Some("InstanceDeletionPending".to_owned()),
                message: Some(
                    "CustomResourceDefinition marked for deletion; CustomResource deletion will start soon".to_owned(),
                ),
                last_transition_time: now,
                ..CustomResourceDefinitionCondition::default()
            },
        );
    }

    fn is_held(&self, definition: &CustomResourceDefinition) -> bool {
        // The first deletion always leaves it to the cleanup.
        definition.metadata.deletion_timestamp.is_none()
    }

    fn warnings(&self, definition: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_some_and(|old| old.spec == definition.spec) {
            return warnings;
        }
        for version in &definition.spec.versions {
            let props = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            if props.is_some_and(|props| Node::compile(props).has_rules) {
                tracing::warn!(
                    definition = definition.metadata.name,
                    version = version.name,
                    "x-kubernetes-validations are not evaluated yet"
                );
                warnings.push("x-kubernetes-validations are not evaluated yet".to_owned());
                break;
            }
        }
        if definition.spec.conversion.as_ref().is_some_and(|conversion| conversion.strategy == "Webhook") {
            warnings.push("conversion webhooks are not called yet: versions differ in apiVersion alone".to_owned());
        }
        warnings
    }
}

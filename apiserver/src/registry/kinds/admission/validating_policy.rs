//! ValidatingAdmissionPolicy and its bindings: rules in expressions about requests.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyStatus, Validation,
};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::matching;
use crate::registry::kinds::{generation, rules};
use crate::registry::strategy::{RequestContext, Strategy};

const NOTHING_TO_DO: &str = "validations or auditAnnotations must contain at least one item";
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// The strategy of policies.
pub struct ValidatingPolicies;

impl Strategy for ValidatingPolicies {
    type Object = ValidatingAdmissionPolicy;

    fn default(&self, policy: &mut ValidatingAdmissionPolicy) {
        let spec = policy.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| "Fail".to_owned());
        if let Some(constraints) = &mut spec.match_constraints {
            matching::default_resources(constraints);
        }
        policy.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, policy: &mut ValidatingAdmissionPolicy) {
        policy.status = Some(ValidatingAdmissionPolicyStatus::default());
        generation::start(&mut policy.metadata);
    }

    fn validate(&self, policy: &ValidatingAdmissionPolicy) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &policy.spec else { return errors };
        let path = Path::new("spec");
        matching::failure_policy(spec.failure_policy.as_deref(), &path, &mut errors);
        matching::param_kind(spec.param_kind.as_ref(), &path, &mut errors);
        let path_constraints = path.child("matchConstraints");
        match &spec.match_constraints {
            None => errors.required(&path_constraints, ""),
            Some(constraints) => {
                matching::match_resources(constraints, &path_constraints, &mut errors);
                if constraints.resource_rules.as_ref().is_none_or(Vec::is_empty) {
                    errors.required(&path_constraints.child("resourceRules"), "");
                }
            }
        }
        matching::variables(spec.variables.as_deref(), &path, &mut errors);
        matching::conditions(spec.match_conditions.as_deref(), &path, &mut errors);
        let validations = spec.validations.as_deref().unwrap_or_default();
        let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
        if validations.is_empty() && annotations.is_empty() {
            for field in ["validations", "auditAnnotations"] {
                errors.required(&path.child(field), NOTHING_TO_DO);
            }
        }
        let path_validations = path.child("validations");
        for (index, validation) in validations.iter().enumerate() {
            check(validation, &path_validations.index(index), &mut errors);
        }
        let path_annotations = path.child("auditAnnotations");
        let mut keys = BTreeSet::new();
        for (index, annotation) in annotations.iter().enumerate() {
            let path = path_annotations.index(index);
            let name = format!("{}/{}", policy.metadata.name.as_deref().unwrap_or_default(), annotation.key);
            errors.invalid_each(&path.child("key"), &name, format::qualified_name(&name));
            if !keys.insert(&annotation.key) {
                errors.duplicate(&path.child("key"), &annotation.key);
            }
            let missing = "valueExpression is not specified";
            matching::expression(&annotation.value_expression, missing, &path.child("valueExpression"), &mut errors);
        }
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        new: &mut ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) {
        new.status.clone_from(&old.status);
        let changed = new.spec != old.spec;
        generation::follow(&mut new.metadata, &old.metadata, changed);
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        new: &mut ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) {
        new.spec.clone_from(&old.spec);
    }
}

fn check(validation: &Validation, path: &Path<'_>, errors: &mut ErrorList) {
    let missing = "expression is not specified";
    matching::expression(&validation.expression, missing, &path.child("expression"), errors);
    let message = validation.message.as_deref().unwrap_or_default();
    let path_message = path.child("message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&path_message, message, "message must be non-empty if specified");
    } else if message.trim().contains('\n') {
        errors.invalid(&path_message, message, "message must not contain line breaks");
    } else if validation.expression.contains('\n') && message.trim().is_empty() {
        errors.required(&path_message, "message must be specified if expression contains line breaks");
    }
    if let Some(reason) = validation.reason.as_deref() {
        rules::one_of(reason, &REASONS, &path.child("reason"), errors);
    }
}

/// The strategy of bindings.
pub struct ValidatingPolicyBindings;

impl Strategy for ValidatingPolicyBindings {
    type Object = ValidatingAdmissionPolicyBinding;

    fn default(&self, binding: &mut ValidatingAdmissionPolicyBinding) {
        if let Some(resources) = &mut binding.spec.match_resources {
            matching::default_resources(resources);
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, binding: &mut ValidatingAdmissionPolicyBinding) {
        generation::start(&mut binding.metadata);
    }

    fn validate(&self, binding: &ValidatingAdmissionPolicyBinding) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = &binding.spec;
        rules::reference_name(&spec.policy_name, "", &path.child("policyName"), &mut errors);
        matching::param_ref(spec.param_ref.as_ref(), &path, &mut errors);
        if let Some(resources) = &spec.match_resources {
            matching::match_resources(resources, &path.child("matchResources"), &mut errors);
        }
        actions(&spec.validation_actions, &path.child("validationActions"), &mut errors);
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        new: &mut ValidatingAdmissionPolicyBinding,
        old: &ValidatingAdmissionPolicyBinding,
    ) {
        let changed = new.spec != old.spec;
        generation::follow(&mut new.metadata, &old.metadata, changed);
    }
}

fn actions(actions: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    if actions.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().enumerate() {
        let path = path.index(index);
        rules::one_of(action, &["Audit", "Deny", "Warn"], &path, errors);
        if !seen.insert(action.as_str()) {
            errors.duplicate(&path, action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.invalid(path, BadValue::json(&actions), why);
    }
}

//! MutatingAdmissionPolicy and its bindings: expressions that change objects of requests.

use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, Mutation};
use reeve_api::validation::{ErrorList, Path};

use super::matching;
use crate::registry::kinds::{generation, rules};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy of policies.
pub struct MutatingPolicies;

impl Strategy for MutatingPolicies {
    type Object = MutatingAdmissionPolicy;

    fn default(&self, policy: &mut MutatingAdmissionPolicy) {
        let spec = policy.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| "Fail".to_owned());
        if let Some(constraints) = &mut spec.match_constraints {
            matching::default_resources(constraints);
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, policy: &mut MutatingAdmissionPolicy) {
        generation::start(&mut policy.metadata);
    }

    fn validate(&self, policy: &MutatingAdmissionPolicy) -> ErrorList {
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
        let mutations = spec.mutations.as_deref().unwrap_or_default();
        let path_mutations = path.child("mutations");
        if mutations.is_empty() {
            errors.required(&path_mutations, "mutations must contain at least one item");
        }
        for (index, mutation) in mutations.iter().enumerate() {
            check(mutation, &path_mutations.index(index), &mut errors);
        }
        let path_again = path.child("reinvocationPolicy");
        match spec.reinvocation_policy.as_deref() {
            None | Some("") => errors.required(&path_again, ""),
            Some(policy) => rules::one_of(policy, &["IfNeeded", "Never"], &path_again, &mut errors),
        }
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        new: &mut MutatingAdmissionPolicy,
        old: &MutatingAdmissionPolicy,
    ) {
        let changed = new.spec != old.spec;
        generation::follow(&mut new.metadata, &old.metadata, changed);
    }
}

fn check(mutation: &Mutation, path: &Path<'_>, errors: &mut ErrorList) {
    let apply = mutation.apply_configuration.as_ref().map(|apply| apply.expression.as_deref().unwrap_or_default());
    let patch = mutation.json_patch.as_ref().map(|patch| patch.expression.as_deref().unwrap_or_default());
    let (wanted, other) = match mutation.patch_type.as_str() {
        "ApplyConfiguration" => (("applyConfiguration", apply), ("jsonPatch", patch)),
        "JSONPatch" => (("jsonPatch", patch), ("applyConfiguration", apply)),
        "" => {
            errors.required(&path.child("patchType"), "");
            return;
        }
        other => {
            errors.not_supported(&path.child("patchType"), other, &["ApplyConfiguration", "JSONPatch"]);
            return;
        }
    };
    match wanted {
        (field, None) => errors.required(&path.child(field), ""),
        (field, Some(expression)) => {
            let path = path.child(field);
            matching::expression(expression, "expression is not specified", &path.child("expression"), errors);
        }
    }
    if let (field, Some(_)) = other {
        let why = format!("patchType is {}, {field} may not be set", mutation.patch_type);
        errors.forbidden(&path.child(field), why);
    }
}

/// The strategy of bindings.
pub struct MutatingPolicyBindings;

impl Strategy for MutatingPolicyBindings {
    type Object = MutatingAdmissionPolicyBinding;

    fn default(&self, binding: &mut MutatingAdmissionPolicyBinding) {
        let spec = binding.spec.get_or_insert_default();
        if let Some(resources) = &mut spec.match_resources {
            matching::default_resources(resources);
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, binding: &mut MutatingAdmissionPolicyBinding) {
        generation::start(&mut binding.metadata);
    }

    fn validate(&self, binding: &MutatingAdmissionPolicyBinding) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &binding.spec else { return errors };
        let path = Path::new("spec");
        let policy = spec.policy_name.as_deref().unwrap_or_default();
        rules::reference_name(policy, "", &path.child("policyName"), &mut errors);
        matching::param_ref(spec.param_ref.as_ref(), &path, &mut errors);
        if let Some(resources) = &spec.match_resources {
            matching::match_resources(resources, &path.child("matchResources"), &mut errors);
        }
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        new: &mut MutatingAdmissionPolicyBinding,
        old: &MutatingAdmissionPolicyBinding,
    ) {
        let changed = new.spec != old.spec;
        generation::follow(&mut new.metadata, &old.metadata, changed);
    }
}

//! StorageClass: how volumes are made when a claim asks for them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use reeve_api::validation::{ErrorList, Path, format};

use super::{parameters, provisioner};
use crate::registry::kinds::rules;
use crate::registry::strategy::Strategy;

/// The strategy.
pub struct StorageClasses;

impl Strategy for StorageClasses {
    type Object = StorageClass;

    fn default(&self, class: &mut StorageClass) {
        class.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        class.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate(&self, class: &StorageClass) -> ErrorList {
        let mut errors = ErrorList::new();
        provisioner(&class.provisioner, &Path::new("provisioner"), &mut errors);
        parameters(class.parameters.as_ref(), &Path::new("parameters"), &mut errors);
        if let Some(policy) = class.reclaim_policy.as_deref().filter(|policy| !policy.is_empty()) {
            rules::one_of(policy, &["Delete", "Retain"], &Path::new("reclaimPolicy"), &mut errors);
        }
        rules::required_one_of(
            class.volume_binding_mode.as_deref(),
            &["Immediate", "WaitForFirstConsumer"],
            &Path::new("volumeBindingMode"),
            &mut errors,
        );
        topologies(class.allowed_topologies.as_deref().unwrap_or_default(), &mut errors);
        errors
    }

    fn validate_update(&self, class: &StorageClass, old: &StorageClass) -> ErrorList {
        let mut errors = self.validate(class);
        rules::immutable(&class.provisioner, &old.provisioner, &Path::new("provisioner"), &mut errors);
        if class.parameters.clone().unwrap_or_default() != old.parameters.clone().unwrap_or_default() {
            errors.forbidden(&Path::new("parameters"), "updates to parameters are forbidden.");
        }
        rules::immutable(&class.reclaim_policy, &old.reclaim_policy, &Path::new("reclaimPolicy"), &mut errors);
        let path = Path::new("volumeBindingMode");
        rules::immutable(&class.volume_binding_mode, &old.volume_binding_mode, &path, &mut errors);
        errors
    }
}

fn topologies(terms: &[TopologySelectorTerm], errors: &mut ErrorList) {
    let path_terms = Path::new("allowedTopologies");
    let mut seen = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path_terms.index(index);
        let path_expressions = path.child("matchLabelExpressions");
        let mut keys = BTreeSet::new();
        let mut whole = BTreeSet::new();
        for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
            let path = path_expressions.index(index);
            let path_values = path.child("values");
            if expression.values.is_empty() {
                errors.required(&path_values, "");
            }
            let mut values = BTreeSet::new();
            for (index, value) in expression.values.iter().enumerate() {
                if !values.insert(value) {
                    errors.duplicate(&path_values.index(index), value);
                }
            }
            errors.invalid_each(&path.child("key"), &expression.key, format::qualified_name(&expression.key));
            if !keys.insert(&expression.key) {
                errors.duplicate(&path.child("key"), &expression.key);
            }
            whole.insert((&expression.key, values));
        }
        if seen.contains(&whole) {
            errors.duplicate(&path_expressions, "");
        }
        seen.push(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(provisioner: &str, policy: Option<&str>) -> StorageClass {
        let mut class = StorageClass {
            provisioner: provisioner.to_owned(),
            reclaim_policy: policy.map(str::to_owned),
            ..StorageClass::default()
        };
        StorageClasses.default(&mut class);
        class
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_class_names_its_provisioner_and_policy() {
        assert!(StorageClasses.validate(&class("example.com/P", None)).is_empty());
        assert_eq!(
            texts(&StorageClasses.validate(&class("", Some("Recycle")))),
            [
                "provisioner: Required value",
                r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#,
            ]
        );
    }

    #[test]
    fn a_class_is_what_it_was() {
        assert_eq!(
            texts(&StorageClasses.validate_update(&class("b", Some("Retain")), &class("a", None))),
            [
                r#"provisioner: Invalid value: "b": field is immutable"#,
                r#"reclaimPolicy: Invalid value: "Retain": field is immutable"#,
            ]
        );
    }
}

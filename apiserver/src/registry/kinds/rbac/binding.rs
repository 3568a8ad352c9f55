//! RoleBinding and ClusterRoleBinding: who has a role.

use crate::registry::internal;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use reeve_api::validation::metadata::{NameRule, path_segment};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::GROUP;
use crate::registry::strategy::Strategy;

/// The strategy of bindings of a namespace.
pub struct RoleBindings;

impl Strategy for RoleBindings {
    type Object = RoleBinding;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn default(&self, binding: &mut RoleBinding) {
        default(&mut binding.role_ref, binding.subjects.as_mut());
    }

    fn validate(&self, binding: &RoleBinding) -> ErrorList {
        let mut errors = ErrorList::new();
        role_ref(&binding.role_ref, &["Role", "ClusterRole"], &mut errors);
        subjects(binding.subjects.as_deref(), true, &mut errors);
        errors
    }

    fn validate_update(&self, binding: &RoleBinding, old: &RoleBinding) -> ErrorList {
        let mut errors = self.validate(binding);
        same_role(&binding.role_ref, &old.role_ref, &mut errors);
        errors
    }
}

/// The strategy of bindings of the cluster.
pub struct ClusterRoleBindings;

impl Strategy for ClusterRoleBindings {
    type Object = ClusterRoleBinding;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn default(&self, binding: &mut ClusterRoleBinding) {
        default(&mut binding.role_ref, binding.subjects.as_mut());
    }

    fn validate(&self, binding: &ClusterRoleBinding) -> ErrorList {
        let mut errors = ErrorList::new();
        role_ref(&binding.role_ref, &["ClusterRole"], &mut errors);
        subjects(binding.subjects.as_deref(), false, &mut errors);
        errors
    }

    fn validate_update(&self, binding: &ClusterRoleBinding, old: &ClusterRoleBinding) -> ErrorList {
        let mut errors = self.validate(binding);
        same_role(&binding.role_ref, &old.role_ref, &mut errors);
        errors
    }
}

fn default(role: &mut RoleRef, subjects: Option<&mut Vec<Subject>>) {
    if role.api_group.as_deref().unwrap_or_default().is_empty() {
        role.api_group = Some(GROUP.to_owned());
    }
    for subject in subjects.into_iter().flatten() {
        if subject.api_group.as_deref().unwrap_or_default().is_empty() {
            subject.api_group = matches!(subject.kind.as_str(), "User" | "Group").then(|| GROUP.to_owned());
        }
    }
}

fn role_ref(role: &RoleRef, kinds: &[&str], errors: &mut ErrorList) {
    let path = Path::new("roleRef");
    let group = role.api_group.as_deref().unwrap_or_default();
    if group != GROUP {
        errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
    }
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(&path.child("kind"), &role.kind, kinds);
    }
    let path = path.child("name");
    if role.name.is_empty() {
        errors.required(&path, "");
    } else {
        errors.invalid_each(&path, &role.name, path_segment(&role.name, false));
    }
}

fn same_role(role: &RoleRef, old: &RoleRef, errors: &mut ErrorList) {
    if role != old {
        let shown = BadValue::json(&internal::form(role, "RoleRef"));
        errors.invalid(&Path::new("roleRef"), shown, "cannot change roleRef");
    }
}

/// `namespaced` says that an account without namespace is one of the binding's own.
fn subjects(subjects: Option<&[Subject]>, namespaced: bool, errors: &mut ErrorList) {
    let path = Path::new("subjects");
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let path_name = path.child("name");
        let path_group = path.child("apiGroup");
        if subject.name.is_empty() {
            errors.required(&path_name, "");
        }
        let group = subject.api_group.as_deref().unwrap_or_default();
        match subject.kind.as_str() {
            "ServiceAccount" => {
                if !subject.name.is_empty() {
                    errors.invalid_each(&path_name, &subject.name, format::dns1123_subdomain(&subject.name));
                }
                if !group.is_empty() {
                    errors.not_supported(&path_group, group, &[""]);
                }
                if !namespaced && subject.namespace.as_deref().unwrap_or_default().is_empty() {
                    errors.required(&path.child("namespace"), "");
                }
            }
            "User" | "Group" if group != GROUP => errors.not_supported(&path_group, group, &[GROUP]),
            "User" | "Group" => {}
            other => errors.not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(kind: &str, subject: &str) -> ClusterRoleBinding {
        let mut binding = ClusterRoleBinding {
            role_ref: RoleRef { kind: kind.to_owned(), name: "r".to_owned(), ..RoleRef::default() },
            subjects: Some(vec![Subject { kind: subject.to_owned(), name: "s".to_owned(), ..Subject::default() }]),
            ..ClusterRoleBinding::default()
        };
        ClusterRoleBindings.default(&mut binding);
        binding
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn users_and_groups_are_of_the_group() {
        let user = binding("ClusterRole", "User");
        assert_eq!(user.role_ref.api_group.as_deref(), Some(GROUP));
        assert_eq!(user.subjects.as_ref().unwrap()[0].api_group.as_deref(), Some(GROUP));
        assert!(ClusterRoleBindings.validate(&user).is_empty());
    }

    #[test]
    fn a_cluster_wide_binding_names_the_account_whole() {
        assert_eq!(
            texts(&ClusterRoleBindings.validate(&binding("Role", "ServiceAccount"))),
            [
                r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
                "subjects[0].namespace: Required value",
            ]
        );
    }

    #[test]
    fn a_binding_keeps_its_role() {
        let (old, mut new) = (binding("ClusterRole", "User"), binding("ClusterRole", "User"));
        new.role_ref.name = "other".to_owned();
        assert_eq!(
            texts(&ClusterRoleBindings.validate_update(&new, &old)),
            [
                r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"other"}: cannot change roleRef"#
            ]
        );
    }
}

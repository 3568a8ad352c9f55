//! Nobody writes a role or a binding that grants more than he has.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use reeve_api::{GroupVersionResource, StatusError};

use super::{Request, typed};
use crate::authorization::{escalation, rbac};
use crate::registry::AnyObject;

pub fn judge(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    let name = object.metadata().name.as_deref().unwrap_or_default();
    if let Some(role) = typed::<Role>(object) {
        let old = old.and_then(typed::<Role>);
        return check_role(request, object, "roles", name, role.rules.as_ref(), old.map(|old| old.rules.as_ref()));
    }
    if let Some(role) = typed::<ClusterRole>(object) {
        let old = old.and_then(typed::<ClusterRole>);
        let aggregates =
            role.aggregation_rule.is_some() && old.is_none_or(|old| old.aggregation_rule != role.aggregation_rule);
        if aggregates && let Some(why) = escalation::of_aggregation(request.authorizer, request.user, name) {
            return Err(request.forbidden(object, why));
        }
        let before = old.map(|old| old.rules.as_ref());
        return check_role(request, object, "clusterroles", name, role.rules.as_ref(), before);
    }
    if let Some(binding) = typed::<RoleBinding>(object) {
        let old = old.and_then(typed::<RoleBinding>).map(|old| (&old.role_ref, old.subjects.as_ref()));
        return check_binding(request, object, &binding.role_ref, binding.subjects.as_ref(), old);
    }
    if let Some(binding) = typed::<ClusterRoleBinding>(object) {
        let old = old.and_then(typed::<ClusterRoleBinding>).map(|old| (&old.role_ref, old.subjects.as_ref()));
        return check_binding(request, object, &binding.role_ref, binding.subjects.as_ref(), old);
    }
    Ok(())
}

type Rules<'a> = Option<&'a Vec<PolicyRule>>;

fn check_role(
    request: &Request<'_>,
    object: &dyn AnyObject,
    resource: &str,
    name: &str,
    rules: Rules<'_>,
    old: Option<Rules<'_>>,
) -> Result<(), StatusError> {
    if old == Some(rules) {
        return Ok(());
    }
    let rules = rules.map(Vec::as_slice).unwrap_or_default();
    let namespace = request.target.namespace.as_str();
    match escalation::of_role(request.authorizer, request.user, resource, namespace, name, rules) {
        Some(why) => Err(request.forbidden(object, why)),
        None => Ok(()),
    }
}

fn check_binding(
    request: &Request<'_>,
    object: &dyn AnyObject,
    role: &RoleRef,
    subjects: Option<&Vec<Subject>>,
    old: Option<(&RoleRef, Option<&Vec<Subject>>)>,
) -> Result<(), StatusError> {
    if old.is_some_and(|(old, before)| old == role && before == subjects) {
        return Ok(());
    }
    let namespace = request.target.namespace.as_str();
    let rules = || {
        rbac::role_rules(request.policy, role, namespace).ok_or_else(|| {
            let resource = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
            let resource = GroupVersionResource::new("rbac.authorization.k8s.io", "v1", resource);
            StatusError::not_found(&resource, &role.name)
        })
    };
    match escalation::of_binding(request.authorizer, request.user, namespace, role, rules)? {
        Some(why) => Err(request.forbidden(object, why)),
        None => Ok(()),
    }
}

//! The group `rbac.authorization.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::rbac::{binding, role};

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&binding::ClusterRoleBindings, "/registry/clusterrolebindings/", words("clusterrolebinding", &[], &[])),
        row(&role::ClusterRoles, "/registry/clusterroles/", words("clusterrole", &[], &[])),
        row(&binding::RoleBindings, "/registry/rolebindings/", words("rolebinding", &[], &[])),
        row(&role::Roles, "/registry/roles/", words("role", &[], &[])),
    ]
}

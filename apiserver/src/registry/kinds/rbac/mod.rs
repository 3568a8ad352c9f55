//! Who may do what: roles, which list permissions, and bindings, which give them to users
//! (`pkg/apis/rbac/validation`).

pub mod binding;
pub mod role;

/// The API group of roles and of the users and groups that bindings name.
const GROUP: &str = "rbac.authorization.k8s.io";

//! The object model of Reeve: what a kind is, and the algorithms on objects.
//!
//! Everything here is pure: no runtime, no wire, no storage, no clock. Kinds are those of
//! [`k8s_openapi`]; time and randomness come in as parameters.

pub mod age;
pub mod balancer;
pub mod conditions;
pub mod field_path;
pub mod go_text;
pub mod handover;
pub mod json;
pub mod meta;
pub mod names;
pub mod patch;
pub mod print;
pub mod quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod validation;
pub mod yaml;

pub use k8s_openapi;
pub use meta::{ObjectKey, ObjectMeta};
pub use resource::{GroupVersionKind, GroupVersionResource, ResourceInfo};
pub use status::{Reason, StatusError};

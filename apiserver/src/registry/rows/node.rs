//! The group `node.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::runtime_class::RuntimeClasses;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![row(&RuntimeClasses, "/registry/runtimeclasses/", words("runtimeclass", &[], &[]))]
}

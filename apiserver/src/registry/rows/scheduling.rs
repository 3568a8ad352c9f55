//! The group `scheduling.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::priority_class::PriorityClasses;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![row(&PriorityClasses, "/registry/priorityclasses/", words("priorityclass", &["pc"], &[]))]
}

//! The group `coordination.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![row(&kinds::lease::Leases, "/registry/leases/", words("lease", &[], &[]))]
}

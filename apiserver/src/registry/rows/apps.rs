//! The group `apps`.

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&kinds::deployment::Deployments, "/registry/deployments/", words("deployment", &["deploy"], &["all"]))
            .with_scale()
            .with_status(),
        row(&kinds::replica_set::ReplicaSets, "/registry/replicasets/", words("replicaset", &["rs"], &["all"]))
            .with_scale()
            .with_status(),
    ]
}

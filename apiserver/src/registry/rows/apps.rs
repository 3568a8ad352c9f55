//! The group `apps`.

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            &kinds::controller_revision::ControllerRevisions,
            "/registry/controllerrevisions/",
            words("controllerrevision", &[], &[]),
        ),
        row(&kinds::daemon_set::DaemonSets, "/registry/daemonsets/", words("daemonset", &["ds"], &["all"]))
            .with_status(),
        row(&kinds::deployment::Deployments, "/registry/deployments/", words("deployment", &["deploy"], &["all"]))
            .with_scale()
            .with_status(),
        row(&kinds::replica_set::ReplicaSets, "/registry/replicasets/", words("replicaset", &["rs"], &["all"]))
            .with_scale()
            .with_status(),
        row(&kinds::stateful_set::StatefulSets, "/registry/statefulsets/", words("statefulset", &["sts"], &["all"]))
            .with_scale()
            .with_status(),
    ]
}

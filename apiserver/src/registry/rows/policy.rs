//! The group `policy`.

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            &kinds::pod_disruption_budget::PodDisruptionBudgets,
            "/registry/poddisruptionbudgets/",
            words("poddisruptionbudget", &["pdb"], &[]),
        )
        .with_status(),
    ]
}

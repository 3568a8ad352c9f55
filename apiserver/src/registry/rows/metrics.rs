//! The group `metrics.k8s.io`: what nodes and pods use, asked of the kubelets and not stored. Served where the API
//! server has credentials for kubelets.

use super::{row, words};
use crate::registry::Row;
use crate::registry::kinds::metrics;

const READ: &[&str] = &["get", "list"];

pub(in crate::registry) fn rows() -> Vec<Row> {
    vec![
        row(&metrics::AllNodeMetrics, "", words("", &[], &[])).with_verbs(READ),
        row(&metrics::AllPodMetrics, "", words("", &[], &[])).with_verbs(READ),
    ]
}

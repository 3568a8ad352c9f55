//! The group `autoscaling`: stored as `v2`, of which `v1` is a view.

use std::sync::Arc;

use crate::registry::Row;
use crate::registry::kinds::autoscaler;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![autoscalers(), autoscalers().viewed_as("autoscaling", "v1", Arc::new(autoscaler::FirstVersion))]
}

fn autoscalers() -> Row {
    row(
        &autoscaler::HorizontalPodAutoscalers,
        "/registry/horizontalpodautoscalers/",
        words("horizontalpodautoscaler", &["hpa"], &["all"]),
    )
    .with_status()
}

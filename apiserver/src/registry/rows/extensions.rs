//! The group `apiextensions.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::definition::Definitions;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            &Definitions,
            "/registry/apiextensions.k8s.io/customresourcedefinitions/",
            words("customresourcedefinition", &["crd", "crds"], &["api-extensions"]),
        )
        .with_status(),
    ]
}

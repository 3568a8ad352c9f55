//! The group `apiregistration.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::api_service::ApiServices;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            &ApiServices,
            "/registry/apiregistration.k8s.io/apiservices/",
            words("apiservice", &[], &["api-extensions"]),
        )
        .with_status(),
    ]
}

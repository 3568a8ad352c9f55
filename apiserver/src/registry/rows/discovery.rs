//! The group `discovery.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![row(&kinds::endpoint_slice::EndpointSlices, "/registry/endpointslices/", words("endpointslice", &[], &[]))]
}

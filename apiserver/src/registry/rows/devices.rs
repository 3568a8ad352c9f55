//! The group `resource.k8s.io`: devices and the claims on them.

use crate::registry::Row;
use crate::registry::kinds::devices::{claim, class, slice, template};

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&class::DeviceClasses, "/registry/deviceclasses/", words("deviceclass", &[], &[])),
        row(&claim::ResourceClaims, "/registry/resourceclaims/", words("resourceclaim", &[], &[])).with_status(),
        row(
            &template::ResourceClaimTemplates,
            "/registry/resourceclaimtemplates/",
            words("resourceclaimtemplate", &[], &[]),
        ),
        row(&slice::ResourceSlices, "/registry/resourceslices/", words("resourceslice", &[], &[])),
    ]
}

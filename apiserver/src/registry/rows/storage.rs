//! The group `storage.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::storage::{attachment, attributes_class, capacity, class, driver, node};

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&driver::CsiDrivers, "/registry/csidrivers/", words("csidriver", &[], &[])),
        row(&node::CsiNodes, "/registry/csinodes/", words("csinode", &[], &[])),
        row(&capacity::CsiStorageCapacities, "/registry/csistoragecapacities/", words("csistoragecapacity", &[], &[])),
        row(&class::StorageClasses, "/registry/storageclasses/", words("storageclass", &["sc"], &[])),
        row(&attachment::VolumeAttachments, "/registry/volumeattachments/", words("volumeattachment", &[], &[]))
            .with_status(),
        row(
            &attributes_class::VolumeAttributesClasses,
            "/registry/volumeattributesclasses/",
            words("volumeattributesclass", &["vac"], &[]),
        ),
    ]
}

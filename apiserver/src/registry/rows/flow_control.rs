//! The group `flowcontrol.apiserver.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::flow_control::{priority_level, schema};

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&schema::FlowSchemas, "/registry/flowschemas/", words("flowschema", &[], &[])).with_status(),
        row(
            &priority_level::PriorityLevels,
            "/registry/prioritylevelconfigurations/",
            words("prioritylevelconfiguration", &[], &[]),
        )
        .with_status(),
    ]
}

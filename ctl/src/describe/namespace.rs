//! Namespaces.

use serde_json::Value;

use super::writer::Writer;
use crate::value::{items, name, text};

/// Describes a namespace; one that does not go says why.
///
/// Its quotas and limit ranges are related.
pub fn describe(writer: &mut Writer, object: &Value, related: &[Value]) {
    writer.field(0, "Name", name(object));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[crate::merge::LAST_APPLIED]);
    writer.state(0, "Status", text(object, "status.phase"));
    let conditions = items(object, "status.conditions");
    if !conditions.is_empty() {
        writer.line(0, "Conditions:");
        let rows: Vec<Vec<String>> = conditions
            .iter()
            .map(|condition| {
                ["type", "status", "lastTransitionTime", "reason", "message"]
                    .map(|field| text(condition, field).to_owned())
                    .to_vec()
            })
            .collect();
        writer.table(1, &["Type", "Status", "LastTransitionTime", "Reason", "Message"], &rows);
    }
    let of = |kind: &'static str| related.iter().filter(move |one| text(one, "kind") == kind);
    writer.line(0, "");
    if of("ResourceQuota").next().is_none() {
        writer.line(0, "No resource quota.");
    } else {
        writer.line(0, "Resource Quotas");
        for quota in of("ResourceQuota") {
            writer.field(1, "Name", name(quota));
            super::policy::amounts(writer, 1, quota);
        }
    }
    writer.line(0, "");
    if of("LimitRange").next().is_none() {
        writer.line(0, "No LimitRange resource.");
    } else {
        writer.line(0, "Resource Limits");
        of("LimitRange").for_each(|range| super::policy::limits(writer, range));
    }
}

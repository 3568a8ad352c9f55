//! Namespaces.

use serde_json::Value;

use super::writer::Writer;
use crate::value::{items, name, text};

/// Describes a namespace; one that does not go says why.
pub fn describe(writer: &mut Writer, object: &Value) {
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
}

//! Tables of objects, by kind.

use jiff::Timestamp;
use reeve_api::ResourceInfo;
use serde_json::Value;

use super::table::Table;
use crate::value::{entries, name, namespace, text};

/// How to lay out a table of objects.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// All columns, not only the important ones.
    pub wide: bool,
    /// A first column with the namespace.
    pub with_namespace: bool,
    /// Names as `pod/web`.
    pub with_kind: bool,
    /// A last column with all labels.
    pub show_labels: bool,
    /// A column for each of these labels.
    pub label_columns: Vec<String>,
}

/// The table of objects of one resource, with kubectl's extra columns.
pub fn table(info: &ResourceInfo, objects: &[Value], layout: &Layout, now: Timestamp) -> Table {
    let (mut headers, mut rows) = columns(info, objects, layout.wide, now);
    if layout.with_kind {
        let kind = crate::resolve::singular(info);
        for row in &mut rows {
            if let Some(cell) = row.first_mut() {
                *cell = format!("{kind}/{cell}");
            }
        }
    }
    for label in &layout.label_columns {
        headers.push(label.rsplit('/').next().unwrap_or(label).to_ascii_uppercase());
        for (row, object) in rows.iter_mut().zip(objects) {
            let labels = entries(object, "metadata.labels");
            let value = labels.iter().find(|(key, _)| key == label).and_then(|(_, value)| value.as_str());
            row.push(value.unwrap_or("<none>").to_owned());
        }
    }
    if layout.show_labels {
        headers.push("LABELS".to_owned());
        for (row, object) in rows.iter_mut().zip(objects) {
            let labels: Vec<String> = entries(object, "metadata.labels")
                .into_iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            row.push(if labels.is_empty() { "<none>".to_owned() } else { labels.join(",") });
        }
    }
    if layout.with_namespace {
        headers.insert(0, "NAMESPACE".to_owned());
        for (row, object) in rows.iter_mut().zip(objects) {
            row.insert(0, namespace(object).to_owned());
        }
    }
    Table { headers, rows }
}

/// The columns that the kind has.
fn columns(_info: &ResourceInfo, objects: &[Value], _wide: bool, now: Timestamp) -> (Vec<String>, Vec<Vec<String>>) {
    let headers = vec!["NAME".to_owned(), "AGE".to_owned()];
    let rows = objects
        .iter()
        .map(|object| vec![name(object).to_owned(), super::age::since(text(object, "metadata.creationTimestamp"), now)])
        .collect();
    (headers, rows)
}

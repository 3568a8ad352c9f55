//! Tables of objects, by kind.

use jiff::Timestamp;
use reeve_api::{ResourceInfo, print};
use serde_json::Value;

use super::table::Table;
use crate::value::{entries, namespace};

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
fn columns(info: &ResourceInfo, objects: &[Value], wide: bool, now: Timestamp) -> (Vec<String>, Vec<Vec<String>>) {
    let columns = print::columns(&info.resource);
    let shown = |index: usize| wide || columns.get(index).is_none_or(|column| column.priority == 0);
    let headers = columns
        .iter()
        .enumerate()
        .filter(|(index, _)| shown(*index))
        .map(|(_, column)| column.name.to_uppercase())
        .collect();
    let rows = objects
        .iter()
        .map(|object| {
            let cells = print::cells(&info.resource, object, now);
            cells.iter().enumerate().filter(|(index, _)| shown(*index)).map(|(_, cell)| print::text(cell)).collect()
        })
        .collect();
    (headers, rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::colour::Palette;

    #[test]
    fn extra_columns_stand_where_kubectl_puts_them() {
        let pods = crate::resolve::builtin("pods").expect("built in");
        let pod = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "a.b/tier": "x"}}});
        let layout = Layout {
            with_namespace: true,
            with_kind: true,
            show_labels: true,
            label_columns: vec!["a.b/tier".into(), "none".into()],
            ..Layout::default()
        };
        let table = table(pods, &[pod], &layout, Timestamp::UNIX_EPOCH);
        let text = table.render(true, Palette::PLAIN);
        let headers: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(headers, ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "TIER", "NONE", "LABELS"]);
        assert!(text.contains("shop        pod/web "), "{text}");
        assert!(text.trim_end().ends_with("x      <none>   a.b/tier=x,app=web"), "{text}");
    }

    #[test]
    fn wide_tables_have_all_columns() {
        let pods = crate::resolve::builtin("pods").expect("built in");
        let layout = Layout { wide: true, ..Layout::default() };
        let table = table(pods, &[json!({"metadata": {"name": "web"}})], &layout, Timestamp::UNIX_EPOCH);
        assert!(table.headers.contains(&"NODE".to_owned()));
        assert_eq!(table.headers.len(), table.rows[0].len());
    }
}

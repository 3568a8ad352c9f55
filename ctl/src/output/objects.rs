//! Tables of objects, by kind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reeve_api::{ResourceInfo, print};
use serde_json::Value;

use super::table::Table;
use crate::value::{count, entries, items, name, namespace, text};

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

/// The columns of a custom kind, as the server's `Table` has them.
#[derive(Clone, Debug, Default)]
pub struct ServerColumns {
    /// Name and priority of each.
    columns: Vec<(String, i64)>,
    /// Cells by namespace and name.
    cells: BTreeMap<(String, String), Vec<String>>,
}

impl ServerColumns {
    /// Reads a `Table` of `meta.k8s.io/v1`; `None` if it is something else.
    pub fn parse(answer: &Value) -> Option<ServerColumns> {
        if text(answer, "kind") != "Table" {
            return None;
        }
        let definitions = items(answer, "columnDefinitions").iter();
        let columns = definitions.map(|one| (text(one, "name").to_owned(), count(one, "priority"))).collect();
        let rows = items(answer, "rows").iter().map(|row| {
            let object = row.get("object").unwrap_or(&Value::Null);
            let cells = items(row, "cells").iter().map(print::text).collect();
            ((namespace(object).to_owned(), name(object).to_owned()), cells)
        });
        Some(ServerColumns { columns, cells: rows.collect() })
    }

    /// Headers and rows of those columns that are shown.
    fn shown(&self, objects: &[Value], wide: bool) -> (Vec<String>, Vec<Vec<String>>) {
        let kept: Vec<usize> = (0..self.columns.len()).filter(|index| wide || self.columns[*index].1 == 0).collect();
        let headers = kept.iter().map(|index| self.columns[*index].0.to_uppercase()).collect();
        let row = |object: &Value| {
            let cells = self.cells.get(&(namespace(object).to_owned(), name(object).to_owned()));
            let cell = |index: &usize| cells.and_then(|cells| cells.get(*index)).cloned();
            let mut row: Vec<String> = kept.iter().map(|index| cell(index).unwrap_or_default()).collect();
            // An object that came between the two requests has at least its name.
            if let (None, Some(first)) = (cells, row.first_mut()) {
                *first = name(object).to_owned();
            }
            row
        };
        (headers, objects.iter().map(row).collect())
    }
}

/// The table of objects of one resource, with kubectl's extra columns.
pub fn table(info: &ResourceInfo, objects: &[Value], layout: &Layout, now: Timestamp) -> Table {
    table_with(info, objects, layout, now, None)
}

/// As [`table`], with the columns that the server has for the kind.
pub fn table_with(
    info: &ResourceInfo,
    objects: &[Value],
    layout: &Layout,
    now: Timestamp,
    server: Option<&ServerColumns>,
) -> Table {
    let (mut headers, mut rows) = match server {
        Some(server) => server.shown(objects, layout.wide),
        None => columns(info, objects, layout.wide, now),
    };
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
    fn custom_kinds_have_the_servers_columns() {
        let answer = json!({
            "kind": "Table",
            "columnDefinitions": [{"name": "Name"}, {"name": "Size"}, {"name": "More", "priority": 1}],
            "rows": [{"cells": ["a", "S", "x"], "object": {"metadata": {"name": "a"}}}],
        });
        let server = ServerColumns::parse(&answer).expect("a table");
        let pods = crate::resolve::builtin("pods").expect("built in");
        let objects = [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})];
        let table = table_with(pods, &objects, &Layout::default(), Timestamp::UNIX_EPOCH, Some(&server));
        assert_eq!(table.headers, ["NAME", "SIZE"]);
        assert_eq!(table.rows, [["a", "S"], ["b", ""]]);
        assert!(ServerColumns::parse(&json!({"kind": "List"})).is_none());
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

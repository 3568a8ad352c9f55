//! `meta.k8s.io/v1 Table`: what `kubectl get` prints.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Response;
use jiff::Timestamp;
use reeve_api::{GroupVersionResource, StatusError, print};
use serde_json::{Value, json};
use tonic::body::Body;

use super::answer::{is_kind, partial, warn, whole};
use super::negotiation::Asked;
use super::path::Query;
use crate::handlers::{Listing, ObjectAnswer};
use crate::registry::Row;
use crate::registry::custom::Column;

/// How much of each object goes beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

/// How tables are written.
#[derive(Clone, Copy, Debug)]
struct Style {
    include: Include,
    /// `meta.k8s.io/v1`, or an older version that a client asked for.
    version: &'static str,
}

impl Style {
    fn of(query: &Query, version: &'static str) -> Result<Self, StatusError> {
        let include = match query.text("includeObject") {
            "" | "Metadata" => Include::Metadata,
            "None" => Include::None,
            "Object" => Include::Object,
            other => return Err(StatusError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        };
        Ok(Self { include, version })
    }

    fn write_object(self, object: &[u8], out: &mut BytesMut) {
        match self.include {
            Include::None => out.extend_from_slice(b"null"),
            Include::Metadata => out.extend_from_slice(&partial(object, self.version)),
            Include::Object => out.extend_from_slice(object),
        }
    }
}

/// What is printed: objects of a custom kind by the columns of their definition, others by those of their resource.
#[derive(Clone, Copy)]
struct Printer<'a> {
    resource: &'a GroupVersionResource,
    custom: Option<&'a [Column]>,
}

impl<'a> Printer<'a> {
    fn of(row: &'a Row) -> Self {
        Self { resource: &row.info.resource, custom: row.kind.custom().map(|kind| kind.columns.as_slice()) }
    }

    fn cells(self, object: &Value, now: Timestamp) -> Vec<Value> {
        let Some(columns) = self.custom else { return print::cells(self.resource, object, now) };
        let name = object.pointer("/metadata/name").cloned().unwrap_or(Value::Null);
        std::iter::once(name).chain(columns.iter().map(|column| column.cell(object, now))).collect()
    }
}

fn columns(printer: Printer<'_>) -> Value {
    let resource = printer.resource;
    let columns = print::columns(resource).iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    match printer.custom {
        // The name comes first here too.
        Some(custom) => Value::Array(columns.take(1).chain(custom.iter().map(Column::head)).collect()),
        None => Value::Array(columns.collect()),
    }
}

fn write_row(
    printer: Printer<'_>,
    object: &[u8],
    stored: &[u8],
    now: Timestamp,
    style: Style,
    out: &mut BytesMut,
) -> Result<(), StatusError> {
    let value: Value = serde_json::from_slice(object).map_err(StatusError::internal)?;
    let cells = serde_json::to_vec(&printer.cells(&value, now)).map_err(StatusError::internal)?;
    out.extend_from_slice(b"{\"cells\":");
    out.extend_from_slice(&cells);
    out.extend_from_slice(b",\"object\":");
    // Metadata is told without what a conversion adds to it.
    style.write_object(if style.include == Include::Object { object } else { stored }, out);
    out.extend_from_slice(b"}");
    Ok(())
}

/// Whether upstream prints a resource without columns of its own, which leaves the rows of an empty table null.
fn has_no_printer(resource: &GroupVersionResource) -> bool {
    print::columns(resource).iter().any(|column| column.name == "Created At")
}

/// A list as a table.
pub fn list(listing: Listing, now: Timestamp, query: &Query, asked: Asked) -> Result<Response<Body>, StatusError> {
    let style = Style::of(query, asked.form_version)?;
    let row = listing.row.clone();
    let printer = Printer::of(&row);
    let header = super::answer::list_header("Table", style.version, &listing);
    let mut out = BytesMut::from(header.as_bytes());
    out.extend_from_slice(format!(",\"columnDefinitions\":{},\"rows\":[", columns(printer)).as_bytes());
    let rows_at = out.len() - 1;
    for (index, entry) in listing.entries.enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        write_row(printer, &entry.object(), entry.stored(), now, style, &mut out)?;
    }
    if out.len() == rows_at + 1 && has_no_printer(printer.resource) {
        out.truncate(rows_at);
        out.extend_from_slice(b"null}\n");
    } else {
        out.extend_from_slice(b"]}\n");
    }
    whole(out.freeze(), asked, 200)
}

/// One object as a table of one row.
pub fn object(
    answer: ObjectAnswer,
    row: Option<&Row>,
    now: Timestamp,
    query: &Query,
    asked: Asked,
    status: u16,
) -> Result<Response<Body>, StatusError> {
    let style = Style::of(query, asked.form_version)?;
    let scales = GroupVersionResource::new("autoscaling", "v1", "scales");
    let printer = match row {
        Some(_) if is_kind(&answer.bytes, "Scale") => Printer { resource: &scales, custom: None },
        // Statuses of writes have no columns.
        Some(row) if answer.revision > 0 && !is_kind(&answer.bytes, "Status") => Printer::of(row),
        _ => return super::answer::object(answer, asked, status),
    };
    let mut out = BytesMut::new();
    table(printer, &answer.bytes, answer.revision, now, style, true, &mut out)?;
    let mut response = whole(out.freeze(), asked, status)?;
    warn(&mut response, &answer.warnings);
    Ok(response)
}

fn table(
    printer: Printer<'_>,
    object: &[u8],
    revision: i64,
    now: Timestamp,
    style: Style,
    with_columns: bool,
    out: &mut BytesMut,
) -> Result<(), StatusError> {
    let columns = if with_columns { columns(printer) } else { Value::Null };
    out.extend_from_slice(
        format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\
             \"columnDefinitions\":{columns},\"rows\":[",
            style.version
        )
        .as_bytes(),
    );
    write_row(printer, object, object, now, style, out)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// The tables of a watch: the first one has the columns, as upstream's.
pub struct WatchTables {
    row: Option<Arc<Row>>,
    clock: fn() -> Timestamp,
    style: Style,
    columns_sent: bool,
}

impl WatchTables {
    /// For a watch of a row's objects.
    pub fn new(row: Option<Arc<Row>>, clock: fn() -> Timestamp, query: &Query, version: &'static str) -> Self {
        let style = Style::of(query, version).unwrap_or(Style { include: Include::Metadata, version });
        Self { row, clock, style, columns_sent: false }
    }

    /// The table of one event's object.
    pub fn table(&mut self, object: &[u8]) -> Bytes {
        let Some(row) = &self.row else { return Bytes::copy_from_slice(object) };
        let revision = revision(object);
        let mut out = BytesMut::new();
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        match table(Printer::of(row), object, revision, (self.clock)(), self.style, with_columns, &mut out) {
            Ok(()) => out.freeze(),
            Err(error) => {
                tracing::error!(%error, "an object of a watch cannot be printed");
                Bytes::copy_from_slice(object)
            }
        }
    }
}

fn revision(object: &[u8]) -> i64 {
    let read = || -> Option<i64> {
        let metadata = &object[reeve_api::json::member(object, "metadata")?];
        let version = &metadata[reeve_api::json::member(metadata, "resourceVersion")?];
        std::str::from_utf8(version).ok()?.trim_matches('"').parse().ok()
    };
    read().unwrap_or(0)
}

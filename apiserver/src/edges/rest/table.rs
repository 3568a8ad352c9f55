//! `meta.k8s.io/v1 Table`: what `kubectl get` prints.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Response;
use jiff::Timestamp;
use reeve_api::{GroupVersionResource, StatusError, print};
use serde_json::{Value, json};
use tonic::body::Body;

use super::answer::{partial, warn, whole};
use super::negotiation::Encoding;
use super::path::Query;
use crate::handlers::{Listing, ObjectAnswer};
use crate::registry::Row;

/// How much of each object goes beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    fn of(query: &Query) -> Result<Self, StatusError> {
        match query.text("includeObject") {
            "" | "Metadata" => Ok(Include::Metadata),
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            other => Err(StatusError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }

    fn write(self, object: &[u8], out: &mut BytesMut) {
        match self {
            Include::None => out.extend_from_slice(b"null"),
            Include::Metadata => out.extend_from_slice(&partial(object)),
            Include::Object => out.extend_from_slice(object),
        }
    }
}

fn columns(resource: &GroupVersionResource) -> Value {
    let columns = print::columns(resource).iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    Value::Array(columns.collect())
}

fn write_row(
    resource: &GroupVersionResource,
    object: &[u8],
    now: Timestamp,
    include: Include,
    out: &mut BytesMut,
) -> Result<(), StatusError> {
    let value: Value = serde_json::from_slice(object).map_err(StatusError::internal)?;
    let cells = serde_json::to_vec(&print::cells(resource, &value, now)).map_err(StatusError::internal)?;
    out.extend_from_slice(b"{\"cells\":");
    out.extend_from_slice(&cells);
    out.extend_from_slice(b",\"object\":");
    include.write(object, out);
    out.extend_from_slice(b"}");
    Ok(())
}

/// A list as a table.
pub fn list(
    listing: Listing,
    now: Timestamp,
    query: &Query,
    encoding: Encoding,
) -> Result<Response<Body>, StatusError> {
    let include = Include::of(query)?;
    let resource = &listing.row.info.resource;
    let header = super::answer::list_header("Table", "meta.k8s.io/v1", &listing);
    let mut out = BytesMut::from(header.as_bytes());
    out.extend_from_slice(format!(",\"columnDefinitions\":{},\"rows\":[", columns(resource)).as_bytes());
    for (index, entry) in listing.entries.enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        write_row(resource, &entry.object(), now, include, &mut out)?;
    }
    out.extend_from_slice(b"]}\n");
    whole(out.freeze(), encoding, 200)
}

/// One object as a table of one row.
pub fn object(
    answer: ObjectAnswer,
    row: Option<&Row>,
    now: Timestamp,
    query: &Query,
    encoding: Encoding,
    status: u16,
) -> Result<Response<Body>, StatusError> {
    let include = Include::of(query)?;
    let resource = match row {
        // Scales and statuses of writes have no columns of their own.
        Some(row) if answer.revision > 0 => &row.info.resource,
        _ => return super::answer::object(answer, encoding, status),
    };
    let mut out = BytesMut::new();
    table(resource, &answer.bytes, answer.revision, now, include, true, &mut out)?;
    let mut response = whole(out.freeze(), encoding, status)?;
    warn(&mut response, &answer.warnings);
    Ok(response)
}

fn table(
    resource: &GroupVersionResource,
    object: &[u8],
    revision: i64,
    now: Timestamp,
    include: Include,
    with_columns: bool,
    out: &mut BytesMut,
) -> Result<(), StatusError> {
    let columns = if with_columns { columns(resource) } else { Value::Null };
    out.extend_from_slice(
        format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\
             \"columnDefinitions\":{columns},\"rows\":["
        )
        .as_bytes(),
    );
    write_row(resource, object, now, include, out)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// The tables of a watch: the first one has the columns, as upstream's.
pub struct WatchTables {
    row: Option<Arc<Row>>,
    clock: fn() -> Timestamp,
    include: Include,
    columns_sent: bool,
}

impl WatchTables {
    /// For a watch of a row's objects.
    pub fn new(row: Option<Arc<Row>>, clock: fn() -> Timestamp, query: &Query) -> Self {
        Self { row, clock, include: Include::of(query).unwrap_or(Include::Metadata), columns_sent: false }
    }

    /// The table of one event's object.
    pub fn table(&mut self, object: &[u8]) -> Bytes {
        let Some(row) = &self.row else { return Bytes::copy_from_slice(object) };
        let revision = revision(object);
        let mut out = BytesMut::new();
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        match table(&row.info.resource, object, revision, (self.clock)(), self.include, with_columns, &mut out) {
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

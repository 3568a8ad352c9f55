//! The events of an object, oldest first.

use jiff::Timestamp;
use serde_json::Value;

use super::writer::Writer;
use crate::output::age::since;
use crate::value::{at, count, text};

/// The last lines of a description.
pub fn describe(writer: &mut Writer, events: Option<&[Value]>, now: Timestamp) {
    let Some(events) = events else {
        writer.field(0, "Events", "<unknown: they could not be read>");
        return;
    };
    if events.is_empty() {
        writer.field(0, "Events", "<none>");
        return;
    }
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| last_seen(event).to_owned());
    writer.line(0, "Events:");
    let rows: Vec<Vec<String>> = events
        .into_iter()
        .map(|event| {
            vec![
                text(event, "type").to_owned(),
                text(event, "reason").to_owned(),
                age(event, now),
                source(event),
                text(event, "message").trim().replace('\n', " "),
            ]
        })
        .collect();
    writer.table(1, &["Type", "Reason", "Age", "From", "Message"], &rows);
}

fn first_seen(event: &Value) -> &str {
    [text(event, "firstTimestamp"), text(event, "eventTime"), text(event, "metadata.creationTimestamp")]
        .into_iter()
        .find(|time| !time.is_empty())
        .unwrap_or_default()
}

/// When an event was seen last.
pub fn last_seen(event: &Value) -> &str {
    [text(event, "series.lastObservedTime"), text(event, "lastTimestamp")]
        .into_iter()
        .find(|time| !time.is_empty())
        .unwrap_or_else(|| first_seen(event))
}

/// How long ago an event was seen, and how often.
pub fn age(event: &Value, now: Timestamp) -> String {
    let times = at(event, "series.count").and_then(Value::as_i64).unwrap_or_else(|| count(event, "count"));
    let last = since(last_seen(event), now);
    if times > 1 { format!("{last} (x{times} over {})", since(first_seen(event), now)) } else { last }
}

fn source(event: &Value) -> String {
    match text(event, "source.component") {
        "" => text(event, "reportingComponent").to_owned(),
        component => component.to_owned(),
    }
}

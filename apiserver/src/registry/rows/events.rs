//! The group `events.k8s.io`: another view of the core group's events.

use std::sync::Arc;
use std::time::Duration;

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

/// How long events are kept.
const EVENT_TIME_TO_LIVE: Duration = Duration::from_secs(60 * 60);

pub(super) fn rows() -> Vec<Row> {
    let row = row(&kinds::event::Events, "/registry/events/", words("event", &["ev"], &[]));
    vec![kept_for_a_while(row.viewed_as("events.k8s.io", "v1", Arc::new(kinds::event::EventConversion)))]
}

/// A row whose objects end an hour after their last write.
pub(super) fn kept_for_a_while(row: Row) -> Row {
    Row { time_to_live: Some(EVENT_TIME_TO_LIVE), ..row }
}

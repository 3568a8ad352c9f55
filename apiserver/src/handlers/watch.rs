//! watch.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reeve_api::json::{self, Mask};
use reeve_api::StatusError;

use super::read::{converted, matcher};
use super::{Handlers, WatchOptions};
use crate::registry::Conversion;
use crate::request::{Target, User, Verb};
use crate::storage::cache::{Event, EventKind, ReadVersion, WatchMessage, WatchQuery};

/// How long a watch lasts when the client does not say: upstream picks 30 to 60 minutes at random, so that watches
/// do not all end together.
const LIFETIME_MIN: Duration = Duration::from_secs(30 * 60);

/// A change in the form that clients of the row see.
#[derive(Clone)]
pub struct WatchEvent {
    event: Arc<Event>,
    conversion: Option<Arc<dyn Conversion>>,
}

impl WatchEvent {
    /// What happened.
    pub fn kind(&self) -> EventKind {
        self.event.kind()
    }

    /// The version of the change.
    pub fn revision(&self) -> i64 {
        self.event.revision()
    }

    /// The whole object.
    pub fn object(&self) -> Bytes {
        match &self.conversion {
            None => self.event.object(),
            Some(conversion) => converted(conversion.as_ref(), &self.event.object()),
        }
    }

    /// Only the fields of a mask; shared by all watchers with the same mask.
    pub fn project(&self, mask: &Mask) -> Bytes {
        if mask.is_all() {
            return self.object();
        }
        match &self.conversion {
            None => self.event.projected(mask),
            Some(_) => json::project(&self.object(), mask).into(),
        }
    }

    /// The line of a REST watch; shared by all watchers.
    pub fn line(&self) -> Bytes {
        match &self.conversion {
            None => self.event.json_line(),
            Some(_) => {
                let object = self.object();
                let mut line = Vec::with_capacity(object.len() + 40);
                line.extend_from_slice(format!("{{\"type\":\"{}\",\"object\":", self.kind().as_str()).as_bytes());
                line.extend_from_slice(&object);
                line.extend_from_slice(b"}\n");
                line.into()
            }
        }
    }
}

/// What a watch delivers.
pub enum WatchItem {
    /// A change.
    Event(WatchEvent),
    /// All changes up to this version have been delivered.
    Bookmark {
        /// The version.
        revision: i64,
        /// Whether it closes the initial events.
        initial_events_end: bool,
    },
    /// The watch ends for this reason.
    Error(StatusError),
}

/// Batches of a watch.
pub type WatchStream = Pin<Box<dyn Stream<Item = Vec<WatchItem>> + Send>>;

impl Handlers {
    /// Follows changes.
    pub async fn watch(&self, user: &User, target: &Target, options: WatchOptions) -> Result<WatchStream, StatusError> {
        let (row, _) = self.row(user, Verb::Watch, target)?;
        let query = WatchQuery {
            matcher: matcher(row, target, &options.selection)?,
            from: ReadVersion::parse(&options.resource_version, &options.resource_version_match, "")?,
            initial_events: options.send_initial_events,
            bookmarks: options.allow_bookmarks,
        };
        let stream = self.cache.watch(row.storage_prefix, query).await?;
        let lifetime = match u64::try_from(options.timeout_seconds) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => LIFETIME_MIN.mul_f64(1.0 + rand::random::<f64>()),
        };
        let conversion = row.conversion.clone();
        let stream = stream.map(move |batch: Vec<WatchMessage>| {
            batch
                .into_iter()
                .map(|message| match message {
                    WatchMessage::Event(event) => {
                        WatchItem::Event(WatchEvent { event, conversion: conversion.clone() })
                    }
                    WatchMessage::Bookmark { revision, initial_events_end } => {
                        WatchItem::Bookmark { revision, initial_events_end }
                    }
                    WatchMessage::Error(error) => WatchItem::Error(error),
                })
                .collect()
        });
        Ok(Box::pin(stream.take_until(tokio::time::sleep(lifetime))))
    }
}

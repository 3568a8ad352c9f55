//! watch.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reeve_api::StatusError;
use reeve_api::json::{self, Mask};

use super::read::{converted, selector};
use super::{Handlers, WatchOptions};
use crate::registry::Conversion;
use crate::request::{Target, User, Verb};
use crate::storage::cache::{Event, EventKind, WatchFrom, WatchQuery};

/// How long a watch lasts when the client does not say: upstream picks 30 to 60 minutes at random, so that watches
/// do not all end together.
const LIFETIME_MIN: Duration = Duration::from_secs(30 * 60);

/// How long before its end a watch gets its last bookmark, as upstream.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

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

    /// Whether it is the bookmark that closes the initial events.
    pub fn ends_initial_events(&self) -> bool {
        self.event.kind() == EventKind::Bookmark
            && memchr::memmem::find(&self.event.object(), b"k8s.io/initial-events-end").is_some()
    }

    /// What translates the object; bookmarks have none to translate.
    fn conversion(&self) -> Option<&dyn Conversion> {
        self.conversion.as_deref().filter(|_| self.event.kind() != EventKind::Bookmark)
    }

    /// The whole object.
    pub fn object(&self) -> Bytes {
        match self.conversion() {
            None => self.event.object(),
            Some(conversion) => converted(conversion, &self.event.object()),
        }
    }

    /// Only the fields of a mask; shared by all watchers with the same mask.
    pub fn project(&self, mask: &Mask) -> Bytes {
        if mask.is_all() {
            return self.object();
        }
        match self.conversion() {
            None => self.event.projected(mask),
            Some(_) => json::project(&self.object(), mask).into(),
        }
    }

    /// The line of a REST watch; shared by all watchers.
    pub fn line(&self) -> Bytes {
        match self.conversion() {
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
    /// A change or a bookmark.
    Event(WatchEvent),
    /// The watch ends for this reason.
    Error(StatusError),
}

/// Batches of a watch.
pub type WatchStream = Pin<Box<dyn Stream<Item = Vec<WatchItem>> + Send>>;

impl Handlers {
    /// Follows changes.
    pub async fn watch(&self, user: &User, target: &Target, options: WatchOptions) -> Result<WatchStream, StatusError> {
        let found = self.row_selecting(user, Verb::Watch, target, &options.selection.fields)?;
        let row = &found.row;
        check_rules(&options)?;
        let query = WatchQuery {
            selector: selector(row, target, &options.selection)?,
            from: WatchFrom::parse(&options.resource_version)?,
            initial_events: options.send_initial_events,
            bookmarks: options.allow_bookmarks,
        };
        let stream = self.resource(row)?.watch(query).await?;
        let announcer = stream.announcer();
        let lifetime = match u64::try_from(options.timeout_seconds) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => LIFETIME_MIN.mul_f64(1.0 + rand::random::<f64>()),
        };
        let conversion = row.conversion.clone();
        let stream = stream.map(move |batch| match batch {
            Ok(events) => events
                .into_iter()
                .map(|event| WatchItem::Event(WatchEvent { event, conversion: conversion.clone() }))
                .collect(),
            Err(error) => vec![WatchItem::Error(error)],
        });
        // The last bookmark comes shortly before the end, so that the next watch begins there.
        let end = async move {
            let Some(before) = lifetime.checked_sub(LAST_BOOKMARK) else { return tokio::time::sleep(lifetime).await };
            tokio::time::sleep(before).await;
            announcer.bookmark();
            tokio::time::sleep(LAST_BOOKMARK).await;
        };
        Ok(Box::pin(stream.take_until(end)))
    }
}

/// Initial events need their rules. Texts from upstream's `ValidateListOptions`.
fn check_rules(options: &WatchOptions) -> Result<(), StatusError> {
    let rule = options.resource_version_match.as_str();
    let wrong = match (options.send_initial_events, rule) {
        (Some(_), "NotOlderThan") | (None, "") => return Ok(()),
        (Some(_), "") => {
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        }
        (Some(_), _) => {
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        }
        (None, _) => {
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        }
    };
    Err(StatusError::new(reeve_api::Reason::Invalid, format!("ListOptions.meta.k8s.io \"\" is invalid: {wrong}")))
}

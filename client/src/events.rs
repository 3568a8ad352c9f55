//! Events that tell users what a component did and why.
//!
//! Recording never waits and never fails the caller: events go through a bounded queue to one task. The same
//! event again raises the count of the first, as upstream's recorder does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;

use crate::api::{Client, Patch};

/// A burst of one event for each of a thousand pods fits; beyond that, events are dropped and counted.
const QUEUE_LENGTH: usize = 1024;

/// How many different events are remembered to be counted instead of repeated.
const REMEMBERED_MAX: usize = 1024;

/// Whether an event is bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// For information.
    Normal,
    /// Something is wrong.
    Warning,
}

impl EventType {
    /// The word in the event's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

struct Recorded {
    regarding: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Records events. Cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    queue: mpsc::Sender<Recorded>,
    dropped: Arc<AtomicU64>,
}

impl EventRecorder {
    /// A recorder for a component (`kubelet`) on a host (its node's name, or empty).
    pub fn new(client: &Client, component: &str, host: &str) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_LENGTH);
        let source = EventSource {
            component: Some(component.to_owned()),
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        };
        tokio::spawn(write_all(client.clone(), source, receiver));
        Self { queue, dropped: Arc::default() }
    }

    /// Records one event about an object. `regarding` needs kind, apiVersion, namespace, name and uid.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        event_type: EventType,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let recorded = Recorded {
            regarding: regarding.clone(),
            event_type,
            reason: reason.into(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if let Err(error) = self.queue.try_send(recorded) {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(%error, dropped, "events are dropped: more arise than the API server takes");
            }
        }
    }
}

/// What makes two events the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    uid: String,
    namespace: String,
    name: String,
    field_path: String,
    event_type: EventType,
    reason: String,
    message: String,
}

struct Written {
    name: String,
    count: i32,
    used: u64,
}

async fn write_all(client: Client, source: EventSource, mut receiver: mpsc::Receiver<Recorded>) {
    let mut known: HashMap<Identity, Written> = HashMap::new();
    let mut turn = 0_u64;
    while let Some(recorded) = receiver.recv().await {
        turn += 1;
        let identity = Identity {
            uid: recorded.regarding.uid.clone().unwrap_or_default(),
            namespace: recorded.regarding.namespace.clone().unwrap_or_default(),
            name: recorded.regarding.name.clone().unwrap_or_default(),
            field_path: recorded.regarding.field_path.clone().unwrap_or_default(),
            event_type: recorded.event_type,
            reason: recorded.reason.clone(),
            message: recorded.message.clone(),
        };
        let namespace = if identity.namespace.is_empty() { "default".to_owned() } else { identity.namespace.clone() };
        let events = client.namespaced::<Event>(&namespace);
        if let Some(written) = known.get_mut(&identity) {
            let patch = json!({"count": written.count + 1, "lastTimestamp": Time(recorded.at)});
            match events.patch(&written.name, &Patch::Merge(patch)).await {
                Ok(_) => {
                    written.count += 1;
                    written.used = turn;
                    continue;
                }
                // It has expired: write a new one.
                Err(error) if error.is_not_found() => {
                    known.remove(&identity);
                }
                Err(error) => {
                    tracing::warn!(reason = %recorded.reason, %error, "an event was not recorded");
                    continue;
                }
            }
        }
        let event = new_event(&recorded, &source, &namespace, turn);
        match events.create(&event).await {
            Ok(event) => {
                if known.len() >= REMEMBERED_MAX {
                    let middle = turn.saturating_sub(REMEMBERED_MAX as u64 / 2);
                    known.retain(|_, written| written.used >= middle);
                }
                let name = event.metadata.name.unwrap_or_default();
                known.insert(identity, Written { name, count: 1, used: turn });
            }
            Err(error) => tracing::warn!(
                reason = %recorded.reason, message = %recorded.message, %error, "an event was not recorded"
            ),
        }
    }
}

fn new_event(recorded: &Recorded, source: &EventSource, namespace: &str, turn: u64) -> Event {
    let stamp = recorded.at.as_nanosecond().unsigned_abs() as u64 ^ turn;
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{stamp:x}", recorded.regarding.name.as_deref().unwrap_or("event"))),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: recorded.regarding.clone(),
        reason: Some(recorded.reason.clone()),
        message: Some(recorded.message.clone()),
        type_: Some(recorded.event_type.as_str().to_owned()),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        first_timestamp: Some(Time(recorded.at)),
        last_timestamp: Some(Time(recorded.at)),
        count: Some(1),
        ..Event::default()
    }
}

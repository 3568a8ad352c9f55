//! Runtime events: containerd's own event stream, joined by a full look after every gap.
//!
//! containerd 1.6 does not answer CRI's `GetContainerEvents`, so this subscribes to `/tasks/*` of its event
//! service. `Subscribe` sends its headers with the first event, so the call is not awaited before the relist:
//! it is polled beside it, and events that come meanwhile wait in the stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use containerd_client::events::{TaskDelete, TaskExit, TaskOom, TaskStart};
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use prost::Message as _;
use reeve_client::backoff::{Backoff, keep};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::health::Link;
use super::{NAMESPACE, Runtime, RuntimeError};
use crate::pod::observed::NodeObserved;

/// What the runtime tells.
#[derive(Debug)]
pub enum RuntimeEvent {
    /// Everything there is, at the start and after a gap in the events.
    Relisted(NodeObserved),
    /// The first process of a container (or sandbox) started, ended or was removed.
    Container {
        /// The runtime's id.
        id: String,
        /// What happened, for the log.
        what: &'static str,
    },
    /// The event stream ended; events are missed until the next relist.
    Lost(String),
}

/// Between subscriptions that fail: the socket is local, so a runtime that returns is reached soon.
const RECONNECT: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };

/// Follows the runtime until `shutdown`, sending what it tells. `link` says how the connection is.
pub async fn follow(
    runtime: Runtime,
    sender: mpsc::Sender<RuntimeEvent>,
    link: watch::Sender<Link>,
    shutdown: CancellationToken,
) {
    let connections = AtomicU64::new(0);
    let work = keep(RECONNECT, "the runtime's events", |up| {
        let (runtime, sender, link, connections) = (&runtime, &sender, &link, &connections);
        async move {
            let connected = || {
                up.tell();
                let number = connections.fetch_add(1, Ordering::Relaxed);
                link.send_replace(Link::Up(number));
            };
            let Err(error) = follow_once(runtime, sender, connected).await else { return Ok(()) };
            link.send_replace(Link::Down(error.to_string()));
            match sender.send(RuntimeEvent::Lost(error.to_string())).await {
                Ok(()) => Err(error),
                Err(_) => Ok(()),
            }
        }
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}

/// One subscription from its relist to its end. `Ok` when nobody listens any more.
async fn follow_once(
    runtime: &Runtime,
    sender: &mpsc::Sender<RuntimeEvent>,
    connected: impl FnOnce(),
) -> Result<(), RuntimeError> {
    let mut client = EventsClient::new(runtime.channel());
    let filters = vec![format!("namespace=={NAMESPACE},topic~=^/tasks/(start|exit|delete|oom)$")];
    let subscribe = client.subscribe(SubscribeRequest { filters });
    tokio::pin!(subscribe);
    // The first poll sends the request; the relist that follows on the same connection sees everything older.
    let mut early = None;
    tokio::select! {
        biased;
        answer = &mut subscribe => early = Some(answer),
        answer = runtime.version() => { answer?; }
    }
    connected();
    let node = runtime.observe_node().await?;
    if sender.send(RuntimeEvent::Relisted(node)).await.is_err() {
        return Ok(());
    }
    let answer = match early {
        Some(answer) => answer,
        None => subscribe.await,
    };
    let mut stream = answer.map_err(super::refused("Subscribe"))?.into_inner();
    while let Some(envelope) = stream.message().await.map_err(super::refused("Subscribe"))? {
        let Some(event) = decode(&envelope.topic, &envelope.event.unwrap_or_default().value) else { continue };
        if sender.send(event).await.is_err() {
            return Ok(());
        }
    }
    Err(RuntimeError::Incomplete { call: "Subscribe", what: "further events" })
}

/// The event in an envelope; `None` for those of exec processes and what cannot be read.
fn decode(topic: &str, value: &[u8]) -> Option<RuntimeEvent> {
    let (id, what) = match topic {
        "/tasks/start" => (TaskStart::decode(value).ok()?.container_id, "start"),
        "/tasks/exit" => {
            let exit = TaskExit::decode(value).ok()?;
            // An exec's id differs from its container's.
            if exit.id != exit.container_id {
                return None;
            }
            (exit.container_id, "exit")
        }
        "/tasks/delete" => {
            let deleted = TaskDelete::decode(value).ok()?;
            if !deleted.id.is_empty() && deleted.id != deleted.container_id {
                return None;
            }
            (deleted.container_id, "delete")
        }
        "/tasks/oom" => (TaskOom::decode(value).ok()?.container_id, "oom"),
        _ => return None,
    };
    Some(RuntimeEvent::Container { id, what })
}

//! Requests that leave HTTP: exec, attach and port-forward of pods, and logs and watches over WebSocket.
//!
//! [`socket`] is the way from HTTP/1.1 to a WebSocket, [`channels`] the numbered channels in its messages, [`spdy`]
//! the framing that kubectl's port-forward tunnels through it. The streams themselves go to the kubelet through
//! [`PodStreams`], as those of gRPC do. What can be refused is refused before the upgrade, as a plain answer.

pub(super) mod channels;
mod exec;
mod forward;
mod log;
pub(super) mod options;
mod socket;
pub(super) mod spdy;
mod watch;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use reeve_api::StatusError;
use tonic::body::Body;

use crate::handlers::Handlers;
use crate::pod_streams::{PodStreams, Session};
use crate::request::{Target, User, Verb};

pub use self::log::upgrade as upgrade_log;
pub use self::socket::is_upgrade;
pub use self::watch::upgrade as upgrade_watch;

/// The part of a pod that a stream is opened on.
enum Part {
    Process(Session),
    Port,
}

/// Which part a target names, if it is one that streams.
fn part(target: &Target) -> Option<Part> {
    if !target.resource.group.is_empty() || target.resource.resource != "pods" {
        return None;
    }
    match target.subresource.as_str() {
        "exec" => Some(Part::Process(Session::Exec)),
        "attach" => Some(Part::Process(Session::Attach)),
        "portforward" => Some(Part::Port),
        _ => None,
    }
}

/// Whether a target is one that streams.
pub fn is_stream(target: &Target) -> bool {
    part(target).is_some()
}

/// Opens the stream of a pod that a request names.
pub async fn answer(
    handlers: &Handlers,
    pods: &Arc<PodStreams>,
    user: &User,
    target: &Target,
    request: Request<Incoming>,
) -> Result<Response<Body>, StatusError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match part(target) {
        Some(Part::Process(session)) => {
            let options = options::Process::parse(&query, session)?;
            // Who may open a stream by GET must be allowed to create it, as upstream has it since 1.35.
            let location = handlers
                .locate_pod(
                    user,
                    Verb::Create,
                    &target.namespace,
                    &target.name,
                    &target.subresource,
                    &options.container,
                )
                .await?;
            let start = options.start(target, &location.container);
            exec::upgrade(pods.clone(), location, session, start, request)
        }
        Some(Part::Port) => {
            let ports = options::ports(&query)?;
            let location = handlers
                .locate_pod(user, Verb::Create, &target.namespace, &target.name, &target.subresource, "")
                .await?;
            let pod = forward::Pod { pods: pods.clone(), location, target: target.clone() };
            forward::upgrade(pod, &ports, request)
        }
        None => Err(StatusError::internal("a target without streams was taken for one")),
    }
}

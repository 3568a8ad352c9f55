//! Makes probes: one task for each probe of each running container, on the period that its spec asks for.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ExecAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::reach::{self, Place, ReachError};
use crate::pod::probe::{ProbeAnswer, ProbeKind};
use crate::runtime::Runtime;

/// What is probed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The pod's UID.
    pub uid: String,
    /// The container's id in the runtime.
    pub container_id: String,
    /// Where the container is.
    pub place: Place,
    /// When the container started; the initial delay counts from here.
    pub started_at: Timestamp,
}

/// Probes until cancelled, telling the event loop each answer.
pub fn spawn(
    runtime: Runtime,
    subject: Subject,
    kind: ProbeKind,
    probe: Probe,
    sender: mpsc::Sender<Event>,
    cancelled: CancellationToken,
) {
    tokio::spawn(async move {
        let work = async {
            let seconds = |value: Option<i32>, default: i32| {
                Duration::from_secs(u64::try_from(value.unwrap_or(default).max(0)).unwrap_or(0))
            };
            let period = seconds(probe.period_seconds.filter(|it| *it > 0), 10);
            let timeout = seconds(probe.timeout_seconds.filter(|it| *it > 0), 1);
            let age = Timestamp::now().duration_since(subject.started_at);
            let delay = seconds(probe.initial_delay_seconds, 0);
            let age = Duration::try_from(age).unwrap_or_default();
            tokio::time::sleep(delay.saturating_sub(age)).await;
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let began = Instant::now();
                let answer = answer(&runtime, &subject, &probe, timeout).await;
                let event = Event::ProbeResult {
                    uid: subject.uid.clone(),
                    container_id: subject.container_id.clone(),
                    kind,
                    answer,
                    took: began.elapsed(),
                };
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = work => {}
        }
    });
}

async fn answer(runtime: &Runtime, subject: &Subject, probe: &Probe, timeout: Duration) -> ProbeAnswer {
    let place = &subject.place;
    let reached = if let Some(exec) = &probe.exec {
        return run(runtime, &subject.container_id, exec, timeout).await;
    } else if let Some(http) = &probe.http_get {
        reach::http::probe(place, http, timeout).await
    } else if let Some(tcp) = &probe.tcp_socket {
        match place.address(tcp.host.as_deref(), &tcp.port) {
            Ok(address) => reach::tcp(address, timeout).await,
            Err(error) => Err(error),
        }
    } else if let Some(grpc) = &probe.grpc {
        match place.address(None, &IntOrString::Int(grpc.port)) {
            Ok(address) => reach::grpc::check(address, grpc.service.as_deref().unwrap_or_default(), timeout).await,
            Err(error) => Err(error),
        }
    } else {
        return ProbeAnswer::Unknown("missing probe handler: use exec, httpGet, tcpSocket or grpc".into());
    };
    match reached {
        Ok(()) => ProbeAnswer::Success,
        // What the spec says cannot be made: that is nothing about the container.
        Err(error @ (ReachError::Port(_) | ReachError::Host(_) | ReachError::Request { .. })) => {
            ProbeAnswer::Unknown(error.to_string())
        }
        Err(error) => ProbeAnswer::Failure(error.to_string()),
    }
}

async fn run(runtime: &Runtime, container_id: &str, exec: &ExecAction, timeout: Duration) -> ProbeAnswer {
    let command = exec.command.clone().unwrap_or_default();
    match runtime.exec_sync(container_id, &command, timeout).await {
        Ok((0, _)) => ProbeAnswer::Success,
        Ok((_, output)) => ProbeAnswer::Failure(String::from_utf8_lossy(&output).into_owned()),
        Err(error) if error.is_timeout() => ProbeAnswer::Failure(format!(
            "command timed out: \"{}\" timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(error) => ProbeAnswer::Unknown(error.to_string()),
    }
}

//! Lifecycle hooks: a command in the container, a request to it, or a pause.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use reeve_client::EventType;

use super::{Done, Executor, Subject, find};
use crate::agent::reach::{self, Place, ReachError};
use crate::pod::spec;
use crate::runtime::RuntimeError;

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The command could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The command ended with another code than 0.
    #[error("command '{command}' exited with {code}: {output}")]
    Exit {
        /// The command.
        command: String,
        /// Its code.
        code: i32,
        /// What it said.
        output: String,
    },
    /// The request was not answered.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The container ended first.
    #[error("the container ended before its hook")]
    Ended,
    /// The hook names nothing that can be done.
    #[error("invalid handler: use exec, httpGet or sleep")]
    Invalid,
}

/// A command may take as long as the container lives: its end ends the command.
const UNBOUNDED: Duration = Duration::from_secs(24 * 3600);

/// The least notice that a container has after its hook took up its grace period, upstream's number.
const MINIMUM_GRACE_SECONDS: i64 = 2;

impl Executor {
    /// Runs the hook of a container that has just started. One that fails is told; the plan then ends the container.
    pub(super) async fn post_start(&self, subject: &Subject, id: &str, container: &str) -> Done {
        let hook = find(subject, container).and_then(|(_, it)| Some((it.lifecycle.as_ref()?.post_start.clone()?, it)));
        let Some((hook, definition)) = hook else { return Done::Ok };
        match self.run_hook(subject, id, &definition, &hook, UNBOUNDED).await {
            Ok(()) => Done::Ok,
            Err(error) => {
                tracing::warn!(pod = %subject.key, container, %error, "a postStart hook failed");
                self.event(subject, Some(container), EventType::Warning, "FailedPostStartHook", "PostStartHook failed");
                Done::HookFailed { message: error.to_string() }
            }
        }
    }

    /// Runs the hook of a container that is to end, within its grace period; returns what is left of that.
    pub(super) async fn pre_stop(&self, subject: &Subject, id: &str, container: &str, grace_seconds: i64) -> i64 {
        let hook = find(subject, container).and_then(|(_, it)| Some((it.lifecycle.as_ref()?.pre_stop.clone()?, it)));
        let Some((hook, definition)) = hook.filter(|_| grace_seconds > 0) else { return grace_seconds };
        let began = Instant::now();
        let period = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or_default());
        match tokio::time::timeout(period, self.run_hook(subject, id, &definition, &hook, period)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(pod = %subject.key, container, %error, "a preStop hook failed");
                self.event(subject, Some(container), EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => tracing::info!(pod = %subject.key, container, "a preStop hook did not end in the grace period"),
        }
        let spent = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
        (grace_seconds - spent).max(MINIMUM_GRACE_SECONDS)
    }

    /// Runs a hook to its end or the container's.
    async fn run_hook(
        &self,
        subject: &Subject,
        id: &str,
        container: &Container,
        hook: &LifecycleHandler,
        longest: Duration,
    ) -> Result<(), HookError> {
        tokio::select! {
            result = self.perform_hook(subject, id, container, hook, longest) => result,
            ended = self.runtime.wait(id) => Err(ended.map_or_else(HookError::from, |()| HookError::Ended)),
        }
    }

    async fn perform_hook(
        &self,
        subject: &Subject,
        id: &str,
        container: &Container,
        hook: &LifecycleHandler,
        longest: Duration,
    ) -> Result<(), HookError> {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let (code, output) = self.runtime.exec_sync(id, &command, longest).await?;
            if code != 0 {
                let output = String::from_utf8_lossy(&output).into_owned();
                return Err(HookError::Exit { command: command.join(" "), code, output });
            }
            Ok(())
        } else if let Some(http) = &hook.http_get {
            let place = Place { address: self.address_of(subject), container: container.clone() };
            let code = reach::http::call(&place, http).await?;
            tracing::debug!(pod = %subject.key, container = %container.name, %code, "a hook was answered");
            Ok(())
        } else if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default())).await;
            Ok(())
        } else {
            Err(HookError::Invalid)
        }
    }

    fn address_of(&self, subject: &Subject) -> IpAddr {
        let on_host = subject.pod.as_ref().is_none_or(|pod| spec::host_network(pod));
        let ips = subject.observed.ready_sandbox().filter(|_| !on_host).map(|it| it.ips.as_slice());
        ips.and_then(|ips| ips.first()?.parse().ok()).unwrap_or(self.config.node_ip)
    }
}

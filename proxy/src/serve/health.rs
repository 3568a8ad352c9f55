//! Whether the rules follow the API: `/healthz` and `/livez` (upstream's `pkg/proxy/healthcheck`).

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use super::Reply;

/// How long a change may wait for the kernel before the proxy counts as unhealthy (upstream: two sync periods).
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Default)]
struct State {
    /// When the kernel last took a change.
    updated: Option<Timestamp>,
    /// Since when a change waits.
    waiting: Option<Timestamp>,
    /// Whether the node is about to go, so that load balancers should leave it.
    is_leaving: bool,
}

/// The proxy's health. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

impl Health {
    /// A change waits for the kernel.
    pub fn queued(&self, now: Timestamp) {
        self.0.lock().waiting.get_or_insert(now);
    }

    /// The kernel has all changes.
    pub fn updated(&self, now: Timestamp) {
        let mut state = self.0.lock();
        state.updated = Some(now);
        state.waiting = None;
    }

    /// The node is about to go, or not.
    pub fn leaving(&self, is_leaving: bool) {
        self.0.lock().is_leaving = is_leaving;
    }

    /// Whether the kernel follows.
    pub fn is_healthy(&self, now: Timestamp) -> bool {
        let state = *self.0.lock();
        let is_late = |since: Timestamp| now.duration_since(since).unsigned_abs() > PATIENCE;
        state.updated.is_some() && !state.waiting.is_some_and(is_late)
    }

    /// The answer on a path.
    pub fn answer(&self, path: &str, now: Timestamp) -> Reply {
        let state = *self.0.lock();
        let healthy = self.is_healthy(now);
        // What the rules are up to date with: the last change when all are in, now otherwise.
        let updated = if healthy { now } else { state.updated.unwrap_or(Timestamp::UNIX_EPOCH) };
        let mut body = json!({"lastUpdated": updated.to_string(), "currentTime": now.to_string()});
        let good = match path {
            "/livez" => healthy,
            "/healthz" => {
                if let Some(body) = body.as_object_mut() {
                    body.insert("nodeEligible".into(), (!state.is_leaving).into());
                }
                healthy && !state.is_leaving
            }
            _ => return Reply::not_found(),
        };
        let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Reply { status, content_type: "application/json", headers: Vec::new(), body: body.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_is_who_follows_and_only_who_stays_takes_load() {
        let health = Health::default();
        let at = |seconds: i64| Timestamp::from_second(1_000 + seconds).expect("a time");
        let code = |path, now| health.answer(path, now).status.as_u16();
        assert_eq!(code("/healthz", at(0)), 503, "no rules yet");
        health.queued(at(0));
        health.updated(at(1));
        assert_eq!((code("/healthz", at(500)), code("/livez", at(500)), code("/x", at(500))), (200, 200, 404));
        health.queued(at(500));
        assert_eq!(code("/livez", at(560)), 200);
        assert_eq!(code("/livez", at(561)), 503, "a change waits too long");
        health.updated(at(562));
        health.leaving(true);
        assert_eq!((code("/healthz", at(562)), code("/livez", at(562))), (503, 200));
    }
}

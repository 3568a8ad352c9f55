//! `/livez`, `/readyz`, `/healthz`: whether the process works, and whether requests are welcome.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use tonic::body::Body;

use super::path::Query;
use crate::edges::status::full;

/// What must hold before requests are welcome. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cache: AtomicBool,
    bootstrap: AtomicBool,
    shutting_down: AtomicBool,
}

impl Readiness {
    /// The watch cache is whole.
    pub fn cache_is_synced(&self) {
        self.state.cache.store(true, Ordering::Release);
    }

    /// The first namespaces and the `kubernetes` Service are there.
    pub fn bootstrap_is_done(&self) {
        self.state.bootstrap.store(true, Ordering::Release);
    }

    /// Load balancers must look elsewhere.
    pub fn shuts_down(&self) {
        self.state.shutting_down.store(true, Ordering::Release);
    }

    fn checks(&self) -> [(&'static str, bool); 4] {
        [
            ("ping", true),
            ("informer-sync", self.state.cache.load(Ordering::Acquire)),
            ("poststarthook/bootstrap-controller", self.state.bootstrap.load(Ordering::Acquire)),
            ("shutdown", !self.state.shutting_down.load(Ordering::Acquire)),
        ]
    }
}

/// The answer to a health path; `None` for other paths.
pub fn answer(readiness: &Readiness, path: &str, query: &Query) -> Option<Response<Body>> {
    let name = path.trim_matches('/');
    let checks = readiness.checks();
    let relevant = match name {
        "livez" => &checks[..1],
        "readyz" | "healthz" => &checks[..],
        _ => return None,
    };
    let excluded = query.text("exclude");
    let mut text = String::new();
    let mut healthy = true;
    for (check, passed) in relevant {
        let line = if *check == excluded {
            format!("[+]{check} excluded: ok")
        } else if *passed {
            format!("[+]{check} ok")
        } else {
            healthy = false;
            format!("[-]{check} failed: reason withheld")
        };
        // Writing to a String does not fail.
        let _infallible = writeln!(text, "{line}");
    }
    let verdict = if healthy { "passed" } else { "failed" };
    let _infallible = writeln!(text, "{name} check {verdict}");
    if healthy && !query.has("verbose") {
        text = "ok".to_owned();
    }
    let mut response = Response::new(full(text));
    if !healthy {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_all_checks_pass() {
        let readiness = Readiness::default();
        let status = |path: &str| answer(&readiness, path, &Query::default()).unwrap().status().as_u16();
        assert_eq!((status("/livez"), status("/readyz")), (200, 500));
        readiness.cache_is_synced();
        readiness.bootstrap_is_done();
        assert_eq!(status("/readyz"), 200);
        readiness.shuts_down();
        assert_eq!((status("/livez"), status("/readyz")), (200, 500));
        assert!(answer(&readiness, "/api", &Query::default()).is_none());
    }
}

//! `/livez`, `/readyz`, `/healthz`: whether the process works, and whether requests are welcome.
//!
//! `?verbose` tells every check, `?exclude=NAME` leaves one out, and `/readyz/NAME` asks for one alone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use reeve_api::StatusError;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;

use super::path::Query;
use crate::edges::status::full;

const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// How long a request waits for the start to end: as long as a read waits for the cache.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// What must hold before requests are welcome. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cache: AtomicBool,
    bootstrap: watch::Sender<bool>,
    shutting_down: AtomicBool,
}

/// One thing that is checked.
struct Check {
    name: &'static str,
    passed: bool,
    /// Whether a process that fails it should be started again.
    is_vital: bool,
}

impl Readiness {
    /// The watch cache is whole.
    pub fn cache_is_synced(&self) {
        self.state.cache.store(true, Ordering::Release);
    }

    /// The first namespaces and the `kubernetes` Service are there.
    pub fn bootstrap_is_done(&self) {
        self.state.bootstrap.send_replace(true);
    }

    /// Waits until the first objects are there. Before, nobody but an administrator has a right to anything: what
    /// comes early is answered late instead of wrongly.
    ///
    /// # Errors
    /// `ServiceUnavailable` when that takes too long; the client may come again.
    pub async fn started(&self) -> Result<(), StatusError> {
        if *self.state.bootstrap.borrow() {
            return Ok(());
        }
        let mut bootstrap = self.state.bootstrap.subscribe();
        match timeout(START_PATIENCE, bootstrap.wait_for(|done| *done)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(StatusError::unavailable("the server is starting: its first objects are not there yet", 1))
            }
        }
    }

    /// Load balancers must look elsewhere.
    pub fn shuts_down(&self) {
        self.state.shutting_down.store(true, Ordering::Release);
    }

    fn checks(&self) -> [Check; 6] {
        let cache = self.state.cache.load(Ordering::Acquire);
        let bootstrap = *self.state.bootstrap.borrow();
        let check = |name, passed| Check { name, passed, is_vital: false };
        [
            Check { name: "ping", passed: true, is_vital: true },
            // The cache is whole once the store has answered; that the store is away later is no reason to start
            // again, and reads go on.
            check("etcd", cache),
            check("etcd-readiness", cache),
            check("informer-sync", cache),
            check("poststarthook/start-system-namespaces-controller", bootstrap),
            check("shutdown", !self.state.shutting_down.load(Ordering::Acquire)),
        ]
    }
}

/// The answer to a health path; `None` for other paths.
pub fn answer(readiness: &Readiness, path: &str, query: &Query) -> Option<Response<Body>> {
    let (name, single) = match path.trim_matches('/').split_once('/') {
        Some((name, single)) => (name, Some(single)),
        None => (path.trim_matches('/'), None),
    };
    if !matches!(name, "livez" | "readyz" | "healthz") {
        return None;
    }
    let checks = readiness.checks();
    let mut relevant = checks.iter().filter(|check| check.is_vital || name != "livez");
    if let Some(single) = single {
        return Some(match relevant.find(|check| check.name == single) {
            None => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
            Some(check) if check.passed => text(StatusCode::OK, "ok".to_owned()),
            Some(check) => {
                let why = format!("internal server error: {} failed: reason withheld\n", check.name);
                text(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
        });
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut healthy = true;
    for check in relevant {
        let line = if excluded.contains(&check.name) {
            format!("[+]{} excluded: ok", check.name)
        } else if check.passed {
            format!("[+]{} ok", check.name)
        } else {
            healthy = false;
            format!("[-]{} failed: reason withheld", check.name)
        };
        // Writing to a String does not fail.
        let _infallible = writeln!(lines, "{line}");
    }
    for unknown in excluded.iter().filter(|excluded| !checks.iter().any(|check| check.name == **excluded)) {
        let _infallible = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {unknown:?}");
    }
    let verdict = if healthy { "passed" } else { "failed" };
    let _infallible = writeln!(lines, "{name} check {verdict}");
    Some(match (healthy, query.has("verbose")) {
        (true, false) => text(StatusCode::OK, "ok".to_owned()),
        (true, true) => text(StatusCode::OK, lines),
        (false, _) => text(StatusCode::INTERNAL_SERVER_ERROR, lines),
    })
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(readiness: &Readiness, path: &str) -> u16 {
        answer(readiness, path, &Query::default()).unwrap().status().as_u16()
    }

    #[test]
    fn ready_only_when_all_checks_pass() {
        let readiness = Readiness::default();
        assert_eq!((status(&readiness, "/livez"), status(&readiness, "/readyz")), (200, 500));
        readiness.cache_is_synced();
        readiness.bootstrap_is_done();
        assert_eq!(status(&readiness, "/readyz"), 200);
        readiness.shuts_down();
        assert_eq!((status(&readiness, "/livez"), status(&readiness, "/readyz")), (200, 500));
        assert!(answer(&readiness, "/api", &Query::default()).is_none());
    }

    #[test]
    fn a_check_can_be_asked_for_alone_or_left_out() {
        let readiness = Readiness::default();
        readiness.cache_is_synced();
        assert_eq!(status(&readiness, "/livez/ping"), 200);
        assert_eq!(status(&readiness, "/livez/etcd"), 404);
        assert_eq!(status(&readiness, "/readyz/etcd"), 200);
        assert_eq!(status(&readiness, "/readyz/poststarthook/start-system-namespaces-controller"), 500);
        let query = Query::parse(Some("exclude=etcd&exclude=poststarthook/start-system-namespaces-controller"));
        assert_eq!(answer(&readiness, "/readyz", &query).unwrap().status().as_u16(), 200);
    }
}

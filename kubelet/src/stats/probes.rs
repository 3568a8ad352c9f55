//! What probes came to, as `/metrics/probes` tells it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::text::Text;
use crate::pod::probe::{ProbeAnswer, ProbeKind};

/// Upper bounds of durations in seconds, Prometheus' usual ones.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const RESULTS: [&str; 3] = ["successful", "failed", "unknown"];

/// Whose probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeOwner {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// Which probe.
    pub kind: ProbeKind,
}

/// Counts of one probe.
#[derive(Default)]
struct Series {
    results: [u32; 3],
    /// How many took at most each bound, and how many were timed at all: upstream does not time failures.
    buckets: [u32; BOUNDS.len()],
    timed: u32,
    seconds: f64,
}

impl Series {
    fn add(&mut self, other: &Self) {
        let sum = |to: &mut [u32], from: &[u32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        sum(&mut self.results, &other.results);
        sum(&mut self.buckets, &other.buckets);
        self.timed += other.timed;
        self.seconds += other.seconds;
    }
}

/// The counts of all probes. Cheap to clone.
#[derive(Clone, Default)]
pub struct ProbeFigures(Arc<Mutex<BTreeMap<ProbeOwner, Series>>>);

impl ProbeFigures {
    /// Counts an answer.
    pub fn record(&self, owner: ProbeOwner, answer: &ProbeAnswer, took: Duration) {
        let mut all = self.0.lock();
        let series = all.entry(owner).or_default();
        let result = match answer {
            ProbeAnswer::Success => 0,
            ProbeAnswer::Failure(_) => 1,
            ProbeAnswer::Unknown(_) => 2,
        };
        series.results[result] = series.results[result].saturating_add(1);
        if result == 1 {
            return;
        }
        let seconds = took.as_secs_f64();
        series.timed = series.timed.saturating_add(1);
        series.seconds += seconds;
        for (bucket, _) in series.buckets.iter_mut().zip(BOUNDS).filter(|(_, bound)| seconds <= *bound) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// Forgets a pod's probes.
    pub fn forget(&self, uid: &str) {
        self.0.lock().retain(|owner, _| owner.uid != uid);
    }

    /// The page.
    pub fn page(&self) -> String {
        let all = self.0.lock();
        let mut text = Text::default();
        let help = "[ALPHA] Duration in seconds for a probe response.";
        let family = "prober_probe_duration_seconds";
        if !all.is_empty() {
            text.family(family, "histogram", help);
        }
        // These have no UID: a pod and the one that had its name before are one.
        let mut by_name: BTreeMap<(&str, &str, &str, ProbeKind), Series> = BTreeMap::new();
        for (owner, series) in &*all {
            by_name.entry((&owner.container, &owner.namespace, &owner.pod, owner.kind)).or_default().add(series);
        }
        for ((container, namespace, pod, kind), series) in by_name {
            let labels =
                [("container", container), ("namespace", namespace), ("pod", pod), ("probe_type", kind.word())];
            let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(series.buckets.into_iter().chain([series.timed])) {
                let labels: Vec<_> = labels.into_iter().chain([("le", &*bound)]).collect();
                text.value(&format!("{family}_bucket"), &labels, count.into(), None);
            }
            text.value(&format!("{family}_sum"), &labels, series.seconds, None);
            text.value(&format!("{family}_count"), &labels, series.timed.into(), None);
        }
        let help = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
        if !all.is_empty() {
            text.family("prober_probe_total", "counter", help);
        }
        for (owner, series) in &*all {
            for (result, count) in RESULTS.into_iter().zip(series.results).filter(|(_, count)| *count > 0) {
                let labels = [
                    ("container", &*owner.container),
                    ("namespace", &*owner.namespace),
                    ("pod", &*owner.pod),
                    ("pod_uid", &*owner.uid),
                    ("probe_type", owner.kind.word()),
                    ("result", result),
                ];
                text.value("prober_probe_total", &labels, count.into(), None);
            }
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_in_upstreams_series() {
        let figures = ProbeFigures::default();
        let owner = |uid: &str| ProbeOwner {
            namespace: "shop".into(),
            pod: "web".into(),
            uid: uid.into(),
            container: "main".into(),
            kind: ProbeKind::Readiness,
        };
        assert_eq!(figures.page(), "");
        figures.record(owner("u"), &ProbeAnswer::Success, Duration::from_millis(7));
        figures.record(owner("u"), &ProbeAnswer::Failure("no".into()), Duration::from_secs(20));
        figures.record(owner("u"), &ProbeAnswer::Success, Duration::from_secs(20));
        figures.record(owner("v"), &ProbeAnswer::Unknown("?".into()), Duration::ZERO);
        let page = figures.page();
        let of = "container=\"main\",namespace=\"shop\",pod=\"web\"";
        for line in [
            "# TYPE prober_probe_total counter".to_owned(),
            "# TYPE prober_probe_duration_seconds histogram".to_owned(),
            format!("prober_probe_total{{{of},pod_uid=\"u\",probe_type=\"Readiness\",result=\"successful\"}} 2"),
            format!("prober_probe_total{{{of},pod_uid=\"u\",probe_type=\"Readiness\",result=\"failed\"}} 1"),
            format!("prober_probe_total{{{of},pod_uid=\"v\",probe_type=\"Readiness\",result=\"unknown\"}} 1"),
            format!("prober_probe_duration_seconds_bucket{{{of},probe_type=\"Readiness\",le=\"0.005\"}} 1"),
            format!("prober_probe_duration_seconds_bucket{{{of},probe_type=\"Readiness\",le=\"0.01\"}} 2"),
            format!("prober_probe_duration_seconds_bucket{{{of},probe_type=\"Readiness\",le=\"+Inf\"}} 3"),
            format!("prober_probe_duration_seconds_count{{{of},probe_type=\"Readiness\"}} 3"),
            format!("prober_probe_duration_seconds_sum{{{of},probe_type=\"Readiness\"}} 20.007"),
        ] {
            assert!(page.lines().any(|it| it == line), "{line} in\n{page}");
        }
        figures.forget("u");
        assert!(!figures.page().contains("pod_uid=\"u\""));
    }
}

//! What probe results mean: thresholds, without IO or a clock.

use k8s_openapi::api::core::v1::Probe;

/// Which of a container's three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Holds back the other two until it succeeded once.
    Startup,
    /// Its failure restarts the container.
    Liveness,
    /// Its failure takes the pod out of Services.
    Readiness,
}

impl ProbeKind {
    /// The word of the `Unhealthy` event.
    pub fn word(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// The answer of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The container is well.
    Success,
    /// The container is not well, and how that showed.
    Failure(String),
    /// The probe itself could not be made; counts as neither.
    Unknown(String),
}

/// A change that the latest answer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The threshold of successes was reached.
    Succeeded,
    /// The threshold of failures was reached.
    Failed,
    /// Nothing changes.
    Same,
}

/// Counts the answers of one probe of one container.
#[derive(Clone, Debug)]
pub struct Tracker {
    success_threshold: i32,
    failure_threshold: i32,
    grace_seconds: Option<i64>,
    run: i32,
    last: Option<bool>,
}

impl Tracker {
    /// A tracker with the probe's thresholds; upstream's defaults are 1 success and 3 failures.
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            grace_seconds: probe.termination_grace_period_seconds,
            run: 0,
            last: None,
        }
    }

    /// The grace period of a container that this probe ends, where the probe has one of its own.
    pub fn grace_seconds(&self) -> Option<i64> {
        self.grace_seconds
    }

    /// Takes the next answer in.
    pub fn observe(&mut self, answer: &ProbeAnswer) -> Verdict {
        let success = match answer {
            ProbeAnswer::Success => true,
            ProbeAnswer::Failure(_) => false,
            ProbeAnswer::Unknown(_) => return Verdict::Same,
        };
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        match success {
            true if self.run >= self.success_threshold => Verdict::Succeeded,
            false if self.run >= self.failure_threshold => Verdict::Failed,
            _ => Verdict::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_runs_without_a_break() {
        let mut tracker =
            Tracker::new(&Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() });
        let fail = || ProbeAnswer::Failure("no".into());
        let verdicts: Vec<_> = [
            ProbeAnswer::Success,
            ProbeAnswer::Success,
            fail(),
            fail(),
            ProbeAnswer::Success,
            fail(),
            fail(),
            ProbeAnswer::Unknown("timeout of the runtime".into()),
            fail(),
        ]
        .iter()
        .map(|answer| tracker.observe(answer))
        .collect();
        use Verdict::{Failed, Same, Succeeded};
        assert_eq!(verdicts, [Same, Succeeded, Same, Same, Same, Same, Same, Same, Failed]);
    }
}

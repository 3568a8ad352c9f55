//! Rules for a job's status.

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::super::workload;

fn is_true(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Rules for a new status.
pub(super) fn validate(job: &Job, old: &Job) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let (empty, empty_old) = (JobStatus::default(), JobStatus::default());
    let status = job.status.as_ref().unwrap_or(&empty);
    let before = old.status.as_ref().unwrap_or(&empty_old);
    for (field, count) in [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready),
        ("terminating", status.terminating),
    ] {
        workload::not_negative(count.map(i64::from), &path.child(field), &mut errors);
    }
    let (complete, failed) = (is_true(status, "Complete"), is_true(status, "Failed"));
    let path_conditions = path.child("conditions");
    if complete && failed {
        errors.invalid_as_a_whole(&path_conditions, "cannot set Complete=True and Failed=True conditions");
    }
    for kind in ["Complete", "Failed"] {
        if is_true(before, kind) && !is_true(status, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            errors.invalid_as_a_whole(&path_conditions, why);
        }
    }
    let path_completion = path.child("completionTime");
    if let (Some(start), Some(end)) = (&status.start_time, &status.completion_time)
        && end.0 < start.0
    {
        errors.invalid(&path_completion, BadValue::json(end), "completionTime cannot be set before startTime");
    }
    if complete && status.completion_time.is_none() {
        errors.required(&path_completion, "completionTime is required for Complete jobs");
    }
    if !complete && let Some(end) = &status.completion_time {
        errors.invalid(
            &path_completion,
            BadValue::json(end),
            "cannot set completionTime when there is no Complete=True condition",
        );
    }
    if before.completion_time.is_some() && before.completion_time != status.completion_time {
        errors.invalid(&path_completion, BadValue::json(&status.completion_time), "field is immutable");
    }
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    if before.start_time.is_some() && !suspended {
        let path = path.child("startTime");
        if status.start_time.is_none() {
            errors.required(&path, "startTime cannot be removed for unsuspended job");
        } else if status.start_time != before.start_time {
            errors.required(&path, "startTime cannot be modified for unsuspended job");
        }
    }
    errors
}

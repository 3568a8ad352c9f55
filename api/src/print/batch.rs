//! Jobs and CronJobs.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use super::workload::{containers, selector};
use crate::age;

pub(super) fn job(job: View<'_>, now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers(job);
    vec![
        object_name(job),
        job_status(job).into(),
        completions(job).into(),
        duration(job, now).into(),
        age(job, now),
        containers.into(),
        images.into(),
        selector(job).into(),
    ]
}

fn has_condition(job: View<'_>, kind: &str) -> bool {
    job.list("status.conditions").any(|condition| condition.text("type") == kind && condition.text("status") == "True")
}

fn job_status(job: View<'_>) -> &'static str {
    if has_condition(job, "Complete") {
        "Complete"
    } else if has_condition(job, "Failed") {
        "Failed"
    } else if job.has("metadata.deletionTimestamp") {
        "Terminating"
    } else if has_condition(job, "Suspended") {
        "Suspended"
    } else if has_condition(job, "FailureTarget") {
        "FailureTarget"
    } else if has_condition(job, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: View<'_>) -> String {
    let succeeded = job.number("status.succeeded");
    if let Some(wanted) = job.at("spec.completions").0.as_i64() {
        return format!("{succeeded}/{wanted}");
    }
    match job.number("spec.parallelism") {
        parallel if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(job: View<'_>, now: Timestamp) -> String {
    match (job.time("status.startTime"), job.time("status.completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => age::human(end.unwrap_or(now).as_second() - start.as_second()),
    }
}

pub(super) fn cron_job(cron_job: View<'_>, now: Timestamp) -> Vec<Value> {
    let template = cron_job.at("spec.jobTemplate");
    let (containers, images) = containers(template);
    let last = cron_job.time("status.lastScheduleTime");
    vec![
        object_name(cron_job),
        cron_job.text("spec.schedule").into(),
        or(cron_job.text("spec.timeZone"), "<none>").into(),
        if cron_job.flag("spec.suspend") { "True" } else { "False" }.into(),
        cron_job.list("status.active").count().into(),
        last.map_or_else(|| "<none>".to_owned(), |last| age::since(Some(last), now)).into(),
        age(cron_job, now),
        containers.into(),
        images.into(),
        selector(template).into(),
    ]
}

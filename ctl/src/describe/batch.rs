//! Jobs and cron jobs.

use jiff::Timestamp;
use serde_json::Value;

use super::pod::pod_template;
use super::writer::Writer;
use super::{Subject, controller, plain_or, time};
use crate::merge::LAST_APPLIED;
use crate::value::{at, count, flag, int, items, name, namespace, text};
use crate::verbs::common::selector_text;

/// Describes a job.
pub fn job(writer: &mut Writer, subject: &Subject) {
    let job = &subject.object;
    writer.field(0, "Name", name(job));
    writer.field(0, "Namespace", namespace(job));
    writer.optional(0, "Selector", &selector_text(at(job, "spec.selector").unwrap_or(&Value::Null)));
    writer.map(0, "Labels", job, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", job, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.optional(0, "Controlled By", &controller(job));
    writer.optional_number(0, "Parallelism", job, "spec.parallelism");
    writer.field(0, "Completions", &plain_or(job, "spec.completions", "<unset>"));
    writer.optional(0, "Completion Mode", text(job, "spec.completionMode"));
    if let Some(suspended) = at(job, "spec.suspend") {
        writer.field(0, "Suspend", &crate::value::plain(suspended));
    }
    writer.optional_number(0, "Backoff Limit", job, "spec.backoffLimit");
    writer.optional_number(0, "TTL Seconds After Finished", job, "spec.ttlSecondsAfterFinished");
    writer.optional(0, "Start Time", &time(job, "status.startTime"));
    writer.optional(0, "Completed At", &time(job, "status.completionTime"));
    if let (Some(start), Some(end)) = (instant(job, "status.startTime"), instant(job, "status.completionTime")) {
        writer.field(0, "Duration", &reeve_api::age::since(Some(start), end));
    }
    if let Some(seconds) = int(job, "spec.activeDeadlineSeconds") {
        writer.field(0, "Active Deadline Seconds", &format!("{seconds}s"));
    }
    let status = |field: &str| count(job, &format!("status.{field}"));
    let ready = int(job, "status.ready").map(|ready| format!(" ({ready} Ready)")).unwrap_or_default();
    let active = status("active");
    writer.field(
        0,
        "Pods Statuses",
        &format!("{active} Active{ready} / {} Succeeded / {} Failed", status("succeeded"), status("failed")),
    );
    if text(job, "spec.completionMode") == "Indexed" {
        writer.field(0, "Completed Indexes", &plain_or(job, "status.completedIndexes", "<none>"));
    }
    pod_template(writer, at(job, "spec.template").unwrap_or(&Value::Null));
}

/// Describes a cron job.
pub fn cron_job(writer: &mut Writer, subject: &Subject) {
    let cron = &subject.object;
    writer.field(0, "Name", name(cron));
    writer.field(0, "Namespace", namespace(cron));
    writer.map(0, "Labels", cron, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", cron, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.field(0, "Schedule", text(cron, "spec.schedule"));
    writer.optional(0, "Time Zone", text(cron, "spec.timeZone"));
    writer.field(0, "Concurrency Policy", text(cron, "spec.concurrencyPolicy"));
    writer.field(0, "Suspend", if flag(cron, "spec.suspend") { "True" } else { "False" });
    writer.field(0, "Successful Job History Limit", &plain_or(cron, "spec.successfulJobsHistoryLimit", "<unset>"));
    writer.field(0, "Failed Job History Limit", &plain_or(cron, "spec.failedJobsHistoryLimit", "<unset>"));
    let deadline = int(cron, "spec.startingDeadlineSeconds").map(|seconds| format!("{seconds}s"));
    writer.field(0, "Starting Deadline Seconds", deadline.as_deref().unwrap_or("<unset>"));
    let spec = "spec.jobTemplate.spec";
    let selector = at(cron, &format!("{spec}.selector")).map(selector_text);
    writer.field(0, "Selector", selector.as_deref().unwrap_or("<unset>"));
    writer.field(0, "Parallelism", &plain_or(cron, &format!("{spec}.parallelism"), "<unset>"));
    writer.field(0, "Completions", &plain_or(cron, &format!("{spec}.completions"), "<unset>"));
    if let Some(seconds) = int(cron, &format!("{spec}.activeDeadlineSeconds")) {
        writer.field(0, "Active Deadline Seconds", &format!("{seconds}s"));
    }
    pod_template(writer, at(cron, &format!("{spec}.template")).unwrap_or(&Value::Null));
    let last = time(cron, "status.lastScheduleTime");
    writer.field(0, "Last Schedule Time", if last.is_empty() { "<unset>" } else { &last });
    let active: Vec<&str> = items(cron, "status.active").iter().map(|job| text(job, "name")).collect();
    writer.field(0, "Active Jobs", &if active.is_empty() { "<none>".to_owned() } else { active.join(", ") });
}

fn instant(value: &Value, path: &str) -> Option<Timestamp> {
    text(value, path).parse().ok()
}

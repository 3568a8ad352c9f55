//! CronJob: jobs at times.

mod schedule;

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, JobSpec};
use reeve_api::validation::{ErrorList, Path};

use super::{generation, job, workload};
use crate::registry::pod_template::{defaults, warnings};
use crate::registry::strategy::{RequestContext, Strategy};

/// Most bytes of a name: the time is added to it, and the result names a job.
const NAME_MAX: usize = 52;

/// The strategy.
pub struct CronJobs;

impl Strategy for CronJobs {
    type Object = CronJob;

    fn default(&self, cron: &mut CronJob) {
        let spec = &mut cron.spec;
        defaults::fill(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        let template = spec.job_template.spec.get_or_insert_default();
        defaults::pod_template(&mut template.template);
        cron.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, cron: &mut CronJob) {
        cron.status = Some(CronJobStatus::default());
        generation::start(&mut cron.metadata);
    }

    fn validate(&self, cron: &CronJob) -> ErrorList {
        let mut errors = self.validate_update(cron, cron);
        let name = cron.metadata.name.as_deref().unwrap_or_default();
        if name.len() > NAME_MAX {
            let path = Path::new("metadata");
            errors.invalid(&path.child("name"), name, format!("must be no more than {NAME_MAX} characters"));
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, cron: &mut CronJob, old: &CronJob) {
        cron.status.clone_from(&old.status);
        let changed = cron.spec != old.spec;
        generation::follow(&mut cron.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, cron: &CronJob, old: &CronJob) -> ErrorList {
        let mut errors = ErrorList::new();
        // A zone that was known once stays accepted.
        let same_zone = !std::ptr::eq(cron, old) && cron.spec.time_zone == old.spec.time_zone;
        specification(&cron.spec, same_zone, &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, cron: &mut CronJob, old: &CronJob) {
        cron.spec.clone_from(&old.spec);
        generation::keep(&mut cron.metadata, &old.metadata);
    }

    fn warnings(&self, cron: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        let template = |cron: &CronJob| cron.spec.job_template.spec.as_ref().map(|spec| spec.template.clone());
        let mut found = if old.is_none() { workload::name_warning(&cron.metadata) } else { Vec::new() };
        if let Some(new) = template(cron).filter(|new| old.and_then(template).as_ref() != Some(new)) {
            let path = Path::new("spec");
            let path = path.child("jobTemplate");
            let path = path.child("spec");
            found.extend(warnings::pod_template(&new, &path.child("template")));
        }
        found
    }
}

fn specification(spec: &CronJobSpec, same_zone: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let path_schedule = path.child("schedule");
    if spec.schedule.is_empty() {
        errors.required(&path_schedule, "");
    } else if schedule::names_zone(&spec.schedule) {
        errors.invalid(
            &path_schedule,
            &spec.schedule,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        );
    } else if let Err(problem) = schedule::check(&spec.schedule) {
        errors.invalid(&path_schedule, &spec.schedule, problem);
    }
    workload::not_negative(spec.starting_deadline_seconds, &path.child("startingDeadlineSeconds"), errors);
    if let Some(zone) = spec.time_zone.as_deref().filter(|_| !same_zone) {
        time_zone(zone, &path.child("timeZone"), errors);
    }
    let path_policy = path.child("concurrencyPolicy");
    match spec.concurrency_policy.as_deref().unwrap_or_default() {
        "" => errors.required(&path_policy, ""),
        "Allow" | "Forbid" | "Replace" => {}
        other => errors.not_supported(&path_policy, other, &["Allow", "Forbid", "Replace"]),
    }
    let path_template = path.child("jobTemplate");
    let empty = JobSpec::default();
    let template = spec.job_template.spec.as_ref().unwrap_or(&empty);
    job::template_rules(template, &path_template.child("spec"), errors);
    for (field, limit) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        workload::not_negative(limit.map(i64::from), &path.child(field), errors);
    }
}

fn time_zone(zone: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if zone.is_empty() {
        errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        errors.invalid(
            path,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if jiff::tz::TimeZoneDatabase::bundled().get(zone).is_err() {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}

//! Job: pods that run to an end.

mod rules;
mod selector;
mod status;
mod update;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use reeve_api::validation::{ErrorList, Path};

use super::{generation, workload};
use crate::registry::pod_template::defaults;
use crate::registry::strategy::{RequestContext, Strategy};

pub(super) use rules::template as template_rules;

/// Failures of a job that are forgiven by default.
const BACKOFF_LIMIT: i32 = 6;

/// The strategy.
pub struct Jobs;

impl Strategy for Jobs {
    type Object = Job;

    fn default(&self, job: &mut Job) {
        let spec = job.spec.get_or_insert_default();
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { BACKOFF_LIMIT };
        spec.backoff_limit.get_or_insert(limit);
        defaults::fill(&mut spec.completion_mode, "NonIndexed");
        spec.suspend.get_or_insert(false);
        spec.manual_selector.get_or_insert(false);
        let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
        defaults::fill(&mut spec.pod_replacement_policy, replacement);
        failure_policy(spec);
        defaults::pod_template(&mut spec.template);
        if selector::is_settled(spec) {
            selector::adopt_labels(job);
        }
        job.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, job: &mut Job) {
        job.status = Some(JobStatus::default());
        generation::start(&mut job.metadata);
        if job.spec.as_ref().is_none_or(|spec| spec.manual_selector != Some(true)) {
            selector::generate(job);
        }
        selector::adopt_labels(job);
    }

    fn validate(&self, job: &Job) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = JobSpec::default();
        let spec = job.spec.as_ref().unwrap_or(&empty);
        selector::generated(job, spec, &mut errors);
        rules::specification(spec, &Path::new("spec"), &mut errors);
        rules::host_names(job, spec, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, job: &mut Job, old: &Job) {
        job.status.clone_from(&old.status);
        let changed = job.spec != old.spec;
        generation::follow(&mut job.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, job: &Job, old: &Job) -> ErrorList {
        let mut errors = ErrorList::new();
        let (empty_new, empty_old) = (JobSpec::default(), JobSpec::default());
        let new_spec = job.spec.as_ref().unwrap_or(&empty_new);
        let old_spec = old.spec.as_ref().unwrap_or(&empty_old);
        rules::specification(new_spec, &Path::new("spec"), &mut errors);
        let mutable = update::template_may_change(old);
        update::fixed(new_spec, old_spec, mutable, &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, job: &mut Job, old: &Job) {
        job.spec.clone_from(&old.spec);
        generation::keep(&mut job.metadata, &old.metadata);
    }

    fn validate_status_update(&self, job: &Job, old: &Job) -> ErrorList {
        status::validate(job, old)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, job: &Job) -> Vec<(&'static str, String)> {
        let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default();
        vec![("status.successful", succeeded.to_string())]
    }

    fn warnings(&self, job: &Job, old: Option<&Job>) -> Vec<String> {
        let template = |job: &Job| job.spec.as_ref().map(|spec| spec.template.clone());
        let mut found = workload::template_warnings(&job.metadata, template(job), old.map(template));
        found.extend(job.spec.iter().filter_map(rules::size_warning));
        found
    }
}

/// A condition of a pod counts when it is true, unless another status is asked for.
fn failure_policy(spec: &mut JobSpec) {
    let rules = spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules);
    for pattern in rules.flat_map(|rule| rule.on_pod_conditions.iter_mut().flatten()) {
        defaults::fill(&mut pattern.status, "True");
    }
}

//! The selector of a job, which the server makes, and the labels that it finds.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use reeve_api::selector::LabelSelector;
use reeve_api::validation::{BadValue, ErrorList, Path};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const OLD_CONTROLLER_UID: &str = "controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const OLD_JOB_NAME: &str = "job-name";

/// The labels of a job's pods that tell whose they are.
fn labels(job: &Job) -> [(&'static str, String); 4] {
    let name = job.metadata.name.clone().unwrap_or_default();
    let uid = job.metadata.uid.clone().unwrap_or_default();
    [(OLD_CONTROLLER_UID, uid.clone()), (OLD_JOB_NAME, name.clone()), (CONTROLLER_UID, uid), (JOB_NAME, name)]
}

/// Gives the template the labels, and the job a selector of them. What the user wrote stays: it is
/// refused where it does not fit.
pub(super) fn generate(job: &mut Job) {
    let labels = labels(job);
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let spec = job.spec.get_or_insert_default();
    let own = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (key, value) in labels {
        own.entry(key.to_owned()).or_insert(value);
    }
    let selected = spec.selector.get_or_insert_default().match_labels.get_or_insert_default();
    selected.entry(CONTROLLER_UID.to_owned()).or_insert(uid);
}

/// Whether the template has all the labels that it will ever have.
pub(super) fn is_settled(spec: &JobSpec) -> bool {
    let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    spec.manual_selector == Some(true) || labels.is_some_and(|labels| labels.contains_key(CONTROLLER_UID))
}

/// A job without labels has those of its template.
pub(super) fn adopt_labels(job: &mut Job) {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.labels.clone());
    if job.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty)
        && let Some(labels) = template.filter(|labels| !labels.is_empty())
    {
        job.metadata.labels = Some(labels);
    }
}

/// Checks that a selector that should have been generated was.
pub(super) fn generated(job: &Job, spec: &JobSpec, errors: &mut ErrorList) {
    let Some(selector) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true)) else { return };
    let path = Path::new("spec");
    let expected = labels(job);
    let template = path.child("template");
    let metadata = template.child("metadata");
    let path_labels = metadata.child("labels");
    let own = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    for (key, value) in &expected {
        match own.and_then(|own| own.get(*key)) {
            Some(own) if own == value => {}
            Some(own) => errors.invalid(&path_labels.key(key), own, format!("must be '{value}'")),
            None => errors.required(&path_labels.key(key), format!("must be '{value}'")),
        }
    }
    let expected: BTreeMap<String, String> = expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if LabelSelector::from_object(Some(selector)).is_ok_and(|parsed| !parsed.matches(&expected)) {
        errors.invalid(&path.child("selector"), BadValue::json(selector), "`selector` not auto-generated");
    }
}

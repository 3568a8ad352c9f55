//! PodSecurity: the levels `baseline` and `restricted` that a namespace's labels ask its pods to keep.
//!
//! Checks, their order and their words are those of `k8s.io/pod-security-admission/policy`, as of the version that the
//! namespace asks for.

mod checks;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec, PodTemplate, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use reeve_api::StatusError;
use reeve_api::validation::{ErrorList, Path};

use super::{Request, typed};
use crate::registry::AnyObject;

const NAMESPACES: &str = "/registry/namespaces/";
const PODS: &str = "/registry/pods/";
const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// What a namespace asks for in one of three ways, and the version as it names it.
fn level(namespace: &Namespace, mode: &str) -> (Level, String) {
    let labels = namespace.metadata.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(&format!("{PREFIX}{name}"))).map(String::as_str);
    let version = label(&format!("{mode}-version")).unwrap_or("latest").to_owned();
    match label(mode) {
        None => (Level::Privileged, version),
        // What cannot be read counts as the strictest.
        Some(text) => (Level::parse(text).unwrap_or(Level::Restricted), version),
    }
}

fn broken(level: Level, version: &str, metadata: Option<&ObjectMeta>, spec: &PodSpec) -> Vec<checks::Violation> {
    // The newest is meant where there is none that can be read.
    let minor = minor(version).unwrap_or(checks::Minor::MAX);
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => checks::baseline(minor, metadata, spec),
        Level::Restricted => checks::restricted(minor, metadata, spec),
    }
}

/// What a pod breaks, in a few words; `None` when nothing.
fn reasons(level: Level, version: &str, metadata: Option<&ObjectMeta>, spec: &PodSpec) -> Option<String> {
    let texts: Vec<&str> = broken(level, version, metadata, spec).into_iter().map(|(reason, _)| reason).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// What a pod breaks and where; `None` when nothing.
fn violations(level: Level, version: &str, metadata: Option<&ObjectMeta>, spec: &PodSpec) -> Option<String> {
    let texts: Vec<String> = broken(level, version, metadata, spec)
        .into_iter()
        .map(|(reason, detail)| if detail.is_empty() { reason.to_owned() } else { format!("{reason} ({detail})") })
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// The pod that an object describes.
fn template(object: &dyn AnyObject) -> Option<(Option<&ObjectMeta>, &PodSpec)> {
    macro_rules! of {
        ($kind:ty, |$object:ident| $template:expr) => {
            if let Some($object) = typed::<$kind>(object) {
                let template = $template?;
                return Some((template.metadata.as_ref(), template.spec.as_ref()?));
            }
        };
    }
    of!(Deployment, |one| one.spec.as_ref().map(|spec| &spec.template));
    of!(DaemonSet, |one| one.spec.as_ref().map(|spec| &spec.template));
    of!(StatefulSet, |one| one.spec.as_ref().map(|spec| &spec.template));
    of!(ReplicaSet, |one| one.spec.as_ref().and_then(|spec| spec.template.as_ref()));
    of!(ReplicationController, |one| one.spec.as_ref().and_then(|spec| spec.template.as_ref()));
    of!(Job, |one| one.spec.as_ref().map(|spec| &spec.template));
    of!(CronJob, |one| one.spec.job_template.spec.as_ref().map(|spec| &spec.template));
    of!(PodTemplate, |one| one.template.as_ref());
    None
}

pub fn judge(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    if let Some(namespace) = typed::<Namespace>(object) {
        judge_labels(request, namespace, old.and_then(typed::<Namespace>))?;
        if let Some(old) = old.and_then(typed::<Namespace>) {
            warnings.extend(existing_pods(request, namespace, old));
        }
        return Ok(());
    }
    if !matches!(request.target.subresource.as_str(), "" | "ephemeralcontainers") {
        return Ok(());
    }
    let pod = typed::<Pod>(object);
    let described = match pod {
        Some(pod) => pod.spec.as_ref().map(|spec| (Some(&pod.metadata), spec)),
        None => template(object),
    };
    let Some((metadata, spec)) = described else { return Ok(()) };
    if let (Some(pod), Some(old)) = (pod, old.and_then(typed::<Pod>)) {
        // Only changes that the levels look at are judged again.
        if pod.spec == old.spec && pod.metadata.annotations == old.metadata.annotations {
            return Ok(());
        }
    }
    let Some(namespace) = request.cached.get::<Namespace>(NAMESPACES, "", &request.target.namespace) else {
        return Ok(());
    };
    let (enforced, version) = level(&namespace, "enforce");
    let (warned, warned_version) = level(&namespace, "warn");
    if pod.is_some()
        && let Some(text) = violations(enforced, &version, metadata, spec)
    {
        let why = format!("violates PodSecurity \"{}:{version}\": {text}", enforced.as_str());
        return Err(request.forbidden(object, why));
    }
    if let Some(text) = violations(warned, &warned_version, metadata, spec) {
        warnings.push(format!("would violate PodSecurity \"{}:{warned_version}\": {text}", warned.as_str()));
    }
    let (audited, audited_version) = level(&namespace, "audit");
    if let Some(text) = violations(audited, &audited_version, metadata, spec) {
        let (level, name) = (audited.as_str(), object.metadata().name.as_deref());
        tracing::info!(
            level,
            version = audited_version,
            namespace = request.target.namespace,
            name,
            text,
            "would violate PodSecurity"
        );
    }
    Ok(())
}

/// What a namespace that becomes stricter should know of the pods that it has. Those that break the same rules are
/// told together.
fn existing_pods(request: &Request<'_>, namespace: &Namespace, old: &Namespace) -> Vec<String> {
    let ((new_level, version), (old_level, old_version)) = (level(namespace, "enforce"), level(old, "enforce"));
    let same_version = version == old_version;
    if new_level == Level::Privileged || (same_version && new_level <= old_level) {
        return Vec::new();
    }
    let name = namespace.metadata.name.as_deref().unwrap_or(&request.target.name);
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in request.cached.list::<Pod>(PODS, name) {
        let Some(spec) = &pod.spec else { continue };
        if let Some(reasons) = reasons(new_level, &version, Some(&pod.metadata), spec) {
            let first = pod.metadata.name.clone().unwrap_or_default();
            found.entry(reasons).or_insert((first, 0)).1 += 1;
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let mut texts: Vec<String> = found
        .into_iter()
        .map(|(reasons, (first, count))| match count {
            1 => format!("{first}: {reasons}"),
            2 => format!("{first} (and 1 other pod): {reasons}"),
            count => format!("{first} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    texts.sort_unstable();
    let level = new_level.as_str();
    texts.insert(
        0,
        format!("existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{level}:{version}\""),
    );
    texts
}

/// `old` is there on updates: what was wrong before may stay.
fn judge_labels(request: &Request<'_>, namespace: &Namespace, old: Option<&Namespace>) -> Result<(), StatusError> {
    let errors = label_errors(namespace);
    if errors.is_empty() || old.is_some_and(|old| label_errors(old) == errors) {
        return Ok(());
    }
    let name = namespace.metadata.name.as_deref().unwrap_or(&request.target.name);
    Err(StatusError::invalid("", "Namespace", name, errors.into_causes()))
}

fn label_errors(namespace: &Namespace) -> ErrorList {
    let mut errors = ErrorList::new();
    let metadata = Path::new("metadata");
    let labels = metadata.child("labels");
    for mode in ["enforce", "audit", "warn"] {
        let key = format!("{PREFIX}{mode}");
        let value = |key: &str| namespace.metadata.labels.as_ref().and_then(|all| all.get(key));
        if let Some(text) = value(&key).filter(|text| Level::parse(text).is_none()) {
            let why = "must be one of privileged, baseline, restricted";
            errors.invalid(&labels.key(&key), text.as_str(), why);
        }
        let key = format!("{key}-version");
        if let Some(text) = value(&key).filter(|text| !is_version(text)) {
            errors.invalid(&labels.key(&key), text.as_str(), "must be \"latest\" or \"v1.x\"");
        }
    }
    errors
}

fn is_version(text: &str) -> bool {
    text == "latest" || minor(text).is_some()
}

/// The minor version that a label names.
fn minor(text: &str) -> Option<checks::Minor> {
    text.strip_prefix("v1.")?.parse().ok()
}

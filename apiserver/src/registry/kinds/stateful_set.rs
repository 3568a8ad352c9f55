//! StatefulSet: pods with names and storage that stay.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus, PodTemplateSpec, Volume};
use reeve_api::selector::LabelSelector;
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::{generation, workload};
use crate::registry::internal;
use crate::registry::pod_template::{defaults, validation};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct StatefulSets;

impl Strategy for StatefulSets {
    type Object = StatefulSet;

    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Label
    }

    fn read(&self, object: &mut StatefulSet, json: &[u8]) {
        if let Some(spec) = &mut object.spec {
            workload::keep_empty_selector(&mut spec.selector, json);
        }
    }

    fn default(&self, set: &mut StatefulSet) {
        let spec = set.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        defaults::fill(&mut spec.pod_management_policy, "OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_default();
        defaults::fill(&mut strategy.type_, "RollingUpdate");
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            strategy.rolling_update.get_or_insert_default().partition.get_or_insert(0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        defaults::fill(&mut retention.when_deleted, "Retain");
        defaults::fill(&mut retention.when_scaled, "Retain");
        defaults::pod_template(&mut spec.template);
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            claim_template(claim);
        }
        set.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, set: &mut StatefulSet) {
        set.status = Some(StatefulSetStatus::default());
        generation::start(&mut set.metadata);
    }

    fn validate(&self, set: &StatefulSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = StatefulSetSpec::default();
        specification(set.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, set: &mut StatefulSet, old: &StatefulSet) {
        set.status.clone_from(&old.status);
        let changed = set.spec != old.spec;
        generation::follow(&mut set.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, set: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let mut errors = self.validate(set);
        if set.spec.as_ref().map(immutable_part) != old.spec.as_ref().map(immutable_part) {
            errors.forbidden(
                &Path::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, set: &mut StatefulSet, old: &StatefulSet) {
        set.spec.clone_from(&old.spec);
        generation::keep(&mut set.metadata, &old.metadata);
    }

    fn validate_status_update(&self, set: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &set.status else { return errors };
        let counts = [
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        workload::not_negative(status.observed_generation, &path.child("observedGeneration"), &mut errors);
        workload::part_counts(status.replicas, &counts, &path, &mut errors);
        let before = old.status.as_ref().and_then(|status| status.collision_count);
        workload::collisions(status.collision_count, before, &path, &mut errors);
        errors
    }

    fn warnings(&self, set: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        let template = |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.template.clone());
        workload::template_warnings(&set.metadata, template(set), old.map(template))
    }

    fn scale(&self, set: &StatefulSet) -> Option<Scale> {
        let spec = set.spec.as_ref()?;
        let present = set.status.as_ref().map(|status| status.replicas);
        Some(workload::scale(&set.metadata, spec.replicas, present, &spec.selector))
    }

    fn set_replicas(&self, set: &mut StatefulSet, replicas: i32) {
        set.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

/// Claims of a template have the defaults of claims.
fn claim_template(claim: &mut PersistentVolumeClaim) {
    let spec = claim.spec.get_or_insert_default();
    defaults::fill(&mut spec.volume_mode, "Filesystem");
    if let Some(resources) = &mut spec.resources {
        defaults::canonical_map(&mut resources.requests);
        defaults::canonical_map(&mut resources.limits);
    }
    let status = claim.status.get_or_insert_with(PersistentVolumeClaimStatus::default);
    defaults::fill(&mut status.phase, "Pending");
}

/// The specification without the fields that an update may change.
fn immutable_part(spec: &StatefulSetSpec) -> StatefulSetSpec {
    StatefulSetSpec {
        replicas: None,
        ordinals: None,
        template: PodTemplateSpec::default(),
        update_strategy: None,
        revision_history_limit: None,
        persistent_volume_claim_retention_policy: None,
        min_ready_seconds: None,
        ..spec.clone()
    }
}

fn specification(spec: &StatefulSetSpec, path: &Path<'_>, errors: &mut ErrorList) {
    match spec.pod_management_policy.as_deref().unwrap_or_default() {
        "" => errors.required(&path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            errors.invalid(&path.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'");
        }
    }
    update_strategy(spec, &path.child("updateStrategy"), errors);
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (field, policy) in [("whenDeleted", &retention.when_deleted), ("whenScaled", &retention.when_scaled)] {
            let policy = policy.as_deref().unwrap_or_default();
            if !matches!(policy, "Retain" | "Delete") {
                errors.not_supported(&path.child(field), policy, &["Retain", "Delete"]);
            }
        }
    }
    let count = |value: Option<i32>| value.map(i64::from);
    workload::not_negative(count(spec.replicas), &path.child("replicas"), errors);
    workload::not_negative(count(spec.min_ready_seconds), &path.child("minReadySeconds"), errors);
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
    workload::not_negative(count(start), &path.child("ordinals").child("start"), errors);
    workload::not_negative(count(spec.revision_history_limit), &path.child("revisionHistoryLimit"), errors);
    if let Some(service) = spec.service_name.as_deref().filter(|name| !name.is_empty()) {
        errors.invalid_each(&path.child("serviceName"), service, format::dns1123_label(service));
    }
    workload::required_selector(&spec.selector, "statefulset", path, errors);
    let path_template = path.child("template");
    match LabelSelector::from_object(Some(&spec.selector)) {
        Err(_) => errors.invalid(&path.child("selector"), BadValue::json(&spec.selector), ""),
        Ok(selector) => {
            let absent = workload::is_absent(&spec.selector);
            workload::matches_template(&selector, absent, &spec.template, &path_template, errors);
            validation::pod_template(&with_claims(spec), &path_template, errors);
        }
    }
    workload::runs_for_ever(&spec.template, "StatefulSet", &path_template, errors);
}

fn update_strategy(spec: &StatefulSetSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(strategy) = &spec.update_strategy else { return };
    let path_rolling = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(rolling)) => {
            let shown = BadValue::json(&internal::form(rolling, "PartitionedUpdate"));
            errors.invalid(&path_rolling, shown, "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            let partition = rolling.partition.map(i64::from);
            workload::not_negative(partition, &path_rolling.child("partition"), errors);
            let path_unavailable = path_rolling.child("maxUnavailable");
            if workload::share(rolling.max_unavailable.as_ref(), &path_unavailable, errors) == Some(0) {
                let shown = rolling.max_unavailable.as_ref().map_or_else(BadValue::null, BadValue::json);
                errors.invalid(&path_unavailable, shown, "cannot be 0");
            }
        }
        _ => errors.invalid(path, BadValue::json(strategy), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// The template with a volume for each claim, as its pods will have them.
fn with_claims(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let names: Vec<&str> =
        spec.volume_claim_templates.iter().flatten().filter_map(|claim| claim.metadata.name.as_deref()).collect();
    if names.is_empty() {
        return template;
    }
    let volumes = template.spec.get_or_insert_default().volumes.get_or_insert_default();
    // A claim takes the place of a volume of its name.
    volumes.retain(|volume| !names.contains(&volume.name.as_str()));
    volumes.extend(names.into_iter().map(|name| Volume {
        name: name.to_owned(),
        empty_dir: Some(Default::default()),
        ..Volume::default()
    }));
    template
}

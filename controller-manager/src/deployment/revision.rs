//! The new ReplicaSet, revision numbers, and the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use reeve_api::ObjectKey;
use reeve_api::meta::{MetaExt as _, controller_reference};
use serde_json::json;

use super::conditions::{self, Progress};
use super::{POD_TEMPLATE_HASH, Rollout, hash_of, patch_replica_set, rolling, scale, wanted};
use crate::action::{Action, Propagation};
use crate::object::{resource, to_json};

/// The revision of a Deployment or ReplicaSet.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Former revisions of a ReplicaSet that was rolled back to.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    scale::DESIRED_REPLICAS,
    scale::MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// Whether a ReplicaSet has the Deployment's template; the hash label does not count.
pub fn same_template(spec: &DeploymentSpec, replica_set: &ReplicaSet) -> bool {
    let Some(template) = replica_set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    without_hash(template) == without_hash(&spec.template)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(POD_TEMPLATE_HASH);
    }
    for map in [&mut meta.labels, &mut meta.annotations] {
        if map.as_ref().is_some_and(BTreeMap::is_empty) {
            *map = None;
        }
    }
    // The server sets one on templates of some kinds and not of others.
    meta.creation_timestamp = None;
    template
}

/// The oldest ReplicaSet with the Deployment's template.
pub fn find_new<'a>(spec: &DeploymentSpec, owned: &[&'a ReplicaSet]) -> Option<&'a ReplicaSet> {
    let same = owned.iter().copied().filter(|candidate| same_template(spec, candidate));
    same.min_by(|a, b| super::by_age(a, b))
}

fn revision_of(meta: &ObjectMeta) -> i64 {
    meta.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The revision of the new ReplicaSet: one more than that of any other.
fn next_revision(rollout: &Rollout) -> i64 {
    rollout.old.iter().map(|old| revision_of(&old.metadata)).max().unwrap_or(0) + 1
}

/// Makes the new ReplicaSet if there is none, else renews it.
pub fn ensure_new(rollout: &Rollout) -> Vec<Action> {
    if rollout.new.is_some() { renew(rollout) } else { create(rollout) }
}

fn create(rollout: &Rollout) -> Vec<Action> {
    let (deployment, spec) = (rollout.deployment, rollout.spec);
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash_of(&spec.template, collisions);
    let name = format!("{}-{hash}", rollout.name());
    let with_hash = |labels: Option<&BTreeMap<String, String>>| {
        let mut labels = labels.cloned().unwrap_or_default();
        labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
        labels
    };
    let mut template = spec.template.clone();
    let labels = with_hash(template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()));
    template.metadata.get_or_insert_default().labels = Some(labels.clone());
    let mut selector = spec.selector.clone();
    selector.match_labels = Some(with_hash(selector.match_labels.as_ref()));
    let replicas = rolling::new_replicas(rollout);
    let revision = next_revision(rollout).to_string();
    let mut annotations = copied_annotations(deployment);
    annotations.insert(REVISION.to_owned(), revision.clone());
    annotations.extend(scale::annotations(rollout));
    let replica_set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference("apps/v1", "Deployment", &deployment.metadata)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    };
    let mut actions = vec![Action::Create {
        resource: resource::<ReplicaSet>(),
        namespace: deployment.metadata.namespace().to_owned(),
        object: Arc::new(to_json(&replica_set)),
        copies: 1,
        told: None,
    }];
    if replicas > 0 {
        actions.push(scale::event(rollout, &name, 0, replicas));
    }
    actions.extend(set_deployment_revision(rollout, &revision));
    actions.extend(conditions::progress(rollout, Progress::Created, &name));
    actions
}

/// Brings revision, annotations and `minReadySeconds` of an existing new ReplicaSet up to date.
pub fn renew(rollout: &Rollout) -> Vec<Action> {
    let Some(new) = rollout.new else { return vec![] };
    let present = new.metadata.annotations.clone().unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = copied_annotations(rollout.deployment);
    let old_revision = revision_of(&new.metadata);
    let next = next_revision(rollout);
    if old_revision < next {
        annotations.insert(REVISION.to_owned(), next.to_string());
        if old_revision > 0 {
            let history = present.get(REVISION_HISTORY).filter(|text| !text.is_empty());
            let history = history.map_or(old_revision.to_string(), |before| format!("{before},{old_revision}"));
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    annotations.retain(|name, value| present.get(name) != Some(value));
    let mut patch = json!({});
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = json!(annotations);
    }
    let min_ready = |value: Option<i32>| value.unwrap_or(0);
    if min_ready(new.spec.as_ref().and_then(|spec| spec.min_ready_seconds)) != min_ready(rollout.spec.min_ready_seconds)
    {
        patch["spec"]["minReadySeconds"] = json!(min_ready(rollout.spec.min_ready_seconds));
    }
    if patch != json!({}) {
        return vec![patch_replica_set(new, patch)];
    }
    let mut actions: Vec<Action> = set_deployment_revision(rollout, &old_revision.to_string()).into_iter().collect();
    if conditions::find(rollout.deployment, conditions::PROGRESSING).is_none() {
        actions.extend(conditions::progress(rollout, Progress::Found, new.metadata.name()));
    }
    actions
}

fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    annotations
}

fn set_deployment_revision(rollout: &Rollout, revision: &str) -> Option<Action> {
    let meta = &rollout.deployment.metadata;
    if meta.annotation(REVISION) == Some(revision) {
        return None;
    }
    // No version: only this controller writes this annotation, and the user's own writes go on meanwhile. By way of
    // the status, as upstream: a changed annotation would otherwise count as another generation.
    Some(Action::Patch {
        resource: resource::<Deployment>(),
        key: ObjectKey::of(meta),
        subresource: "status",
        patch: json!({"metadata": {"uid": meta.uid, "annotations": {REVISION: revision}}}),
    })
}

/// Deletes the oldest ReplicaSets without pods beyond the limit.
pub fn clean_up(rollout: &Rollout) -> Vec<Action> {
    let Some(limit) = rollout.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return vec![] };
    let mut cleanable: Vec<&ReplicaSet> =
        rollout.old.iter().copied().filter(|old| !old.metadata.is_deleting()).collect();
    let Some(surplus) = cleanable.len().checked_sub(usize::try_from(limit).unwrap_or(0)) else { return vec![] };
    cleanable.sort_by_key(|old| revision_of(&old.metadata));
    let victims = cleanable.into_iter().take(surplus).filter(|old| {
        let status = old.status.as_ref();
        wanted(old) == 0
            && status.is_none_or(|status| status.replicas == 0)
            && status.and_then(|status| status.observed_generation) >= old.metadata.generation
    });
    let delete = |old: &ReplicaSet| Action::Delete {
        resource: resource::<ReplicaSet>(),
        key: ObjectKey::of(&old.metadata),
        uid: old.metadata.uid().to_owned(),
        revision: None,
        grace_seconds: None,
        propagation: Some(Propagation::Background),
        told: None,
    };
    victims.map(delete).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_label_does_not_count() {
        let mut template = PodTemplateSpec::default();
        let plain = without_hash(&template);
        let labels = BTreeMap::from([(POD_TEMPLATE_HASH.to_owned(), "x".to_owned())]);
        template.metadata.get_or_insert_default().labels = Some(labels);
        assert_eq!(without_hash(&template), plain);
    }
}

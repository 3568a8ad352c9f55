//! Subresources that are not just a part of the object: scale and binding.

use bytes::Bytes;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::schema::{Schema, builtin};
use reeve_api::validation::{ErrorList, Path};
use reeve_api::{GroupVersionResource, Reason, StatusError};
use serde_json::json;

use super::patch::Patch;
use super::update::Part;
use super::{Handlers, ObjectAnswer, WriteOptions, decode_stored};
use crate::registry::kinds::pod::Pods;
use crate::registry::{AnyObject, Object, Row, SubresourceAction};
use crate::request::{Target, User};
use crate::storage::Stored;

impl Handlers {
    pub(super) async fn create_subresource(
        &self,
        user: &User,
        row: &Row,
        action: SubresourceAction,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        match action {
            SubresourceAction::Binding => self.bind(user, row, target, body, options).await,
            SubresourceAction::Eviction => self.evict(user, row, target, body, options).await,
            SubresourceAction::Token => self.request_token(target, body, options).await,
            _ => Err(super::method_not_allowed()),
        }
    }

    /// Gives the pod that a binding names its node.
    pub(super) async fn bind_named(
        &self,
        user: &User,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let binding: Binding = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("the body is not a Binding: {error}")))?;
        let pods = GroupVersionResource::of::<Pod>();
        let registry = self.registry();
        let row = registry.get(&pods).ok_or_else(|| StatusError::internal("pods are not served"))?;
        let pod = Target {
            resource: pods,
            namespace: target.namespace.clone(),
            name: binding.metadata.name.unwrap_or_default(),
            subresource: "binding".to_owned(),
        };
        self.bind(user, row, &pod, body, options).await
    }

    /// Gives a pod its node: one conditional write.
    async fn bind(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let binding: Binding = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("the body is not a Binding: {error}")))?;
        check_binding(target, &binding)?;
        let now = self.now();
        let mut make = |present: &Stored, _: &dyn AnyObject| -> Result<Box<dyn AnyObject>, StatusError> {
            let mut object = decode_stored(row, &present.value)?;
            let pod = object
                .as_any_mut()
                .downcast_mut::<Object<Pods>>()
                .ok_or_else(|| StatusError::internal("only pods can be bound"))?;
            assign(&mut pod.value, &binding, target, Time(now))?;
            Ok(object)
        };
        self.change(user, row, target, Part::Binding, options, &mut make).await?;
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        let mut answer = ObjectAnswer::unstored(serde_json::to_vec(&status).map_err(StatusError::internal)?);
        answer.created = true;
        Ok(answer)
    }

    /// An object as its Scale.
    pub(super) fn scale_answer(&self, row: &Row, object: &[u8]) -> Result<ObjectAnswer, StatusError> {
        let object = decode_stored(row, object)?;
        let scale = scale_of(object.as_ref())?;
        let revision = scale.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
        let bytes = serde_json::to_vec(&scale).map_err(StatusError::internal)?;
        Ok(ObjectAnswer { revision, ..ObjectAnswer::unstored(bytes) })
    }

    pub(super) async fn update_scale(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let scale: Scale = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("the body is not a Scale: {error}")))?;
        if let Some(name) = scale.metadata.name.as_deref().filter(|name| *name != target.name) {
            return Err(StatusError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        self.change_scale(user, row, target, options, &mut |_| Ok(scale.clone())).await
    }

    pub(super) async fn patch_scale(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let mut make = |present: &Scale| -> Result<Scale, StatusError> {
            let bytes = serde_json::to_vec(present).map_err(StatusError::internal)?;
            let schema = builtin("autoscaling/v1", "Scale").unwrap_or(Schema::Undeclared);
            let patched = patch.apply(&bytes, &schema)?;
            let mut scale: Scale = serde_json::from_value(patched)
                .map_err(|error| StatusError::bad_request(format!("the patched object is not a Scale: {error}")))?;
            if scale.metadata.resource_version == present.metadata.resource_version {
                scale.metadata.resource_version = None;
            }
            Ok(scale)
        };
        self.change_scale(user, row, target, options, &mut make).await
    }

    async fn change_scale(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        options: &WriteOptions,
        change: &mut (dyn FnMut(&Scale) -> Result<Scale, StatusError> + Send),
    ) -> Result<ObjectAnswer, StatusError> {
        let mut make = |present: &Stored, old: &dyn AnyObject| -> Result<Box<dyn AnyObject>, StatusError> {
            let mut object = old.clone_object();
            object.metadata_mut().resource_version = Some(present.revision.to_string());
            let scale = change(&scale_of(object.as_ref())?)?;
            let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            if replicas < 0 {
                let mut errors = ErrorList::new();
                let path = Path::new("spec");
                errors.invalid(&path.child("replicas"), replicas, "must be greater than or equal to 0");
                return Err(StatusError::invalid("autoscaling", "Scale", &target.name, errors.into_causes()));
            }
            object.metadata_mut().resource_version = scale.metadata.resource_version;
            object.set_replicas(replicas);
            Ok(object)
        };
        let answer = self.change(user, row, target, Part::Main, options, &mut make).await?;
        self.scale_answer(row, &answer.bytes)
    }
}

fn scale_of(object: &dyn AnyObject) -> Result<Scale, StatusError> {
    object.scale().ok_or_else(super::method_not_allowed)
}

fn check_binding(target: &Target, binding: &Binding) -> Result<(), StatusError> {
    let path = Path::new("target");
    let mut errors = ErrorList::new();
    if !matches!(binding.target.kind.as_deref(), None | Some("" | "Node")) {
        errors.not_supported(
            &path.child("kind"),
            binding.target.kind.clone().unwrap_or_default(),
            &["Node", "<empty>"],
        );
    }
    if binding.target.name.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("name"), "");
    }
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        return Err(StatusError::new(Reason::Unknown, text));
    }
    if let Some(name) = binding.metadata.name.as_deref().filter(|name| !name.is_empty() && *name != target.name) {
        return Err(StatusError::bad_request(format!("name in URL does not match name in Binding object: {name}")));
    }
    Ok(())
}

/// Sets a pod's node. Rules from upstream's `pkg/registry/core/pod/storage.assignPod`.
fn assign(pod: &mut Pod, binding: &Binding, target: &Target, now: Time) -> Result<(), StatusError> {
    let resource = GroupVersionResource::new("", "v1", "pods/binding");
    let conflict = |why: String| StatusError::conflict(&resource, &target.name, why);
    if let Some(uid) = binding.metadata.uid.as_deref().filter(|uid| !uid.is_empty())
        && pod.metadata.uid.as_deref() != Some(uid)
    {
        let present = pod.metadata.uid.as_deref().unwrap_or_default();
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {present}"
        )));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(conflict(format!("pod {} is being deleted, cannot be assigned to a host", target.name)));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Err(conflict(format!("pod {} is already assigned to node {node:?}", target.name)));
    }
    if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        return Err(conflict(format!("pod {} has non-empty .spec.schedulingGates", target.name)));
    }
    spec.node_name.clone_from(&binding.target.name);
    for (own, given) in [
        (&mut pod.metadata.labels, &binding.metadata.labels),
        (&mut pod.metadata.annotations, &binding.metadata.annotations),
    ] {
        if let Some(given) = given {
            own.get_or_insert_default().extend(given.clone());
        }
    }
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let scheduled = PodCondition {
        type_: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: Some(now),
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|condition| condition.type_ == "PodScheduled") {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
    Ok(())
}

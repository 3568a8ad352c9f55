//! Admission webhooks: which of them a request concerns, what they are asked, and what their answers mean. Pure; the
//! handlers ask them.
//!
//! Rules and texts from `k8s.io/apiserver/pkg/admission/plugin/webhook`. Match conditions are expressions that this
//! server does not evaluate: a webhook that has some is asked as if they held.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use reeve_api::selector::LabelSelector;
use reeve_api::status::Status;
use reeve_api::{GroupVersionKind, GroupVersionResource, StatusError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::request::User;

/// The group whose configurations no webhook may keep anybody from changing.
const OWN_GROUP: &str = "admissionregistration.k8s.io";
const TIMEOUT_SECONDS: i32 = 10;

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

impl Operation {
    /// Upstream's word.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }

    fn options(self) -> &'static str {
        match self {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
        }
    }
}

/// A webhook of either sort.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its full name.
    pub name: String,
    /// Where it answers.
    pub client: WebhookClientConfig,
    /// Whether a request goes on when the webhook does not answer.
    pub may_fail: bool,
    /// How long it may take, in seconds.
    pub timeout_seconds: i32,
    /// The version of reviews that it is asked in: `v1` or `v1beta1`.
    pub review_version: &'static str,
    has_side_effects: bool,
    rules: Vec<RuleWithOperations>,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

impl Hook {
    fn new(webhook: MutatingWebhook) -> Self {
        let selector = |selector| LabelSelector::from_object(selector).unwrap_or_else(|_| LabelSelector::nothing());
        let first = webhook.admission_review_versions.iter().find_map(|version| match version.as_str() {
            "v1" => Some("v1"),
            "v1beta1" => Some("v1beta1"),
            _ => None,
        });
        Self {
            may_fail: webhook.failure_policy.as_deref() == Some("Ignore"),
            timeout_seconds: webhook.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
            review_version: first.unwrap_or("v1"),
            has_side_effects: !matches!(webhook.side_effects.as_str(), "None" | "NoneOnDryRun"),
            namespaces: selector(webhook.namespace_selector.as_ref()),
            objects: selector(webhook.object_selector.as_ref()),
            rules: webhook.rules.unwrap_or_default(),
            name: webhook.name,
            client: webhook.client_config,
        }
    }

    /// The webhooks of mutating configurations, in their order.
    pub fn of_mutating(mut all: Vec<MutatingWebhookConfiguration>) -> Vec<Self> {
        all.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        all.into_iter().flat_map(|one| one.webhooks.unwrap_or_default()).map(Self::new).collect()
    }

    /// The webhooks of validating configurations.
    pub fn of_validating(mut all: Vec<ValidatingWebhookConfiguration>) -> Vec<Self> {
        all.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        all.into_iter().flat_map(|one| one.webhooks.unwrap_or_default()).map(|one| Self::new(alike(one))).collect()
    }

    /// Whether the webhook wants to be asked.
    pub fn concerns(&self, ask: &Ask<'_>) -> bool {
        ask.resource.group != OWN_GROUP
            && self.rules.iter().any(|rule| covers(rule, ask))
            && ask.namespace_labels.as_ref().is_none_or(|labels| self.namespaces.matches(labels))
            && [&ask.object, &ask.old].into_iter().flatten().any(|object| self.objects.matches(&labels(object)))
    }

    /// The refusal of a webhook that must not be asked when nothing is stored.
    ///
    /// # Errors
    /// When it has effects of its own.
    pub fn check_dry_run(&self, dry_run: bool) -> Result<(), StatusError> {
        if dry_run && self.has_side_effects {
            let name = &self.name;
            return Err(StatusError::bad_request(format!("admission webhook {name:?} does not support dry run")));
        }
        Ok(())
    }

    /// The error when the webhook cannot be asked.
    pub fn failure(&self, why: &str) -> StatusError {
        StatusError::internal(format_args!("failed calling webhook {:?}: {why}", self.name))
    }
}

/// A validating webhook in the shape that both sorts share.
fn alike(webhook: ValidatingWebhook) -> MutatingWebhook {
    MutatingWebhook {
        admission_review_versions: webhook.admission_review_versions,
        client_config: webhook.client_config,
        failure_policy: webhook.failure_policy,
        match_conditions: webhook.match_conditions,
        match_policy: webhook.match_policy,
        name: webhook.name,
        namespace_selector: webhook.namespace_selector,
        object_selector: webhook.object_selector,
        reinvocation_policy: None,
        rules: webhook.rules,
        side_effects: webhook.side_effects,
        timeout_seconds: webhook.timeout_seconds,
    }
}

/// What is asked about.
pub struct Ask<'a> {
    /// Who wants it.
    pub user: &'a User,
    /// What happens.
    pub operation: Operation,
    /// Of what kind.
    pub kind: GroupVersionKind,
    /// Of which resource.
    pub resource: &'a GroupVersionResource,
    /// Which part of it; empty for the whole.
    pub subresource: &'a str,
    /// Empty for objects of the cluster.
    pub namespace: &'a str,
    /// Empty when the server will choose it.
    pub name: &'a str,
    /// Those of the object's namespace; of a namespace its own. `None` for other objects of the cluster.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// As it is to become; `None` on deletion.
    pub object: Option<Value>,
    /// As it was; `None` on creation.
    pub old: Option<Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The manager of fields, for the options that webhooks see.
    pub field_manager: &'a str,
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn has(list: Option<&Vec<String>>, word: &str) -> bool {
    list.into_iter().flatten().any(|one| one == "*" || one == word)
}

fn covers(rule: &RuleWithOperations, ask: &Ask<'_>) -> bool {
    let scope = match rule.scope.as_deref() {
        Some("Namespaced") => !ask.namespace.is_empty(),
        Some("Cluster") => ask.namespace.is_empty(),
        _ => true,
    };
    let resource = rule.resources.iter().flatten().any(|rule| {
        let (resource, part) = rule.split_once('/').unwrap_or((rule, ""));
        (resource == "*" || resource == ask.resource.resource) && (part == "*" || part == ask.subresource)
    });
    scope
        && resource
        && has(rule.operations.as_ref(), ask.operation.word())
        && has(rule.api_groups.as_ref(), &ask.resource.group)
        && has(rule.api_versions.as_ref(), &ask.resource.version)
}

/// The review that a webhook is sent.
pub fn review(hook: &Hook, ask: &Ask<'_>, uid: &str) -> Value {
    let kind = json!({"group": ask.kind.group, "version": ask.kind.version, "kind": ask.kind.kind});
    let resource = json!({
        "group": ask.resource.group, "version": ask.resource.version, "resource": ask.resource.resource,
    });
    let mut user = json!({"username": ask.user.name, "groups": ask.user.groups});
    if !ask.user.uid.is_empty() {
        user["uid"] = ask.user.uid.as_str().into();
    }
    if !ask.user.extra.is_empty() {
        user["extra"] = json!(ask.user.extra);
    }
    let mut options = json!({"kind": ask.operation.options(), "apiVersion": "meta.k8s.io/v1"});
    if ask.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if !ask.field_manager.is_empty() && ask.operation != Operation::Delete {
        options["fieldManager"] = ask.field_manager.into();
    }
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "operation": ask.operation.word(),
        "userInfo": user,
        "object": ask.object,
        "oldObject": ask.old,
        "dryRun": ask.dry_run,
        "options": options,
    });
    for (field, text) in [("name", ask.name), ("namespace", ask.namespace)] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    if !ask.subresource.is_empty() {
        request["subResource"] = ask.subresource.into();
        request["requestSubResource"] = ask.subresource.into();
    }
    let version = format!("admission.k8s.io/{}", hook.review_version);
    json!({"kind": "AdmissionReview", "apiVersion": version, "request": request})
}

#[derive(Deserialize)]
struct Review {
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    allowed: bool,
    status: Option<Status>,
    patch: Option<String>,
    patch_type: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// What a webhook decided.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Why not, when it refuses.
    pub refusal: Option<StatusError>,
    /// A JSON patch of the object.
    pub patch: Option<Value>,
    /// For the user to read.
    pub warnings: Vec<String>,
}

/// Reads a webhook's answer.
///
/// # Errors
/// What is wrong with the answer; the webhook counts as one that did not answer.
pub fn verdict(hook: &Hook, body: &[u8], uid: &str) -> Result<Verdict, String> {
    let review: Review = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let response = review.response.ok_or_else(|| "webhook response was absent".to_owned())?;
    if response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    let patch = match (&response.patch, response.patch_type.as_deref()) {
        (None, _) => None,
        (Some(patch), Some("JSONPatch")) => {
            let bytes = STANDARD.decode(patch).map_err(|error| error.to_string())?;
            Some(serde_json::from_slice(&bytes).map_err(|error| error.to_string())?)
        }
        (Some(_), other) => return Err(format!("invalid response.patchType {:?}", other.unwrap_or_default())),
    };
    let refusal = (!response.allowed).then(|| refusal(&hook.name, response.status.unwrap_or_default()));
    Ok(Verdict { refusal, patch, warnings: response.warnings })
}

fn refusal(name: &str, mut status: Status) -> StatusError {
    let by = format!("admission webhook {name:?} denied the request");
    let message = status.message.take().filter(|message| !message.is_empty());
    let reason = status.reason.clone().filter(|reason| !reason.is_empty());
    status.message = Some(match message.or(reason) {
        Some(why) => format!("{by}: {why}"),
        None => format!("{by} without explanation"),
    });
    if status.code.is_none_or(|code| code < 400) {
        status.code = Some(400);
    }
    StatusError::from_status(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(resources: &str, scope: Option<&str>) -> Hook {
        let mut webhook = json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {},
            "namespaceSelector": {}, "objectSelector": {"matchLabels": {"checked": "yes"}},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [resources]}],
        });
        webhook["rules"][0]["scope"] = json!(scope);
        Hook::new(serde_json::from_value(webhook).unwrap())
    }

    fn ask<'a>(user: &'a User, resource: &'a GroupVersionResource, subresource: &'a str) -> Ask<'a> {
        Ask {
            user,
            operation: Operation::Create,
            kind: GroupVersionKind::from_object("apps/v1", "Deployment"),
            resource,
            subresource,
            namespace: "default",
            name: "web",
            namespace_labels: Some(BTreeMap::new()),
            object: Some(json!({"metadata": {"labels": {"checked": "yes"}}})),
            old: None,
            dry_run: false,
            field_manager: "",
        }
    }

    #[test]
    fn rules_name_resources_parts_and_scopes() {
        let user = User::default();
        let resource = GroupVersionResource::new("apps", "v1", "deployments");
        for (rule, part, scope, wanted) in [
            ("deployments", "", None, true),
            ("deployments", "scale", None, false),
            ("deployments/*", "scale", None, true),
            ("*/scale", "scale", None, true),
            ("*", "", Some("Namespaced"), true),
            ("*", "", Some("Cluster"), false),
            ("pods", "", None, false),
        ] {
            assert_eq!(hook(rule, scope).concerns(&ask(&user, &resource, part)), wanted, "{rule} {part} {scope:?}");
        }
        let mut unlabelled = ask(&user, &resource, "");
        unlabelled.object = Some(json!({}));
        assert!(!hook("*", None).concerns(&unlabelled));
    }

    #[test]
    fn a_refusal_says_who_refused_and_why() {
        let hook = hook("*", None);
        let answer = |status: Value| {
            let body = json!({"response": {"uid": "u", "allowed": false, "status": status}}).to_string();
            verdict(&hook, body.as_bytes(), "u").unwrap().refusal.unwrap()
        };
        let error = answer(json!({"message": "no", "code": 403}));
        assert_eq!(error.to_string(), "admission webhook \"a.example.com\" denied the request: no");
        assert_eq!(error.code(), 403);
        let error = answer(Value::Null);
        assert_eq!(error.to_string(), "admission webhook \"a.example.com\" denied the request without explanation");
        assert_eq!(error.code(), 400);
        assert!(verdict(&hook, b"{\"response\": {\"uid\": \"other\", \"allowed\": true}}", "u").is_err());
    }
}

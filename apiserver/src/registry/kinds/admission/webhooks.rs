//! ValidatingWebhookConfiguration and MutatingWebhookConfiguration: servers that are asked about requests.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use reeve_api::meta::LabelSelector;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::matching;
use crate::registry::kinds::{generation, rules, workload};
use crate::registry::strategy::{RequestContext, Strategy};

const PORT: i32 = 443;
const TIMEOUT_SECONDS: i32 = 10;
const TIMEOUT_SECONDS_MAX: i32 = 30;
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const URL_FORM: &str = "; desired format: https://host[/path]";

/// The strategy of hooks that only judge.
pub struct ValidatingWebhooks;

impl Strategy for ValidatingWebhooks {
    type Object = ValidatingWebhookConfiguration;

    fn default(&self, configuration: &mut ValidatingWebhookConfiguration) {
        for hook in configuration.webhooks.iter_mut().flatten() {
            default_client(&mut hook.client_config);
            default_rules(hook.rules.as_mut());
            fill(&mut hook.failure_policy, "Fail");
            fill(&mut hook.match_policy, "Equivalent");
            hook.namespace_selector.get_or_insert_default();
            hook.object_selector.get_or_insert_default();
            hook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS);
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, configuration: &mut ValidatingWebhookConfiguration) {
        generation::start(&mut configuration.metadata);
    }

    fn validate(&self, configuration: &ValidatingWebhookConfiguration) -> ErrorList {
        let hooks = configuration.webhooks.iter().flatten().map(|hook| Hook {
            name: &hook.name,
            client: &hook.client_config,
            rules: hook.rules.as_deref().unwrap_or_default(),
            failure_policy: hook.failure_policy.as_deref(),
            match_policy: hook.match_policy.as_deref(),
            side_effects: &hook.side_effects,
            timeout_seconds: hook.timeout_seconds,
            selectors: [hook.namespace_selector.as_ref(), hook.object_selector.as_ref()],
            reinvocation_policy: None,
            conditions: hook.match_conditions.as_deref(),
            versions: &hook.admission_review_versions,
        });
        validate_all(hooks)
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        new: &mut ValidatingWebhookConfiguration,
        old: &ValidatingWebhookConfiguration,
    ) {
        let changed = new.webhooks != old.webhooks;
        generation::follow(&mut new.metadata, &old.metadata, changed);
    }
}

/// The strategy of hooks that may change objects.
pub struct MutatingWebhooks;

impl Strategy for MutatingWebhooks {
    type Object = MutatingWebhookConfiguration;

    fn default(&self, configuration: &mut MutatingWebhookConfiguration) {
        for hook in configuration.webhooks.iter_mut().flatten() {
            default_client(&mut hook.client_config);
            default_rules(hook.rules.as_mut());
            fill(&mut hook.failure_policy, "Fail");
            fill(&mut hook.match_policy, "Equivalent");
            fill(&mut hook.reinvocation_policy, "Never");
            hook.namespace_selector.get_or_insert_default();
            hook.object_selector.get_or_insert_default();
            hook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS);
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, configuration: &mut MutatingWebhookConfiguration) {
        generation::start(&mut configuration.metadata);
    }

    fn validate(&self, configuration: &MutatingWebhookConfiguration) -> ErrorList {
        let hooks = configuration.webhooks.iter().flatten().map(|hook| Hook {
            name: &hook.name,
            client: &hook.client_config,
            rules: hook.rules.as_deref().unwrap_or_default(),
            failure_policy: hook.failure_policy.as_deref(),
            match_policy: hook.match_policy.as_deref(),
            side_effects: &hook.side_effects,
            timeout_seconds: hook.timeout_seconds,
            selectors: [hook.namespace_selector.as_ref(), hook.object_selector.as_ref()],
            reinvocation_policy: hook.reinvocation_policy.as_deref(),
            conditions: hook.match_conditions.as_deref(),
            versions: &hook.admission_review_versions,
        });
        validate_all(hooks)
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        new: &mut MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) {
        let changed = new.webhooks != old.webhooks;
        generation::follow(&mut new.metadata, &old.metadata, changed);
    }
}

fn fill(field: &mut Option<String>, value: &str) {
    field.get_or_insert_with(|| value.to_owned());
}

fn default_client(client: &mut WebhookClientConfig) {
    if let Some(service) = &mut client.service {
        service.port.get_or_insert(PORT);
    }
}

fn default_rules(rules: Option<&mut Vec<RuleWithOperations>>) {
    for rule in rules.into_iter().flatten() {
        matching::default_scope(&mut rule.scope);
    }
}

/// What both kinds of hooks have.
struct Hook<'a> {
    name: &'a str,
    client: &'a WebhookClientConfig,
    rules: &'a [RuleWithOperations],
    failure_policy: Option<&'a str>,
    match_policy: Option<&'a str>,
    side_effects: &'a str,
    timeout_seconds: Option<i32>,
    selectors: [Option<&'a LabelSelector>; 2],
    reinvocation_policy: Option<&'a str>,
    conditions: Option<&'a [MatchCondition]>,
    versions: &'a [String],
}

fn validate_all<'a>(hooks: impl Iterator<Item = Hook<'a>>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path_hooks = Path::new("webhooks");
    let mut names = BTreeSet::new();
    for (index, hook) in hooks.enumerate() {
        let path = path_hooks.index(index);
        validate(&hook, &path, &mut errors);
        review_versions(hook.versions, &path.child("admissionReviewVersions"), &mut errors);
        if !hook.name.is_empty() && !names.insert(hook.name) {
            errors.duplicate(&path.child("name"), hook.name);
        }
    }
    errors
}

fn validate(hook: &Hook<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    qualified_domain(hook.name, &path.child("name"), errors);
    let path_rules = path.child("rules");
    for (index, rule) in hook.rules.iter().enumerate() {
        matching::rule(&rule.into(), &path_rules.index(index), errors);
    }
    matching::failure_policy(hook.failure_policy, path, errors);
    matching::match_policy(hook.match_policy, path, errors);
    let effects = ["None", "NoneOnDryRun"];
    if hook.side_effects.is_empty() {
        errors.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun");
    } else {
        rules::one_of(hook.side_effects, &effects, &path.child("sideEffects"), errors);
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|seconds| !(1..=TIMEOUT_SECONDS_MAX).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, why);
    }
    for (field, selector) in ["namespaceSelector", "objectSelector"].into_iter().zip(hook.selectors) {
        if let Some(selector) = selector {
            workload::object_selector(selector, &path.child(field), errors);
        }
    }
    if let Some(policy) = hook.reinvocation_policy {
        rules::one_of(policy, &["IfNeeded", "Never"], &path.child("reinvocationPolicy"), errors);
    }
    client_config(hook.client, &path.child("clientConfig"), errors);
    matching::conditions(hook.conditions, path, errors);
}

fn qualified_domain(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let problems = format::dns1123_subdomain(name);
    if problems.is_empty() && name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
    errors.invalid_each(path, name, problems);
}

fn review_versions(versions: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    if versions.is_empty() {
        errors.required(path, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(version) {
            errors.invalid(&path, version, "duplicate version");
            continue;
        }
        errors.invalid_each(&path, version, format::dns1035_label(version));
    }
    if !versions.iter().any(|version| VERSIONS.contains(&version.as_str())) {
        errors.invalid(path, BadValue::json(&versions), "must include at least one of v1, v1beta1");
    }
}

fn client_config(client: &WebhookClientConfig, path: &Path<'_>, errors: &mut ErrorList) {
    match (&client.url, &client.service) {
        (Some(url), None) => webhook_url(url, &path.child("url"), errors),
        (None, Some(service)) => webhook_service(service, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// Checks the address of a webhook.
pub(in crate::registry) fn webhook_url(url: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{URL_FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{URL_FORM}"));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.invalid(path, part, why);
        }
    }
}

fn webhook_service(service: &ServiceReference, path: &Path<'_>, errors: &mut ErrorList) {
    if service.name.is_empty() {
        errors.required(&path.child("name"), "service name is required");
    }
    if service.namespace.is_empty() {
        errors.required(&path.child("namespace"), "service namespace is required");
    }
    let port = service.port.unwrap_or(PORT);
    for problem in format::port(i64::from(port)) {
        errors.invalid(&path.child("port"), port, format!("port is not valid: {problem}"));
    }
    let Some(text) = service.path.as_deref().filter(|text| !text.is_empty() && *text != "/") else { return };
    let path = path.child("path");
    if text == "//" {
        errors.invalid(&path, text, "segment[0] may not be empty");
        return;
    }
    let Some(rest) = text.strip_prefix('/') else {
        errors.invalid(&path, text, "must start with a '/'");
        return;
    };
    for (index, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(&path, text, format!("segment[{index}] may not be empty"));
            continue;
        }
        for problem in format::dns1123_subdomain(segment) {
            errors.invalid(&path, text, format!("segment[{index}]: {problem}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(hook: serde_json::Value) -> Vec<String> {
        let mut configuration = ValidatingWebhookConfiguration {
            webhooks: serde_json::from_value(serde_json::json!([hook])).unwrap(),
            ..ValidatingWebhookConfiguration::default()
        };
        ValidatingWebhooks.default(&mut configuration);
        ValidatingWebhooks.validate(&configuration).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_hook_is_whole() {
        let none: [&str; 0] = [];
        let good = serde_json::json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "x", "name": "y", "path": "/a/b"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        });
        assert_eq!(problems(good), none);
        let bad = serde_json::json!({
            "name": "bad", "sideEffects": "Some", "admissionReviewVersions": ["v9"], "timeoutSeconds": 99,
            "clientConfig": {"url": "http://a.example.com"},
            "rules": [{"apiGroups": [""], "apiVersions": [], "operations": ["READ"], "resources": ["*", "x"]}],
        });
        assert_eq!(
            problems(bad),
            [
                r#"webhooks[0].name: Invalid value: "bad": should be a domain with at least three segments separated by dots"#,
                r#"webhooks[0].rules[0].operations[0]: Unsupported value: "READ": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#,
                "webhooks[0].rules[0].apiVersions: Required value",
                r#"webhooks[0].rules[0].resources: Invalid value: ["*","x"]: if '*' is present, must not specify other resources without subresources"#,
                r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
                "webhooks[0].timeoutSeconds: Invalid value: 99: the timeout value must be between 1 and 30 seconds",
                r#"webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#,
                r#"webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1"#,
            ]
        );
    }
}

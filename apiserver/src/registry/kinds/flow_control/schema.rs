//! FlowSchema: which requests belong to a priority level.

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, FlowSchemaStatus, PolicyRulesWithSubjects, Subject};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::kinds::{generation, rules};
use crate::registry::strategy::{RequestContext, Strategy};

const PRECEDENCE: i32 = 1000;
const PRECEDENCE_MAX: i32 = 10_000;
const VERBS: [&str; 11] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch", "connect", "*"];

/// The strategy.
pub struct FlowSchemas;

impl Strategy for FlowSchemas {
    type Object = FlowSchema;

    fn default(&self, schema: &mut FlowSchema) {
        let spec = schema.spec.get_or_insert_default();
        if spec.matching_precedence.unwrap_or_default() == 0 {
            spec.matching_precedence = Some(PRECEDENCE);
        }
        schema.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, schema: &mut FlowSchema) {
        schema.status = Some(FlowSchemaStatus::default());
        generation::start(&mut schema.metadata);
    }

    fn validate(&self, schema: &FlowSchema) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let Some(spec) = &schema.spec else { return errors };
        let precedence = spec.matching_precedence.unwrap_or_default();
        let path_precedence = path.child("matchingPrecedence");
        if precedence <= 0 {
            errors.invalid(&path_precedence, precedence, "must be a positive value");
        }
        if precedence > PRECEDENCE_MAX {
            let why = format!("must not be greater than {PRECEDENCE_MAX}");
            errors.invalid(&path_precedence, precedence, why);
        }
        if precedence == 1 && schema.metadata.name.as_deref() != Some("exempt") {
            let why = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid(&path_precedence, precedence, why);
        }
        if let Some(method) = &spec.distinguisher_method {
            let path = path.child("distinguisherMethod");
            rules::one_of(&method.type_, &["ByNamespace", "ByUser"], &path.child("type"), &mut errors);
        }
        let level = &spec.priority_level_configuration.name;
        let path_level = path.child("priorityLevelConfiguration");
        let path_level = path_level.child("name");
        if level.is_empty() {
            errors.required(&path_level, "must reference a priority level");
        } else {
            errors.invalid_each(&path_level, level, format::dns1123_subdomain(level));
        }
        let path_rules = path.child("rules");
        for (index, rule) in spec.rules.iter().flatten().enumerate() {
            validate_rule(rule, &path_rules.index(index), &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, schema: &mut FlowSchema, old: &FlowSchema) {
        schema.status.clone_from(&old.status);
        let changed = schema.spec != old.spec;
        generation::follow(&mut schema.metadata, &old.metadata, changed);
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, schema: &mut FlowSchema, old: &FlowSchema) {
        schema.spec.clone_from(&old.spec);
    }
}

fn validate_rule(rule: &PolicyRulesWithSubjects, path: &Path<'_>, errors: &mut ErrorList) {
    let path_subjects = path.child("subjects");
    if rule.subjects.is_empty() {
        errors.required(&path_subjects, "subjects must contain at least one value");
    }
    for (index, subject) in rule.subjects.iter().enumerate() {
        validate_subject(subject, &path_subjects.index(index), errors);
    }
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let others = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let path_resources = path.child("resourceRules");
    for (index, rule) in resources.iter().enumerate() {
        let path = path_resources.index(index);
        verbs(&rule.verbs, &path.child("verbs"), errors);
        words(&rule.api_groups, "resource rules must supply at least one api group", &path.child("apiGroups"), errors);
        words(&rule.resources, "resource rules must supply at least one resource", &path.child("resources"), errors);
        let namespaces = rule.namespaces.as_deref().unwrap_or_default();
        let path_namespaces = path.child("namespaces");
        if namespaces.is_empty() && rule.cluster_scope != Some(true) {
            let why = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.required(&path_namespaces, why);
        } else {
            let star = namespaces.iter().any(|name| name == "*");
            if star && namespaces.len() > 1 {
                errors.invalid(&path_namespaces, BadValue::json(&namespaces), star_alone());
            }
            for (index, name) in namespaces.iter().enumerate().filter(|(_, name)| *name != "*") {
                let problems = format::dns1123_label(name);
                for problem in problems {
                    let why = format!("it must be a valid namespace name: {problem}");
                    errors.invalid(&path_namespaces.index(index), name, why);
                }
            }
        }
    }
    let path_others = path.child("nonResourceRules");
    for (index, rule) in others.iter().enumerate() {
        let path = path_others.index(index);
        verbs(&rule.verbs, &path.child("verbs"), errors);
        let path = path.child("nonResourceURLs");
        words(&rule.non_resource_urls, "nonResourceURLs must contain at least one value", &path, errors);
    }
}

fn star_alone() -> String {
    "if '*' is present, must not specify other items".to_owned()
}

fn words(words: &[String], missing: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if words.is_empty() {
        errors.required(path, missing);
    } else if words.len() > 1 && words.iter().any(|word| word == "*") {
        errors.invalid(path, BadValue::json(&words), star_alone());
    }
}

fn verbs(verbs: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    words(verbs, "verbs must contain at least one value", path, errors);
    if verbs.iter().any(|verb| !VERBS.contains(&verb.as_str())) {
        let mut sorted = VERBS;
        sorted.sort_unstable();
        errors.not_supported(path, BadValue::json(&verbs), &sorted);
    }
}

fn validate_subject(subject: &Subject, path: &Path<'_>, errors: &mut ErrorList) {
    let name = |name: &str, path: &Path<'_>, errors: &mut ErrorList| {
        if name.is_empty() {
            errors.required(path, "");
        }
    };
    match subject.kind.as_str() {
        "ServiceAccount" => match &subject.service_account {
            None => errors.required(
                &path.child("serviceAccount"),
                "serviceAccount is required when subject kind is 'ServiceAccount'",
            ),
            Some(account) => {
                let path = path.child("serviceAccount");
                name(&account.name, &path.child("name"), errors);
                name(&account.namespace, &path.child("namespace"), errors);
            }
        },
        "User" => match &subject.user {
            None => errors.required(&path.child("user"), "user is required when subject kind is 'User'"),
            Some(user) => name(&user.name, &path.child("user").child("name"), errors),
        },
        "Group" => match &subject.group {
            None => errors.required(&path.child("group"), "group is required when subject kind is 'Group'"),
            Some(group) => name(&group.name, &path.child("group").child("name"), errors),
        },
        other => errors.not_supported(&path.child("kind"), other, &["Group", "ServiceAccount", "User"]),
    }
}

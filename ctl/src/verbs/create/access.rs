//! `rctl create role`, `clusterrole`, `rolebinding`, `clusterrolebinding` and `token`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Made, Named};
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::output::format::Format;
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::text;

const STANDARD_VERBS: [&str; 12] = [
    "get",
    "delete",
    "list",
    "create",
    "update",
    "patch",
    "watch",
    "proxy",
    "deletecollection",
    "use",
    "bind",
    "escalate",
];
const RBAC: &str = "rbac.authorization.k8s.io";

/// What a role allows.
#[derive(Args, Clone, Debug, Default)]
pub struct Rules {
    /// Verb that applies to the resources contained in the rule
    #[arg(long, value_name = "VERB", value_delimiter = ',')]
    verb: Vec<String>,
    /// Resource that the rule applies to: pods, deployments.apps, pods/log
    #[arg(long, value_name = "RESOURCE", value_delimiter = ',')]
    resource: Vec<String>,
    /// Resource in the white list that the rule applies to, repeat this flag for multiple items
    #[arg(long, value_name = "NAME")]
    resource_name: Vec<String>,
}

/// `rctl create role`.
#[derive(Args, Debug)]
pub struct RoleArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    rules: Rules,
}

/// `rctl create clusterrole`.
#[derive(Args, Debug)]
pub struct ClusterRoleArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    rules: Rules,
    /// A partial url that user should have access to
    #[arg(long = "non-resource-url", value_name = "PATH", value_delimiter = ',')]
    paths: Vec<String>,
    /// An aggregation label selector for combining ClusterRoles
    #[arg(long, value_name = "LABEL=VALUE", value_delimiter = ',')]
    aggregation_rule: Vec<String>,
}

/// Who is bound.
#[derive(Args, Clone, Debug, Default)]
pub struct Subjects {
    /// Usernames to bind to the role. The flag can be repeated to add multiple users
    #[arg(long, value_name = "NAME")]
    pub user: Vec<String>,
    /// Groups to bind to the role. The flag can be repeated to add multiple groups
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Service accounts to bind to the role, in the format <namespace>:<name>
    #[arg(long, value_name = "NAMESPACE:NAME")]
    pub serviceaccount: Vec<String>,
}

/// `rctl create rolebinding`.
#[derive(Args, Debug)]
pub struct RoleBindingArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    subjects: Subjects,
    /// ClusterRole this RoleBinding should reference
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    clusterrole: String,
    /// Role this RoleBinding should reference
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    role: String,
}

/// `rctl create clusterrolebinding`.
#[derive(Args, Debug)]
pub struct ClusterRoleBindingArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    subjects: Subjects,
    /// ClusterRole this ClusterRoleBinding should reference
    #[arg(long, value_name = "NAME", required = true)]
    clusterrole: String,
}

impl RoleArgs {
    /// The role.
    pub async fn object(self, session: &mut Session) -> Outcome<Made> {
        let name = self.named.name("rctl create role")?;
        let verbs = self.rules.verbs()?;
        if self.rules.resource.is_empty() {
            return fail("at least one resource must be specified");
        }
        let rules = self.rules.policy(session, &verbs).await?;
        let object =
            json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules});
        Ok(self.named.made(object))
    }
}

impl ClusterRoleArgs {
    /// The cluster role.
    pub async fn object(self, session: &mut Session) -> Outcome<Made> {
        let name = self.named.name("rctl create clusterrole")?;
        let mut object = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": null});
        if !self.aggregation_rule.is_empty() {
            let asked = &self.rules;
            if !asked.verb.is_empty() || !asked.resource.is_empty() || !self.paths.is_empty() {
                return fail("aggregation rule must be specified without verbs, resources and non-resource URLs");
            }
            let labels = crate::verbs::expose::pairs(&self.aggregation_rule.join(","))?;
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            return Ok(self.named.made(object));
        }
        let verbs = self.rules.verbs()?;
        if self.rules.resource.is_empty() && self.paths.is_empty() {
            return fail("one of resource or nonResourceURL must be specified");
        }
        let mut rules = self.rules.policy(session, &verbs).await?;
        for path in &self.paths {
            if path.is_empty() || (path != "*" && !path.starts_with('/')) || path.trim_end_matches('*').contains('*') {
                return fail(format!("nonResourceURL should start with /: {path:?}"));
            }
        }
        if !self.paths.is_empty() {
            rules.push(json!({"nonResourceURLs": self.paths, "verbs": verbs}));
        }
        object["rules"] = Value::Array(rules);
        Ok(self.named.made(object))
    }
}

impl Rules {
    /// The verbs, each once; `*` stands for all.
    fn verbs(&self) -> Outcome<Vec<String>> {
        let mut verbs: Vec<String> = Vec::new();
        for verb in &self.verb {
            if verb == "*" {
                return Ok(vec!["*".to_owned()]);
            }
            if !verbs.contains(verb) {
                verbs.push(verb.clone());
            }
        }
        if verbs.is_empty() { fail("at least one verb must be specified") } else { Ok(verbs) }
    }

    /// One rule for each API group.
    async fn policy(&self, session: &mut Session, verbs: &[String]) -> Outcome<Vec<Value>> {
        for verb in verbs
            .iter()
            .filter(|verb| *verb != "*" && *verb != "impersonate" && !STANDARD_VERBS.contains(&verb.as_str()))
        {
            session.io.warn(&format!("'{verb}' is not a standard resource verb"))?;
        }
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if !self.resource.is_empty() {
            let cluster = session.cluster()?;
            for word in &self.resource {
                let (group, resource) = named_resource(&cluster, word).await?;
                let list = groups.entry(group).or_default();
                if !list.contains(&resource) {
                    list.push(resource);
                }
            }
        }
        if groups.len() > 1 && !self.resource_name.is_empty() && groups.values().any(Vec::is_empty) {
            return fail("resourceName can not be applied to multiple resources");
        }
        let rules = groups.into_iter().map(|(group, resources)| {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
            if !self.resource_name.is_empty() {
                rule["resourceNames"] = json!(self.resource_name);
            }
            rule
        });
        Ok(rules.collect())
    }
}

/// Group and name of `pods`, `deploy.apps`, `pods/log`, `*`.
async fn named_resource(cluster: &Cluster, word: &str) -> Outcome<(String, String)> {
    let (word, subresource) = word.split_once('/').unwrap_or((word, ""));
    let (group, resource) = if word == "*" {
        ("*".to_owned(), "*".to_owned())
    } else {
        match resolve::resource(cluster, word).await {
            Ok(info) => (info.resource.group, info.resource.resource),
            Err(failure @ Failure::Message(_)) => {
                // As kubectl, without "error:".
                return Err(Failure::Plain(failure.text().trim_start_matches("error: ").to_owned()));
            }
            Err(failure) => return Err(failure),
        }
    };
    Ok((group, if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") }))
}

impl Subjects {
    /// The subjects of a binding.
    pub fn list(&self) -> Outcome<Vec<Value>> {
        let mut list = Vec::new();
        for (kind, names) in [("User", &self.user), ("Group", &self.group)] {
            list.extend(names.iter().map(|name| json!({"apiGroup": RBAC, "kind": kind, "name": name})));
        }
        for account in &self.serviceaccount {
            match account.split_once(':') {
                Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains(':') => {
                    list.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
                }
                _ => return fail("serviceaccount must be <namespace>:<name>"),
            }
        }
        Ok(list)
    }
}

fn binding(kind: &str, name: &str, role_kind: &str, role: &str, subjects: &Subjects) -> Outcome<Value> {
    let mut object = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": role},
    });
    let list = subjects.list()?;
    if !list.is_empty() {
        object["subjects"] = Value::Array(list);
    }
    Ok(object)
}

impl RoleBindingArgs {
    /// The binding.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create rolebinding")?;
        let (kind, role) = match (self.clusterrole.as_str(), self.role.as_str()) {
            ("", "") => return fail("exactly one of clusterrole or role must be specified"),
            (role, "") => ("ClusterRole", role),
            ("", role) => ("Role", role),
            _ => return fail("exactly one of clusterrole or role must be specified"),
        };
        let object = binding("RoleBinding", &name, kind, role, &self.subjects)?;
        Ok(self.named.made(object))
    }
}

impl ClusterRoleBindingArgs {
    /// The binding.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create clusterrolebinding")?;
        let object = binding("ClusterRoleBinding", &name, "ClusterRole", &self.clusterrole, &self.subjects)?;
        Ok(self.named.made(object))
    }
}

/// `rctl create token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// The service account
    #[arg(value_name = "SERVICE_ACCOUNT_NAME")]
    names: Vec<String>,
    /// Audience of the requested token. May be repeated to request a token valid for multiple audiences
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// Requested lifetime of the issued token. If not set or if set to 0, the lifetime is determined by the server
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true)]
    duration: String,
    /// Kind of an object to bind the token to: Node, Pod, Secret
    #[arg(long, value_name = "KIND", default_value = "", hide_default_value = true)]
    bound_object_kind: String,
    /// Name of an object to bind the token to
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    bound_object_name: String,
    /// UID of an object to bind the token to
    #[arg(long, value_name = "UID", default_value = "", hide_default_value = true)]
    bound_object_uid: String,
    /// Output format: json, yaml, jsonpath=..., go-template=...
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
}

impl TokenArgs {
    /// Asks for a token and prints it.
    pub async fn run(self, session: &mut Session) -> Outcome {
        let name = super::one_name(&self.names, "rctl create token")?;
        let format = Format::parse(&self.output)?;
        let (negative, lifetime) = duration::parse(&self.duration).map_err(Failure::Message)?;
        if negative {
            return fail("--duration must be greater than or equal to 0");
        }
        let mut spec = Map::new();
        if !self.audience.is_empty() {
            spec.insert("audiences".to_owned(), json!(self.audience));
        }
        if !lifetime.is_zero() {
            if lifetime.subsec_nanos() != 0 {
                return fail("--duration cannot be expressed in units less than seconds");
            }
            spec.insert("expirationSeconds".to_owned(), json!(lifetime.as_secs()));
        }
        match (self.bound_object_kind.as_str(), self.bound_object_name.as_str()) {
            ("", "") if self.bound_object_uid.is_empty() => {}
            ("", "") => return fail("--bound-object-uid can only be set if --bound-object-kind is provided"),
            ("", _) => return fail("--bound-object-name can only be set if --bound-object-kind is provided"),
            ("Node" | "Pod" | "Secret", "") => {
                return fail("--bound-object-name is required if --bound-object-kind is provided");
            }
            (kind @ ("Node" | "Pod" | "Secret"), object) => {
                let mut reference = json!({"apiVersion": "v1", "kind": kind, "name": object});
                if !self.bound_object_uid.is_empty() {
                    reference["uid"] = json!(self.bound_object_uid);
                }
                spec.insert("boundObjectRef".to_owned(), reference);
            }
            _ => return fail("supported --bound-object-kind values are Node, Pod, Secret"),
        }
        let Some(info) = resolve::builtin("serviceaccounts") else { return fail("service accounts are not known") };
        let cluster = session.cluster()?;
        let request =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec});
        let api = cluster.api(info, &cluster.namespace);
        let answer = cluster.call(api.create_subresource(&name, "token", &request)).await;
        let answer = answer.map_err(|failure| match failure {
            Failure::Server { status, .. } => Failure::Message(format!("failed to create token: {status}")),
            other => other,
        })?;
        match format {
            Format::Default | Format::Wide => session.io.say(text(&answer, "status.token"))?,
            format => {
                use std::io::Write as _;
                write!(session.io.out, "{}", format.render(&answer, "tokenrequest.authentication.k8s.io/")?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_come_in_kubectls_order() {
        let subjects =
            Subjects { user: vec!["u".into()], group: vec!["g".into()], serviceaccount: vec!["ns:sa".into()] };
        let kinds: Vec<String> =
            subjects.list().expect("subjects").iter().map(|one| text(one, "kind").to_owned()).collect();
        assert_eq!(kinds, ["User", "Group", "ServiceAccount"]);
        let wrong = Subjects { serviceaccount: vec!["sa".into()], ..Subjects::default() };
        assert_eq!(wrong.list().expect_err("wrong").text(), "error: serviceaccount must be <namespace>:<name>");
    }

    #[test]
    fn a_star_stands_for_all_verbs() {
        let rules =
            |verbs: &[&str]| Rules { verb: verbs.iter().map(|verb| (*verb).into()).collect(), ..Rules::default() };
        assert_eq!(rules(&["get", "*"]).verbs().expect("verbs"), ["*"]);
        assert_eq!(rules(&["get", "get", "list"]).verbs().expect("verbs"), ["get", "list"]);
        assert!(rules(&[]).verbs().is_err());
    }
}

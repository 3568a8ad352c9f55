//! `rctl auth`: who the user is and what the user may do.

mod reconcile;

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome, fail, usage};
use crate::output::format::Format;
use crate::output::table::Table;
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{entries, flag, items, plain, text};

const EXAMPLES: &str = "  \
  # Check to see if I can create pods in any namespace
  rctl auth can-i create pods --all-namespaces

  # Get your subject attributes
  rctl auth whoami";

const CAN_I_EXAMPLES: &str = "  \
  # Check to see if I can create pods in any namespace
  rctl auth can-i create pods --all-namespaces

  # Check to see if I can do everything in my current namespace (\"*\" means all)
  rctl auth can-i '*' '*'

  # Check to see if I can read pod logs
  rctl auth can-i get pods --subresource=log

  # Check to see if I can access the URL /logs/
  rctl auth can-i get /logs/

  # List all allowed actions in namespace \"foo\"
  rctl auth can-i --list --namespace=foo";

const WHOAMI_EXAMPLES: &str = "  \
  # Get your subject attributes
  rctl auth whoami

  # Get your subject attributes in JSON format
  rctl auth whoami -o json";

/// Inspect authorization.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, arg_required_else_help = true)]
pub struct AuthArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check whether an action is allowed
    CanI(CanIArgs),
    /// Reconciles rules for RBAC role, role binding, cluster role, and cluster role binding objects
    Reconcile(reconcile::ReconcileArgs),
    /// Experimental: Check self subject attributes
    Whoami(WhoamiArgs),
}

/// Check whether an action is allowed.
#[derive(Args, Debug)]
#[command(before_help = CAN_I_EXAMPLES)]
struct CanIArgs {
    /// VERB and TYPE, TYPE/NAME or a path
    #[arg(value_name = "VERB TYPE | VERB TYPE/NAME | VERB NONRESOURCEURL")]
    words: Vec<String>,
    /// If true, check the specified action in all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// If true, suppress output and just return the exit code
    #[arg(short = 'q', long)]
    quiet: bool,
    /// SubResource such as pod/log or deployment/scale
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subresource: String,
    /// If true, prints all allowed actions
    #[arg(long)]
    list: bool,
    /// If true, prints allowed actions without headers
    #[arg(long)]
    no_headers: bool,
}

/// Experimental: Check who you are and your attributes (groups, extra).
#[derive(Args, Debug)]
#[command(before_help = WHOAMI_EXAMPLES)]
struct WhoamiArgs {
    /// Output format: json, yaml, name, jsonpath=...
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
}

/// The verbs that rules are written with.
const KNOWN_VERBS: [&str; 17] = [
    "*",
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "use",
    "bind",
    "impersonate",
    "escalate",
    "approve",
    "sign",
    "proxy",
    "attest",
];

/// Runs the command.
pub async fn run(session: &mut Session, args: AuthArgs) -> Outcome {
    match args.what {
        What::CanI(args) if args.list => list(session, &args).await,
        What::CanI(args) => can_i(session, &args).await,
        What::Reconcile(args) => reconcile::run(session, args).await,
        What::Whoami(args) => whoami(session, &args).await,
    }
}

async fn review(cluster: &Cluster, resource: &str, kind: &str, spec: Value) -> Outcome<Value> {
    let Some(info) = resolve::builtin(resource) else {
        return fail(format!("the server doesn't have a resource type {resource:?}"));
    };
    let object = json!({"apiVersion": info.resource.api_version(), "kind": kind, "metadata": {}, "spec": spec});
    let api = cluster.api(info, "");
    cluster.call(api.create(&object)).await.map_err(|failure| super::common::unserved(failure, info))
}

async fn can_i(session: &mut Session, args: &CanIArgs) -> Outcome {
    let (verb, what, name) = match args.words.as_slice() {
        [verb, what] => (verb, what, None),
        [verb, what, name] => (verb, what, Some(name.clone())),
        _ => {
            return usage(
                "rctl auth can-i",
                "you must specify two arguments: verb resource or verb resource/resourceName.",
            );
        }
    };
    let cluster = session.cluster()?;
    let spec = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"path": what, "verb": verb}})
    } else {
        let (word, name) = match (what.split_once('/'), name) {
            (Some((word, name)), None) => (word, name.to_owned()),
            (_, name) => (what.as_str(), name.unwrap_or_default()),
        };
        let (group, resource, namespaced) = if word == "*" {
            ("*".to_owned(), "*".to_owned(), true)
        } else {
            match resolve::resource(&cluster, word).await {
                Ok(info) => (info.resource.group, info.resource.resource, info.namespaced),
                Err(Failure::Message(_)) => {
                    session.io.warn(&format!("the server doesn't have a resource type '{word}'\n"))?;
                    let (resource, group) = word.split_once('.').unwrap_or((word, ""));
                    (group.to_owned(), resource.to_owned(), true)
                }
                Err(failure) => return Err(failure),
            }
        };
        if !namespaced && !args.all_namespaces {
            session.io.warn(&format!("resource '{resource}' is not namespace scoped{}\n", in_group(&group)))?;
        }
        if !KNOWN_VERBS.contains(&verb.as_str()) {
            session.io.warn(&format!("verb '{verb}' is not a known verb\n"))?;
        }
        let namespace = if args.all_namespaces { "" } else { &cluster.namespace };
        json!({"resourceAttributes": {
            "group": group, "name": name, "namespace": namespace, "resource": resource,
            "subresource": args.subresource, "verb": verb}})
    };
    let answer = review(&cluster, "selfsubjectaccessreviews", "SelfSubjectAccessReview", spec).await?;
    let allowed = flag(&answer, "status.allowed");
    if !args.quiet {
        let mut line = if allowed { "yes" } else { "no" }.to_owned();
        for (path, word) in [("status.reason", ""), ("status.evaluationError", "")] {
            let text = text(&answer, path);
            if !allowed && !text.is_empty() {
                line.push_str(&format!(" - {word}{text}"));
            }
        }
        session.io.say(&line)?;
    }
    if allowed { Ok(()) } else { Err(Failure::Exit(1)) }
}

fn in_group(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!(" in group '{group}'") }
}

async fn list(session: &mut Session, args: &CanIArgs) -> Outcome {
    if !args.words.is_empty() {
        return usage("rctl auth can-i", "list option must be specified with no arguments");
    }
    let cluster = session.cluster()?;
    let spec = json!({"namespace": cluster.namespace});
    let answer = review(&cluster, "selfsubjectrulesreviews", "SelfSubjectRulesReview", spec).await?;
    if flag(&answer, "status.incomplete") {
        session.io.warn(&format!("the list may be incomplete: {}", text(&answer, "status.evaluationError")))?;
    }
    let mut table = Table::new(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    table.rows = rows(&answer);
    Ok(write!(session.io.out, "{}", table.render(!args.no_headers, session.palette()))?)
}

/// The rules of a review, taken apart into single resources and URLs and joined by them again, in upstream's order.
fn rows(answer: &Value) -> Vec<Vec<String>> {
    let texts = |rule: &Value, path: &str| items(rule, path).iter().map(plain).collect::<Vec<String>>();
    // Group, resource, names; and the verbs that all rules together allow.
    let mut resources: Vec<((String, String, String), Vec<String>)> = Vec::new();
    for rule in items(answer, "status.resourceRules") {
        let names = texts(rule, "resourceNames");
        let names = if names.is_empty() { vec![String::new()] } else { names };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for name in &names {
                    let key = (group.clone(), resource.clone(), name.clone());
                    if !resources.iter().any(|(known, _)| *known == key) {
                        resources.push((key.clone(), Vec::new()));
                    }
                    for (_, verbs) in resources.iter_mut().filter(|(known, _)| *known == key) {
                        for verb in texts(rule, "verbs") {
                            if !verbs.contains(&verb) {
                                verbs.push(verb);
                            }
                        }
                    }
                }
            }
        }
    }
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for ((group, resource, name), verbs) in resources {
        let verbs = format!("[{}]", verbs.join(" "));
        let order = format!("Verbs:{verbs},APIGroups:[{group}],Resources:[{resource}],ResourceNames:[{name}],");
        let resource = reeve_api::resource::qualified(&resource, &group);
        rows.push((order, vec![resource, "[]".to_owned(), format!("[{name}]"), verbs]));
    }
    for rule in items(answer, "status.nonResourceRules") {
        for url in texts(rule, "nonResourceURLs") {
            for verb in texts(rule, "verbs") {
                let order =
                    format!("Verbs:[{verb}],APIGroups:[],Resources:[],ResourceNames:[],NonResourceURLs:[{url}],");
                rows.push((order, vec![String::new(), format!("[{url}]"), "[]".to_owned(), format!("[{verb}]")]));
            }
        }
    }
    rows.sort_by(|(left, _), (right, _)| left.cmp(right));
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn whoami(session: &mut Session, args: &WhoamiArgs) -> Outcome {
    let format = Format::parse(&args.output)?;
    let cluster = session.cluster()?;
    let answer = review(&cluster, "selfsubjectreviews", "SelfSubjectReview", json!({})).await?;
    if !format.is_table() {
        let mut answer = answer;
        if let Some(map) = answer.as_object_mut() {
            map.shift_remove("spec");
        }
        return Ok(write!(session.io.out, "{}", format.render(&answer, "selfsubjectreview.authentication.k8s.io/")?)?);
    }
    let user = answer.pointer("/status/userInfo").cloned().unwrap_or(Value::Null);
    let list = |values: &[Value]| format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(" "));
    let mut table = Table::new(["ATTRIBUTE", "VALUE"]);
    for (title, value) in [("Username", text(&user, "username").to_owned()), ("UID", text(&user, "uid").to_owned())] {
        if !value.is_empty() {
            table.rows.push(vec![title.to_owned(), value]);
        }
    }
    if !items(&user, "groups").is_empty() {
        table.rows.push(vec!["Groups".to_owned(), list(items(&user, "groups"))]);
    }
    for (key, values) in entries(&user, "extra") {
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        table.rows.push(vec![format!("Extra: {key}"), list(values)]);
    }
    Ok(write!(session.io.out, "{}", table.render(true, session.palette()))?)
}

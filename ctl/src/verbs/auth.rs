//! `rctl auth`: who the user is and what the user may do.

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

/// Runs the command.
pub async fn run(session: &mut Session, args: AuthArgs) -> Outcome {
    match args.what {
        What::CanI(args) if args.list => list(session, &args).await,
        What::CanI(args) => can_i(session, &args).await,
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
                "you must specify two or three arguments: verb, resource, and optional resourceName",
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
        if !namespaced && !args.all_namespaces && cluster.namespace_is_explicit {
            session.io.warn(&format!("resource '{resource}' is not namespace scoped{}\n", in_group(&group)))?;
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
    let words =
        |rule: &Value, path: &str| format!("[{}]", items(rule, path).iter().map(plain).collect::<Vec<_>>().join(" "));
    let mut table = Table::new(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    for rule in items(&answer, "status.resourceRules") {
        for group in items(rule, "apiGroups") {
            let group = plain(group);
            for resource in items(rule, "resources") {
                let name = reeve_api::resource::qualified(&plain(resource), &group);
                table.rows.push(vec![name, "[]".to_owned(), words(rule, "resourceNames"), words(rule, "verbs")]);
            }
        }
    }
    for rule in items(&answer, "status.nonResourceRules") {
        table.rows.push(vec![String::new(), words(rule, "nonResourceURLs"), "[]".to_owned(), words(rule, "verbs")]);
    }
    Ok(write!(session.io.out, "{}", table.render(!args.no_headers, session.palette()))?)
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

//! `rctl set selector`, `set serviceaccount`, `set subject`.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, change_all};
use crate::errors::{Outcome, fail};
use crate::session::Session;
use crate::value::{as_map, map_mut};
use crate::verbs::common::pod_spec_path;
use crate::verbs::create::Subjects;

/// Set the selector on a resource.
///
/// Note that the new selector will overwrite the old selector if the resource had one. Currently selectors can only be
/// set on Service objects.
#[derive(Args, Debug)]
#[command(
    before_help = "  # Set the selector of a service\n  rctl set selector service web environment=qa,app=web\n\n  # Only print it\n  rctl set selector service web app=web --dry-run=client -o yaml"
)]
pub struct SelectorArgs {
    /// TYPE NAME or TYPE/NAME, then KEY=VALUE,...
    #[arg(value_name = "TYPE NAME | TYPE/NAME | KEY=VALUE")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs `rctl set selector`.
pub async fn selector(session: &mut Session, args: SelectorArgs) -> Outcome {
    let Some((expression, words)) = args.words.split_last().filter(|(last, _)| last.contains('=')) else {
        return fail(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>, then a selector",
        );
    };
    let labels = crate::verbs::expose::pairs(expression)?;
    let change = |kind: &str, object: &mut Value| {
        if kind != "Service" {
            return fail("Setting a selector is only supported for Services.");
        }
        map_mut(object, "spec").insert("selector".to_owned(), json!(labels));
        Ok(())
    };
    change_all(session, &args.common, words.to_vec(), "selector updated", &change).await
}

/// Update the service account of pod template resources.
///
/// Possible resources (case insensitive) can be: replicationcontroller (rc), deployment (deploy), daemonset (ds), job,
/// replicaset (rs), statefulset.
#[derive(Args, Debug)]
#[command(
    before_help = "  # Set a deployment's service account to serviceaccount1\n  rctl set serviceaccount deployment web serviceaccount1\n\n  # Print the changed object of a file\n  rctl set sa -f web.yaml serviceaccount1 --local -o yaml"
)]
pub struct ServiceAccountArgs {
    /// TYPE NAME or TYPE/NAME, then the service account
    #[arg(value_name = "TYPE NAME | TYPE/NAME | SERVICE_ACCOUNT")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs `rctl set serviceaccount`.
pub async fn service_account(session: &mut Session, args: ServiceAccountArgs) -> Outcome {
    let Some((account, words)) = args.words.split_last() else {
        return fail("serviceaccount is required");
    };
    let change = |kind: &str, object: &mut Value| {
        let spec = pod_spec_path(kind).and_then(|path| object.pointer_mut(&format!("/{}", path.replace('.', "/"))));
        let Some(spec) = spec else { return fail(format!("a {kind} has no pod template")) };
        let spec = as_map(spec);
        spec.insert("serviceAccountName".to_owned(), json!(account));
        // The field of old has the same value where it is there.
        if spec.contains_key("serviceAccount") {
            spec.insert("serviceAccount".to_owned(), json!(account));
        }
        Ok(())
    };
    change_all(session, &args.common, words.to_vec(), "serviceaccount updated", &change).await
}

/// Update the user, group, or service account in a role binding or cluster role binding.
#[derive(Args, Debug)]
#[command(
    before_help = "  # Update a cluster role binding for serviceaccount1\n  rctl set subject clusterrolebinding admin --serviceaccount=namespace:serviceaccount1\n\n  # Update a role binding for user1, user2, and group1\n  rctl set subject rolebinding admin --user=user1 --user=user2 --group=group1"
)]
pub struct SubjectArgs {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE NAME | TYPE/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    subjects: Subjects,
    #[command(flatten)]
    common: Common,
}

/// Runs `rctl set subject`.
pub async fn subject(session: &mut Session, args: SubjectArgs) -> Outcome {
    let added = args.subjects.list()?;
    if added.is_empty() {
        return fail("you must specify at least one value of user, group or serviceaccount");
    }
    let change = |kind: &str, object: &mut Value| {
        if !matches!(kind, "RoleBinding" | "ClusterRoleBinding") {
            return fail("setting subjects is only supported for RoleBinding/ClusterRoleBinding");
        }
        let subjects = as_map(object).entry("subjects").or_insert_with(|| json!([]));
        if let Some(list) = subjects.as_array_mut() {
            for subject in &added {
                if !list.contains(subject) {
                    list.push(subject.clone());
                }
            }
        }
        Ok(())
    };
    change_all(session, &args.common, args.words.clone(), "subjects updated", &change).await
}

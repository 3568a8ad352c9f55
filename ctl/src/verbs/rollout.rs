//! `rctl rollout`: status, history, undo, pause, resume, restart.

use std::io::Write as _;

use clap::{Args, Subcommand};
use reeve_api::ResourceInfo;
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, Found, TargetArgs, WriteArgs, selector_text};
use crate::describe::pod::pod_template;
use crate::describe::writer::Writer;
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::output::progress::Progress;
use crate::output::table::Table;
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{at, count, flag, int, items, name, namespace, text};
use crate::watching;

const EXAMPLES: &str = "  \
  # Check the rollout status of a deployment
  rctl rollout status deployment/web

  # Roll back to the previous deployment
  rctl rollout undo deployment/web

  # Restart a deployment
  rctl rollout restart deployment/web";

const REVISION: &str = "deployment.kubernetes.io/revision";
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Manage the rollout of one or many resources.
///
/// Valid resource types include deployments, daemonsets and statefulsets.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct RolloutArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the status of the rollout
    #[command(before_help = "  # Watch the rollout status of a deployment\n  rctl rollout status deployment/web")]
    Status {
        #[command(flatten)]
        targets: TargetArgs,
        /// Watch the status of the rollout until it's done
        #[arg(short = 'w', long, num_args = 0..=1, require_equals = true, default_value = "true",
              default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
        watch: bool,
        /// The length of time to wait before ending watch, zero means never
        #[arg(long, value_name = "TIME", default_value = "0s")]
        timeout: String,
        /// Pin to a specific revision for showing its status. Defaults to 0 (last revision)
        #[arg(long, value_name = "N", default_value_t = 0)]
        revision: i64,
    },
    /// View rollout history
    #[command(
        before_help = "  # View the rollout history of a deployment\n  rctl rollout history deployment/web\n\n  # View the details of revision 3\n  rctl rollout history deployment/web --revision=3"
    )]
    History {
        #[command(flatten)]
        targets: TargetArgs,
        /// See the details, including podTemplate of the revision specified
        #[arg(long, value_name = "N", default_value_t = 0)]
        revision: i64,
    },
    /// Undo a previous rollout
    #[command(
        before_help = "  # Roll back to the previous deployment\n  rctl rollout undo deployment/web\n\n  # Roll back to revision 3\n  rctl rollout undo deployment/web --to-revision=3"
    )]
    Undo {
        #[command(flatten)]
        targets: TargetArgs,
        /// The revision to rollback to. Default to 0 (last revision)
        #[arg(long, value_name = "N", default_value_t = 0)]
        to_revision: i64,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Mark the provided resource as paused
    #[command(before_help = "  # Mark the web deployment as paused\n  rctl rollout pause deployment/web")]
    Pause {
        #[command(flatten)]
        targets: TargetArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Resume a paused resource
    #[command(before_help = "  # Resume an already paused deployment\n  rctl rollout resume deployment/web")]
    Resume {
        #[command(flatten)]
        targets: TargetArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Restart a resource
    #[command(before_help = "  # Restart a deployment\n  rctl rollout restart deployment/web")]
    Restart {
        #[command(flatten)]
        targets: TargetArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Runs the command.
pub async fn run(session: &mut Session, args: RolloutArgs) -> Outcome {
    let (Action::Status { targets, .. }
    | Action::History { targets, .. }
    | Action::Undo { targets, .. }
    | Action::Pause { targets, .. }
    | Action::Resume { targets, .. }
    | Action::Restart { targets, .. }) = &args.action;
    targets.check("required resource not specified")?;
    let cluster = session.cluster()?;
    match args.action {
        Action::Status { targets, watch, timeout, revision } => {
            let (_, timeout) = duration::parse(&timeout).map_err(Failure::Message)?;
            let (found, mut failures) = chosen(session, &cluster, &targets).await?;
            for found in found {
                let wait = status(session, &cluster, &found, watch, revision);
                let outcome = if timeout.is_zero() {
                    wait.await
                } else {
                    match tokio::time::timeout(timeout, wait).await {
                        Ok(outcome) => outcome,
                        Err(_) => fail("timed out waiting for the condition"),
                    }
                };
                if let Err(failure) = outcome {
                    failures.push(failure);
                }
            }
            Failure::collect(failures)
        }
        Action::History { targets, revision } => {
            let (found, failures) = chosen(session, &cluster, &targets).await?;
            for found in found {
                history(session, &cluster, &found, revision).await?;
            }
            Failure::collect(failures)
        }
        Action::Undo { targets, to_revision, write } => {
            each(session, &cluster, &targets, &write, Change::Undo { to_revision }).await
        }
        Action::Pause { targets, write } => each(session, &cluster, &targets, &write, Change::Pause).await,
        Action::Resume { targets, write } => each(session, &cluster, &targets, &write, Change::Resume).await,
        Action::Restart { targets, write } => each(session, &cluster, &targets, &write, Change::Restart).await,
    }
}

/// The objects that the command line names.
async fn chosen(session: &mut Session, cluster: &Cluster, args: &TargetArgs) -> Outcome<(Vec<Found>, Vec<Failure>)> {
    let targets = common::targets(cluster, &mut session.io, args, "required resource not specified").await?;
    let (found, failures) = common::find(cluster, targets, &args.selector, "").await?;
    if found.is_empty() && failures.is_empty() {
        session.io.note(&format!("No resources found in {} namespace.", cluster.namespace))?;
    }
    Ok((found, failures))
}

/// Changes of a workload's rollout.
#[derive(Clone, Copy)]
enum Change {
    Undo { to_revision: i64 },
    Pause,
    Resume,
    Restart,
}

async fn each(
    session: &mut Session,
    cluster: &Cluster,
    args: &TargetArgs,
    write: &WriteArgs,
    change: Change,
) -> Outcome {
    let (found, mut failures) = chosen(session, cluster, args).await?;
    for found in found {
        match one(session, cluster, write, change, &found).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, cluster: &Cluster, write: &WriteArgs, change: Change, found: &Found) -> Outcome {
    let now = (session.io.now)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (patch, done) = match change {
        Change::Pause => (pause(found, true)?, "paused"),
        Change::Resume => (pause(found, false)?, "resumed"),
        Change::Restart => (restart(found, &now)?, "restarted"),
        Change::Undo { to_revision } => match undo(cluster, found, to_revision).await? {
            Ok(patch) => (patch, "rolled back"),
            Err(skipped) => return write.report(&mut session.io, &found.info, &found.object, &skipped),
        },
    };
    let object = match write.dry_run() {
        DryRun::Client => found.object.clone(),
        how => {
            let object = &found.object;
            cluster.patch(&found.info, namespace(object), name(object), &patch, how == DryRun::Server).await?
        }
    };
    write.report(&mut session.io, &found.info, &object, done)
}

fn pause(found: &Found, paused: bool) -> Outcome<Patch> {
    let verb = if paused { "pausing" } else { "resuming" };
    let (resource, name) = (found.info.resource.qualified(), name(&found.object));
    if found.info.kind != "Deployment" {
        return fail(format!("{resource} {name:?} {verb} is not supported"));
    }
    match (flag(&found.object, "spec.paused"), paused) {
        (true, true) => fail(format!("{resource} {name:?} is already paused")),
        (false, false) => fail(format!("{resource} {name:?} is not paused")),
        (_, true) => Ok(Patch::Merge(json!({"spec": {"paused": true}}))),
        (_, false) => Ok(Patch::Merge(json!({"spec": {"paused": null}}))),
    }
}

fn restart(found: &Found, now: &str) -> Outcome<Patch> {
    let (resource, name) = (found.info.resource.qualified(), name(&found.object));
    if !matches!(found.info.kind.as_str(), "Deployment" | "DaemonSet" | "StatefulSet") {
        return fail(format!("{resource} {name:?} restarting is not supported"));
    }
    if flag(&found.object, "spec.paused") {
        return fail(format!("{resource} {name:?} can't restart paused deployment (run rollout resume first)"));
    }
    Ok(Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}})))
}

/// A deployment's replica sets with their revisions, oldest first.
async fn revisions(cluster: &Cluster, deployment: &Found) -> Outcome<Vec<(i64, Value)>> {
    let object = &deployment.object;
    if deployment.info.kind != "Deployment" {
        return fail(format!("no history viewer has been implemented for {:?}", deployment.info.kind));
    }
    let replica_sets = resolve::resource(cluster, "replicasets.apps").await?;
    let labels = selector_text(at(object, "spec.selector").unwrap_or(&Value::Null));
    let (found, _) = common::list(cluster, &replica_sets, namespace(object), &labels, "").await?;
    let uid = text(object, "metadata.uid");
    let mut revisions: Vec<(i64, Value)> = found
        .into_iter()
        .filter(|set| items(set, "metadata.ownerReferences").iter().any(|owner| text(owner, "uid") == uid))
        .filter_map(|set| Some((revision_of(&set)?, set)))
        .collect();
    revisions.sort_by_key(|(revision, _)| *revision);
    Ok(revisions)
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, "metadata.annotations")?.get(key)?.as_str()
}

fn revision_of(object: &Value) -> Option<i64> {
    annotation(object, REVISION)?.parse().ok()
}

async fn history(session: &mut Session, cluster: &Cluster, found: &Found, revision: i64) -> Outcome {
    let revisions = revisions(cluster, found).await?;
    if revision > 0 {
        let Some((_, set)) = revisions.iter().find(|(known, _)| *known == revision) else {
            return fail("unable to find the specified revision");
        };
        let mut writer = Writer::new(session.palette());
        writer.line(0, &format!("{} with revision #{revision}", found.display()));
        pod_template(&mut writer, at(set, "spec.template").unwrap_or(&Value::Null));
        return Ok(write!(session.io.out, "{}", writer.finish())?);
    }
    writeln!(session.io.out, "{} ", found.display())?;
    let mut table = Table::new(["REVISION", "CHANGE-CAUSE"]);
    table.rows = revisions
        .iter()
        .map(|(revision, set)| vec![revision.to_string(), annotation(set, CHANGE_CAUSE).unwrap_or("<none>").to_owned()])
        .collect();
    let palette = session.palette();
    Ok(writeln!(session.io.out, "{}", table.render(true, palette))?)
}

/// The patch that brings back an earlier template, or why nothing is to do.
async fn undo(cluster: &Cluster, found: &Found, to_revision: i64) -> Outcome<Result<Patch, String>> {
    if to_revision < 0 {
        return fail(format!("revision must be a positive integer: {to_revision}"));
    }
    if flag(&found.object, "spec.paused") {
        return fail(format!(
            "you cannot rollback a paused deployment; resume it first with 'rctl rollout resume' and try again ({})",
            found.display()
        ));
    }
    let revisions = revisions(cluster, found).await?;
    plan_undo(&found.object, &revisions, to_revision)
}

fn plan_undo(deployment: &Value, revisions: &[(i64, Value)], to_revision: i64) -> Outcome<Result<Patch, String>> {
    let target = if to_revision == 0 {
        match revisions {
            [.., before_last, _] => before_last,
            _ => return fail(format!("no rollout history found for deployment {:?}", name(deployment))),
        }
    } else {
        match revisions.iter().find(|(revision, _)| *revision == to_revision) {
            Some(target) => target,
            None => return fail(format!("unable to find specified revision {to_revision} in history")),
        }
    };
    let mut template = at(&target.1, "spec.template").cloned().unwrap_or(Value::Null);
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.shift_remove("pod-template-hash");
    }
    if Some(&template) == at(deployment, "spec.template") {
        return Ok(Err(format!("skipped rollback (current template already matches revision {})", target.0)));
    }
    let mut operations = vec![json!({"op": "replace", "path": "/spec/template", "value": template})];
    if let Some(cause) = annotation(&target.1, CHANGE_CAUSE) {
        let mut annotations = at(deployment, "metadata.annotations").cloned().unwrap_or_else(|| json!({}));
        annotations[CHANGE_CAUSE] = json!(cause);
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    }
    Ok(Ok(Patch::Json(Value::Array(operations))))
}

async fn status(session: &mut Session, cluster: &Cluster, found: &Found, watch: bool, revision: i64) -> Outcome {
    let info: &ResourceInfo = &found.info;
    if !matches!(info.kind.as_str(), "Deployment" | "DaemonSet" | "StatefulSet") {
        return fail(format!("no status viewer has been implemented for {}", info.kind));
    }
    if !watch {
        let state = rollout_state(&info.kind, &found.object, revision)?;
        return Ok(session.io.say(&state.message)?);
    }
    let progress = Progress::start(&session.io, 1);
    progress.show(&format!("rolling out {}", found.display()));
    let mut last = String::new();
    let (scope, object_name) = (namespace(&found.object).to_owned(), name(&found.object).to_owned());
    let check = |object: Option<&Value>| {
        let Some(object) = object else { return fail("object has been deleted") };
        let state = rollout_state(&info.kind, object, revision)?;
        if state.message != last {
            progress.pause(|| session.io.say(&state.message))?;
            last = state.message;
        }
        Ok(state.done.then_some(()))
    };
    watching::until(cluster, info, &scope, &object_name, check).await
}

/// Where a rollout stands.
#[derive(Debug, PartialEq)]
struct RolloutState {
    message: String,
    done: bool,
}

/// Rules and texts from `k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go`.
fn rollout_state(kind: &str, object: &Value, revision: i64) -> Outcome<RolloutState> {
    let going = |message: String| Ok(RolloutState { message, done: false });
    let done = |message: String| Ok(RolloutState { message, done: true });
    let name = name(object);
    if kind == "Deployment" && revision > 0 {
        let current = revision_of(object).unwrap_or(0);
        if current != revision {
            return fail(format!("desired revision ({revision}) is different from the running revision ({current})"));
        }
    }
    let status = |field: &str| count(object, &format!("status.{field}"));
    if int(object, "metadata.generation").unwrap_or(0) > status("observedGeneration") {
        return going(match kind {
            "Deployment" => "Waiting for deployment spec update to be observed...".to_owned(),
            "DaemonSet" => "Waiting for daemon set spec update to be observed...".to_owned(),
            _ => "Waiting for statefulset spec update to be observed...".to_owned(),
        });
    }
    let updated = status("updatedReplicas");
    match kind {
        "Deployment" => {
            let wanted = int(object, "spec.replicas").unwrap_or(1);
            let exceeded = items(object, "status.conditions").iter().any(|condition| {
                text(condition, "type") == "Progressing" && text(condition, "reason") == "ProgressDeadlineExceeded"
            });
            if exceeded {
                return fail(format!("deployment {name:?} exceeded its progress deadline"));
            }
            let (replicas, available) = (status("replicas"), status("availableReplicas"));
            if updated < wanted {
                going(format!(
                    "Waiting for deployment {name:?} rollout to finish: {updated} out of {wanted} new replicas have been updated..."
                ))
            } else if replicas > updated {
                going(format!(
                    "Waiting for deployment {name:?} rollout to finish: {} old replicas are pending termination...",
                    replicas - updated
                ))
            } else if available < updated {
                going(format!(
                    "Waiting for deployment {name:?} rollout to finish: {available} of {updated} updated replicas are available..."
                ))
            } else {
                done(format!("deployment {name:?} successfully rolled out"))
            }
        }
        "DaemonSet" => {
            let (wanted, updated, available) =
                (status("desiredNumberScheduled"), status("updatedNumberScheduled"), status("numberAvailable"));
            if updated < wanted {
                going(format!(
                    "Waiting for daemon set {name:?} rollout to finish: {updated} out of {wanted} new pods have been updated..."
                ))
            } else if available < wanted {
                going(format!(
                    "Waiting for daemon set {name:?} rollout to finish: {available} of {wanted} updated pods are available..."
                ))
            } else {
                done(format!("daemon set {name:?} successfully rolled out"))
            }
        }
        _ => {
            let wanted = int(object, "spec.replicas").unwrap_or(1);
            let partition = count(object, "spec.updateStrategy.rollingUpdate.partition");
            let ready = status("readyReplicas");
            if text(object, "spec.updateStrategy.type") == "OnDelete" {
                return fail("rollout status is only available for RollingUpdate strategy type");
            }
            if ready < wanted {
                going(format!("Waiting for {} pods to be ready...", wanted - ready))
            } else if partition > 0 && updated < wanted - partition {
                going(format!(
                    "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...",
                    wanted - partition
                ))
            } else if partition > 0 {
                done(format!("partitioned roll out complete: {updated} new pods have been updated..."))
            } else if text(object, "status.updateRevision") != text(object, "status.currentRevision") {
                going(format!(
                    "waiting for statefulset rolling update to complete {updated} pods at revision {}...",
                    text(object, "status.updateRevision")
                ))
            } else {
                done(format!(
                    "statefulset rolling update complete {} pods at revision {}...",
                    status("currentReplicas"),
                    text(object, "status.currentRevision")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: Value) -> Value {
        json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status})
    }

    fn message(status: Value) -> (String, bool) {
        let state = rollout_state("Deployment", &deployment(status), 0).expect("a state");
        (state.message, state.done)
    }

    #[test]
    fn the_steps_of_a_deployment_read_as_kubectls() {
        let head = "Waiting for deployment \"web\" rollout to finish: ";
        assert_eq!(
            message(json!({"observedGeneration": 1})),
            ("Waiting for deployment spec update to be observed...".to_owned(), false)
        );
        assert_eq!(
            message(json!({"observedGeneration": 2, "updatedReplicas": 1})),
            (format!("{head}1 out of 3 new replicas have been updated..."), false)
        );
        assert_eq!(
            message(json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4})),
            (format!("{head}1 old replicas are pending termination..."), false)
        );
        assert_eq!(
            message(json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2})),
            (format!("{head}2 of 3 updated replicas are available..."), false)
        );
        assert_eq!(
            message(json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3})),
            ("deployment \"web\" successfully rolled out".to_owned(), true)
        );
        let late = json!({"observedGeneration": 2,
            "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]});
        let error = rollout_state("Deployment", &deployment(late), 0).expect_err("late");
        assert_eq!(error.text(), "error: deployment \"web\" exceeded its progress deadline");
    }

    fn set(revision: i64, image: &str) -> (i64, Value) {
        let set = json!({
            "metadata": {"annotations": {REVISION: revision.to_string(), CHANGE_CAUSE: format!("to {image}")}},
            "spec": {"template": {"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}}, "spec": {"image": image}}},
        });
        (revision, set)
    }

    #[test]
    fn undo_takes_the_revision_before_the_last() {
        let revisions = [set(1, "a"), set(2, "b"), set(3, "c")];
        let deployment = json!({"metadata": {"name": "web"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"image": "c"}}}});
        let Ok(Ok(Patch::Json(patch))) = plan_undo(&deployment, &revisions, 0) else { panic!("a patch is due") };
        assert_eq!(patch[0]["value"]["spec"]["image"], "b");
        assert_eq!(patch[0]["value"]["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!(patch[1]["value"][CHANGE_CAUSE], "to b");
        let Ok(Err(skipped)) = plan_undo(&deployment, &revisions, 3) else { panic!("nothing is to do") };
        assert_eq!(skipped, "skipped rollback (current template already matches revision 3)");
        assert!(plan_undo(&deployment, &revisions, 9).is_err());
        assert!(plan_undo(&deployment, &revisions[..1], 0).is_err());
    }
}

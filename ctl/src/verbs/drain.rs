//! `rctl drain`: no new pods on a node, and the present ones evicted.

use std::time::Duration;

use clap::Args;
use reeve_api::{Reason, ResourceInfo};
use reeve_client::DeleteOptions;
use reeve_client::backoff::{Backoff, retry};
use serde_json::{Value, json};

use super::common::{self, DryRun};
use super::node::{self, NodeArgs};
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::resolve;
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{items, name, namespace, text};
use crate::watching;

const EXAMPLES: &str = "  \
  # Drain node \"foo\", even if there are pods not managed by a controller on it
  rctl drain foo --force

  # As above, but abort if there are pods not managed by a controller, and use a grace period of 15 minutes
  rctl drain foo --grace-period=900";

const MIRROR: &str = "kubernetes.io/config.mirror";
/// How long an eviction that a disruption budget refuses is waited for before it is asked again, as kubectl.
const REFUSED: Backoff = Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(5) };

/// Drain node in preparation for maintenance.
///
/// The given node will be marked unschedulable to prevent new pods from arriving. 'drain' evicts the pods if the API
/// server supports disruption budgets; pods of daemon sets stay.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct DrainArgs {
    #[command(flatten)]
    nodes: NodeArgs,
    /// Continue even if there are pods that do not declare a controller
    #[arg(long)]
    force: bool,
    /// Ignore DaemonSet-managed pods
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Continue even if there are pods using emptyDir (local data that will be deleted when the node is drained)
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Period of time in seconds given to each pod to terminate gracefully. If negative, the pod's own is used
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// The length of time to wait before giving up, zero means infinite
    #[arg(long, value_name = "TIME", default_value = "0s")]
    timeout: String,
    /// Label selector to filter pods on the node
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    pod_selector: String,
    /// Force drain to use delete, even if eviction is supported. This will bypass checking disruption budgets
    #[arg(long)]
    disable_eviction: bool,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: DrainArgs) -> Outcome {
    let (_, timeout) = duration::parse(&args.timeout).map_err(Failure::Message)?;
    let cluster = session.cluster()?;
    let (nodes, mut failures) = node::find(&cluster, &args.nodes, "rctl drain").await?;
    let dry_run = args.nodes.dry_run.unwrap_or_default();
    for node in &nodes {
        node::mark(session, &cluster, node, true, dry_run).await?;
    }
    for node in &nodes {
        let node_name = name(&node.object).to_owned();
        let drained = one(session, &cluster, &args, &node_name, dry_run);
        let outcome = if timeout.is_zero() {
            drained.await
        } else {
            match tokio::time::timeout(timeout, drained).await {
                Ok(outcome) => outcome,
                Err(_) => fail(format!("drain did not complete within {}", args.timeout)),
            }
        };
        match outcome {
            Ok(()) => session.io.say(&format!("node/{node_name} drained{}", dry_run.suffix()))?,
            Err(failure) => {
                let hint = format!(
                    "unable to drain node {node_name:?} due to error: {}, continuing command...",
                    failure.text().trim_start_matches("error: ")
                );
                failures.push(Failure::Message(hint));
            }
        }
    }
    Failure::collect(failures)
}

/// What is done with a pod of a drained node.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Evict,
    /// Evicted with a remark.
    Warn(&'static str),
    /// It stays, with a remark.
    Stay(&'static str),
    /// It stays, and nothing is said.
    Skip,
    /// It keeps the node from being drained.
    Refuse(&'static str),
}

fn fate(pod: &Value, daemon_set_exists: bool, args: &DrainArgs) -> Fate {
    if pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some()) {
        return Fate::Skip;
    }
    let ended = matches!(text(pod, "status.phase"), "Succeeded" | "Failed");
    let controller =
        items(pod, "metadata.ownerReferences").iter().find(|owner| crate::value::flag(owner, "controller"));
    if controller.is_some_and(|owner| text(owner, "kind") == "DaemonSet" && !ended) {
        return match (daemon_set_exists, args.ignore_daemonsets, args.force) {
            (true, true, _) => Fate::Stay("ignoring DaemonSet-managed Pods"),
            (true, false, _) => {
                Fate::Refuse("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
            }
            (false, _, true) => Fate::Warn("deleting Pods that declare no controller"),
            (false, _, false) => {
                Fate::Refuse("cannot delete Pods that declare no controller (use --force to override)")
            }
        };
    }
    if ended {
        return Fate::Evict;
    }
    if items(pod, "spec.volumes").iter().any(|volume| volume.get("emptyDir").is_some()) && !args.delete_emptydir_data {
        return Fate::Refuse("cannot delete Pods with local storage (use --delete-emptydir-data to override)");
    }
    if controller.is_none() {
        return if args.force {
            Fate::Warn("deleting Pods that declare no controller")
        } else {
            Fate::Refuse("cannot delete Pods that declare no controller (use --force to override)")
        };
    }
    Fate::Evict
}

async fn one(session: &mut Session, cluster: &Cluster, args: &DrainArgs, node: &str, dry_run: DryRun) -> Outcome {
    let info = resolve::resource(cluster, "pods").await?;
    let fields = format!("spec.nodeName={node}");
    let (pods, _) = common::list(cluster, &info, "", &args.pod_selector, &fields).await?;
    let mut leaving = Vec::new();
    let mut remarks: Vec<(&str, bool, Vec<String>)> = Vec::new();
    for pod in pods {
        let place = format!("{}/{}", namespace(&pod), name(&pod));
        let (remark, refused) = match fate(&pod, daemon_set_exists(cluster, &pod).await?, args) {
            Fate::Skip => continue,
            Fate::Evict => {
                leaving.push(pod);
                continue;
            }
            Fate::Warn(remark) => {
                leaving.push(pod);
                (remark, false)
            }
            Fate::Stay(remark) => (remark, false),
            Fate::Refuse(remark) => (remark, true),
        };
        match remarks.iter_mut().find(|known| known.0 == remark) {
            Some(known) => known.2.push(place),
            None => remarks.push((remark, refused, vec![place])),
        }
    }
    let line = |(remark, _, pods): &(&str, bool, Vec<String>)| format!("{remark}: {}", pods.join(", "));
    let refused: Vec<String> = remarks.iter().filter(|remark| remark.1).map(line).collect();
    if !refused.is_empty() {
        return fail(format!("[{}]", refused.join(", ")));
    }
    let warned: Vec<String> = remarks.iter().map(line).collect();
    if !warned.is_empty() {
        session.io.warn(&warned.join("; "))?;
    }
    for pod in &leaving {
        session.io.say(&format!("evicting pod {}/{}{}", namespace(pod), name(pod), dry_run.suffix()))?;
    }
    if dry_run != DryRun::None {
        return Ok(());
    }
    let evictions = leaving.iter().map(|pod| evict(cluster, &info, args, pod));
    for (pod, outcome) in leaving.iter().zip(futures::future::join_all(evictions).await) {
        outcome?;
        session.io.say(&format!("pod/{} {}", name(pod), if args.disable_eviction { "deleted" } else { "evicted" }))?;
    }
    Ok(())
}

/// A pod whose daemon set is gone is nobody's.
async fn daemon_set_exists(cluster: &Cluster, pod: &Value) -> Outcome<bool> {
    let owner = items(pod, "metadata.ownerReferences").iter().find(|owner| text(owner, "kind") == "DaemonSet");
    let Some(owner) = owner else { return Ok(false) };
    let info = resolve::resource(cluster, "daemonsets").await?;
    match common::get(cluster, &info, namespace(pod), text(owner, "name")).await {
        Ok(_) => Ok(true),
        Err(failure) if is_not_found(&failure) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Evicts a pod and waits until it is gone.
async fn evict(cluster: &Cluster, info: &ResourceInfo, args: &DrainArgs, pod: &Value) -> Outcome {
    let (scope, pod_name, uid) = (namespace(pod), name(pod), text(pod, "metadata.uid"));
    let grace = (args.grace_period >= 0).then_some(args.grace_period);
    let api = cluster.api(info, scope);
    let asked = if args.disable_eviction {
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        api.delete(pod_name, &options).await.map(|_| ())
    } else {
        let mut eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                                  "metadata": {"name": pod_name, "namespace": scope}});
        if let Some(seconds) = grace {
            eviction["deleteOptions"] = json!({"gracePeriodSeconds": seconds});
        }
        let evicted = retry(REFUSED, "eviction", || async {
            match api.create_subresource(pod_name, "eviction", &eviction).await {
                Err(error) if error.reason() == Some(Reason::TooManyRequests) => Err(error),
                answered => Ok(answered),
            }
        });
        evicted.await.map(|_| ())
    };
    match asked {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => {
            return Err(cluster.explain(error).during(format!("error when evicting pods/{pod_name:?} -n {scope:?}")));
        }
    }
    watching::until(cluster, info, scope, pod_name, |now| {
        Ok(now.is_none_or(|now| text(now, "metadata.uid") != uid).then_some(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> DrainArgs {
        use clap::{CommandFactory as _, FromArgMatches as _};
        #[derive(clap::Parser)]
        struct Wrapper {
            #[command(flatten)]
            args: DrainArgs,
        }
        let matches = Wrapper::command().try_get_matches_from(line.split(' ')).expect("parses");
        Wrapper::from_arg_matches(&matches).expect("parses").args
    }

    #[test]
    fn pods_go_stay_or_keep_the_node() {
        let owned =
            |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "controller": true}]}, "spec": {}});
        let (replica, daemon, bare) = (owned("ReplicaSet"), owned("DaemonSet"), json!({"spec": {}}));
        let local = json!({"metadata": owned("ReplicaSet")["metadata"], "spec": {"volumes": [{"emptyDir": {}}]}});
        assert_eq!(fate(&replica, false, &args("x n")), Fate::Evict);
        assert!(matches!(fate(&daemon, true, &args("x n")), Fate::Refuse(_)));
        assert!(matches!(fate(&daemon, true, &args("x n --ignore-daemonsets")), Fate::Stay(_)));
        assert!(matches!(fate(&bare, false, &args("x n")), Fate::Refuse(_)));
        assert!(matches!(fate(&bare, false, &args("x n --force")), Fate::Warn(_)));
        assert!(matches!(fate(&local, false, &args("x n")), Fate::Refuse(_)));
        assert_eq!(fate(&local, false, &args("x n --delete-emptydir-data")), Fate::Evict);
        let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}}});
        assert_eq!(fate(&mirror, false, &args("x n")), Fate::Skip);
        let ended = json!({"status": {"phase": "Failed"}});
        assert_eq!(fate(&ended, false, &args("x n")), Fate::Evict);
    }
}

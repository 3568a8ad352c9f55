//! `rctl describe`: reads what a description needs and prints it.

use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use super::common::{self, Found, Target, TargetArgs, selector_text};
use crate::describe::{Subject, describe};
use crate::errors::{Failure, Outcome, fail};
use crate::resolve;
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{at, name, namespace, text};

const EXAMPLES: &str = "  \
  # Describe a node
  rctl describe nodes node-1

  # Describe a pod
  rctl describe pods/web

  # Describe all pods
  rctl describe pods

  # Describe pods by label name=myLabel
  rctl describe pods -l name=myLabel";

/// Show details of a specific resource or group of resources.
///
/// Print a detailed description of the selected resources, including related resources such as events or controllers.
/// A name that no object has is taken as the beginning of names.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct DescribeArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// If true, display events related to the described object
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    show_events: bool,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: DescribeArgs) -> Outcome {
    let none = "You must specify the type of resource to describe. Use \"rctl api-resources\" for a complete list of \
                supported resources.";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, failures) = choose(&cluster, targets, &args.targets.selector).await?;
    if found.is_empty() && failures.is_empty() {
        session.io.note(&if args.targets.all_namespaces {
            "No resources found".to_owned()
        } else {
            format!("No resources found in {} namespace.", cluster.namespace)
        })?;
    }
    let palette = session.palette();
    let now = (session.io.now)();
    for (index, found) in found.into_iter().enumerate() {
        if index > 0 {
            writeln!(session.io.out, "\n")?;
        }
        let events = if args.show_events { events_of(&cluster, &found.object).await? } else { Some(Vec::new()) };
        let related = related(&cluster, &found).await?;
        let kind = found.info.kind.clone();
        let subject = Subject { object: found.object, events, related };
        write!(session.io.out, "{}", describe(&kind, &subject, palette, now))?;
        session.io.out.flush()?;
    }
    Failure::collect(failures)
}

/// The objects to describe; a name that does not exist stands for those that begin with it.
async fn choose(cluster: &Cluster, targets: Vec<Target>, labels: &str) -> Outcome<(Vec<Found>, Vec<Failure>)> {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for target in targets {
        let (prefix, info, scope) = match &target {
            Target::One { info, namespace, name, manifest: None } => {
                (Some(name.clone()), info.clone(), namespace.clone())
            }
            other => (None, other.info().clone(), String::new()),
        };
        let (objects, missing) = common::find(cluster, vec![target], labels, "").await?;
        found.extend(objects);
        for failure in missing {
            match &prefix {
                Some(prefix) if is_not_found(&failure) => {
                    let (all, _) = common::list(cluster, &info, &scope, "", "").await?;
                    let before = found.len();
                    found.extend(
                        all.into_iter()
                            .filter(|object| name(object).starts_with(prefix.as_str()))
                            .map(|object| Found { info: info.clone(), object }),
                    );
                    if found.len() == before {
                        failures.push(failure);
                    }
                }
                _ => failures.push(failure),
            }
        }
    }
    Ok((found, failures))
}

/// The events about an object; `None` when the server does not tell.
pub async fn events_of(cluster: &Cluster, object: &Value) -> Outcome<Option<Vec<Value>>> {
    let Some(info) = resolve::builtin("events") else { return fail("the table of resources has no events") };
    let (kind, object_name) = (text(object, "kind"), name(object));
    let uid = match kind {
        // A kubelet reports about its node by name.
        "Node" => String::new(),
        _ => format!(",involvedObject.uid={}", text(object, "metadata.uid")),
    };
    let fields = format!("involvedObject.kind={kind},involvedObject.name={object_name}{uid}");
    match common::list(cluster, info, namespace(object), "", &fields).await {
        Ok((events, _)) => Ok(Some(events)),
        Err(Failure::Server { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What else the description of a kind shows.
async fn related(cluster: &Cluster, found: &Found) -> Outcome<Vec<Value>> {
    let object = &found.object;
    let selector = || selector_text(at(object, "spec.selector").unwrap_or(&Value::Null));
    // Several lists of the same namespace, whole.
    let lists: &[&str] = match found.info.kind.as_str() {
        "Namespace" => &["resourcequotas", "limitranges"],
        "Ingress" => &["services", "endpointslices"],
        "PersistentVolumeClaim" => &["pods"],
        "ServiceAccount" => &["secrets"],
        _ => &[],
    };
    if !lists.is_empty() {
        let scope = if found.info.kind == "Namespace" { name(object) } else { namespace(object) };
        let mut all = Vec::new();
        for word in lists {
            let info = resolve::resource(cluster, word).await?;
            match common::list(cluster, &info, scope, "", "").await {
                Ok((objects, _)) => all.extend(objects),
                // Who may not read them gets the rest of the description.
                Err(Failure::Server { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        return Ok(all);
    }
    let (word, scope, labels, fields) = match found.info.kind.as_str() {
        "Deployment" => ("replicasets", namespace(object), selector(), String::new()),
        "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            ("pods", namespace(object), selector(), String::new())
        }
        "Service" => {
            ("endpointslices", namespace(object), format!("kubernetes.io/service-name={}", name(object)), String::new())
        }
        "Node" => ("pods", "", String::new(), format!("spec.nodeName={}", name(object))),
        _ => return Ok(Vec::new()),
    };
    let info = resolve::resource(cluster, word).await?;
    Ok(common::list(cluster, &info, scope, &labels, &fields).await?.0)
}

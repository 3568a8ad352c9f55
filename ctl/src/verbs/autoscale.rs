//! `rctl autoscale`: a HorizontalPodAutoscaler for a workload.

use clap::Args;
use serde_json::{Value, json};

use super::common::{self, TargetArgs, WriteArgs};
use super::create;
use crate::errors::{Failure, Outcome, fail};
use crate::session::Session;
use crate::value::{map_mut, name, namespace};

const EXAMPLES: &str = "  \
  # Auto scale a deployment \"foo\", with the number of pods between 2 and 10, no target CPU utilization specified
  rctl autoscale deployment foo --min=2 --max=10

  # Auto scale a deployment \"foo\", with the number of pods between 1 and 5, target CPU utilization at 80%
  rctl autoscale deployment foo --max=5 --cpu-percent=80";

/// Creates an autoscaler that automatically chooses and sets the number of pods that run in a cluster.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct AutoscaleArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// The lower limit for the number of pods that can be set by the autoscaler
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_negative_numbers = true)]
    min: i32,
    /// The upper limit for the number of pods that can be set by the autoscaler. Required
    #[arg(long, value_name = "COUNT", required = true, allow_negative_numbers = true)]
    max: i32,
    /// The target average CPU utilization (represented as a percent of requested CPU) over all the pods
    #[arg(long, value_name = "PERCENT", default_value_t = -1, allow_negative_numbers = true)]
    cpu_percent: i32,
    /// The name for the newly created object. If not specified, the name of the input resource will be used
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    write: WriteArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: AutoscaleArgs) -> Outcome {
    if args.max < 1 {
        return fail(format!("--max=MAXPODS is required and must be at least 1, max: {}", args.max));
    }
    if args.max < args.min {
        return fail(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {}, min: {}",
            args.max, args.min
        ));
    }
    let none = "You must provide one or more resources by argument or filename.";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, failures) = common::find(&cluster, targets, &args.targets.selector, "").await?;
    Failure::collect(failures)?;
    for found in found {
        let kind = found.info.kind.as_str();
        if !matches!(kind, "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController") {
            return fail(format!("cannot autoscale a {kind}: it has no replicas"));
        }
        let mut object = autoscaler(&found.info.resource.api_version(), kind, &found.object, &args);
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(namespace(&found.object)));
        create::make_as(session, object, &args.write, false, "autoscaled").await?;
    }
    Ok(())
}

fn autoscaler(version: &str, kind: &str, object: &Value, args: &AutoscaleArgs) -> Value {
    let own = if args.name.is_empty() { name(object) } else { &args.name };
    let mut made = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": own},
        "spec": {
            "maxReplicas": args.max,
            "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": name(object)},
        },
    });
    if args.min > 0 {
        made["spec"]["minReplicas"] = json!(args.min);
    }
    if args.cpu_percent > 0 {
        made["spec"]["metrics"] = json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": args.cpu_percent}}}]);
    }
    made
}

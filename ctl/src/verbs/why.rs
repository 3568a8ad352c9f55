//! `rctl why`: what keeps an object from being as it should, and what would help.

use clap::Args;
use reeve_api::ResourceInfo;
use serde_json::Value;

use super::common::{self, Found, TargetArgs, pod_spec_path, selector_text};
use super::describe::events_of;
use crate::describe::events::last_seen;
use crate::diagnose::diagnose;
use crate::errors::{Failure, Outcome};
use crate::output::colour::Tone;
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{at, namespace};

const EXAMPLES: &str = "  \
  # Say why a pod does not run or is not ready
  rctl why pod/web

  # Look at all pods of a deployment
  rctl why deployment/web

  # Say what a claim, a node or a namespace waits for
  rctl why pvc/data";

/// Say what keeps an object from being as it should, and what would help.
///
/// Knows pods (pending, crashing, not ready, terminating), claims, nodes, namespaces, and workloads by their pods.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct WhyArgs {
    #[command(flatten)]
    targets: TargetArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: WhyArgs) -> Outcome {
    let none = "You must say about what: rctl why TYPE/NAME";
    // A bare name is a pod's.
    let mut targets = args.targets;
    if let ([word], true) = (targets.words.as_slice(), targets.selector.is_empty() && !targets.all)
        && !word.contains('/')
        && resolve::builtin(word).is_none()
    {
        targets.words = vec![format!("pod/{word}")];
    }
    targets.check(none)?;
    let cluster = session.cluster()?;
    let chosen = common::targets(&cluster, &mut session.io, &targets, none).await?;
    let (found, failures) = common::find(&cluster, chosen, &targets.selector, "").await?;
    for found in found {
        tell(session, &cluster, &found).await?;
        if found.info.kind != "Pod" && pod_spec_path(&found.info.kind).is_some() {
            for pod in pods_of(&cluster, &found).await? {
                tell(session, &cluster, &pod).await?;
            }
        }
    }
    Failure::collect(failures)
}

async fn tell(session: &mut Session, cluster: &Cluster, found: &Found) -> Outcome {
    let mut events = events_of(cluster, &found.object).await?.unwrap_or_default();
    events.sort_by_key(|event| last_seen(event).to_owned());
    let answer = diagnose(&found.info.kind, &found.object, &events);
    let palette = session.palette();
    let tone = if answer.findings.is_empty() { Tone::Good } else { Tone::Bad };
    session.io.say(&format!("{} {}", found.display(), palette.paint(tone, &answer.state)))?;
    for finding in answer.findings {
        session.io.say(&format!("  {}\n    {}", finding.cause, palette.paint(Tone::Busy, &finding.remedy)))?;
    }
    Ok(())
}

/// The pods that a workload selects.
async fn pods_of(cluster: &Cluster, workload: &Found) -> Outcome<Vec<Found>> {
    let info: ResourceInfo = resolve::resource(cluster, "pods").await?;
    let Some(selector) = at(&workload.object, "spec.selector").map(selector_text) else { return Ok(Vec::new()) };
    let (pods, _): (Vec<Value>, _) = common::list(cluster, &info, namespace(&workload.object), &selector, "").await?;
    Ok(pods.into_iter().map(|object| Found { info: info.clone(), object }).collect())
}

//! `rctl set resources`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Common, change_all, containers};
use crate::errors::{Outcome, fail};
use crate::session::Session;
use crate::value::map_mut;
use crate::verbs::create::policy::amounts;

const EXAMPLES: &str = "  \
  # Set a deployment's container cpu limit to \"200m\" and memory limit to \"512Mi\"
  rctl set resources deployment web -c=web --limits=cpu=200m,memory=512Mi

  # Set the resource request and limits for all containers in a deployment
  rctl set resources deployment web --limits=cpu=200m,memory=512Mi --requests=cpu=100m,memory=256Mi

  # Remove the resource requests on containers
  rctl set resources deployment web --limits=cpu=0,memory=0 --requests=cpu=0,memory=0";

/// Specify compute resource requirements (CPU, memory) for any resource that defines a pod template.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ResourcesArgs {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE NAME | TYPE/NAME")]
    words: Vec<String>,
    /// The names of containers in the selected pod templates to change, all containers are selected by default
    #[arg(short = 'c', long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// The resource requirement limits for this container, such as 'cpu=100m,memory=256Mi'
    #[arg(long, value_name = "AMOUNTS", value_delimiter = ',')]
    limits: Vec<String>,
    /// The resource requirement requests for this container, such as 'cpu=100m,memory=256Mi'
    #[arg(long, value_name = "AMOUNTS", value_delimiter = ',')]
    requests: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ResourcesArgs) -> Outcome {
    if args.limits.is_empty() && args.requests.is_empty() {
        return fail("you must specify an update to requests or limits (in the form of --requests/--limits)");
    }
    let wanted = [("limits", amounts(&args.limits)?), ("requests", amounts(&args.requests)?)];
    let change = |kind: &str, object: &mut Value| {
        let seen = containers(kind, object, &args.containers, &mut |container| set(container, &wanted))?;
        if seen { Ok(()) } else { fail(format!("unable to find container named {}", args.containers)) }
    };
    change_all(session, &args.common, args.words.clone(), "resource requirements updated", &change).await
}

fn set(container: &mut Value, wanted: &[(&str, Map<String, Value>); 2]) {
    for (kind, amounts) in wanted.iter().filter(|(_, amounts)| !amounts.is_empty()) {
        let resources = map_mut(container, "resources");
        let present = resources.entry(*kind).or_insert_with(|| json!({}));
        for (resource, amount) in amounts {
            // None of a resource is what is said by not naming it.
            if amount == "0" {
                crate::value::as_map(present).remove(resource);
            } else {
                crate::value::as_map(present).insert(resource.clone(), amount.clone());
            }
        }
        if present.as_object().is_some_and(Map::is_empty) {
            resources.remove(*kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_removes() {
        let mut container = json!({"resources": {"limits": {"cpu": "1", "memory": "1Mi"}}});
        let map = |pairs: &[&str]| {
            amounts(&pairs.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>()).expect("amounts")
        };
        set(&mut container, &[("limits", map(&["cpu=0"])), ("requests", map(&["cpu=100m"]))]);
        assert_eq!(container["resources"], json!({"limits": {"memory": "1Mi"}, "requests": {"cpu": "100m"}}));
    }
}

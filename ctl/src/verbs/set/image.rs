//! `rctl set image`.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, change_all, containers};
use crate::errors::{Outcome, fail};
use crate::session::Session;

const EXAMPLES: &str = "  \
  # Set a deployment's web container image to 'web:2', and its sidecar container image to 'sidecar'
  rctl set image deployment/web sidecar=sidecar web=web:2

  # Update all deployments' and rc's web container's image to 'web:2'
  rctl set image deployments,rc web=web:2 --all

  # Update image of all containers of daemonset abc to 'web:2'
  rctl set image daemonset abc *=web:2";

/// Update existing container image(s) of resources.
///
/// Possible resources include (case insensitive): pod, replicationcontroller, deployment, daemonset, statefulset,
/// cronjob, replicaset.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ImageArgs {
    /// TYPE NAME or TYPE/NAME, then CONTAINER=IMAGE...
    #[arg(value_name = "TYPE NAME | TYPE/NAME | CONTAINER=IMAGE")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// A container's name and its new image.
type Pair = (String, String);

/// Runs the command.
pub async fn run(session: &mut Session, args: ImageArgs) -> Outcome {
    let (words, pairs) = split_changes(&args.words, "image")?;
    if words.is_empty() && args.common.files.is_empty() {
        return fail("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    if pairs.is_empty() {
        return fail("at least one image update is required");
    }
    let change = |kind: &str, object: &mut Value| set_images(kind, object, &pairs);
    change_all(session, &args.common, words, "image updated", &change).await
}

fn set_images(kind: &str, object: &mut Value, pairs: &[Pair]) -> Outcome {
    for (container, image) in pairs {
        let seen = containers(kind, object, container, &mut |container| container["image"] = json!(image))?;
        if !seen {
            return fail(format!("unable to find container named {container:?}"));
        }
    }
    Ok(())
}

/// Splits words into those that name objects and `KEY=VALUE` changes that follow.
fn split_changes(words: &[String], what: &str) -> Outcome<(Vec<String>, Vec<Pair>)> {
    let mut targets = Vec::new();
    let mut changes = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                changes.push((key.to_owned(), value.to_owned()))
            }
            Some(_) => return fail(format!("invalid {what}: {word:?} is not KEY=VALUE")),
            None if !changes.is_empty() => {
                return fail(format!("all resources must be specified before {what} changes: {word}"));
            }
            None => targets.push(word.clone()),
        }
    }
    Ok((targets, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_set_by_container_name() {
        let mut object = json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "i", "image": "a:1"}],
            "containers": [{"name": "c", "image": "b:1"}]}}}});
        let pair = |container: &str, image: &str| vec![(container.to_owned(), image.to_owned())];
        set_images("Deployment", &mut object, &pair("c", "b:2")).expect("set");
        assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "b:2");
        set_images("Deployment", &mut object, &pair("*", "x")).expect("set");
        assert_eq!(object["spec"]["template"]["spec"]["initContainers"][0]["image"], "x");
        let error = set_images("Deployment", &mut object, &pair("z", "x")).expect_err("no such container");
        assert_eq!(error.text(), "error: unable to find container named \"z\"");
        assert!(set_images("Service", &mut object, &pair("*", "x")).is_err());
    }

    #[test]
    fn objects_come_before_changes() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (targets, changes) = split_changes(&words("deploy/web a=b:1"), "image").expect("splits");
        assert_eq!((targets.len(), changes.len()), (1, 1));
        assert!(split_changes(&words("a=b deploy/web"), "image").is_err());
    }
}

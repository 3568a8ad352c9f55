//! `rctl set image`.

use clap::{Args, Subcommand};
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, FileArgs, Found, TargetArgs, WriteArgs, pod_spec_path};
use crate::errors::{Failure, Outcome, fail};
use crate::session::{Cluster, Session};
use crate::value::{at, items, name, namespace, text};

/// Configure application resources.
///
/// These commands help you make changes to existing application resources.
#[derive(Args, Debug)]
#[command(
    before_help = "  # Set a deployment's web container image to 'web:2'\n  rctl set image deployment/web web=web:2"
)]
pub struct SetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Update the image of a pod template
    Image(ImageArgs),
}

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
struct ImageArgs {
    /// TYPE NAME or TYPE/NAME, then CONTAINER=IMAGE...
    #[arg(value_name = "TYPE NAME | TYPE/NAME | CONTAINER=IMAGE")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Select all resources, in the namespace of the specified resource types
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: SetArgs) -> Outcome {
    let What::Image(args) = args.what;
    image(session, args).await
}

/// A container's name and its new image.
type Change = (String, String);

/// Splits words into those that name objects and `KEY=VALUE` changes that follow.
fn split_changes(words: &[String], what: &str) -> Outcome<(Vec<String>, Vec<Change>)> {
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

async fn image(session: &mut Session, args: ImageArgs) -> Outcome {
    let (words, changes) = split_changes(&args.words, "image")?;
    let none = "one or more resources must be specified as <resource> <name> or <resource>/<name>";
    if words.is_empty() && args.files.filenames.is_empty() {
        return fail(none);
    }
    if changes.is_empty() {
        return fail("at least one image update is required");
    }
    let cluster = session.cluster()?;
    let targets = TargetArgs {
        words,
        files: args.files.clone(),
        selector: args.selector.clone(),
        all: args.all,
        all_namespaces: false,
    };
    let targets = common::targets(&cluster, &mut session.io, &targets, none).await?;
    let (found, mut failures) = common::find(&cluster, targets, &args.selector, "").await?;
    for found in found {
        match one(session, &cluster, &args, &changes, &found).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, cluster: &Cluster, args: &ImageArgs, changes: &[Change], found: &Found) -> Outcome {
    let operations = operations(&found.object, &found.info.kind, changes)?;
    if operations.is_empty() {
        // As kubectl: nothing to change is nothing to say.
        return Ok(());
    }
    let patch = json_patch::Patch(
        serde_json::from_value::<Vec<json_patch::PatchOperation>>(json!(operations))
            .map_err(|error| Failure::Message(format!("cannot change images: {error}")))?,
    );
    let object = match args.write.dry_run() {
        DryRun::Client => {
            let mut object = found.object.clone();
            json_patch::patch(&mut object, &patch)
                .map_err(|error| Failure::Message(format!("cannot change images: {error}")))?;
            object
        }
        how => {
            let patch = Patch::Json(json!(operations));
            let object = &found.object;
            cluster.patch(&found.info, namespace(object), name(object), &patch, how == DryRun::Server).await?
        }
    };
    args.write.report(&mut session.io, &found.info, &object, "image updated")
}

/// The JSON patch that sets images. Each change tests that the container is still where it was, so that a list that
/// changed meanwhile is refused instead of mixed up.
fn operations(object: &Value, kind: &str, changes: &[Change]) -> Outcome<Vec<Value>> {
    let Some(path) = pod_spec_path(kind) else {
        return fail(format!("cannot set an image: a {kind} has no pod template"));
    };
    let spec = at(object, path).cloned().unwrap_or(Value::Null);
    let pointer = path.replace('.', "/");
    let mut operations = Vec::new();
    for (container, image) in changes {
        let mut seen = false;
        for list in ["initContainers", "containers"] {
            for (index, existing) in items(&spec, list).iter().enumerate() {
                let existing_name = text(existing, "name");
                if container != "*" && existing_name != container {
                    continue;
                }
                seen = true;
                if text(existing, "image") != image {
                    let place = format!("/{pointer}/{list}/{index}");
                    operations.push(json!({"op": "test", "path": format!("{place}/name"), "value": existing_name}));
                    operations.push(json!({"op": "replace", "path": format!("{place}/image"), "value": image}));
                }
            }
        }
        if !seen {
            return fail(format!("unable to find container named {container:?}"));
        }
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(container: &str, image: &str) -> Vec<Change> {
        vec![(container.to_owned(), image.to_owned())]
    }

    #[test]
    fn images_are_set_by_container_name() {
        let object = json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "i", "image": "a:1"}],
            "containers": [{"name": "c", "image": "b:1"}]}}}});
        let patch = operations(&object, "Deployment", &change("c", "b:2")).expect("a patch");
        assert_eq!(patch[1]["path"], "/spec/template/spec/containers/0/image");
        assert_eq!(patch[0]["op"], "test");
        assert_eq!(operations(&object, "Deployment", &change("*", "x")).expect("a patch").len(), 4);
        assert!(operations(&object, "Deployment", &change("c", "b:1")).expect("no patch").is_empty());
        let error = operations(&object, "Deployment", &change("z", "x")).expect_err("no such container");
        assert_eq!(error.text(), "error: unable to find container named \"z\"");
        assert!(operations(&object, "Service", &change("*", "x")).is_err());
    }

    #[test]
    fn objects_come_before_changes() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (targets, changes) = split_changes(&words("deploy/web a=b:1"), "image").expect("splits");
        assert_eq!((targets.len(), changes.len()), (1, 1));
        assert!(split_changes(&words("a=b deploy/web"), "image").is_err());
    }
}

//! `rctl set`: changes of single features, as one JSON patch for each object.

mod env;
mod identity;
mod image;
mod resources;

use clap::{Args, Subcommand};
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, FileArgs, TargetArgs, WriteArgs, pod_spec_path};
use crate::errors::{Failure, Outcome, fail};
use crate::resolve;
use crate::session::Session;
use crate::value::{at, items, name, namespace, text};

/// Configure application resources.
///
/// These commands help you make changes to existing application resources.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    before_help = "  # Set a deployment's web container image to 'web:2'\n  rctl set image deployment/web web=web:2\n\n  # Set an environment variable in all its containers\n  rctl set env deployment/web STORAGE_DIR=/local"
)]
pub struct SetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Update environment variables on a pod template
    Env(env::EnvArgs),
    /// Update the image of a pod template
    Image(image::ImageArgs),
    /// Update resource requests/limits on objects with pod templates
    Resources(resources::ResourcesArgs),
    /// Set the selector on a resource
    Selector(identity::SelectorArgs),
    /// Update the service account of a resource
    #[command(visible_alias = "sa")]
    Serviceaccount(identity::ServiceAccountArgs),
    /// Update the user, group, or service account in a role binding or cluster role binding
    Subject(identity::SubjectArgs),
}

impl SetArgs {
    /// Whether `--user` is a subject here.
    pub fn names_subjects(&self) -> bool {
        matches!(self.what, What::Subject(_))
    }
}

/// What all of them take.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    #[command(flatten)]
    files: FileArgs,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Select all resources, in the namespace of the specified resource types
    #[arg(long)]
    all: bool,
    /// If true, the command will not contact the API server but run locally
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: SetArgs) -> Outcome {
    match args.what {
        What::Env(args) => env::run(session, args).await,
        What::Image(args) => image::run(session, args).await,
        What::Resources(args) => resources::run(session, args).await,
        What::Selector(args) => identity::selector(session, args).await,
        What::Serviceaccount(args) => identity::service_account(session, args).await,
        What::Subject(args) => identity::subject(session, args).await,
    }
}

const NONE: &str = "You must provide one or more resources by argument or filename.\n\
Example resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'";

/// What is changed in an object of a kind.
type Change<'a> = &'a dyn Fn(&str, &mut Value) -> Outcome;

/// The objects that words, files and selectors name.
async fn chosen(
    session: &mut Session,
    common: &Common,
    words: Vec<String>,
) -> Outcome<(Vec<common::Found>, Vec<Failure>)> {
    if common.local {
        if !words.is_empty() || common.files.is_empty() {
            return fail("when --local is set, objects must come from files (-f)");
        }
        let manifests = common.files.read(session.io.input.as_mut())?;
        let found = manifests.into_iter().map(|manifest| match resolve::builtin_kind(&manifest.kind()) {
            Some(info) => Ok(common::Found { info: info.clone(), object: manifest.object }),
            None => Err(manifest.unknown_kind()),
        });
        return Ok((found.collect::<Outcome<_>>()?, Vec::new()));
    }
    let cluster = session.cluster()?;
    let targets = TargetArgs {
        words,
        files: common.files.clone(),
        selector: common.selector.clone(),
        all: common.all,
        all_namespaces: false,
    };
    let targets = common::targets(&cluster, &mut session.io, &targets, NONE).await?;
    common::find(&cluster, targets, &common.selector, "").await
}

/// Changes each chosen object and says what was done; an object that is as wanted is left alone, without a word.
async fn change_all(
    session: &mut Session,
    common: &Common,
    words: Vec<String>,
    done: &str,
    change: Change<'_>,
) -> Outcome {
    let (found, mut failures) = chosen(session, common, words).await?;
    for found in found {
        match one(session, common, &found, done, change).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, common: &Common, found: &common::Found, done: &str, change: Change<'_>) -> Outcome {
    let before = &found.object;
    let mut after = before.clone();
    change(&found.info.kind, &mut after)?;
    let printed_only = common.local || common.write.dry_run() == DryRun::Client;
    let object = if printed_only {
        after
    } else {
        let patch = patch(&found.info.kind, before, &after);
        if patch.is_empty() {
            return Ok(());
        }
        let cluster = session.cluster()?;
        let dry_run = common.write.dry_run() == DryRun::Server;
        cluster.patch(&found.info, namespace(before), name(before), &Patch::Json(json!(patch)), dry_run).await?
    };
    common.write.report(&mut session.io, &found.info, &object, done)
}

/// The JSON patch between two states of an object. It tests that the containers are still where they were, so that a
/// list that changed meanwhile is refused instead of mixed up.
fn patch(kind: &str, before: &Value, after: &Value) -> Vec<Value> {
    let changes: Vec<Value> = json_patch::diff(before, after).0.iter().map(|change| json!(change)).collect();
    if changes.is_empty() {
        return changes;
    }
    let mut operations = Vec::new();
    if let Some(path) = pod_spec_path(kind) {
        let pointer = path.replace('.', "/");
        for list in ["initContainers", "containers"] {
            let place = format!("/{pointer}/{list}/");
            for (index, container) in items(before, &format!("{path}.{list}")).iter().enumerate() {
                let place = format!("{place}{index}/");
                if changes.iter().any(|change| text(change, "path").starts_with(&place)) {
                    let path = format!("{place}name");
                    operations.push(json!({"op": "test", "path": path, "value": text(container, "name")}));
                }
            }
        }
    }
    operations.extend(changes);
    operations
}

/// Changes the containers of an object's pod template that a name (`*` for all) chooses; says whether there were any.
fn containers(kind: &str, object: &mut Value, name: &str, change: &mut dyn FnMut(&mut Value)) -> Outcome<bool> {
    let Some(path) = pod_spec_path(kind) else {
        return fail(format!("a {kind} has no pod template"));
    };
    let pointer = format!("/{}", path.replace('.', "/"));
    let mut seen = false;
    for list in ["initContainers", "containers"] {
        let list = object.pointer_mut(&format!("{pointer}/{list}")).and_then(Value::as_array_mut);
        for container in list.into_iter().flatten().filter(|container| chooses(name, text(container, "name"))) {
            seen = true;
            change(container);
        }
    }
    Ok(seen)
}

/// Whether a pattern with stars matches a container's name.
fn chooses(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name
            .strip_prefix(start)
            .is_some_and(|name| rest.is_empty() || name.char_indices().any(|(index, _)| chooses(rest, &name[index..]))),
    }
}

/// The pod template's spec of an object.
fn pod_spec<'a>(kind: &str, object: &'a Value) -> Outcome<&'a Value> {
    match pod_spec_path(kind).and_then(|path| at(object, path)) {
        Some(spec) => Ok(spec),
        None => fail(format!("a {kind} has no pod template")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_containers() {
        for (pattern, name, chosen) in
            [("*", "web", true), ("web", "web", true), ("w*", "web", true), ("*b", "web", true), ("x*", "web", false)]
        {
            assert_eq!(chooses(pattern, name), chosen, "{pattern} {name}");
        }
    }

    #[test]
    fn a_patch_tests_the_containers_that_it_changes() {
        let object =
            |image: &str| json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": image}]}});
        let patch = patch("Pod", &object("1"), &object("2"));
        assert_eq!(
            patch,
            [
                json!({"op": "test", "path": "/spec/containers/1/name", "value": "b"}),
                json!({"op": "replace", "path": "/spec/containers/1/image", "value": "2"}),
            ]
        );
        assert!(super::patch("Pod", &object("1"), &object("1")).is_empty());
    }
}

//! `rctl edit`: an object in the user's editor.

use std::io::Write as _;
use std::process::Command;

use clap::Args;
use reeve_client::Patch;
use serde_json::Value;

use super::common::{self, Found, TargetArgs, without_managed_fields};
use crate::errors::{Failure, Outcome, fail};
use crate::merge::difference;
use crate::output::yaml::yaml;
use crate::session::{Cluster, Session};
use crate::value::{map_mut, name, namespace, text};

const EXAMPLES: &str = "  \
  # Edit the service named 'registry'
  rctl edit svc/registry

  # Use an alternative editor
  KUBE_EDITOR=\"nano\" rctl edit svc/registry";

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n\
# and an empty file will abort the edit. If an error occurs while saving this file will be\n\
# reopened with the relevant failures.\n#\n";

/// Edit a resource from the default editor.
///
/// The edit command allows you to directly edit any API resource you can retrieve via the command-line tools. It will
/// open the editor defined by your KUBE_EDITOR, or EDITOR environment variables, or fall back to 'vi'.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct EditArgs {
    #[command(flatten)]
    targets: TargetArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: EditArgs) -> Outcome {
    let none = "You must provide one or more resources by argument or filename.";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, failures) = common::find(&cluster, targets, &args.targets.selector, "").await?;
    for found in found {
        one(session, &cluster, &found).await?;
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, cluster: &Cluster, found: &Found) -> Outcome {
    let object = without_managed_fields(&found.object);
    let path = std::env::temp_dir().join(format!("rctl-edit-{}-{}.yaml", std::process::id(), name(&object)));
    let original = yaml(&object)?;
    let mut text_now = original.clone();
    let mut complaint = String::new();
    loop {
        let comment: String = complaint.lines().map(|line| format!("# {line}\n")).collect();
        write_private(&path, &format!("{HEADER}{comment}{text_now}"))?;
        edit(session, &path)?;
        let content = std::fs::read_to_string(&path)
            .map_err(|error| Failure::Message(format!("error reading {}: {error}", path.display())))?;
        let edited: String =
            content.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        if edited.trim().is_empty() {
            remove(&path)?;
            session.io.note("Edit cancelled, saved file was empty.")?;
            return Ok(());
        }
        if edited == original || (edited == text_now && !complaint.is_empty()) {
            if complaint.is_empty() {
                remove(&path)?;
                session.io.note("Edit cancelled, no changes made.")?;
                return Ok(());
            }
            return fail(format!(
                "Edit cancelled, no valid changes were saved; your changes are in {}",
                path.display()
            ));
        }
        text_now.clone_from(&edited);
        let outcome = match serde_yaml::from_str::<Value>(&edited) {
            Ok(edited) => send(cluster, found, &object, edited).await,
            Err(error) => Err(Failure::Message(format!("the edited file is not valid YAML: {error}"))),
        };
        match outcome {
            Ok(true) => {
                remove(&path)?;
                return Ok(session.io.say(&format!("{} edited", found.display()))?);
            }
            Ok(false) => {
                remove(&path)?;
                session.io.note("Edit cancelled, no changes made.")?;
                return Ok(());
            }
            Err(failure) => complaint = failure.text(),
        }
    }
}

/// Sends what changed; false if nothing did.
async fn send(cluster: &Cluster, found: &Found, before: &Value, after: Value) -> Outcome<bool> {
    if name(&after) != name(before) || text(&after, "kind") != text(before, "kind") {
        return fail("the name and the kind of an object cannot be edited");
    }
    let Some(mut patch) = difference(before, &after) else { return Ok(false) };
    let version = text(before, "metadata.resourceVersion");
    map_mut(&mut patch, "metadata").insert("resourceVersion".to_owned(), Value::String(version.to_owned()));
    cluster.patch(&found.info, namespace(before), name(before), &Patch::Merge(patch), false).await?;
    Ok(true)
}

fn edit(session: &Session, path: &std::path::Path) -> Outcome {
    let editor = session.io.variable("KUBE_EDITOR").or_else(|| session.io.variable("EDITOR")).unwrap_or("vi");
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status()
        .map_err(|error| Failure::Message(format!("cannot start the editor {editor:?}: {error}")))?;
    if !status.success() {
        return fail(format!("there was a problem with the editor {editor:?}: {status}"));
    }
    Ok(())
}

/// The object may be a Secret: the file is its owner's only.
fn write_private(path: &std::path::Path, content: &str) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| Failure::Message(format!("cannot write {}: {error}", path.display()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)
}

fn remove(path: &std::path::Path) -> Outcome {
    std::fs::remove_file(path).map_err(|error| Failure::Message(format!("cannot remove {}: {error}", path.display())))
}

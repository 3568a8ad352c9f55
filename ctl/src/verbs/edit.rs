//! `rctl edit`: an object in the user's editor.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use reeve_client::Patch;
use serde_json::Value;

use super::common::{self, Found, TargetArgs, ValidateArgs, without_managed_fields};
use crate::errors::{Failure, Outcome, fail};
use crate::manifest::Manifest;
use crate::merge::difference;
use crate::output::yaml::yaml;
use crate::session::{Cluster, Place, Session};
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
/// open the editor defined by your KUBE_EDITOR, or EDITOR environment variables, or fall back to 'vi'. What the server
/// refuses is opened again, with the reasons above it.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct EditArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Output format: yaml or json; the format that is edited
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "yaml")]
    output: String,
    /// Output the patch if the resource is edited
    #[arg(long)]
    output_patch: bool,
    /// If specified, edit will operate on the subresource of the requested object: status
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subresource: String,
    #[command(flatten)]
    validate: ValidateArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: EditArgs) -> Outcome {
    session.validate_fields(args.validate.word());
    if !matches!(args.output.as_str(), "yaml" | "json") {
        return fail("The flag 'output' must be one of yaml|json");
    }
    common::check_subresource(&args.subresource)?;
    let none = "You must provide one or more resources by argument or filename.";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, mut failures) = common::find(&cluster, targets, &args.targets.selector, "").await?;
    if found.is_empty() && failures.is_empty() {
        return fail("edit cancelled, no objects found");
    }
    for found in found {
        match one(session, &cluster, &args, &found).await {
            Ok(()) => {}
            Err(failure @ Failure::Message(_)) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, cluster: &Cluster, args: &EditArgs, found: &Found) -> Outcome {
    let mut object = without_managed_fields(&found.object);
    if !args.subresource.is_empty() {
        let api = cluster.api(&found.info, namespace(&object));
        let part = cluster.call(api.get_subresource(name(&object), &args.subresource)).await?;
        object = without_managed_fields(&part);
    }
    let rendered =
        |object: &Value| if args.output == "json" { crate::output::yaml::json(object) } else { yaml(object) };
    let path = scratch_path(&found.info.kind, &args.output);
    let original = rendered(&object)?;
    let mut text_now = original.clone();
    let mut complaint = String::new();
    loop {
        let comment: String = complaint.lines().map(|line| format!("# {line}\n")).collect();
        let comment = if comment.is_empty() { comment } else { format!("{comment}#\n") };
        write_private(&path, &format!("{HEADER}{comment}{text_now}"))?;
        edit(session, &path)?;
        let edited = read_edited(&path)?;
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
            session.io.note(&complaint)?;
            session.io.note(&format!("A copy of your changes has been stored to {:?}", path.display().to_string()))?;
            return fail("Edit cancelled, no valid changes were saved.");
        }
        text_now.clone_from(&edited);
        let outcome = match reeve_api::yaml::from_str(&edited) {
            Ok(edited) => send(session, cluster, args, found, &object, &edited).await,
            Err(error) => Err(Failure::Message(format!("the edited file had a syntax error: {error}"))),
        };
        match outcome {
            Ok(true) => return remove(&path),
            Ok(false) => {
                remove(&path)?;
                session.io.note("Edit cancelled, no changes made.")?;
                return Ok(());
            }
            Err(failure) => complaint = failure.text(),
        }
    }
}

/// What manifests become in the editor, all in one file.
pub fn edited(session: &mut Session, manifests: Vec<Manifest>) -> Outcome<Vec<Manifest>> {
    let texts = manifests.iter().map(|manifest| yaml(&manifest.object)).collect::<Outcome<Vec<String>>>()?;
    let path = scratch_path("create", "yaml");
    write_private(&path, &format!("{HEADER}{}", texts.join("---\n")))?;
    edit(session, &path)?;
    let text = read_edited(&path)?;
    let mut manifests = Vec::new();
    crate::manifest::parse(&text, &path.display().to_string(), &mut manifests)?;
    remove(&path)?;
    if manifests.is_empty() { fail("Edit cancelled, saved file was empty.") } else { Ok(manifests) }
}

fn scratch_path(what: &str, format: &str) -> PathBuf {
    let (process, random) = (std::process::id(), crate::names::random_suffix());
    std::env::temp_dir().join(format!("rctl-edit-{}-{process}-{random}.{format}", what.to_lowercase()))
}

/// The file without its comments.
fn read_edited(path: &Path) -> Outcome<String> {
    let content = std::fs::read_to_string(path)
        .map_err(|error| Failure::Message(format!("error reading {}: {error}", path.display())))?;
    Ok(content.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect())
}

/// Sends what changed and says so; false if nothing did.
async fn send(
    session: &mut Session,
    cluster: &Cluster,
    args: &EditArgs,
    found: &Found,
    before: &Value,
    after: &Value,
) -> Outcome<bool> {
    if name(after) != name(before) || text(after, "kind") != text(before, "kind") {
        return fail("At least one of apiVersion, kind and name was changed");
    }
    let Some(mut patch) = difference(before, after) else { return Ok(false) };
    let version = text(before, "metadata.resourceVersion");
    map_mut(&mut patch, "metadata").insert("resourceVersion".to_owned(), Value::String(version.to_owned()));
    let place = Place { namespace: namespace(before), name: name(before), subresource: &args.subresource };
    let patched = Patch::Merge(patch);
    cluster.patch_at(&found.info, place, &patched, false).await?;
    if let (true, Patch::Merge(patch)) = (args.output_patch, &patched) {
        session.io.say(&format!("Patch: {patch}"))?;
    }
    session.io.say(&format!("{} edited", found.display()))?;
    Ok(true)
}

fn edit(session: &Session, path: &Path) -> Outcome {
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
fn write_private(path: &Path, content: &str) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| Failure::Message(format!("cannot write {}: {error}", path.display()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)
}

fn remove(path: &Path) -> Outcome {
    std::fs::remove_file(path).map_err(|error| Failure::Message(format!("cannot remove {}: {error}", path.display())))
}

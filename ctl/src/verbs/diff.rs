//! `rctl diff`: what `apply` would change.

use std::path::Path;
use std::process::Command;

use clap::Args;
use serde_json::{Value, json};

use super::apply::{self, How};
use super::common::{self, DryRun, FileArgs, Target, without_managed_fields};
use super::server_side::ServerSideArgs;
use crate::errors::{Failure, Outcome, fail};
use crate::merge;
use crate::output::yaml::yaml;
use crate::session::{Cluster, Session};
use crate::value::{name, namespace, text};

const EXAMPLES: &str = "  \
  # Diff resources included in pod.json
  rctl diff -f pod.json

  # Diff file read from stdin, with the server's merge
  cat web.yaml | rctl diff --server-side -f -";

/// Diff configurations specified by file name or stdin between the current online configuration, and the
/// configuration as it would be if applied.
///
/// The output is always YAML. The environment variable KUBECTL_EXTERNAL_DIFF names another diff command. Exit status: 0
/// no differences were found, 1 differences were found, above 1 rctl or diff failed.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct DiffArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    server_side: ServerSideArgs,
    /// Diff only the files' objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// If true, include managed fields in the diff
    #[arg(long)]
    show_managed_fields: bool,
}

/// The exit code of a failure, which is told apart from that of a difference.
const FAILED: i32 = 2;

/// Runs the command.
pub async fn run(session: &mut Session, args: DiffArgs) -> Outcome {
    match compare(session, &args).await {
        Ok(()) => Ok(()),
        Err(Failure::Exit(code)) => Err(Failure::Exit(code)),
        Err(failure) => {
            session.io.note(&failure.text())?;
            Err(Failure::Exit(FAILED))
        }
    }
}

async fn compare(session: &mut Session, args: &DiffArgs) -> Outcome {
    if args.files.is_empty() {
        return fail("must specify one of -f and -k");
    }
    args.server_side.check(DryRun::Server)?;
    let manifests = args.files.read(session.io.input.as_mut())?;
    let selector = reeve_api::selector::LabelSelector::parse(&args.selector)
        .map_err(|error| Failure::Message(error.to_string()))?;
    let cluster = session.cluster()?;
    let made = |error: std::io::Error| Failure::Message(format!("cannot make a folder for the difference: {error}"));
    let folder = |prefix: &str| tempfile::Builder::new().prefix(prefix).tempdir().map_err(made);
    let (live, merged) = (folder("LIVE-")?, folder("MERGED-")?);
    for manifest in manifests {
        let labels = manifest.object.pointer("/metadata/labels").cloned();
        if !selector.matches_by(|key| labels.as_ref()?.get(key)?.as_str()) {
            continue;
        }
        let now = current(&cluster, manifest.clone()).await?;
        let how = How { dry_run: DryRun::Server, server_side: &args.server_side, warn: false };
        let (info, applied) = apply::one(session, &cluster, &how, manifest).await?;
        let mut after = common::typed(applied.into_object(), &info);
        let mut before = now.map(|object| common::typed(object, &info));
        keep_last_applied(before.as_ref(), &mut after);
        mask(before.as_mut(), &mut after);
        let kind = info.kind();
        let file = [kind.group.as_str(), &kind.version, &kind.kind, namespace(&after), name(&after)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(".");
        for (folder, object) in [(live.path(), before), (merged.path(), Some(after))] {
            let Some(object) = object else { continue };
            let object = if args.show_managed_fields { object } else { without_managed_fields(&object) };
            std::fs::write(folder.join(&file), yaml(&object)?)?;
        }
    }
    show(session, live.path(), merged.path())
}

/// The object as it is, if there is one.
async fn current(cluster: &Cluster, manifest: crate::manifest::Manifest) -> Outcome<Option<Value>> {
    let Target::One { info, namespace, name, .. } = common::target_of(cluster, manifest).await? else {
        return fail("a manifest names no object");
    };
    cluster
        .call(cluster.api(&info, &namespace).get_opt(&name))
        .await
        .map_err(|failure| common::unserved(failure, &info))
}

/// Runs the comparing program; its exit code is ours.
fn show(session: &mut Session, live: &Path, merged: &Path) -> Outcome {
    let external = session.io.variable("KUBECTL_EXTERNAL_DIFF").unwrap_or("diff -u -N").to_owned();
    let mut words = external.split_whitespace();
    let program = words.next().unwrap_or("diff");
    let output = Command::new(program).args(words).arg(live).arg(merged).output().map_err(|error| {
        Failure::Message(format!("cannot run {program:?}: {error}; install it, or set KUBECTL_EXTERNAL_DIFF"))
    })?;
    session.io.out.write_all(&output.stdout)?;
    session.io.out.flush()?;
    session.io.err.write_all(&output.stderr)?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Exit(code)),
        None => fail(format!("{program:?} was ended by a signal")),
    }
}

/// What apply keeps for itself is no difference.
fn keep_last_applied(before: Option<&Value>, after: &mut Value) {
    let own = before.and_then(|before| before.pointer("/metadata/annotations")?.get(merge::LAST_APPLIED).cloned());
    let Some(annotations) = after.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    match own {
        Some(own) => {
            annotations.insert(merge::LAST_APPLIED.to_owned(), own);
        }
        None => {
            annotations.shift_remove(merge::LAST_APPLIED);
        }
    }
    let had_none = before.is_some_and(|before| before.pointer("/metadata/annotations").is_none());
    if annotations.is_empty() && (had_none || before.is_none()) {
        crate::value::map_mut(after, "metadata").shift_remove("annotations");
    }
}

/// Hides the values of secrets, but not which of them differ.
fn mask(before: Option<&mut Value>, after: &mut Value) {
    if text(after, "kind") != "Secret" || text(after, "apiVersion") != "v1" {
        return;
    }
    let data = |object: &Value| object.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
    let (old, new) = (before.as_deref().map(data).unwrap_or_default(), data(after));
    let hide = |object: &mut Value, mark: &str| {
        for (key, value) in object.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten() {
            let differs = old.get(key).zip(new.get(key)).is_some_and(|(old, new)| old != new);
            *value = json!(if differs { format!("*** ({mark})") } else { "***".to_owned() });
        }
    };
    if let Some(before) = before {
        hide(before, "before");
    }
    hide(after, "after");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_their_differences_are_not() {
        let secret = |a: &str| json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": a, "b": "x"}});
        let (mut before, mut after) = (secret("1"), secret("2"));
        mask(Some(&mut before), &mut after);
        assert_eq!(before["data"], json!({"a": "*** (before)", "b": "***"}));
        assert_eq!(after["data"], json!({"a": "*** (after)", "b": "***"}));
    }
}

//! `rctl label` and `rctl annotate`.

use clap::Args;
use reeve_client::Patch;
use serde_json::{Map, Value, json};

use super::common::{self, DryRun, FileArgs, Found, TargetArgs, WriteArgs};
use crate::errors::{Failure, Outcome, fail};
use crate::session::{Cluster, Session};
use crate::value::{at, entries, name, namespace, text};

const LABEL_EXAMPLES: &str = "  \
  # Update pod 'foo' with the label 'unhealthy' and the value 'true'
  rctl label pods foo unhealthy=true

  # Update pod 'foo' with the label 'status' and the value 'unhealthy', overwriting any existing value
  rctl label --overwrite pods foo status=unhealthy

  # Update all pods in the namespace
  rctl label pods --all status=unhealthy

  # Update pod 'foo' by removing a label named 'bar' if it exists
  rctl label pods foo bar-";

const ANNOTATE_EXAMPLES: &str = "  \
  # Update pod 'foo' with the annotation 'description' and the value 'my frontend'
  rctl annotate pods foo description='my frontend'

  # Update pod 'foo' by removing an annotation named 'description' if it exists
  rctl annotate pods foo description-";

/// Update the labels on a resource.
///
/// If --overwrite is true, then existing labels can be overwritten, otherwise attempting to overwrite a label will
/// result in an error.
#[derive(Args, Debug)]
#[command(before_help = LABEL_EXAMPLES)]
pub struct LabelArgs {
    #[command(flatten)]
    common: MetadataArgs,
}

/// Update the annotations on one or more resources.
///
/// Annotations are key/value pairs that can be larger than labels and include arbitrary string values such as
/// structured JSON.
#[derive(Args, Debug)]
#[command(before_help = ANNOTATE_EXAMPLES)]
pub struct AnnotateArgs {
    #[command(flatten)]
    common: MetadataArgs,
}

#[derive(Args, Debug)]
struct MetadataArgs {
    /// TYPE NAME or TYPE/NAME, then KEY=VALUE or KEY-
    #[arg(value_name = "TYPE NAME | TYPE/NAME | KEY=VALUE | KEY-", allow_hyphen_values = false)]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Selector (field query) to filter on
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    field_selector: String,
    /// Select all resources, in the namespace of the specified resource types
    #[arg(long)]
    all: bool,
    /// If present, the requested objects across all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// If true, allow values to be overwritten, otherwise reject updates that overwrite existing ones
    #[arg(long)]
    overwrite: bool,
    /// If true, display the labels or annotations for a given resource
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// The two maps of metadata and what messages call them.
struct Field {
    key: &'static str,
    noun: &'static str,
    done: &'static str,
    removed: &'static str,
    not_done: &'static str,
}

const LABELS: Field =
    Field { key: "labels", noun: "label", done: "labeled", removed: "unlabeled", not_done: "not labeled" };
const ANNOTATIONS: Field =
    Field { key: "annotations", noun: "annotation", done: "annotated", removed: "annotated", not_done: "annotated" };

/// Runs `rctl label`.
pub async fn label(session: &mut Session, args: LabelArgs) -> Outcome {
    run(session, args.common, &LABELS).await
}

/// Runs `rctl annotate`.
pub async fn annotate(session: &mut Session, args: AnnotateArgs) -> Outcome {
    run(session, args.common, &ANNOTATIONS).await
}

/// What to do with one key: set it, or remove it.
type Change = (String, Option<String>);

/// Splits words into those that name objects and the changes after them.
fn split(words: &[String], noun: &str) -> Outcome<(Vec<String>, Vec<Change>)> {
    let mut targets = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    for word in words {
        let change = match word.split_once('=') {
            Some((key, value)) => Some((key.to_owned(), Some(value.to_owned()))),
            None => word.strip_suffix('-').map(|key| (key.to_owned(), None)),
        };
        match change {
            Some((key, _)) if key.is_empty() => return fail(format!("invalid {noun} spec: {word}")),
            Some((key, value)) => {
                if changes.iter().any(|(known, other)| *known == key && other.is_some() != value.is_some()) {
                    return fail(format!("cannot modify and remove the same {noun}: {key}"));
                }
                changes.push((key, value));
            }
            None if !changes.is_empty() => {
                return fail(format!("all resources must be specified before {noun} changes: {word}"));
            }
            None => targets.push(word.clone()),
        }
    }
    Ok((targets, changes))
}

async fn run(session: &mut Session, args: MetadataArgs, field: &Field) -> Outcome {
    let (words, changes) = split(&args.words, field.noun)?;
    if changes.is_empty() && !args.list {
        return fail(format!("at least one {} update is required", field.noun));
    }
    let targets = TargetArgs {
        words,
        files: args.files.clone(),
        selector: args.selector.clone(),
        all: args.all,
        all_namespaces: args.all_namespaces,
    };
    if targets.words.is_empty() && targets.files.is_empty() {
        return fail("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &targets, "resource(s) must be specified").await?;
    let chosen = args.all || !args.selector.is_empty() || !args.field_selector.is_empty() || args.list;
    if !chosen && targets.iter().any(|target| matches!(target, common::Target::Some { .. })) {
        return fail("resource(s) were provided, but no name, label selector, or --all flag specified");
    }
    let (found, mut failures) = common::find(&cluster, targets, &args.selector, &args.field_selector).await?;
    let several = found.len() > 1;
    for found in found {
        if args.list {
            list(session, field, &found, several)?;
            continue;
        }
        match one(session, &cluster, &args, field, &changes, &found).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

/// Prints the present values; of several objects each below its name.
fn list(session: &mut Session, field: &Field, found: &Found, several: bool) -> Outcome {
    if several {
        session.io.say(&format!("Listing {}s for {}:", field.noun, found.display()))?;
    }
    let indent = if several { " " } else { "" };
    for (key, value) in entries(&found.object, &format!("metadata.{}", field.key)) {
        session.io.say(&format!("{indent}{key}={}", value.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

async fn one(
    session: &mut Session,
    cluster: &Cluster,
    args: &MetadataArgs,
    field: &Field,
    changes: &[Change],
    found: &Found,
) -> Outcome {
    let object = &found.object;
    let plan = plan(object, field, changes, args.overwrite)?;
    for missing in &plan.missing {
        session.io.say(&format!("{} {missing:?} not found.", field.noun))?;
    }
    let object = if plan.values.is_empty() {
        object.clone()
    } else {
        let mut metadata = json!({ field.key: plan.values });
        if !args.overwrite && plan.values.values().any(|value| !value.is_null()) {
            // Nobody else's value is overwritten, not even one that came after the check.
            metadata["resourceVersion"] = json!(text(object, "metadata.resourceVersion"));
        }
        let patch = json!({ "metadata": metadata });
        match args.write.dry_run() {
            DryRun::Client => {
                let mut object = object.clone();
                json_patch::merge(&mut object, &patch);
                object
            }
            how => {
                let patch = Patch::Merge(patch);
                cluster.patch(&found.info, namespace(object), name(object), &patch, how == DryRun::Server).await?
            }
        }
    };
    let done = match (plan.values.is_empty(), plan.values.values().any(|value| !value.is_null())) {
        (true, _) => field.not_done,
        (false, true) => field.done,
        (false, false) => field.removed,
    };
    args.write.report(&mut session.io, &found.info, &object, done)
}

/// What is to be sent for one object.
#[derive(Debug)]
struct Plan {
    /// New values, null for keys to remove.
    values: Map<String, Value>,
    /// Keys to remove that are not there.
    missing: Vec<String>,
}

fn plan(object: &Value, field: &Field, changes: &[Change], overwrite: bool) -> Outcome<Plan> {
    let present = at(object, &format!("metadata.{}", field.key)).and_then(Value::as_object);
    let value_of = |key: &str| present.and_then(|map| map.get(key)).and_then(Value::as_str);
    let mut plan = Plan { values: Map::new(), missing: Vec::new() };
    for (key, value) in changes {
        match (value, value_of(key)) {
            (None, None) => plan.missing.push(key.clone()),
            (None, Some(_)) => {
                plan.values.insert(key.clone(), Value::Null);
            }
            (Some(new), Some(old)) if new == old => {}
            (Some(_), Some(old)) if !overwrite => {
                return match field.noun {
                    "label" => fail(format!("'{key}' already has a value ({old}), and --overwrite is false")),
                    _ => fail(format!(
                        "--overwrite is false but found the following declared annotation(s): '{key}' already has a \
                         value ({old})"
                    )),
                };
            }
            (Some(new), _) => {
                plan.values.insert(key.clone(), json!(new));
            }
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(line: &str) -> Vec<Change> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        split(&words, "label").expect("splits").1
    }

    #[test]
    fn values_are_not_overwritten_unasked() {
        let object = json!({"metadata": {"labels": {"app": "web", "x": "1"}}});
        let error = plan(&object, &LABELS, &changes("app=api"), false).expect_err("refused");
        assert_eq!(error.text(), "error: 'app' already has a value (web), and --overwrite is false");
        let plan_of = |line| plan(&object, &LABELS, &changes(line), true).expect("a plan");
        assert_eq!(Value::Object(plan_of("app=api x- y-").values), json!({"app": "api", "x": null}));
        assert_eq!(plan_of("y-").missing, ["y"]);
        assert!(plan_of("app=web").values.is_empty());
    }

    #[test]
    fn words_are_told_apart() {
        let words: Vec<String> = ["pod", "a", "x=1", "y-"].map(str::to_owned).to_vec();
        let (targets, changes) = split(&words, "label").expect("splits");
        assert_eq!(targets, ["pod", "a"]);
        assert_eq!(changes, [("x".to_owned(), Some("1".to_owned())), ("y".to_owned(), None)]);
        let contradiction: Vec<String> = ["x=1", "x-"].map(str::to_owned).to_vec();
        assert!(split(&contradiction, "label").is_err());
    }
}

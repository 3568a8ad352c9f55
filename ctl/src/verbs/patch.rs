//! `rctl patch`.

use clap::{Args, ValueEnum};
use reeve_client::Patch;
use serde_json::Value;

use super::common::{self, DryRun, TargetArgs, WriteArgs};
use crate::errors::{Failure, Outcome, fail};
use crate::session::{Place, Session};
use crate::value::{name, namespace, text};

const EXAMPLES: &str = "  \
  # Partially update a node using a merge patch, specifying the patch as JSON
  rctl patch node k8s-node-1 --type=merge -p '{\"spec\":{\"unschedulable\":true}}'

  # Update a container's image using a JSON patch with positional arrays
  rctl patch pod valid-pod --type=json -p='[{\"op\": \"replace\", \"path\": \"/spec/containers/0/image\", \"value\":\"new\"}]'";

/// Update fields of a resource using strategic merge patch, a JSON merge patch, or a JSON patch.
///
/// JSON and YAML formats are accepted.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct PatchArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// The patch to be applied to the resource JSON file
    #[arg(short = 'p', long, value_name = "PATCH")]
    patch: Option<String>,
    /// A file containing a patch to be applied to the resource
    #[arg(long, value_name = "FILE")]
    patch_file: Option<String>,
    /// The type of patch being provided
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "strategic")]
    kind: PatchKind,
    /// If specified, patch will operate on the subresource of the requested object: status, scale, resize
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subresource: String,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PatchKind {
    Json,
    Merge,
    Strategic,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: PatchArgs) -> Outcome {
    let content = match (&args.patch, &args.patch_file) {
        (Some(_), Some(_)) => return fail("cannot specify --patch and --patch-file together"),
        (Some(patch), None) => patch.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| Failure::Message(format!("unable to read patch file: {path}: {error}")))?,
        (None, None) => return fail("must specify --patch or --patch-file containing the contents of the patch"),
    };
    let body: Value = reeve_api::yaml::from_str(&content)
        .map_err(|error| Failure::Message(format!("unable to parse {content:?}: {error}")))?;
    let patch = match args.kind {
        PatchKind::Json => Patch::Json(body),
        PatchKind::Merge => Patch::Merge(body),
        PatchKind::Strategic => Patch::Strategic(body),
    };
    common::check_subresource(&args.subresource)?;
    let none = "You must provide one or more resources by argument or filename.";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, mut failures) = common::find(&cluster, targets, &args.targets.selector, "").await?;
    let dry_run = args.write.dry_run();
    if dry_run == DryRun::Client {
        return fail("--dry-run=client cannot compute a patch; use --dry-run=server");
    }
    for found in found {
        let object = &found.object;
        let place = Place { namespace: namespace(object), name: name(object), subresource: &args.subresource };
        let patched = cluster.patch_at(&found.info, place, &patch, dry_run == DryRun::Server).await;
        match patched {
            Ok(patched) => {
                let version = |object| text(object, "metadata.resourceVersion").to_owned();
                let same = version(&patched) == version(object) && dry_run == DryRun::None;
                let info = common::info_of(&found.info, &patched);
                args.write.report(
                    &mut session.io,
                    &info,
                    &patched,
                    if same { "patched (no change)" } else { "patched" },
                )?;
            }
            Err(failure @ Failure::Server { .. }) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

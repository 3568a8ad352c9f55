//! `rctl replace`: objects become what files say, whole.

use clap::Args;
use reeve_client::DeleteOptions;
use serde_json::json;

use super::common::{self, DryRun, FileArgs, Target, ValidateArgs, WriteArgs};
use super::delete::{self, Leaving};
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::manifest::Manifest;
use crate::merge;
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{map_mut, namespace};

const EXAMPLES: &str = "  \
  # Replace a pod using the data in pod.json
  rctl replace -f ./pod.json

  # Update a single-container pod's image version (tag) to v4
  rctl get pod mypod -o yaml | sed 's/\\(image: myimage\\):.*$/\\1:v4/' | rctl replace -f -

  # Force replace, delete and then re-create the resource
  rctl replace --force -f ./pod.json";

/// Replace a resource by file name or stdin.
///
/// JSON and YAML formats are accepted. If replacing an existing resource, the complete resource spec must be provided.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ReplaceArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    validate: ValidateArgs,
    /// If true, delete the objects and create them again
    #[arg(long)]
    force: bool,
    /// Period of time in seconds given to the resource to terminate gracefully. Only with --force
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// The length of time to wait before giving up on a delete, zero means without limit. Only with --force
    #[arg(long, value_name = "TIME", default_value = "0s")]
    timeout: String,
    /// Keep the configuration in the object's annotation, so that rctl apply can follow
    #[arg(long)]
    save_config: bool,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ReplaceArgs) -> Outcome {
    session.validate_fields(args.validate.word());
    if args.files.is_empty() {
        return fail("must specify --filename to replace");
    }
    if args.grace_period >= 0 && !args.force {
        return fail("--grace-period must have --force specified");
    }
    let (_, timeout) = duration::parse(&args.timeout).map_err(Failure::Message)?;
    if !timeout.is_zero() && !args.force {
        return fail("--timeout must have --force specified");
    }
    if args.force && args.write.dry_run() != DryRun::None {
        return fail("--dry-run can not be used when --force is set");
    }
    let manifests = args.files.read(session.io.input.as_mut())?;
    if manifests.is_empty() {
        return fail("no objects passed to replace");
    }
    let cluster = session.cluster()?;
    let mut failures = Vec::new();
    for manifest in manifests {
        let source = manifest.source.clone();
        let replaced = one(session, &cluster, &args, manifest);
        let outcome = if timeout.is_zero() {
            replaced.await
        } else {
            match tokio::time::timeout(timeout, replaced).await {
                Ok(outcome) => outcome,
                Err(_) => fail("timed out waiting for the condition"),
            }
        };
        match outcome {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => {
                failures.push(failure.during(format!("error when replacing {source:?}")));
            }
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, cluster: &Cluster, args: &ReplaceArgs, manifest: Manifest) -> Outcome {
    let Target::One { info, namespace: scope, name, manifest: Some(manifest) } =
        common::target_of(cluster, manifest).await?
    else {
        return fail("a manifest names no object");
    };
    let mut object = manifest.object;
    if info.namespaced && namespace(&object).is_empty() {
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(scope));
    }
    if args.save_config || merge::last_applied(&object).is_some() {
        object = merge::with_last_applied(&object);
    }
    if args.force {
        let options = DeleteOptions {
            grace_period_seconds: (args.grace_period >= 0).then_some(args.grace_period),
            propagation_policy: "Background".to_owned(),
            ..DeleteOptions::default()
        };
        match cluster.call(cluster.api(&info, &scope).delete(&name, &options)).await {
            Ok(deleted) => {
                session.io.say(&format!("{} {name:?} deleted", crate::resolve::singular(&info)))?;
                if !deleted.gone {
                    let uid = delete::uid_of(&deleted.object).to_owned();
                    let leaving = Leaving { info: info.clone(), namespace: scope.clone(), name, uid };
                    delete::wait_gone(session, cluster, vec![leaving]).await?;
                }
            }
            Err(failure) if is_not_found(&failure) => {}
            Err(failure) => return Err(common::unserved(failure, &info)),
        }
        map_mut(&mut object, "metadata").remove("resourceVersion");
        map_mut(&mut object, "metadata").remove("uid");
        let created = cluster.create(&info, &scope, &object, false).await?;
        return args.write.report(&mut session.io, &info, &created, "replaced");
    }
    let replaced = match args.write.dry_run() {
        DryRun::Client => object,
        how => cluster
            .replace(&info, &scope, &object, how == DryRun::Server)
            .await
            .map_err(|failure| common::unserved(failure, &info))?,
    };
    args.write.report(&mut session.io, &info, &replaced, "replaced")
}

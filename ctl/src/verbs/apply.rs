//! `rctl apply`: bring objects to what files say.

use std::io::Write as _;

use clap::Args;
use reeve_api::Reason;
use reeve_api::selector::LabelSelector;
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, FileArgs, Target, ValidateArgs, WriteArgs, without_managed_fields};
use super::prune::{self, PruneArgs};
use super::server_side::ServerSideArgs;
use crate::errors::{Failure, Outcome, fail};
use crate::manifest::Manifest;
use crate::merge;
use crate::output::format::Format;
use crate::resolve::{builtin_kind, display};
use crate::session::{Cluster, Session};
use crate::value::{map_mut, namespace, text};

const EXAMPLES: &str = "  \
  # Apply the configuration in web.yaml to the cluster
  rctl apply -f ./web.yaml

  # Apply all manifests in a directory and the directories below it
  rctl apply -R -f manifests/

  # Apply the YAML passed into stdin
  cat web.yaml | rctl apply -f -

  # Let the server merge, and take fields over that others manage
  rctl apply -f web.yaml --server-side --force-conflicts

  # Delete what was applied with the label app=web and is in the folder no more
  rctl apply -f manifests/ --prune -l app=web

  # Show what would be done
  rctl apply -f web.yaml --dry-run=server";

/// How often a patch is tried again after another writer was first, as kubectl does.
const CONFLICT_RETRIES_MAX: usize = 5;

/// Apply a configuration to a resource by file name or stdin.
///
/// The resource name must be specified. This resource will be created if it doesn't exist yet. JSON and YAML formats
/// are accepted.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    validate: ValidateArgs,
    /// Apply only the files' objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    #[command(flatten)]
    server_side: ServerSideArgs,
    #[command(flatten)]
    prune: PruneArgs,
}

/// What applying one object did.
pub enum Applied {
    /// There was none.
    Created(Value),
    /// It was changed.
    Configured(Value),
    /// It was as wanted.
    Unchanged(Value),
    /// The server merged it.
    ServerSide(Value),
}

impl Applied {
    /// The object afterwards.
    pub fn into_object(self) -> Value {
        match self {
            Applied::Created(object)
            | Applied::Configured(object)
            | Applied::Unchanged(object)
            | Applied::ServerSide(object) => object,
        }
    }

    fn done(&self) -> &'static str {
        match self {
            Applied::Created(_) => "created",
            Applied::Configured(_) => "configured",
            Applied::Unchanged(_) => "unchanged",
            Applied::ServerSide(_) => "serverside-applied",
        }
    }
}

/// How one object is applied.
pub struct How<'a> {
    /// How far to go.
    pub dry_run: DryRun,
    /// Whether the server merges.
    pub server_side: &'a ServerSideArgs,
    /// Whether to warn of objects that were not made by apply.
    pub warn: bool,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ApplyArgs) -> Outcome {
    session.validate_fields(args.validate.word());
    if args.files.is_empty() {
        return fail("must specify one of -f and -k");
    }
    let dry_run = args.write.dry_run();
    args.server_side.check(dry_run)?;
    args.prune.check(&args.selector)?;
    let format = Format::parse(&args.write.output)?;
    let mut manifests = args.files.read(session.io.input.as_mut())?;
    let selector = LabelSelector::parse(&args.selector).map_err(|error| Failure::Message(error.to_string()))?;
    manifests.retain(|manifest| {
        let labels = manifest.object.pointer("/metadata/labels");
        selector.matches_by(|key| labels?.get(key)?.as_str())
    });
    if manifests.is_empty() {
        return fail("no objects passed to apply");
    }
    if let Some(manifest) = manifests.iter().find(|manifest| manifest.name().is_empty()) {
        let generate = text(&manifest.object, "metadata.generateName");
        return match generate {
            "" => fail(format!("{}: resource name may not be empty", manifest.place())),
            generate => fail(format!("from {generate}: cannot use generate name with apply")),
        };
    }
    let cluster = session.cluster()?;
    let mut failures = Vec::new();
    let mut objects = Vec::new();
    let several = manifests.len() > 1;
    let mut applied_objects = Vec::new();
    let how = How { dry_run, server_side: &args.server_side, warn: true };
    for manifest in manifests {
        match one(session, &cluster, &how, manifest).await {
            Ok((info, applied)) => {
                let done = applied.done();
                let object = applied.into_object();
                if matches!(format, Format::Yaml | Format::Json | Format::JsonPath(_)) && several {
                    objects.push(without_managed_fields(&object));
                } else {
                    args.write.report(&mut session.io, &info, &object, done)?;
                }
                if args.prune.prune {
                    applied_objects.push(object);
                }
            }
            // One refused object does not keep the others from being applied; a lost server does.
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => {
                failures.push(failure);
                break;
            }
        }
    }
    if !objects.is_empty() {
        let list = json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}});
        write!(session.io.out, "{}", format.render(&list, "")?)?;
    }
    // What failed is in a file: it must not be taken for something that was taken out.
    Failure::collect(failures)?;
    if args.prune.prune {
        prune::run(session, &cluster, &args.prune, &args.selector, &applied_objects, dry_run).await?;
    }
    Ok(())
}

/// Applies one object.
pub async fn one(
    session: &mut Session,
    cluster: &Cluster,
    how: &How<'_>,
    manifest: Manifest,
) -> Outcome<(reeve_api::ResourceInfo, Applied)> {
    let target = common::target_of(cluster, manifest).await?;
    let Target::One { info, namespace: scope, name, manifest: Some(manifest) } = target else {
        return fail("a manifest names no object");
    };
    let mut object = manifest.object.clone();
    if info.namespaced && namespace(&object).is_empty() {
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(scope));
    }
    let dry_run = how.dry_run;
    let during = |failure: Failure, what: &str| failure.during(format!("error when {what} {:?}", manifest.source));
    if how.server_side.server_side {
        let applied = how.server_side.apply(cluster, &info, &scope, &object, dry_run == DryRun::Server).await;
        let failed = |failure| during(common::unserved(failure, &info), "applying");
        return Ok((info.clone(), Applied::ServerSide(applied.map_err(failed)?)));
    }
    cluster.write_as(how.server_side.manager());
    let api = cluster.api(&info, &scope);
    let mut current = match cluster.attempt(api.get_opt(&name)).await? {
        Ok(current) => current,
        Err(error) => {
            let failure = common::unserved(cluster.explain(error), &info);
            return Err(during(failure, "retrieving current configuration of"));
        }
    };
    let mut retries = 0;
    loop {
        let Some(living) = current else {
            let created = merge::with_last_applied(&object);
            if dry_run == DryRun::Client {
                return Ok((info, Applied::Created(created)));
            }
            let created = cluster
                .create(&info, &scope, &created, dry_run == DryRun::Server)
                .await
                .map_err(|failure| during(failure, "creating"))?;
            return Ok((info, Applied::Created(created)));
        };
        let original = merge::last_applied(&living);
        if original.is_none() && retries == 0 && how.warn {
            session.io.warn(&format!(
                "resource {} is missing the {} annotation which is required by rctl apply. rctl apply should only be \
                 used on resources created declaratively by either rctl create --save-config or rctl apply. The \
                 missing annotation will be patched automatically.",
                display(&info, &name).replacen(&crate::resolve::singular(&info), &info.resource.resource, 1),
                merge::LAST_APPLIED,
            ))?;
        }
        let builtin = builtin_kind(&manifest.kind()).is_some();
        let Some(patch) = merge::patch(original.as_ref(), &object, &living, builtin) else {
            return Ok((info, Applied::Unchanged(living)));
        };
        if dry_run == DryRun::Client {
            let mut merged = living;
            json_patch::merge(&mut merged, &patch);
            return Ok((info, Applied::Configured(merged)));
        }
        let patch = Patch::Merge(patch);
        match cluster.patch(&info, &scope, &name, &patch, dry_run == DryRun::Server).await {
            Ok(changed) => {
                let same = dry_run == DryRun::None
                    && text(&changed, "metadata.resourceVersion") == text(&living, "metadata.resourceVersion");
                let applied = if same { Applied::Unchanged(changed) } else { Applied::Configured(changed) };
                return Ok((info, applied));
            }
            Err(failure) if failure.reason() == Some(Reason::Conflict) && retries < CONFLICT_RETRIES_MAX => {
                retries += 1;
                current = cluster.call(api.get_opt(&name)).await?;
            }
            Err(failure) => return Err(during(failure, "applying patch of")),
        }
    }
}

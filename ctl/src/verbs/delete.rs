//! `rctl delete`.

use clap::{Args, ValueEnum};
use reeve_api::ResourceInfo;
use reeve_client::DeleteOptions;
use serde_json::Value;

use super::common::{self, DryRun, Target, TargetArgs};
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::output::progress::Progress;
use crate::resolve::{display, singular};
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{name, namespace, text};
use crate::watching;

const EXAMPLES: &str = "  \
  # Delete a pod using the type and name specified in pod.json
  rctl delete -f ./pod.json

  # Delete pods and services with same names \"baz\" and \"foo\"
  rctl delete pod,service baz foo

  # Delete pods and services with label name=myLabel
  rctl delete pods,services -l name=myLabel

  # Delete a pod with minimal delay
  rctl delete pod foo --now

  # Force delete a pod on a dead node
  rctl delete pod foo --force

  # Delete all pods
  rctl delete pods --all";

/// Delete resources by file names, stdin, resources and names, or by resources and label selector.
///
/// Some resources, such as pods, support graceful deletion. Note that the delete command does NOT do resource version
/// checks, so if someone submits an update to a resource right when you submit a delete, their update will be lost
/// along with the rest of the resource.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct DeleteArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Selector (field query) to filter on, supports '=', '==', and '!='
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    field_selector: String,
    /// Period of time in seconds given to the resource to terminate gracefully. Ignored if negative
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// If true, resources are signaled for immediate shutdown (same as --grace-period=1)
    #[arg(long)]
    now: bool,
    /// Immediately remove resources from API and bypass graceful deletion
    #[arg(long)]
    force: bool,
    /// Treat "resource not found" as a successful delete
    #[arg(long)]
    ignore_not_found: bool,
    /// If true, wait for resources to be gone before returning. This waits for finalizers
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    wait: bool,
    /// The length of time to wait before giving up on a delete, zero means determine a timeout from the object
    #[arg(long, value_name = "TIME", default_value = "0s")]
    timeout: String,
    /// Deletion cascading strategy for the dependents (e.g. Pods created by a ReplicaSet)
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_value = "background", default_missing_value = "background")]
    cascade: Option<Cascade>,
    /// Must be "none", "server", or "client"
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_value = "none", default_missing_value = "client")]
    dry_run: Option<DryRun>,
    /// Output mode. Use "-o name" for shorter output (resource/name)
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cascade {
    Background,
    Orphan,
    Foreground,
}

/// An object that was asked to go and may still be there.
pub struct Leaving {
    /// Its resource.
    pub info: ResourceInfo,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; empty for whichever has the name.
    pub uid: String,
}

const NOTHING: &str = "You must provide one or more resources by argument or filename.\n\
Example resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'";

/// Runs the command.
pub async fn run(session: &mut Session, args: DeleteArgs) -> Outcome {
    let grace = grace(&args)?;
    match args.output.as_str() {
        "" | "name" => {}
        other => return fail(format!("unexpected -o output mode: {other}. We only support '-o name'")),
    }
    if args.targets.all && !args.targets.selector.is_empty() {
        return fail("setting 'all' parameter but found a non empty selector. ");
    }
    let (_, timeout) = duration::parse(&args.timeout).map_err(Failure::Message)?;
    args.targets.check(NOTHING)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, NOTHING).await?;
    let chosen = args.targets.all || !args.targets.selector.is_empty() || !args.field_selector.is_empty();
    if !chosen && targets.iter().any(|target| matches!(target, Target::Some { .. })) {
        return fail("resource(s) were provided, but no name was specified");
    }
    if args.force && grace == Some(0) {
        session.io.warn(
            "Immediate deletion does not wait for confirmation that the running resource has been terminated. The \
             resource may continue to run on the cluster indefinitely.",
        )?;
    }
    let selects = targets.iter().any(|target| matches!(target, Target::Some { .. }));
    let mut objects = Vec::new();
    for target in targets {
        match target {
            Target::One { info, namespace, name, .. } => objects.push((info, namespace, name)),
            Target::Some { info, namespace: scope } => {
                let (found, _) =
                    common::list(&cluster, &info, &scope, &args.targets.selector, &args.field_selector).await?;
                objects.extend(
                    found.iter().map(|object| (info.clone(), namespace(object).to_owned(), name(object).to_owned())),
                );
            }
        }
    }
    if objects.is_empty() && selects {
        session.io.note("No resources found")?;
        return Ok(());
    }
    let mut failures = Vec::new();
    let mut leaving = Vec::new();
    for (info, scope, name) in objects {
        match one(session, &cluster, &args, grace, info, scope, name).await {
            Ok(Some(object)) => leaving.push(object),
            Ok(None) => {}
            // What a selector found and somebody else deleted is deleted.
            Err(failure) if is_not_found(&failure) && (args.ignore_not_found || selects) => {}
            Err(failure @ Failure::Server { .. }) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if args.wait && args.dry_run.unwrap_or_default() == DryRun::None && !leaving.is_empty() {
        let wait = wait_gone(session, &cluster, leaving);
        if timeout.is_zero() {
            wait.await?;
        } else {
            match tokio::time::timeout(timeout, wait).await {
                Ok(outcome) => outcome?,
                Err(_) => return fail("timed out waiting for the condition"),
            }
        }
    }
    Failure::collect(failures)
}

/// The grace period that the flags ask for; `None` for the object's own.
fn grace(args: &DeleteArgs) -> Outcome<Option<i64>> {
    if args.now && args.grace_period >= 0 {
        return fail("--now and --grace-period cannot be specified together");
    }
    if args.force && args.grace_period > 0 {
        return fail("--force and --grace-period greater than 0 cannot be specified together");
    }
    Ok(match (args.now, args.force, args.grace_period) {
        (true, ..) => Some(1),
        (false, true, _) => Some(0),
        // Without --force nobody is cut off: the least is a second, which is waited for.
        (false, false, 0) => Some(1),
        (false, false, seconds) if seconds > 0 => Some(seconds),
        _ => None,
    })
}

async fn one(
    session: &mut Session,
    cluster: &Cluster,
    args: &DeleteArgs,
    grace: Option<i64>,
    info: ResourceInfo,
    namespace: String,
    name: String,
) -> Outcome<Option<Leaving>> {
    let dry_run = args.dry_run.unwrap_or_default();
    let mut leaving = None;
    if dry_run != DryRun::Client {
        let options = DeleteOptions {
            grace_period_seconds: grace,
            propagation_policy: match args.cascade {
                Some(Cascade::Orphan) => "Orphan".to_owned(),
                Some(Cascade::Foreground) => "Foreground".to_owned(),
                _ => "Background".to_owned(),
            },
            dry_run: dry_run == DryRun::Server,
            ..DeleteOptions::default()
        };
        let api = cluster.api(&info, &namespace);
        let deleted =
            cluster.call(api.delete(&name, &options)).await.map_err(|failure| common::unserved(failure, &info))?;
        if !deleted.gone {
            let uid = uid_of(&deleted.object).to_owned();
            leaving = Some(Leaving { info: info.clone(), namespace, name: name.clone(), uid });
        }
    }
    if args.output == "name" {
        session.io.say(&display(&info, &name))?;
    } else {
        let done = if args.force && grace == Some(0) { "force deleted" } else { "deleted" };
        session.io.say(&format!("{} {name:?} {done}{}", singular(&info), dry_run.suffix()))?;
    }
    Ok(leaving)
}

/// The uid in the answer to a delete: of the object, or of a `Status` about it.
pub fn uid_of(answer: &Value) -> &str {
    match text(answer, "metadata.uid") {
        "" => text(answer, "details.uid"),
        uid => uid,
    }
}

/// Waits until all are gone.
pub async fn wait_gone(session: &mut Session, cluster: &Cluster, leaving: Vec<Leaving>) -> Outcome {
    let progress = Progress::start(&session.io, leaving.len());
    for object in leaving {
        progress.show(&format!("waiting for {} to be gone", display(&object.info, &object.name)));
        let gone = |current: Option<&Value>| {
            let same =
                current.is_some_and(|current| object.uid.is_empty() || text(current, "metadata.uid") == object.uid);
            Ok((!same).then_some(()))
        };
        watching::until(cluster, &object.info, &object.namespace, &object.name, gone).await?;
        progress.advance();
    }
    progress.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> DeleteArgs {
        use clap::{CommandFactory as _, FromArgMatches as _};
        #[derive(clap::Parser)]
        struct Wrapper {
            #[command(flatten)]
            args: DeleteArgs,
        }
        let matches = Wrapper::command().try_get_matches_from(line.split(' ')).expect("parses");
        Wrapper::from_arg_matches(&matches).expect("parses").args
    }

    #[test]
    fn grace_periods_follow_the_flags() {
        for (line, expected) in [
            ("x", None),
            ("x --grace-period=5", Some(5)),
            ("x --grace-period=0", Some(1)),
            ("x --grace-period=-1", None),
            ("x --now", Some(1)),
            ("x --force", Some(0)),
            ("x --force --grace-period=0", Some(0)),
        ] {
            assert_eq!(grace(&args(line)).expect(line), expected, "{line}");
        }
        assert!(grace(&args("x --force --grace-period=5")).is_err());
        assert!(grace(&args("x --now --grace-period=5")).is_err());
    }

    #[test]
    fn the_time_to_wait_is_a_duration() {
        assert_eq!(duration::parse(&args("x").timeout), Ok((false, std::time::Duration::ZERO)));
    }
}

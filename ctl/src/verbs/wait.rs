//! `rctl wait`: by watch, never by polling.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::common::{self, Target, TargetArgs};
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::output::jsonpath::Template;
use crate::output::progress::Progress;
use crate::resolve::display;
use crate::session::{Cluster, Session, not_found};
use crate::value::{int, items, name, namespace, plain, text};
use crate::watching;

const EXAMPLES: &str = "  \
  # Wait for the pod \"busybox1\" to contain the status condition of type \"Ready\"
  rctl wait --for=condition=Ready pod/busybox1

  # The default value of status condition is true; you can wait for other targets after an equal delimiter
  rctl wait --for=condition=Ready=false pod/busybox1

  # Wait for the pod \"busybox1\" to contain the status phase to be \"Running\"
  rctl wait --for=jsonpath='{.status.phase}'=Running pod/busybox1

  # Wait for the pod \"busybox1\" to be created, for at most a minute
  rctl wait --for=create pod/busybox1 --timeout=60s

  # Wait for the pod \"busybox1\" to be deleted
  rctl wait --for=delete pod/busybox1

  # Wait until a job is either complete or failed
  rctl wait --for=condition=Complete --for=condition=Failed job/x";

/// Wait for a specific condition on one or many resources.
///
/// The command takes multiple resources and waits until the specified condition is seen in the Status field of every
/// given resource. Given several times, --for is content with any of its conditions.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct WaitArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Selector (field query) to filter on
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    field_selector: String,
    /// The condition to wait on: create|delete|condition=NAME[=VALUE]|jsonpath='{PATH}'[=VALUE]
    #[arg(long = "for", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// The length of time to wait before giving up. Zero means check once and don't wait, negative means wait for a week
    #[arg(long, value_name = "TIME", default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
enum Goal {
    Create,
    Delete,
    Condition { kind: String, status: String },
    Path { path: Template, value: Option<String> },
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl Goal {
    fn parse(text: &str) -> Outcome<Goal> {
        match text.to_ascii_lowercase().as_str() {
            "delete" => return Ok(Goal::Delete),
            "create" => return Ok(Goal::Create),
            _ => {}
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (kind, status) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Goal::Condition { kind: kind.to_owned(), status: status.to_owned() });
        }
        if let Some(path) = text.strip_prefix("jsonpath=") {
            // The value follows the last brace; conditions in filters have their own equal signs.
            let end = path.rfind('}').map_or_else(|| path.find('=').unwrap_or(path.len()), |brace| brace + 1);
            let (path, rest) = path.split_at(end);
            let value = match rest.strip_prefix('=') {
                Some("") => return fail("jsonpath wait has to have a value after equal sign"),
                Some(value) => Some(value.trim_matches(['\'', '"']).to_owned()),
                None if rest.is_empty() => None,
                None => {
                    return fail(format!(
                        "jsonpath wait format must be --for=jsonpath='{{.status.phase}}'=Running, got {text}"
                    ));
                }
            };
            let path = Template::parse_relaxed(path).map_err(|error| Failure::Message(error.to_string()))?;
            return Ok(Goal::Path { path, value });
        }
        fail(format!("unrecognized condition: {text:?}"))
    }

    /// Whether an object (`None` when it is gone) is as wanted.
    fn is_met(&self, object: Option<&Value>) -> Outcome<bool> {
        let Some(object) = object else { return Ok(*self == Goal::Delete) };
        match self {
            Goal::Delete => Ok(false),
            Goal::Create => Ok(true),
            Goal::Condition { kind, status } => Ok(condition_met(object, kind, status)),
            Goal::Path { path, value } => match (path.find(object).as_slice(), value) {
                ([], _) => Ok(false),
                (_, None) => Ok(true),
                ([found], Some(_)) if found.is_object() || found.is_array() => {
                    fail("jsonpath leads to a nested object or list which is not supported")
                }
                ([found], Some(wanted)) => Ok(plain(found) == *wanted),
                (_, Some(_)) => fail("given jsonpath expression matches more than one list"),
            },
        }
    }
}

/// Whether the status has the condition, and is about the present spec.
fn condition_met(object: &Value, kind: &str, status: &str) -> bool {
    let generation = int(object, "metadata.generation").unwrap_or(0);
    let seen = |value: &Value, path: &str| int(value, path).is_none_or(|observed| observed >= generation);
    items(object, "status.conditions")
        .iter()
        .find(|condition| text(condition, "type").eq_ignore_ascii_case(kind))
        .is_some_and(|condition| {
            seen(object, "status.observedGeneration")
                && seen(condition, "observedGeneration")
                && text(condition, "status").eq_ignore_ascii_case(status)
        })
}

/// Runs the command.
pub async fn run(session: &mut Session, args: WaitArgs) -> Outcome {
    if args.conditions.is_empty() {
        return fail("unrecognized condition: \"\"");
    }
    let goals = args.conditions.iter().map(|text| Goal::parse(text)).collect::<Outcome<Vec<Goal>>>()?;
    let (negative, timeout) = duration::parse(&args.timeout).map_err(Failure::Message)?;
    let timeout = if negative { WEEK } else { timeout };
    let deadline = tokio::time::Instant::now() + timeout;
    let none = "You must provide one or more resources by argument or filename.";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let mut named = Vec::new();
    let chosen = args.targets.all || !args.targets.selector.is_empty() || !args.field_selector.is_empty();
    for target in targets {
        match target {
            Target::One { info, namespace, name, .. } => named.push((info, namespace, name)),
            Target::Some { .. } if !chosen => {
                return fail("resource(s) were provided, but no name, label selector, or --all flag specified");
            }
            Target::Some { info, namespace: scope } => {
                let (found, _) =
                    common::list(&cluster, &info, &scope, &args.targets.selector, &args.field_selector).await?;
                named.extend(
                    found.iter().map(|object| (info.clone(), namespace(object).to_owned(), name(object).to_owned())),
                );
            }
        }
    }
    if named.is_empty() {
        return if goals.contains(&Goal::Delete) { Ok(()) } else { fail("no matching resources found") };
    }
    let progress = Progress::start(&session.io, named.len());
    let mut failures = Vec::new();
    for (info, namespace, name) in named {
        progress.show(&format!("waiting for {}", display(&info, &name)));
        let wait = one(&cluster, &goals, &info, &namespace, &name, timeout.is_zero());
        let outcome = if timeout.is_zero() {
            wait.await
        } else {
            match tokio::time::timeout_at(deadline, wait).await {
                Ok(outcome) => outcome,
                Err(_) => Ok(false),
            }
        };
        progress.advance();
        match outcome {
            Ok(true) => progress.pause(|| session.io.say(&format!("{} condition met", display(&info, &name))))?,
            Ok(false) => failures.push(Failure::Message(format!(
                "timed out waiting for the condition on {}/{name}",
                info.resource.resource
            ))),
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    progress.finish();
    Failure::collect(failures)
}

/// Waits for one object; with `once` only looks at its present state.
async fn one(
    cluster: &Cluster,
    goals: &[Goal],
    info: &reeve_api::ResourceInfo,
    namespace: &str,
    name: &str,
    once: bool,
) -> Outcome<bool> {
    let waits_for_absent = goals.iter().any(|goal| matches!(goal, Goal::Create | Goal::Delete));
    let mut seen = false;
    let check = |object: Option<&Value>| {
        if object.is_none() && !waits_for_absent && !seen {
            return Err(not_found(info, name));
        }
        seen |= object.is_some();
        for goal in goals {
            if goal.is_met(object)? {
                return Ok(Some(true));
            }
        }
        Ok(once.then_some(false))
    };
    watching::until(cluster, info, namespace, name, check).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn met(goal: &str, object: &Value) -> bool {
        Goal::parse(goal).expect(goal).is_met(Some(object)).expect(goal)
    }

    #[test]
    fn conditions_are_about_the_present_spec() {
        let object = |observed: i64| {
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed,
                   "conditions": [{"type": "Available", "status": "True"}]}})
        };
        assert!(met("condition=available", &object(2)));
        assert!(!met("condition=Available", &object(1)));
        assert!(!met("condition=Available=false", &object(2)));
        assert!(!met("condition=Ready", &object(2)));
    }

    #[test]
    fn paths_are_compared_as_text() {
        let pod = json!({"status": {"phase": "Running", "n": 3, "list": [{"t": "a", "v": "x"}]}});
        assert!(met("jsonpath={.status.phase}=Running", &pod));
        assert!(met("jsonpath={.status.n}=3", &pod));
        assert!(met("jsonpath={.status.list[?(@.t==\"a\")].v}=x", &pod));
        assert!(met("jsonpath={.status.phase}", &pod));
        assert!(!met("jsonpath={.status.absent}", &pod));
        assert!(met("jsonpath=.status.phase=Running", &pod));
    }

    #[test]
    fn goals_are_read() {
        assert_eq!(Goal::parse("delete").expect("fine"), Goal::Delete);
        assert_eq!(Goal::parse("x").expect_err("unknown").text(), "error: unrecognized condition: \"x\"");
        assert!(Goal::Delete.is_met(None).expect("fine"));
        assert!(!Goal::Create.is_met(None).expect("fine"));
    }
}

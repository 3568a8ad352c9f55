//! `rctl auth reconcile`: roles and bindings of a file get at least the rules and subjects that the file names.

use clap::Args;
use reeve_api::ResourceInfo;
use reeve_client::DeleteOptions;
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome, fail};
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{at, items, map_mut, name, plain, text};
use crate::verbs::common::{self, DryRun, FileArgs, Target, WriteArgs};

/// Reconciles rules for RBAC role, role binding, cluster role, and cluster role binding objects.
///
/// Missing objects are created, and the containing namespace is created for namespaced objects, if required. Existing
/// roles are updated to include the permissions in the input objects, and remove extra permissions if
/// --remove-extra-permissions is specified. Existing bindings are updated to include the subjects in the input
/// objects, and remove extra subjects if --remove-extra-subjects is specified.
#[derive(Args, Debug)]
#[command(
    before_help = "  # Reconcile RBAC resources from a file\n  rctl auth reconcile -f my-rbac-rules.yaml\n\n  # Also remove what the file does not name\n  rctl auth reconcile -f my-rbac-rules.yaml --remove-extra-permissions --remove-extra-subjects"
)]
pub struct ReconcileArgs {
    #[command(flatten)]
    files: FileArgs,
    /// If true, removes extra permissions added to roles
    #[arg(long)]
    remove_extra_permissions: bool,
    /// If true, removes extra subjects added to rolebindings
    #[arg(long)]
    remove_extra_subjects: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// What is to do about one object.
#[derive(Debug, PartialEq)]
struct Plan {
    operation: Option<&'static str>,
    object: Value,
    missing: Vec<Value>,
    extra: Vec<Value>,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ReconcileArgs) -> Outcome {
    if args.files.is_empty() {
        return fail("must specify one of -f and -k");
    }
    let manifests = args.files.read(session.io.input.as_mut())?;
    let cluster = session.cluster()?;
    let mut failures = Vec::new();
    for manifest in manifests {
        let Target::One { info, namespace, manifest: Some(manifest), .. } =
            common::target_of(&cluster, manifest).await?
        else {
            return fail("a manifest names no object");
        };
        if !matches!(info.kind.as_str(), "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding") {
            continue;
        }
        match one(session, &cluster, &args, &info, &namespace, manifest.object).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(
    session: &mut Session,
    cluster: &Cluster,
    args: &ReconcileArgs,
    info: &ResourceInfo,
    namespace: &str,
    mut wanted: Value,
) -> Outcome {
    if info.namespaced {
        map_mut(&mut wanted, "metadata").insert("namespace".to_owned(), json!(namespace));
    }
    let live = match common::get(cluster, info, namespace, name(&wanted)).await {
        Ok(live) => Some(live),
        Err(failure) if is_not_found(&failure) => None,
        Err(failure) => return Err(failure),
    };
    let binding = info.kind.ends_with("Binding");
    let remove = if binding { args.remove_extra_subjects } else { args.remove_extra_permissions };
    let plan = plan(live, wanted, remove);
    let object = match args.write.dry_run() {
        DryRun::Client => plan.object.clone(),
        how => carry_out(cluster, info, namespace, &plan, how == DryRun::Server).await?,
    };
    args.write.report(&mut session.io, info, &object, "reconciled")?;
    if !args.write.output.is_empty() {
        return Ok(());
    }
    if let Some(operation) = plan.operation {
        session.io.say(&format!("\treconciliation required {operation}"))?;
    }
    let (what, show): (_, fn(&Value) -> String) = if binding { ("subjects", subject) } else { ("rules", rule) };
    let removed = if remove { "removed" } else { "found" };
    for (title, list) in
        [(format!("missing {what} added"), &plan.missing), (format!("extra {what} {removed}"), &plan.extra)]
    {
        if !list.is_empty() {
            session.io.say(&format!("\t{title}:"))?;
            for value in list {
                session.io.say(&format!("\t\t{}", show(value)))?;
            }
        }
    }
    Ok(())
}

async fn carry_out(
    cluster: &Cluster,
    info: &ResourceInfo,
    namespace: &str,
    plan: &Plan,
    dry_run: bool,
) -> Outcome<Value> {
    match plan.operation {
        None => Ok(plan.object.clone()),
        Some("update") => cluster.replace(info, namespace, &plan.object, dry_run).await,
        Some("recreate") => {
            let options = DeleteOptions {
                uid: text(&plan.object, "metadata.uid").to_owned(),
                dry_run,
                ..DeleteOptions::default()
            };
            cluster.call(cluster.api(info, namespace).delete(name(&plan.object), &options)).await?;
            let mut object = plan.object.clone();
            for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
                map_mut(&mut object, "metadata").shift_remove(key);
            }
            if dry_run { Ok(object) } else { cluster.create(info, namespace, &object, false).await }
        }
        Some(_) => {
            if info.namespaced {
                ensure_namespace(cluster, namespace, dry_run).await?;
            }
            cluster.create(info, namespace, &plan.object, dry_run).await
        }
    }
}

async fn ensure_namespace(cluster: &Cluster, namespace: &str, dry_run: bool) -> Outcome {
    let Some(info) = crate::resolve::builtin("namespaces") else { return fail("namespaces are not known") };
    match common::get(cluster, info, "", namespace).await {
        Ok(_) => Ok(()),
        Err(failure) if is_not_found(&failure) => {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            cluster.create(info, "", &object, dry_run).await.map(drop)
        }
        Err(failure) => Err(failure),
    }
}

/// Compares what there is with what the file wants.
fn plan(live: Option<Value>, wanted: Value, remove: bool) -> Plan {
    let list = if text(&wanted, "kind").ends_with("Binding") { "subjects" } else { "rules" };
    let asked = items(&wanted, list).to_vec();
    let Some(live) = live else {
        return Plan { operation: Some("create"), object: wanted, missing: asked, extra: Vec::new() };
    };
    let mut object = live.clone();
    let recreate = at(&wanted, "roleRef").is_some() && at(&wanted, "roleRef") != at(&live, "roleRef");
    if recreate {
        object["roleRef"] = wanted["roleRef"].clone();
    }
    let present = items(&live, list).to_vec();
    let covered = |one: &Value, by: &[Value]| by.iter().any(|other| covers(other, one));
    let missing: Vec<Value> = asked.iter().filter(|one| !covered(one, &present)).cloned().collect();
    let extra: Vec<Value> = present.iter().filter(|one| !covered(one, &asked)).cloned().collect();
    let mut result = present;
    if remove {
        result.retain(|one| !extra.contains(one));
    }
    result.extend(missing.iter().cloned());
    let mut changed = !missing.is_empty() || (remove && !extra.is_empty());
    if changed {
        object[list] = Value::Array(result);
    }
    for key in ["labels", "annotations"] {
        for (label, value) in crate::value::entries(&wanted, &format!("metadata.{key}")) {
            let map = map_mut(&mut object["metadata"], key);
            changed |= map.insert(label.to_owned(), value.clone()).as_ref() != Some(value);
        }
    }
    let operation = if recreate { Some("recreate") } else { changed.then_some("update") };
    Plan { operation, object, missing, extra: if remove { extra } else { Vec::new() } }
}

/// Whether a rule allows all that another does; subjects cover only themselves.
fn covers(whole: &Value, part: &Value) -> bool {
    if whole.get("verbs").is_none() {
        return whole == part;
    }
    ["verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"].iter().all(|key| {
        let (whole, part) = (items(whole, key), items(part, key));
        let any = whole.iter().any(|one| one == "*");
        match *key {
            // Without names a rule is about all of them.
            "resourceNames" if whole.is_empty() => true,
            "resourceNames" if part.is_empty() => false,
            _ => any || part.iter().all(|one| whole.contains(one)),
        }
    })
}

fn rule(rule: &Value) -> String {
    let list = |key: &str| format!("[{}]", items(rule, key).iter().map(plain).collect::<Vec<_>>().join(" "));
    format!(
        "{{Verbs:{} APIGroups:{} Resources:{} ResourceNames:{} NonResourceURLs:{}}}",
        list("verbs"),
        list("apiGroups"),
        list("resources"),
        list("resourceNames"),
        list("nonResourceURLs")
    )
}

fn subject(subject: &Value) -> String {
    let [kind, group, name, namespace] = ["kind", "apiGroup", "name", "namespace"].map(|key| text(subject, key));
    format!("{{Kind:{kind} APIGroup:{group} Name:{name} Namespace:{namespace}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(verbs: &[&[&str]]) -> Value {
        let rules: Vec<Value> =
            verbs.iter().map(|verbs| json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs})).collect();
        json!({"kind": "Role", "metadata": {"name": "a"}, "rules": rules})
    }

    #[test]
    fn rules_are_added_and_extra_ones_removed_if_asked() {
        let made = plan(None, role(&[&["get"]]), false);
        assert_eq!((made.operation, made.missing.len()), (Some("create"), 1));
        let same = plan(Some(role(&[&["get", "list"]])), role(&[&["get"]]), false);
        assert_eq!((same.operation, same.missing.len()), (None, 0));
        let more = plan(Some(role(&[&["get"]])), role(&[&["list"]]), false);
        assert_eq!((more.operation, items(&more.object, "rules").len()), (Some("update"), 2));
        let exact = plan(Some(role(&[&["get"], &["list"]])), role(&[&["list"]]), true);
        assert_eq!((exact.operation, items(&exact.object, "rules").len(), exact.extra.len()), (Some("update"), 1, 1));
    }

    #[test]
    fn another_role_needs_another_binding() {
        let binding = |role: &str| json!({"kind": "RoleBinding", "roleRef": {"name": role}, "subjects": []});
        assert_eq!(plan(Some(binding("a")), binding("b"), false).operation, Some("recreate"));
    }
}

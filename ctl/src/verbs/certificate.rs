//! `rctl certificate`: approves and denies certificate signing requests.

use clap::{Args, Subcommand};
use reeve_api::ResourceInfo;
use serde_json::{Value, json};

use super::common::{self, FileArgs, Target, WriteArgs};
use crate::errors::{Failure, Outcome, fail};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{items, name, text};

/// Modify certificate resources.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    before_help = "  # Approve CSR 'csr-sqgzp'\n  rctl certificate approve csr-sqgzp\n\n  # Deny CSR 'csr-sqgzp'\n  rctl certificate deny csr-sqgzp"
)]
pub struct CertificateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Approve a certificate signing request
    #[command(
        before_help = "  # Approve CSR 'csr-sqgzp'\n  rctl certificate approve csr-sqgzp\n\n  # Approve the CSRs of a file\n  rctl certificate approve -f csr.yaml"
    )]
    Approve(DecisionArgs),
    /// Deny a certificate signing request
    #[command(
        before_help = "  # Deny CSR 'csr-sqgzp'\n  rctl certificate deny csr-sqgzp\n\n  # Deny the CSRs of a file\n  rctl certificate deny -f csr.yaml"
    )]
    Deny(DecisionArgs),
}

#[derive(Args, Debug)]
struct DecisionArgs {
    /// Names of requests
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Update the CSR even if it is already decided
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// One of the two decisions.
struct Decision {
    condition: &'static str,
    opposite: &'static str,
    done: &'static str,
    reason: &'static str,
    message: &'static str,
}

const APPROVED: Decision = Decision {
    condition: "Approved",
    opposite: "Denied",
    done: "approved",
    reason: "KubectlApprove",
    message: "This CSR was approved by rctl certificate approve.",
};
const DENIED: Decision = Decision {
    condition: "Denied",
    opposite: "Approved",
    done: "denied",
    reason: "KubectlDeny",
    message: "This CSR was denied by rctl certificate deny.",
};

/// Runs the command.
pub async fn run(session: &mut Session, args: CertificateArgs) -> Outcome {
    let (decision, args) = match args.what {
        What::Approve(args) => (APPROVED, args),
        What::Deny(args) => (DENIED, args),
    };
    if args.names.is_empty() && args.files.is_empty() {
        return fail("one or more CSRs must be specified as <name> or -f <filename>");
    }
    let Some(info) = resolve::builtin("certificatesigningrequests") else { return fail("CSRs are not known") };
    let cluster = session.cluster()?;
    let mut names = args.names.clone();
    if !args.files.is_empty() {
        for manifest in args.files.read(session.io.input.as_mut())? {
            match common::target_of(&cluster, manifest).await? {
                Target::One { info: found, name, .. } if found.kind == info.kind => names.push(name),
                other => {
                    return fail(format!("only CertificateSigningRequests can be decided, not {}", other.info().kind));
                }
            }
        }
    }
    let mut failures = Vec::new();
    for csr in names {
        match decide(session, &cluster, info, &csr, &decision, &args).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn decide(
    session: &mut Session,
    cluster: &Cluster,
    info: &ResourceInfo,
    csr: &str,
    decision: &Decision,
    args: &DecisionArgs,
) -> Outcome {
    let object = common::get(cluster, info, "", csr).await?;
    let now = (session.io.now)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let object = match decided(object, decision, args.force, &now)? {
        Some(object) => {
            let api = cluster.api(info, "");
            cluster.call(api.update_subresource("approval", &object)).await?
        }
        // It is decided so already.
        None => common::get(cluster, info, "", csr).await?,
    };
    args.write.report(&mut session.io, info, &object, decision.done)
}

/// The request with the decision, or nothing if it has it.
fn decided(mut object: Value, decision: &Decision, force: bool, now: &str) -> Outcome<Option<Value>> {
    let has = |condition: &str| items(&object, "status.conditions").iter().any(|one| text(one, "type") == condition);
    if has(decision.opposite) {
        let csr = name(&object);
        return fail(format!("certificate signing request {csr:?} is already {}", decision.opposite));
    }
    if has(decision.condition) && !force {
        return Ok(None);
    }
    let condition = json!({
        "type": decision.condition, "status": "True", "reason": decision.reason, "message": decision.message,
        "lastUpdateTime": now,
    });
    let status = crate::value::map_mut(&mut object, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(list) = conditions.as_array_mut() {
        list.retain(|one| text(one, "type") != decision.condition);
        list.push(condition);
    }
    Ok(Some(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_taken_once() {
        let csr = json!({"metadata": {"name": "a"}, "status": {}});
        let approved = decided(csr, &APPROVED, false, "now").expect("decided").expect("changed");
        assert_eq!(text(&approved["status"]["conditions"][0], "type"), "Approved");
        assert_eq!(decided(approved.clone(), &APPROVED, false, "now").expect("fine"), None);
        assert_eq!(
            decided(approved, &DENIED, true, "now").expect_err("contradiction").text(),
            "error: certificate signing request \"a\" is already Approved"
        );
    }
}

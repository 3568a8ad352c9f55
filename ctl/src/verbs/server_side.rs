//! `rctl apply --server-side`: the server merges the fields that this manager owns.

use clap::Args;
use reeve_api::{Reason, ResourceInfo};
use serde_json::Value;

use super::common::DryRun;
use crate::errors::{Failure, Outcome, fail};
use crate::session::Cluster;

/// Who applies, for field ownership.
pub const MANAGER: &str = "kubectl";
/// Who applies from this side, without the server's merge.
const CLIENT_SIDE_MANAGER: &str = "kubectl-client-side-apply";

const HELP: &str = "\
Please review the fields above--they currently have conflicting managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

/// The flags of server-side apply.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerSideArgs {
    /// If true, apply runs in the server instead of the client
    #[arg(long)]
    pub server_side: bool,
    /// If true, server-side apply will force the changes against conflicts
    #[arg(long)]
    pub force_conflicts: bool,
    /// Name of the manager used to track field ownership
    #[arg(long, value_name = "NAME")]
    pub field_manager: Option<String>,
}

impl ServerSideArgs {
    /// Finds mistakes that need no cluster.
    pub fn check(&self, dry_run: DryRun) -> Outcome {
        if self.force_conflicts && !self.server_side {
            return fail("--force-conflicts only works with --server-side");
        }
        if self.server_side && dry_run == DryRun::Client {
            return fail("--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)");
        }
        Ok(())
    }

    /// Who owns what is written.
    pub fn manager(&self) -> &str {
        match &self.field_manager {
            Some(name) if !name.is_empty() => name,
            _ if self.server_side => MANAGER,
            _ => CLIENT_SIDE_MANAGER,
        }
    }

    /// Applies one object.
    pub async fn apply(
        &self,
        cluster: &Cluster,
        info: &ResourceInfo,
        namespace: &str,
        object: &Value,
        dry_run: bool,
    ) -> Outcome<Value> {
        cluster.apply(info, namespace, object, self.force_conflicts, self.manager(), dry_run).await.map_err(explained)
    }
}

/// A conflict with what can be done about it.
fn explained(failure: Failure) -> Failure {
    match &failure {
        Failure::Server { status, .. } if status.reason == Reason::Conflict => {
            let causes = status.details.as_deref().and_then(|details| details.causes.as_deref()).unwrap_or_default();
            if causes.iter().any(|cause| cause.reason.as_deref() == Some("FieldManagerConflict")) {
                return Failure::Message(format!("{}\n{HELP}", status.message));
            }
            failure
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use reeve_api::StatusError;
    use reeve_api::status::{StatusCause, StatusDetails};

    use super::*;

    #[test]
    fn a_conflict_of_fields_says_what_to_do() {
        let mut status =
            StatusError::new(Reason::Conflict, "Apply failed with 1 conflict: conflict with \"a\": .spec.x");
        let other = Failure::from(status.clone());
        assert!(matches!(explained(other), Failure::Server { .. }));
        let cause = StatusCause { reason: Some("FieldManagerConflict".into()), ..StatusCause::default() };
        status.details = Some(Box::new(StatusDetails { causes: Some(vec![cause]), ..StatusDetails::default() }));
        let text = explained(Failure::from(status)).text();
        assert!(
            text.starts_with("error: Apply failed with 1 conflict") && text.contains("--force-conflicts"),
            "{text}"
        );
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let flags = |server_side, force_conflicts| ServerSideArgs { server_side, force_conflicts, field_manager: None };
        assert!(flags(false, true).check(DryRun::None).is_err());
        assert!(flags(true, true).check(DryRun::Client).is_err());
        assert!(flags(true, true).check(DryRun::Server).is_ok());
        assert_eq!((flags(true, false).manager(), flags(false, false).manager()), (MANAGER, CLIENT_SIDE_MANAGER));
    }
}

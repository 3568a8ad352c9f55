//! `rctl version`.

use std::io::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome, fail};
use crate::output::yaml::{json as to_json, yaml};
use crate::session::Session;

const EXAMPLES: &str = "  \
  # Print the client and server versions for the current context
  rctl version

  # Print the client's version without asking a server
  rctl version --client -o yaml";

/// The version of Kubernetes whose API rctl speaks.
const KUBERNETES: (&str, &str) = ("1", "36");

/// Print the client and server version information for the current context.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct VersionArgs {
    /// If true, shows client version only (no server required)
    #[arg(long)]
    client: bool,
    /// One of 'yaml' or 'json'
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
}

fn client_version() -> Value {
    let (major, minor) = KUBERNETES;
    json!({
        "gitVersion": format!("v{major}.{minor}.0+reeve-{}", env!("CARGO_PKG_VERSION")),
        "major": major,
        "minor": minor,
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "reeveVersion": env!("CARGO_PKG_VERSION"),
    })
}

/// Runs the command.
pub async fn run(session: &mut Session, args: VersionArgs) -> Outcome {
    if !matches!(args.output.as_str(), "" | "yaml" | "json") {
        return fail("--output must be 'yaml' or 'json'");
    }
    let mut versions = json!({"clientVersion": client_version()});
    // What is known of the client is printed also when the server does not answer.
    let failure = if args.client { None } else { server_version(session, &mut versions).await.err() };
    let text = match args.output.as_str() {
        "yaml" => yaml(&versions)?,
        "json" => to_json(&versions)?,
        _ => plain(&versions),
    };
    write!(session.io.out, "{text}")?;
    failure.map_or(Ok(()), Err)
}

async fn server_version(session: &mut Session, versions: &mut Value) -> Result<(), Failure> {
    let cluster = session.cluster()?;
    let version = cluster.call(cluster.client().version()).await?;
    versions["serverVersion"] = json!({
        "major": version.major,
        "minor": version.minor,
        "gitVersion": version.git_version,
        "gitCommit": version.git_commit,
        "buildDate": version.build_date,
        "platform": version.platform,
        "reeveVersion": version.reeve_version,
    });
    Ok(())
}

fn plain(versions: &Value) -> String {
    [("clientVersion", "Client"), ("serverVersion", "Server")]
        .into_iter()
        .filter_map(|(key, side)| {
            let version = crate::value::text(versions, &format!("{key}.gitVersion"));
            (!version.is_empty()).then(|| format!("{side} Version: {version}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_named() {
        let versions = json!({"clientVersion": {"gitVersion": "v1"}, "serverVersion": {"gitVersion": "v2"}});
        assert_eq!(plain(&versions), "Client Version: v1\nServer Version: v2\n");
        assert_eq!(plain(&json!({"clientVersion": {"gitVersion": "v1"}})), "Client Version: v1\n");
    }
}

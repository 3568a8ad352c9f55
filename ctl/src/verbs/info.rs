//! `rctl api-resources`, `api-versions`, `cluster-info`.

use std::collections::BTreeSet;
use std::io::Write as _;

use clap::Args;
use reeve_api::ResourceInfo;

use crate::errors::{Outcome, fail};
use crate::output::colour::Tone;
use crate::output::table::Table;
use crate::resolve;
use crate::session::Session;

/// Print the supported API resources on the server.
#[derive(Args, Debug)]
#[command(
    before_help = "  # Print the supported API resources\n  rctl api-resources\n\n  # Print the supported API resources with more information\n  rctl api-resources -o wide\n\n  # Print the supported namespaced resources\n  rctl api-resources --namespaced=true"
)]
pub struct ApiResourcesArgs {
    /// Limit to resources in the specified API group
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// If false, non-namespaced resources will be returned, otherwise returning namespaced resources
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Limit to resources that support the specified verbs
    #[arg(long, value_name = "VERB", value_delimiter = ',')]
    verbs: Vec<String>,
    /// Limit to resources that belong to the specified categories
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    categories: Vec<String>,
    /// Output format: wide or name
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
    /// Sort the list by name or kind
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    sort_by: String,
    /// Don't print headers
    #[arg(long)]
    no_headers: bool,
}

/// Print the supported API versions on the server, in the form of "group/version".
#[derive(Args, Debug)]
#[command(before_help = "  # Print the supported API versions\n  rctl api-versions")]
pub struct ApiVersionsArgs {}

/// Display the address of the control plane.
#[derive(Args, Debug)]
#[command(before_help = "  # Print the address of the control plane\n  rctl cluster-info")]
pub struct ClusterInfoArgs {}

/// Runs `rctl api-resources`.
pub async fn api_resources(session: &mut Session, args: ApiResourcesArgs) -> Outcome {
    if !matches!(args.output.as_str(), "" | "wide" | "name") {
        return fail(format!("--output {} is not available", args.output));
    }
    if !matches!(args.sort_by.as_str(), "" | "name" | "kind") {
        return fail("--sort-by accepts only name or kind");
    }
    let cluster = session.cluster()?;
    let mut rows: Vec<ResourceInfo> =
        resolve::preferred(cluster.discovered().await?).into_iter().filter(|info| chosen(info, &args)).collect();
    rows.sort_by_key(|info| match args.sort_by.as_str() {
        "name" => (String::new(), info.resource.resource.clone()),
        "kind" => (String::new(), info.kind.clone()),
        _ => (info.resource.group.clone(), info.resource.resource.clone()),
    });
    if args.output == "name" {
        for info in &rows {
            writeln!(session.io.out, "{}", info.resource.qualified())?;
        }
        return Ok(());
    }
    let palette = session.palette();
    write!(session.io.out, "{}", table(&rows, args.output == "wide").render(!args.no_headers, palette))?;
    Ok(())
}

fn chosen(info: &ResourceInfo, args: &ApiResourcesArgs) -> bool {
    args.api_group.as_ref().is_none_or(|group| *group == info.resource.group)
        && args.namespaced.is_none_or(|namespaced| namespaced == info.namespaced)
        && args.verbs.iter().all(|verb| info.verbs.contains(verb))
        && args.categories.iter().all(|category| info.categories.contains(category))
}

fn table(rows: &[ResourceInfo], wide: bool) -> Table {
    let mut table = Table::new(["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]);
    if wide {
        table.headers.extend(["VERBS".to_owned(), "CATEGORIES".to_owned()]);
    }
    table.rows = rows
        .iter()
        .map(|info| {
            let mut row = vec![
                info.resource.resource.clone(),
                info.short_names.join(","),
                info.resource.api_version(),
                info.namespaced.to_string(),
                info.kind.clone(),
            ];
            if wide {
                row.extend([info.verbs.join(","), info.categories.join(",")]);
            }
            row
        })
        .collect();
    table
}

/// Runs `rctl api-versions`.
pub async fn api_versions(session: &mut Session, _: ApiVersionsArgs) -> Outcome {
    let cluster = session.cluster()?;
    let versions: BTreeSet<String> =
        cluster.discovered().await?.iter().map(|info| info.resource.api_version()).collect();
    for version in versions {
        writeln!(session.io.out, "{version}")?;
    }
    Ok(())
}

/// Runs `rctl cluster-info`.
pub async fn cluster_info(session: &mut Session, _: ClusterInfoArgs) -> Outcome {
    let cluster = session.cluster()?;
    let version = cluster.call(cluster.client().version()).await?;
    let palette = session.palette();
    let server = &cluster.client().config().server;
    let server = if palette.is_on() { palette.paint(Tone::Busy, server) } else { server.clone() };
    session.io.say(&format!("Kubernetes control plane is running at {server}"))?;
    session.io.say(&format!("Its version is {}.", version.git_version))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::colour::Palette;

    #[test]
    fn the_table_is_kubectls() {
        let pods = crate::resolve::builtin("pods").expect("built in").clone();
        let deployments = crate::resolve::builtin("deployments").expect("built in").clone();
        assert_eq!(
            table(&[pods, deployments], false).render(true, Palette::PLAIN),
            "NAME          SHORTNAMES   APIVERSION   NAMESPACED   KIND\n\
             pods          po           v1           true         Pod\n\
             deployments   deploy       apps/v1      true         Deployment\n"
        );
    }
}

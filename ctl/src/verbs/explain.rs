//! `rctl explain`: the documentation of kinds and fields, from the server's OpenAPI v3 documents.

use std::io::Write as _;

use clap::Args;
use reeve_api::ResourceInfo;
use serde_json::Value;

use crate::errors::{Failure, Layer, Outcome, fail};
use crate::explain::{Document, Question, explain, heading};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::text;

const EXAMPLES: &str = "  \
  # Get the documentation of the resource and its fields
  rctl explain pods

  # Get all the fields in the resource
  rctl explain pods --recursive

  # Get the explanation for deployment in a supported api version
  rctl explain deployments --api-version=apps/v1

  # Get the documentation of a specific field of a resource
  rctl explain pods.spec.containers";

/// Describe fields and structure of various resources.
///
/// Fields are identified via a simple path: <type>.<fieldName>[.<fieldName>].
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ExplainArgs {
    /// TYPE or TYPE.FIELD
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// When true, print the name of all the fields recursively
    #[arg(long)]
    recursive: bool,
    /// Use given api-version (group/version) of the resource
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    api_version: String,
    /// Format in which to render the schema; only plaintext
    #[arg(long, value_name = "FORMAT", default_value = "plaintext")]
    output: String,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ExplainArgs) -> Outcome {
    let word = match args.words.as_slice() {
        [word] => word,
        [] => {
            return fail(
                "You must specify the type of resource to explain. Use \"rctl api-resources\" for a complete list of \
                 supported resources.",
            );
        }
        _ => return fail("We accept only this format: explain RESOURCE"),
    };
    if args.output != "plaintext" {
        return fail(format!("unrecognized format: {}; supported is plaintext", args.output));
    }
    let cluster = session.cluster()?;
    let (mut info, path) = split(&cluster, word).await?;
    if !args.api_version.is_empty() {
        let (group, version) = reeve_api::resource::split_api_version(&args.api_version);
        let served = cluster.discovered().await?.iter().find(|known| {
            known.resource.group == group
                && known.resource.version == version
                && known.resource.resource == info.resource.resource
        });
        match served {
            Some(served) => info = served.clone(),
            None => {
                let (group, version, resource) = (group, version, &info.resource.resource);
                return fail(format!("couldn't find resource for \"{group}/{version}, Resource={resource}\""));
            }
        }
    }
    let document = document(&cluster, &info).await?;
    let question = Question {
        group: &info.resource.group,
        version: &info.resource.version,
        kind: &info.kind,
        path: &path,
        recursive: args.recursive,
    };
    let document = Document::new(&document);
    let Some(root) = document.of_kind(question.group, question.version, question.kind) else {
        return fail(format!("GVR ({}) not found in OpenAPI schema", info.resource.qualified()));
    };
    write!(session.io.out, "{}", heading(&question))?;
    match explain(&document, root, &question) {
        Ok(answer) => Ok(write!(session.io.out, "{answer}")?),
        Err(field) => fail(format!("field {field:?} does not exist")),
    }
}

/// The resource that a path begins with (the longest `resource.group` that is known), and the steps behind it.
async fn split(cluster: &Cluster, word: &str) -> Outcome<(ResourceInfo, Vec<String>)> {
    let parts: Vec<&str> = word.trim_end_matches('.').split('.').collect();
    let steps = |from: usize| parts.iter().skip(from).map(|step| (*step).to_owned()).collect();
    for end in (1..=parts.len()).rev() {
        if let Some(info) = resolve::builtin(&parts[..end].join(".")) {
            return Ok((info.clone(), steps(end)));
        }
    }
    for end in (1..=parts.len()).rev() {
        match resolve::resource(cluster, &parts[..end].join(".")).await {
            Ok(info) => return Ok((info, steps(end))),
            Err(Failure::Message(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    // As kubectl, without "error:".
    Err(Failure::Plain(format!("the server doesn't have a resource type {:?}", parts.first().copied().unwrap_or(word))))
}

/// The OpenAPI document of a resource's group and version.
async fn document(cluster: &Cluster, info: &ResourceInfo) -> Outcome<Value> {
    let client = cluster.client();
    let unreadable = |failure: Failure| match failure {
        Failure::Server { status, context: None } => Failure::Layer {
            layer: Layer::Discovery,
            message: format!("the server's OpenAPI documents could not be read: {status}"),
            hints: vec!["See what it has: rctl get --raw /openapi/v3".to_owned()],
        },
        other => other,
    };
    let index = cluster.call(client.rest_json("/openapi/v3", "application/json")).await.map_err(unreadable)?;
    let (group, version) = (&info.resource.group, &info.resource.version);
    let key = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
    let url = index.get("paths").and_then(|paths| paths.get(&key)).map(|entry| text(entry, "serverRelativeURL"));
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return fail(format!("couldn't find resource for \"{group}/{version}, Resource={}\"", info.resource.resource));
    };
    cluster.call(client.rest_json(url, "application/json")).await.map_err(unreadable)
}

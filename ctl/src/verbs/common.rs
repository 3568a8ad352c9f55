//! What several verbs share: which objects they act on, `--dry-run`, and how a written object is reported.

use std::io::{Read, Write as _};

use clap::{Args, ValueEnum};
use reeve_api::ResourceInfo;
use reeve_client::ListOptions;
use serde_json::Value;

use crate::errors::{Failure, Outcome, fail};
use crate::io::Io;
use crate::kustomize;
use crate::manifest::{self, Manifest};
use crate::output::format::Format;
use crate::resolve::{self, Words, display};
use crate::session::Cluster;
use crate::value::{name, namespace};

/// Objects per page of a list.
pub const PAGE: i64 = 500;

/// `-f` and `-R`.
#[derive(Args, Clone, Debug, Default)]
pub struct FileArgs {
    /// The files that contain the configurations; - is standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub filenames: Vec<String>,
    /// Process the directory used in -f, --filename recursively
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Process the kustomization directory; needs the program kustomize or kubectl on PATH
    #[arg(short = 'k', long, value_name = "DIR")]
    pub kustomize: Option<String>,
}

impl FileArgs {
    /// Whether no file is named.
    pub fn is_empty(&self) -> bool {
        self.filenames.is_empty() && self.kustomize.is_none()
    }

    /// The objects in the files.
    pub fn read(&self, input: &mut dyn Read) -> Outcome<Vec<Manifest>> {
        if let Some(folder) = &self.kustomize {
            if !self.filenames.is_empty() {
                return fail("only one of -f or -k can be specified");
            }
            return kustomize::read(folder);
        }
        manifest::read(&self.filenames, self.recursive, input)
    }
}

/// Which objects a verb acts on.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetArgs {
    /// TYPE NAME..., TYPE/NAME..., or TYPE with a selector
    #[arg(value_name = "TYPE NAME | TYPE/NAME")]
    pub words: Vec<String>,
    /// Files that name the objects
    #[command(flatten)]
    pub files: FileArgs,
    /// Selector (label query) to filter on, supports '=', '==', '!=', 'in', 'notin'
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    pub selector: String,
    /// Select all resources, in the namespace of the specified resource types
    #[arg(long)]
    pub all: bool,
    /// If present, the requested objects across all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl TargetArgs {
    /// Finds mistakes that need no cluster. `none` is the complaint when nothing is named.
    pub fn check(&self, none: &str) -> Outcome<Words> {
        let selects = !self.selector.is_empty() || self.all;
        if !self.files.is_empty() {
            if !self.words.is_empty() {
                return fail(
                    "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
                );
            }
            if self.all {
                return fail("cannot set --all and --filename at the same time");
            }
            return Ok(Words::Nothing);
        }
        let words = Words::parse(&self.words)?;
        match &words {
            Words::Nothing => fail(none),
            Words::Pairs(_) if selects => fail("name cannot be provided when a selector is specified"),
            Words::Types { names, .. } if !names.is_empty() && selects => {
                fail("name cannot be provided when a selector is specified")
            }
            Words::Types { types, names } if !names.is_empty() && types.len() > 1 => fail(
                "you may only specify a single resource type when names are given; use TYPE/NAME for several types",
            ),
            _ => Ok(words),
        }
    }
}

/// `--dry-run`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Do it.
    #[default]
    None,
    /// Only print what would be sent.
    Client,
    /// Send it, but let the server not store it.
    Server,
}

impl DryRun {
    /// What follows a message.
    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// `--dry-run` and `-o` of verbs that write.
#[derive(Args, Clone, Debug, Default)]
pub struct WriteArgs {
    /// Must be "none", "server", or "client"; with client only print the object that would be sent
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_value = "none", default_missing_value = "client")]
    pub dry_run: Option<DryRun>,
    /// Output format: json, yaml, name, jsonpath=..., custom-columns=...
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    pub output: String,
}

impl WriteArgs {
    /// How far to go.
    pub fn dry_run(&self) -> DryRun {
        self.dry_run.unwrap_or_default()
    }

    /// Says what was done to an object: `deployment.apps/web scaled`, or the object as `-o` asks.
    pub fn report(&self, io: &mut Io, info: &ResourceInfo, object: &Value, done: &str) -> Outcome {
        let name = display(info, name(object));
        match Format::parse(&self.output)? {
            Format::Default | Format::Wide => Ok(io.say(&format!("{name} {done}{}", self.dry_run().suffix()))?),
            format => {
                write!(io.out, "{}", format.render(&without_managed_fields(object), &name)?)?;
                Ok(io.out.flush()?)
            }
        }
    }
}

/// `--validate`.
#[derive(Args, Clone, Debug, Default)]
pub struct ValidateArgs {
    /// What the server does about unknown fields: strict (or true) refuses, warn warns, ignore (or false) drops them
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_value = "strict", default_missing_value = "strict")]
    validate: Option<Validation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Validation {
    #[value(alias = "true")]
    Strict,
    Warn,
    #[value(alias = "false")]
    Ignore,
}

impl ValidateArgs {
    /// The word that the API has for it.
    pub fn word(&self) -> &'static str {
        match self.validate {
            None | Some(Validation::Strict) => "Strict",
            Some(Validation::Warn) => "Warn",
            Some(Validation::Ignore) => "Ignore",
        }
    }
}

/// `--subresource` names one that objects can be read and changed by.
pub fn check_subresource(subresource: &str) -> Outcome {
    match subresource {
        "" | "status" | "scale" | "resize" => Ok(()),
        other => fail(format!("invalid subresource value: {other:?}. Must be one of [status scale resize]")),
    }
}

/// The resource, or what stands for it when a subresource's object is of another kind, such as `Scale`.
pub fn info_of(info: &ResourceInfo, object: &Value) -> ResourceInfo {
    let kind = crate::value::text(object, "kind");
    let mut info = info.clone();
    if !kind.is_empty() && kind != info.kind {
        let (group, _) = reeve_api::resource::split_api_version(crate::value::text(object, "apiVersion"));
        info.resource.group = group.to_owned();
        info.kind = kind.to_owned();
        info.singular = kind.to_lowercase();
    }
    info
}

/// The object as users want to see it.
pub fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object
}

/// One thing that the user named.
#[derive(Clone, Debug)]
pub enum Target {
    /// One object.
    One {
        /// Its resource.
        info: ResourceInfo,
        /// Its namespace; empty for cluster-scoped ones.
        namespace: String,
        /// Its name.
        name: String,
        /// What a file says about it.
        manifest: Option<Manifest>,
    },
    /// The objects of a resource that the selectors choose.
    Some {
        /// The resource.
        info: ResourceInfo,
        /// Empty for all namespaces and for cluster-scoped resources.
        namespace: String,
    },
}

impl Target {
    /// The resource.
    pub fn info(&self) -> &ResourceInfo {
        match self {
            Target::One { info, .. } | Target::Some { info, .. } => info,
        }
    }
}

/// An object that the server has.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its resource.
    pub info: ResourceInfo,
    /// The object.
    pub object: Value,
}

impl Found {
    /// `deployment.apps/web`.
    pub fn display(&self) -> String {
        display(&self.info, name(&self.object))
    }
}

/// What the words and files of a command line name. `none` is the complaint when they name nothing.
pub async fn targets(cluster: &Cluster, io: &mut Io, args: &TargetArgs, none: &str) -> Outcome<Vec<Target>> {
    let words = args.check(none)?;
    if !args.files.is_empty() {
        let manifests = args.files.read(io.input.as_mut())?;
        let mut targets = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            targets.push(target_of(cluster, manifest).await?);
        }
        return Ok(targets);
    }
    match words {
        Words::Nothing => fail(none),
        Words::Types { types, names } if !names.is_empty() => {
            let info = resolve::resource(cluster, &types[0]).await?;
            let namespace = namespace_of(cluster, &info, args.all_namespaces)?;
            Ok(names
                .into_iter()
                .map(|name| Target::One { info: info.clone(), namespace: namespace.clone(), name, manifest: None })
                .collect())
        }
        Words::Types { types, .. } => {
            let mut targets = Vec::new();
            for word in types {
                for info in resolve::resources(cluster, &word).await? {
                    let namespace =
                        if info.namespaced && !args.all_namespaces { cluster.namespace.clone() } else { String::new() };
                    targets.push(Target::Some { info, namespace });
                }
            }
            Ok(targets)
        }
        Words::Pairs(pairs) => {
            let mut targets = Vec::with_capacity(pairs.len());
            for (word, name) in pairs {
                let info = resolve::resource(cluster, &word).await?;
                let namespace = namespace_of(cluster, &info, args.all_namespaces)?;
                targets.push(Target::One { info, namespace, name, manifest: None });
            }
            Ok(targets)
        }
    }
}

fn namespace_of(cluster: &Cluster, info: &ResourceInfo, all_namespaces: bool) -> Outcome<String> {
    if !info.namespaced {
        return Ok(String::new());
    }
    if all_namespaces {
        return fail("a resource cannot be retrieved by name across all namespaces");
    }
    Ok(cluster.namespace.clone())
}

/// The resource, namespace and name of an object in a file.
pub async fn target_of(cluster: &Cluster, manifest: Manifest) -> Outcome<Target> {
    let Some(info) = resolve::kind(cluster, &manifest.kind()).await? else {
        return Err(manifest.unknown_kind());
    };
    let namespace = manifest_namespace(cluster, &info, &manifest)?;
    let name = manifest.name().to_owned();
    if name.is_empty() {
        return fail(format!("{}: resource name may not be empty", manifest.place()));
    }
    Ok(Target::One { info, namespace, name, manifest: Some(manifest) })
}

/// The namespace that an object of a file goes to; `-n` must not contradict the file.
pub fn manifest_namespace(cluster: &Cluster, info: &ResourceInfo, manifest: &Manifest) -> Outcome<String> {
    if !info.namespaced {
        return Ok(String::new());
    }
    let own = namespace(&manifest.object);
    if own.is_empty() {
        return Ok(cluster.namespace.clone());
    }
    if cluster.namespace_is_explicit && own != cluster.namespace {
        return fail(format!(
            "the namespace from the provided object {own:?} does not match the namespace {:?}. \
             You must pass '--namespace={own}' to perform this operation.",
            cluster.namespace
        ));
    }
    Ok(own.to_owned())
}

/// Which objects of a resource are read, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct Selecting<'a> {
    /// A label selector.
    pub labels: &'a str,
    /// A field selector.
    pub fields: &'a str,
    /// Objects per page; 0 for all at once.
    pub page: i64,
}

/// All objects of a resource that selectors choose, page by page, with the version of the list.
pub async fn list(
    cluster: &Cluster,
    info: &ResourceInfo,
    namespace: &str,
    labels: &str,
    fields: &str,
) -> Outcome<(Vec<Value>, i64)> {
    list_in(cluster, info, namespace, &Selecting { labels, fields, page: PAGE }).await
}

async fn list_in(
    cluster: &Cluster,
    info: &ResourceInfo,
    namespace: &str,
    selecting: &Selecting<'_>,
) -> Outcome<(Vec<Value>, i64)> {
    let api = cluster.api(info, namespace);
    let mut options = ListOptions {
        label_selector: selecting.labels.to_owned(),
        field_selector: selecting.fields.to_owned(),
        limit: selecting.page,
        ..ListOptions::default()
    };
    let mut objects = Vec::new();
    loop {
        let page = cluster.call(api.list(&options)).await.map_err(|failure| unserved(failure, info))?;
        objects.extend(page.items.into_iter().map(|object| typed(object, info)));
        if page.continue_token.is_empty() {
            return Ok((objects, page.resource_version));
        }
        options.continue_token = page.continue_token;
    }
}

/// Items of lists may come without their type; printed objects have it.
pub fn typed(mut object: Value, info: &ResourceInfo) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| Value::String(info.resource.api_version()));
        map.entry("kind").or_insert_with(|| Value::String(info.kind.clone()));
    }
    object
}

/// A built-in type that this server does not serve reads as an unknown type.
pub fn unserved(failure: Failure, info: &ResourceInfo) -> Failure {
    match &failure {
        Failure::Server { status, .. } if status.message.contains("could not find the requested resource") => {
            Failure::Message(format!("the server doesn't have a resource type {:?}", info.resource.resource))
        }
        _ => failure,
    }
}

/// One object by name.
pub async fn get(cluster: &Cluster, info: &ResourceInfo, namespace: &str, name: &str) -> Outcome<Value> {
    let object =
        cluster.call(cluster.api(info, namespace).get(name)).await.map_err(|failure| unserved(failure, info))?;
    Ok(typed(object, info))
}

/// The objects that targets stand for. Those that are missing are failures beside the found ones.
pub async fn find(
    cluster: &Cluster,
    targets: Vec<Target>,
    labels: &str,
    fields: &str,
) -> Outcome<(Vec<Found>, Vec<Failure>)> {
    find_in(cluster, targets, &Selecting { labels, fields, page: PAGE }).await
}

/// As [`find`], with the size of pages.
pub async fn find_in(
    cluster: &Cluster,
    targets: Vec<Target>,
    selecting: &Selecting<'_>,
) -> Outcome<(Vec<Found>, Vec<Failure>)> {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for target in targets {
        match target {
            Target::One { info, namespace, name, .. } => match get(cluster, &info, &namespace, &name).await {
                Ok(object) => found.push(Found { info, object }),
                Err(failure @ Failure::Server { .. }) => failures.push(failure),
                Err(failure) => return Err(failure),
            },
            Target::Some { info, namespace } => match list_in(cluster, &info, &namespace, selecting).await {
                Ok((objects, _)) => {
                    found.extend(objects.into_iter().map(|object| Found { info: info.clone(), object }))
                }
                Err(failure @ Failure::Server { .. }) => failures.push(failure),
                Err(failure) => return Err(failure),
            },
        }
    }
    Ok((found, failures))
}

/// The path of a pod template in a workload's object, if the kind has one.
pub fn pod_spec_path(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("spec"),
        "CronJob" => Some("spec.jobTemplate.spec.template.spec"),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            Some("spec.template.spec")
        }
        "PodTemplate" => Some("template.spec"),
        _ => None,
    }
}

/// The label selector of an object's `spec.selector` as text.
pub fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    let labels = selector.get("matchLabels").unwrap_or(selector);
    if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_none() {
        let mut pairs: Vec<String> = labels
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        pairs.sort();
        parts.extend(pairs);
    }
    for expression in crate::value::items(selector, "matchExpressions") {
        let key = crate::value::text(expression, "key");
        let values: Vec<String> = crate::value::items(expression, "values").iter().map(crate::value::plain).collect();
        parts.push(match crate::value::text(expression, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            other => format!("{key} {other}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_read_as_text() {
        assert_eq!(selector_text(&json!({"app": "web", "a": "b"})), "a=b,app=web");
        assert_eq!(
            selector_text(&json!({"matchLabels": {"app": "web"}, "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "Exists"}]})),
            "app=web,tier in (a,b),x"
        );
        assert_eq!(selector_text(&json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]})), "!x");
    }

    #[test]
    fn managed_fields_are_hidden() {
        let object = json!({"metadata": {"name": "a", "managedFields": []}});
        assert_eq!(without_managed_fields(&object), json!({"metadata": {"name": "a"}}));
    }
}

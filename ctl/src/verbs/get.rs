//! `rctl get`: tables, whole objects, and watches of both.

use std::io::Write as _;

use clap::Args;
use reeve_api::ResourceInfo;
use serde_json::{Value, json};

use super::common::{self, FileArgs, Target, TargetArgs, without_managed_fields};
use crate::errors::{Failure, Outcome, fail, usage};
use crate::output::format::{Format, custom_columns};
use crate::output::jsonpath::Template;
use crate::output::objects::{Layout, ServerColumns, table, table_with};
use crate::output::table::{Printer, Table};
use crate::resolve::{builtin_kind, display};
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{name, namespace, text};
use crate::watching::{Change, Changes, Selection, by_name};

const EXAMPLES: &str = "  \
  # List all pods in ps output format
  rctl get pods

  # List all pods with more information, such as their nodes
  rctl get pods -o wide

  # List pods and services of all namespaces together
  rctl get pods,services -A

  # Print a deployment as YAML
  rctl get deployment web -o yaml

  # Return only the phase value of the specified pod
  rctl get pod web -o jsonpath={.status.phase}

  # Follow the pods with a label
  rctl get pods -l app=web -w

  # List resource information in custom columns
  rctl get pods -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image";

/// Display one or many resources.
///
/// Prints a table of the most important information about the specified resources. You can filter the list using a
/// label selector and the --selector flag. If the desired resource type is namespaced you will only see results in
/// the current namespace if you don't specify any namespace.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct GetArgs {
    /// TYPE[,TYPE...] [NAME...] or TYPE/NAME...
    #[arg(value_name = "TYPE [NAME] | TYPE/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Selector (label query) to filter on, supports '=', '==', '!=', 'in', 'notin'
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Selector (field query) to filter on, supports '=', '==', and '!='
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    field_selector: String,
    /// If present, list the requested objects across all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Output format: wide, yaml, json, name, jsonpath=..., custom-columns=...
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
    /// After listing/getting the requested object, watch for changes
    #[arg(short = 'w', long)]
    watch: bool,
    /// Watch for changes to the requested objects, without listing/getting first
    #[arg(long)]
    watch_only: bool,
    /// Output watch event objects when --watch or --watch-only is used
    #[arg(long)]
    output_watch_events: bool,
    /// Don't print headers
    #[arg(long)]
    no_headers: bool,
    /// When printing, show all labels as the last column
    #[arg(long)]
    show_labels: bool,
    /// List the resource type for the requested objects
    #[arg(long)]
    show_kind: bool,
    /// Labels that are presented as columns
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// If the requested object does not exist the command will return exit code 0
    #[arg(long)]
    ignore_not_found: bool,
    /// Keep the managedFields when printing objects in JSON or YAML format
    #[arg(long)]
    show_managed_fields: bool,
    /// Raw URI to request from the server. Uses the transport specified by the kubeconfig file
    #[arg(long, value_name = "URI", default_value = "", hide_default_value = true)]
    raw: String,
    /// If specified, gets the subresource of the requested object: status, scale, resize
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subresource: String,
    /// Return large lists in chunks rather than all at once. Pass 0 to disable
    #[arg(long, value_name = "N", default_value_t = common::PAGE)]
    chunk_size: i64,
    /// Template string or path to template file to use when -o=go-template, -o=go-template-file, -o=jsonpath
    #[arg(long, value_name = "TEMPLATE", default_value = "", hide_default_value = true)]
    template: String,
    /// Sort list types using this field, such as {.metadata.name}
    #[arg(long, value_name = "JSONPATH")]
    sort_by: Option<String>,
}

/// Objects of one resource.
struct Group {
    info: ResourceInfo,
    objects: Vec<Value>,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: GetArgs) -> Outcome {
    if !args.raw.is_empty() {
        if !args.words.is_empty() || !args.files.is_empty() {
            return usage("rctl get", "arguments may not be passed when --raw is specified");
        }
        return super::raw::send(session, http::Method::GET, &args.raw, &FileArgs::default()).await;
    }
    let format = args.format()?;
    common::check_subresource(&args.subresource)?;
    let sort = args.sort_by.as_deref().map(Template::parse_relaxed).transpose();
    let sort = sort.map_err(|error| Failure::Message(error.to_string()))?;
    if args.words.is_empty() && args.files.is_empty() {
        session.io.note(
            "You must specify the type of resource to get. Use \"rctl api-resources\" for a complete list of supported \
             resources.\n",
        )?;
        return usage("rctl get", "Required resource not specified.");
    }
    let target_args = TargetArgs {
        words: args.words.clone(),
        files: args.files.clone(),
        selector: args.selector.clone(),
        all: false,
        all_namespaces: args.all_namespaces,
    };
    target_args.check("Required resource not specified.")?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &target_args, "Required resource not specified.").await?;
    if !args.subresource.is_empty() {
        return subresources(session, &cluster, &args, &format, targets).await;
    }
    if args.watch || args.watch_only {
        return follow(session, &cluster, &args, &format, targets).await;
    }
    let single = matches!(targets.as_slice(), [Target::One { .. }]);
    let (mut groups, mut failures) = fetch(&cluster, &args, targets).await?;
    if let Some(sort) = &sort {
        groups.iter_mut().for_each(|group| sort_objects(&mut group.objects, sort));
    }
    if args.ignore_not_found {
        failures.retain(|failure| !is_not_found(failure));
    }
    if format.is_table() {
        print_tables(session, &cluster, &args, &groups, failures.is_empty()).await?;
    } else {
        print_objects(session, &args, &format, groups, single)?;
    }
    Failure::collect(failures)
}

impl GetArgs {
    fn format(&self) -> Outcome<Format> {
        Format::with_template(&self.output, &self.template)
    }

    fn selection(&self) -> common::Selecting<'_> {
        common::Selecting { labels: &self.selector, fields: &self.field_selector, page: self.chunk_size.max(0) }
    }
}

/// Prints a part of each object, such as its scale.
async fn subresources(
    session: &mut Session,
    cluster: &Cluster,
    args: &GetArgs,
    format: &Format,
    targets: Vec<Target>,
) -> Outcome {
    let (found, mut failures) = common::find_in(cluster, targets, &args.selection()).await?;
    let single = found.len() == 1;
    let mut groups: Vec<Group> = Vec::new();
    for one in found {
        let api = cluster.api(&one.info, crate::value::namespace(&one.object));
        match cluster.call(api.get_subresource(name(&one.object), &args.subresource)).await {
            Ok(object) => groups.push(Group { info: common::info_of(&one.info, &object), objects: vec![object] }),
            Err(failure @ Failure::Server { .. }) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if !format.is_table() {
        print_objects(session, args, format, groups, single)?;
    } else if args.subresource == "scale" {
        let mut table = Table::new(["NAME", "DESIRED", "AVAILABLE", "AGE"]);
        let now = (session.io.now)();
        for object in groups.iter().flat_map(|group| &group.objects) {
            let number = |path: &str| crate::value::count(object, path).to_string();
            let age = crate::output::age::since(text(object, "metadata.creationTimestamp"), now);
            table.rows.push(vec![name(object).to_owned(), number("spec.replicas"), number("status.replicas"), age]);
        }
        write!(session.io.out, "{}", table.render(!args.no_headers, session.palette()))?;
    } else {
        print_tables(session, cluster, args, &groups, failures.is_empty()).await?;
    }
    Failure::collect(failures)
}

/// What the targets stand for, neighbours of one resource together.
async fn fetch(cluster: &Cluster, args: &GetArgs, targets: Vec<Target>) -> Outcome<(Vec<Group>, Vec<Failure>)> {
    let mut groups: Vec<Group> = Vec::new();
    let mut failures = Vec::new();
    for target in targets {
        let info = target.info().clone();
        let (found, failed) = common::find_in(cluster, vec![target], &args.selection()).await?;
        failures.extend(failed);
        let objects = found.into_iter().map(|found| found.object);
        match groups.last_mut().filter(|group| group.info.resource == info.resource) {
            Some(group) => group.objects.extend(objects),
            None => groups.push(Group { info, objects: objects.collect() }),
        }
    }
    Ok((groups, failures))
}

fn sort_objects(objects: &mut [Value], by: &Template) {
    objects.sort_by(|left, right| {
        let (left, right) = (by.find(left), by.find(right));
        match (left.first(), right.first()) {
            (Some(Value::Number(left)), Some(Value::Number(right))) => {
                left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
            }
            (left, right) => {
                let plain = |value: Option<&&Value>| value.map(|value| crate::value::plain(value)).unwrap_or_default();
                plain(left).cmp(&plain(right))
            }
        }
    });
}

fn layout(args: &GetArgs, format: &Format, info: &ResourceInfo, several: bool) -> Layout {
    Layout {
        wide: *format == Format::Wide,
        with_namespace: args.all_namespaces && info.namespaced,
        with_kind: several || args.show_kind,
        show_labels: args.show_labels,
        label_columns: args.label_columns.clone(),
    }
}

/// The server's columns of a custom kind; `None` for built-in kinds, whose columns are known, and if it has none.
async fn server_columns(cluster: &Cluster, args: &GetArgs, group: &Group) -> Outcome<Option<ServerColumns>> {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    if builtin_kind(&group.info.kind()).is_some() {
        return Ok(None);
    }
    let resource = &group.info.resource;
    let mut path = format!("/apis/{}/{}", resource.group, resource.version);
    if group.info.namespaced && !args.all_namespaces {
        path.push_str(&format!("/namespaces/{}", group.objects.first().map(namespace).unwrap_or_default()));
    }
    path.push_str(&format!("/{}", resource.resource));
    match group.objects.as_slice() {
        [one] if !args.all_namespaces => path.push_str(&format!("/{}", name(one))),
        _ => {}
    }
    match cluster.attempt(cluster.client().rest_json(&path, TABLE)).await? {
        Ok(answer) => Ok(ServerColumns::parse(&answer)),
        // The objects are here: a table with fewer columns is better than none.
        Err(_) => Ok(None),
    }
}

async fn print_tables(
    session: &mut Session,
    cluster: &Cluster,
    args: &GetArgs,
    groups: &[Group],
    complain: bool,
) -> Outcome {
    let palette = session.palette();
    let format = args.format()?;
    let now = (session.io.now)();
    let filled: Vec<&Group> = groups.iter().filter(|group| !group.objects.is_empty()).collect();
    let several = groups.len() > 1;
    for (index, group) in filled.iter().enumerate() {
        if index > 0 {
            writeln!(session.io.out)?;
        }
        let server = server_columns(cluster, args, group).await?;
        let layout = layout(args, &format, &group.info, several);
        let table = table_with(&group.info, &group.objects, &layout, now, server.as_ref());
        write!(session.io.out, "{}", table.render(!args.no_headers, palette))?;
    }
    if filled.is_empty() && complain && !args.ignore_not_found {
        let namespaced = groups.iter().any(|group| group.info.namespaced) && !args.all_namespaces;
        session.io.note(&if namespaced {
            format!("No resources found in {} namespace.", cluster.namespace)
        } else {
            "No resources found".to_owned()
        })?;
    }
    Ok(())
}

fn print_objects(session: &mut Session, args: &GetArgs, format: &Format, groups: Vec<Group>, single: bool) -> Outcome {
    let visible = |object: Value| if args.show_managed_fields { object } else { without_managed_fields(&object) };
    match format {
        Format::Name => {
            for group in &groups {
                for object in &group.objects {
                    writeln!(session.io.out, "{}", display(&group.info, name(object)))?;
                }
            }
        }
        Format::CustomColumns(columns) => {
            let objects: Vec<Value> = groups.into_iter().flat_map(|group| group.objects).collect();
            let text = custom_columns(columns, &objects).render(!args.no_headers, session.palette());
            write!(session.io.out, "{text}")?;
        }
        format => {
            let mut objects: Vec<Value> = groups.into_iter().flat_map(|group| group.objects).map(visible).collect();
            let object = if single {
                match objects.pop() {
                    Some(object) => object,
                    None => return Ok(()),
                }
            } else {
                json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}})
            };
            write!(session.io.out, "{}", format.render(&object, "")?)?;
        }
    }
    Ok(())
}

/// Prints the present objects and then each change, until the user ends it.
async fn follow(
    session: &mut Session,
    cluster: &Cluster,
    args: &GetArgs,
    format: &Format,
    targets: Vec<Target>,
) -> Outcome {
    let [target] = <[Target; 1]>::try_from(targets)
        .map_err(|_| Failure::Message("you may only specify a single resource type".to_owned()))?;
    let (info, namespace, fields) = match target {
        Target::One { info, namespace, name, .. } => {
            if !args.watch_only {
                // A name that does not exist is an error, not a silent watch.
                common::get(cluster, &info, &namespace, &name).await?;
            }
            (info, namespace, by_name(&name))
        }
        Target::Some { info, namespace } => (info, namespace, args.field_selector.clone()),
    };
    let (objects, revision) = common::list(cluster, &info, &namespace, &args.selector, &fields).await?;
    let mut screen = Screen {
        layout: layout(args, format, &info, false),
        format: format.clone(),
        printer: None,
        headers: !args.no_headers,
        events: args.output_watch_events,
        managed_fields: args.show_managed_fields,
        info: info.clone(),
    };
    if !args.watch_only {
        screen.show(session, "ADDED", &objects)?;
    }
    let selection = Selection { namespace: &namespace, labels: &args.selector, fields: &fields };
    let mut changes = Changes::after(cluster, &info, selection, &objects, revision);
    drop(objects);
    loop {
        match changes.next().await? {
            Change::Added(object) => screen.show(session, "ADDED", &[object])?,
            Change::Modified(object) => screen.show(session, "MODIFIED", &[object])?,
            Change::Deleted(object) => screen.show(session, "DELETED", &[object])?,
        }
    }
}

/// What a watch prints on.
struct Screen {
    info: ResourceInfo,
    format: Format,
    layout: Layout,
    printer: Option<Printer>,
    headers: bool,
    events: bool,
    managed_fields: bool,
}

impl Screen {
    fn show(&mut self, session: &mut Session, event: &str, objects: &[Value]) -> Outcome {
        if objects.is_empty() {
            return Ok(());
        }
        if self.format.is_table() {
            self.show_rows(session, event, objects)?;
        } else {
            for object in objects {
                let object = if self.managed_fields { object.clone() } else { without_managed_fields(object) };
                let name = display(&self.info, name(&object));
                let shown = if self.events && self.format != Format::Name {
                    json!({"type": event, "object": object})
                } else {
                    object
                };
                if self.format == Format::Yaml {
                    writeln!(session.io.out, "---")?;
                }
                write!(session.io.out, "{}", self.format.render(&shown, &name)?)?;
                if matches!(self.format, Format::JsonPath(_)) {
                    writeln!(session.io.out)?;
                }
            }
        }
        Ok(session.io.out.flush()?)
    }

    fn show_rows(&mut self, session: &mut Session, event: &str, objects: &[Value]) -> Outcome {
        let now = (session.io.now)();
        let palette = session.palette();
        let mut table = table(&self.info, objects, &self.layout, now);
        if self.events {
            table.headers.insert(0, "EVENT".to_owned());
            table.rows.iter_mut().for_each(|row| row.insert(0, event.to_owned()));
        }
        let first = self.printer.is_none();
        let printer = self.printer.get_or_insert_with(|| Printer::new(table.headers.clone(), palette));
        let text = printer.print(&table.rows, first && self.headers);
        Ok(write!(session.io.out, "{text}")?)
    }
}

/// The version that a watch goes on from after an object.
pub fn revision(object: &Value) -> Outcome<i64> {
    match text(object, "metadata.resourceVersion").parse() {
        Ok(revision) => Ok(revision),
        Err(_) => fail("the server's object has no resource version"),
    }
}

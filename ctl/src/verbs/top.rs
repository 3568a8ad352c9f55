//! `rctl top`: what nodes and pods use, where metrics are served.

use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use reeve_api::quantity::Quantity;
use reeve_api::{GroupVersionResource, ResourceInfo};
use serde_json::Value;

use super::common;
use crate::errors::{Failure, Outcome, fail};
use crate::output::table::Table;
use crate::resolve;
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{items, name, namespace, text};

const EXAMPLES: &str = "  \
  # Show metrics for all nodes
  rctl top node

  # Show metrics for all pods in the default namespace
  rctl top pod";
const NODE_EXAMPLES: &str = "  \
  # Show metrics for all nodes
  rctl top node

  # Show metrics for a given node
  rctl top node node-1";
const POD_EXAMPLES: &str = "  \
  # Show metrics for all pods in the default namespace
  rctl top pod

  # Show metrics for a given pod and its containers
  rctl top pod web --containers";

/// Display resource (CPU/memory) usage.
///
/// This command requires the metrics API to be served by the cluster.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, arg_required_else_help = true)]
pub struct TopArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Display resource (CPU/memory) usage of nodes
    #[command(visible_aliases = ["nodes", "no"], before_help = NODE_EXAMPLES)]
    Node(Which),
    /// Display resource (CPU/memory) usage of pods
    #[command(visible_aliases = ["pods", "po"], before_help = POD_EXAMPLES)]
    Pod(Pods),
}

#[derive(Args, Debug)]
struct Which {
    /// A name; all without one
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Sort by this column: cpu or memory
    #[arg(long, value_enum, value_name = "COLUMN")]
    sort_by: Option<Column>,
    /// If present, print output without headers
    #[arg(long)]
    no_headers: bool,
}

#[derive(Args, Debug)]
struct Pods {
    #[command(flatten)]
    which: Which,
    /// If present, the requested objects across all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// If present, print usage of containers within a pod
    #[arg(long)]
    containers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Column {
    Cpu,
    Memory,
}

/// Thousandths of a processor, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    cpu: i64,
    memory: i64,
}

impl Usage {
    fn of(usage: &Value) -> Usage {
        let read = |key: &str| text(usage, key).parse::<Quantity>().ok();
        Usage {
            cpu: read("cpu").map_or(0, |quantity| quantity.millis()),
            memory: read("memory").map_or(0, |quantity| quantity.units()),
        }
    }

    fn cells(self) -> [String; 2] {
        [format!("{}m", self.cpu), format!("{}Mi", self.memory >> 20)]
    }
}

/// Runs the command.
pub async fn run(session: &mut Session, args: TopArgs) -> Outcome {
    let cluster = session.cluster()?;
    match args.what {
        What::Node(which) => nodes(session, &cluster, &which).await,
        What::Pod(pods) => self::pods(session, &cluster, &pods).await,
    }
}

/// The measurements of nodes or pods.
async fn metrics(cluster: &Cluster, resource: &str, namespace: &str, which: &Which) -> Outcome<Vec<Value>> {
    if which.names.len() > 1 || (!which.names.is_empty() && !which.selector.is_empty()) {
        return fail("only one of NAME or --selector can be provided");
    }
    let info = ResourceInfo {
        resource: GroupVersionResource::new("metrics.k8s.io", "v1beta1", resource),
        singular: String::new(),
        kind: if resource == "nodes" { "NodeMetrics" } else { "PodMetrics" }.to_owned(),
        namespaced: resource == "pods",
        short_names: vec![],
        categories: vec![],
        verbs: vec![],
    };
    let found = match which.names.first() {
        Some(name) => common::get(cluster, &info, namespace, name).await.map(|object| vec![object]),
        None => common::list(cluster, &info, namespace, &which.selector, "").await.map(|(objects, _)| objects),
    };
    found.map_err(|failure| match &failure {
        Failure::Message(_) => unserved(),
        failure if is_not_found(failure) && which.names.is_empty() => unserved(),
        _ => failure,
    })
}

fn unserved() -> Failure {
    Failure::Message(
        "Metrics API not available: no server of metrics.k8s.io is registered with this cluster".to_owned(),
    )
}

async fn nodes(session: &mut Session, cluster: &Cluster, which: &Which) -> Outcome {
    let measured = metrics(cluster, "nodes", "", which).await?;
    let info = resolve::resource(cluster, "nodes").await?;
    let (all, _) = common::list(cluster, &info, "", "", "").await?;
    let mut rows: Vec<(String, Usage, Usage)> = measured
        .iter()
        .map(|node| {
            let room = all.iter().find(|known| name(known) == name(node));
            let room = room.and_then(|node| node.pointer("/status/allocatable")).map(Usage::of);
            (name(node).to_owned(), Usage::of(&node["usage"]), room.unwrap_or_default())
        })
        .collect();
    sort(&mut rows, which.sort_by, |row| row.1, |row| row.0.clone());
    let share =
        |used: i64, room: i64| if room > 0 { format!("{}%", used * 100 / room) } else { "<unknown>".to_owned() };
    let mut table = Table::new(["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
    table.rows = rows
        .into_iter()
        .map(|(name, used, room)| {
            let [cpu, memory] = used.cells();
            vec![name, cpu, share(used.cpu, room.cpu), memory, share(used.memory, room.memory)]
        })
        .collect();
    Ok(write!(session.io.out, "{}", table.render(!which.no_headers, session.palette()))?)
}

async fn pods(session: &mut Session, cluster: &Cluster, args: &Pods) -> Outcome {
    let scope = if args.all_namespaces { "" } else { &cluster.namespace };
    let measured = metrics(cluster, "pods", scope, &args.which).await?;
    if measured.is_empty() {
        session.io.note(&format!("No resources found in {scope} namespace."))?;
        return Ok(());
    }
    let mut rows: Vec<(Vec<String>, Usage)> = Vec::new();
    for pod in &measured {
        let mut place = if args.all_namespaces { vec![namespace(pod).to_owned()] } else { vec![] };
        place.push(name(pod).to_owned());
        let containers = items(pod, "containers").iter().map(|one| (text(one, "name"), Usage::of(&one["usage"])));
        if args.containers {
            rows.extend(
                containers.map(|(container, used)| ([place.clone(), vec![container.to_owned()]].concat(), used)),
            );
        } else {
            let add =
                |sum: Usage, (_, one): (&str, Usage)| Usage { cpu: sum.cpu + one.cpu, memory: sum.memory + one.memory };
            rows.push((place, containers.fold(Usage::default(), add)));
        }
    }
    sort(&mut rows, args.which.sort_by, |row| row.1, |row| row.0.clone());
    let mut headers = if args.all_namespaces { vec!["NAMESPACE"] } else { vec![] };
    headers.extend(if args.containers { ["POD", "NAME"].as_slice() } else { ["NAME"].as_slice() });
    let mut table = Table::new([headers, vec!["CPU(cores)", "MEMORY(bytes)"]].concat());
    table.rows = rows.into_iter().map(|(place, used)| [place, used.cells().to_vec()].concat()).collect();
    Ok(write!(session.io.out, "{}", table.render(!args.which.no_headers, session.palette()))?)
}

fn sort<T, K: Ord>(rows: &mut [T], by: Option<Column>, usage: impl Fn(&T) -> Usage, place: impl Fn(&T) -> K) {
    match by {
        Some(Column::Cpu) => rows.sort_by_key(|row| std::cmp::Reverse(usage(row).cpu)),
        Some(Column::Memory) => rows.sort_by_key(|row| std::cmp::Reverse(usage(row).memory)),
        None => rows.sort_by_key(place),
    }
}

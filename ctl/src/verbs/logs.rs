//! `rctl logs`.

use std::io::Write as _;

use clap::Args;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reeve_client::streams::LogsRequest;
use serde_json::Value;
use tokio::sync::mpsc;

use super::common::{self, Found, selector_text};
use crate::duration;
use crate::errors::{Failure, Outcome, fail, usage};
use crate::resolve::{self, Words};
use crate::session::{Cluster, Session};
use crate::value::{at, items, name, namespace, text};

const EXAMPLES: &str = "  \
  # Return snapshot logs from pod web with only one container
  rctl logs web

  # Return snapshot logs of previous terminated ruby container logs from pod web-1
  rctl logs -p -c ruby web-1

  # Begin streaming the logs of the ruby container in pod web-1
  rctl logs -f -c ruby web-1

  # Begin streaming the logs from all containers in pods defined by label app=nginx
  rctl logs -f -l app=nginx --all-containers=true

  # Display only the most recent 20 lines of output in a pod of deployment web
  rctl logs --tail=20 deployment/web

  # Show all logs from pod web written in the last hour
  rctl logs --since=1h web";

const EXPECTED: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\n\
                        POD or TYPE/NAME is a required argument for the logs command";
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Chunks that wait to be printed; a slow terminal slows the streams down.
const CHUNKS_IN_FLIGHT_MAX: usize = 64;

/// Print the logs for a container in a pod or specified resource.
///
/// If the pod has only one container, the container name is optional.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct LogsArgs {
    /// POD or TYPE/NAME, then maybe a container
    #[arg(value_name = "POD | TYPE/NAME")]
    words: Vec<String>,
    /// Specify if the logs should be streamed
    #[arg(short = 'f', long)]
    follow: bool,
    /// Print the logs of this container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// Get all containers' logs in the pods
    #[arg(long)]
    all_containers: bool,
    /// If true, print the logs for the previous instance of the container in a pod if it exists
    #[arg(short = 'p', long)]
    previous: bool,
    /// Lines of recent log file to display. Defaults to -1, showing all, or 10 if a selector is provided
    #[arg(long, value_name = "LINES", default_value_t = -1, allow_negative_numbers = true)]
    tail: i64,
    /// Only return logs newer than a relative duration like 5s, 2m, or 3h
    #[arg(long, value_name = "TIME", default_value = "0s")]
    since: String,
    /// Only return logs after a specific date (RFC3339)
    #[arg(long, value_name = "DATE")]
    since_time: Option<String>,
    /// Include timestamps on each line in the log output
    #[arg(long)]
    timestamps: bool,
    /// Maximum bytes of logs to return. Defaults to no limit
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<i64>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Prefix each log line with the log source (pod name and container name)
    #[arg(long)]
    prefix: bool,
    /// If watching / following pod logs, allow for any errors that occur to be non-fatal
    #[arg(long)]
    ignore_errors: bool,
    /// Maximum number of concurrent logs to follow when using a selector
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_log_requests: usize,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: LogsArgs) -> Outcome {
    if args.since != "0s" && args.since_time.is_some() {
        return fail("only one of --since-time or --since may be used");
    }
    if args.all_containers && args.container.is_some() {
        return fail("--all-containers=true should not be specified with container name");
    }
    let (target, container) = match (args.words.as_slice(), args.selector.is_empty()) {
        ([], true) => return usage("rctl logs", EXPECTED),
        ([], false) => (None, args.container.clone()),
        ([_, ..], false) => return fail("only a selector (-l) or a POD name is allowed"),
        ([target], true) => (Some(target), args.container.clone()),
        ([target, container], true) if args.container.is_none() => (Some(target), Some(container.clone())),
        _ => return usage("rctl logs", EXPECTED),
    };
    let cluster = session.cluster()?;
    let pods = match target {
        Some(target) => vec![one_pod(session, &cluster, target).await?],
        None => {
            let info = resolve::resource(&cluster, "pods").await?;
            let (pods, _) = common::list(&cluster, &info, &cluster.namespace, &args.selector, "").await?;
            if pods.is_empty() {
                session.io.note(&format!("No resources found in {} namespace.", cluster.namespace))?;
                return Ok(());
            }
            pods
        }
    };
    let mut sources = Vec::new();
    for pod in &pods {
        for container in containers(session, pod, &args, container.as_deref())? {
            sources.push((pod, container));
        }
    }
    if args.follow && sources.len() > args.max_log_requests {
        return fail(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use \
             --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        ));
    }
    let requests = sources
        .into_iter()
        .map(|(pod, container)| request(&args, pod, container))
        .collect::<Outcome<Vec<LogsRequest>>>()?;
    if args.follow && requests.len() > 1 {
        return follow_all(session, &cluster, &args, requests).await;
    }
    for request in requests {
        let prefix = prefix(&args, &request);
        if let Err(failure) = copy(session, &cluster, request, &prefix).await {
            if !args.ignore_errors {
                return Err(failure);
            }
            session.io.note(&failure.text())?;
        }
    }
    Ok(())
}

/// The pod of a name, or one of a workload's pods.
pub async fn one_pod(session: &mut Session, cluster: &Cluster, word: &str) -> Outcome<Value> {
    let pods = resolve::resource(cluster, "pods").await?;
    let words = [word.to_owned()];
    let (kind, object_name) = match Words::parse(&words)? {
        Words::Pairs(pairs) => pairs.into_iter().next().unwrap_or_default(),
        _ => ("pods".to_owned(), word.to_owned()),
    };
    let info = resolve::resource(cluster, &kind).await?;
    let object = common::get(cluster, &info, &cluster.namespace, &object_name).await?;
    if info.kind == "Pod" {
        return Ok(object);
    }
    let selector = match at(&object, "spec.selector") {
        Some(selector) if info.kind != "Service" || selector.as_object().is_some_and(|map| !map.is_empty()) => {
            selector_text(selector)
        }
        _ => return fail(format!("cannot find pods of {}: it selects none", Found { info, object }.display())),
    };
    let (mut found, _) = common::list(cluster, &pods, namespace(&object), &selector, "").await?;
    // The best one first: ready ones, then running ones, then the rest.
    found.sort_by_key(|pod| {
        let ready = items(pod, "status.conditions")
            .iter()
            .any(|condition| text(condition, "type") == "Ready" && text(condition, "status") == "True");
        (!ready, text(pod, "status.phase") != "Running", name(pod).to_owned())
    });
    let count = found.len();
    let Some(pod) = found.into_iter().next() else {
        return fail(format!("no pods found for {}", Found { info, object }.display()));
    };
    if count > 1 {
        session.io.note(&format!("Found {count} pods, using pod/{}", name(&pod)))?;
    }
    Ok(pod)
}

/// The containers to print of a pod.
fn containers(session: &mut Session, pod: &Value, args: &LogsArgs, asked: Option<&str>) -> Outcome<Vec<String>> {
    if args.all_containers {
        let mut all = container_names(pod, "spec.initContainers");
        all.extend(container_names(pod, "spec.containers"));
        all.extend(container_names(pod, "spec.ephemeralContainers"));
        return Ok(all);
    }
    Ok(vec![default_container(session, pod, asked)?])
}

fn container_names(pod: &Value, path: &str) -> Vec<String> {
    items(pod, path).iter().map(|container| text(container, "name").to_owned()).collect()
}

/// The container that was asked for, else the pod's default, else its first one (which is then said).
pub fn default_container(session: &mut Session, pod: &Value, asked: Option<&str>) -> Outcome<String> {
    let mut all = container_names(pod, "spec.containers");
    let main = all.clone();
    all.extend(container_names(pod, "spec.initContainers"));
    all.extend(container_names(pod, "spec.ephemeralContainers"));
    if let Some(asked) = asked {
        if all.iter().any(|known| known == asked) {
            return Ok(asked.to_owned());
        }
        return fail(format!("container {asked} is not valid for pod {}: choose one of: {all:?}", name(pod)));
    }
    let annotated = at(pod, "metadata.annotations").and_then(|all| all.get(DEFAULT_CONTAINER)).and_then(Value::as_str);
    if let Some(annotated) = annotated.filter(|annotated| all.iter().any(|known| known == annotated)) {
        return Ok(annotated.to_owned());
    }
    let Some(first) = main.first() else { return fail(format!("pod {} has no containers", name(pod))) };
    if all.len() > 1 {
        let list: Vec<String> = all
            .iter()
            .map(|container| if main.contains(container) { container.clone() } else { format!("{container} (init)") })
            .collect();
        session.io.note(&format!("Defaulted container {first:?} out of: {}", list.join(", ")))?;
    }
    Ok(first.clone())
}

fn request(args: &LogsArgs, pod: &Value, container: String) -> Outcome<LogsRequest> {
    let (_, since) = duration::parse(&args.since).map_err(Failure::Message)?;
    let tail = match args.tail {
        tail if tail >= 0 => Some(tail),
        // Several pods at once would flood the screen.
        _ if !args.selector.is_empty() => Some(10),
        _ => None,
    };
    Ok(LogsRequest {
        namespace: namespace(pod).to_owned(),
        pod: name(pod).to_owned(),
        container,
        follow: args.follow,
        previous: args.previous,
        timestamps: args.timestamps,
        // Rounded up, so that a fraction of a second asks for something.
        since_seconds: (!since.is_zero()).then(|| i64::try_from(since.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)),
        since_time: args.since_time.clone().unwrap_or_default(),
        tail_lines: tail,
        limit_bytes: args.limit_bytes,
    })
}

fn prefix(args: &LogsArgs, request: &LogsRequest) -> String {
    if args.prefix { format!("[pod/{}/{}] ", request.pod, request.container) } else { String::new() }
}

async fn copy(session: &mut Session, cluster: &Cluster, request: LogsRequest, prefix: &str) -> Outcome {
    let mut chunks = std::pin::pin!(cluster.call(cluster.client().streams().logs(request)).await?);
    let mut lines = Prefixer::new(prefix);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| cluster.explain(error))?;
        lines.write(&chunk, &mut session.io.out)?;
        session.io.out.flush()?;
    }
    lines.finish(&mut session.io.out)?;
    Ok(session.io.out.flush()?)
}

/// Prints the whole log of a pod's first container.
pub async fn print_all(session: &mut Session, cluster: &Cluster, pod: &Value) -> Outcome {
    let container = default_container(session, pod, None)?;
    let request = LogsRequest {
        namespace: namespace(pod).to_owned(),
        pod: name(pod).to_owned(),
        container,
        ..LogsRequest::default()
    };
    copy(session, cluster, request, "").await
}

/// Prints several streams as they come, whole lines at a time.
async fn follow_all(session: &mut Session, cluster: &Cluster, args: &LogsArgs, requests: Vec<LogsRequest>) -> Outcome {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(CHUNKS_IN_FLIGHT_MAX);
    let mut streams: FuturesUnordered<_> = requests
        .into_iter()
        .map(|request| {
            let (sender, prefix) = (sender.clone(), prefix(args, &request));
            async move {
                let mut chunks = std::pin::pin!(cluster.call(cluster.client().streams().logs(request)).await?);
                let mut lines = Prefixer::new(&prefix);
                while let Some(chunk) = chunks.next().await {
                    let mut out = Vec::new();
                    lines.write_lines(&chunk.map_err(|error| cluster.explain(error))?, &mut out)?;
                    if sender.send(out).await.is_err() {
                        break;
                    }
                }
                Ok::<(), Failure>(())
            }
        })
        .collect();
    drop(sender);
    loop {
        tokio::select! {
            Some(lines) = receiver.recv() => {
                session.io.out.write_all(&lines)?;
                session.io.out.flush()?;
            }
            Some(outcome) = streams.next() => match outcome {
                Err(failure) if args.ignore_errors => session.io.note(&failure.text())?,
                outcome => outcome?,
            },
            else => return Ok(()),
        }
    }
}

/// Puts a text before each line of a stream that arrives in pieces.
struct Prefixer {
    prefix: Vec<u8>,
    at_line_start: bool,
    partial: Vec<u8>,
}

impl Prefixer {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.as_bytes().to_vec(), at_line_start: true, partial: Vec::new() }
    }

    /// Passes bytes on at once.
    fn write(&mut self, bytes: &[u8], out: &mut dyn std::io::Write) -> std::io::Result<()> {
        if self.prefix.is_empty() {
            return out.write_all(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start {
                out.write_all(&self.prefix)?;
            }
            out.write_all(line)?;
            self.at_line_start = line.ends_with(b"\n");
        }
        Ok(())
    }

    /// Passes whole lines on and keeps the rest, so that lines of several streams do not mix.
    fn write_lines(&mut self, bytes: &[u8], out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        self.write(&whole, out)
    }

    fn finish(&mut self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let partial = std::mem::take(&mut self.partial);
        self.write(&partial, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_stand_before_lines_and_not_before_pieces() {
        let mut lines = Prefixer::new("> ");
        let mut out = Vec::new();
        for piece in ["a", "b\nc", "\n"] {
            lines.write(piece.as_bytes(), &mut out).expect("written");
        }
        assert_eq!(String::from_utf8_lossy(&out), "> ab\n> c\n");
    }

    #[test]
    fn lines_of_several_streams_stay_whole() {
        let mut lines = Prefixer::new("> ");
        let mut out = Vec::new();
        lines.write_lines(b"a\nb", &mut out).expect("written");
        assert_eq!(String::from_utf8_lossy(&out), "> a\n");
        lines.write_lines(b"c\n", &mut out).expect("written");
        lines.write_lines(b"rest", &mut out).expect("written");
        lines.finish(&mut out).expect("written");
        assert_eq!(String::from_utf8_lossy(&out), "> a\n> bc\n> rest");
    }
}

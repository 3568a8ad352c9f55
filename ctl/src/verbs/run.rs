//! `rctl run`: one pod from an image.

use clap::{Args, ValueEnum};
use reeve_api::ResourceInfo;
use reeve_client::DeleteOptions;
use serde_json::{Value, json};

use super::attach;
use super::common::{self, DryRun, WriteArgs};
use super::create;
use super::delete::{self, Leaving};
use super::expose::{self, ServiceOptions};
use crate::attached::StreamArgs;
use crate::duration;
use crate::errors::{Failure, Outcome, fail};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{items, name, namespace, text};
use crate::watching;

const EXAMPLES: &str = "  \
  # Start a pod and let the container expose port 5701
  rctl run web --image=web:1 --port=5701

  # Start a pod with environment variables and labels
  rctl run web --image=web:1 --env=\"POD_NAMESPACE=default\" --labels=\"app=web,env=prod\"

  # Dry run; print the corresponding API objects without creating them
  rctl run web --image=web:1 --dry-run=client -o yaml

  # Start a busybox pod and keep it in the foreground, don't restart it if it exits
  rctl run -i -t busybox --image=busybox --restart=Never

  # Start the pod using a different command and custom arguments
  rctl run web --image=web:1 --command -- <cmd> <arg1> ... <argN>";

/// Create and run a particular image in a pod.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct RunArgs {
    /// The pod's name
    #[arg(value_name = "NAME")]
    words: Vec<String>,
    /// The image for the container to run
    #[arg(long, value_name = "IMAGE", required = true)]
    image: String,
    /// The image pull policy for the container: Always, IfNotPresent, Never
    #[arg(long, value_name = "POLICY", default_value = "", hide_default_value = true)]
    image_pull_policy: String,
    /// Environment variables to set in the container
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Comma separated labels to apply to the pod. Will override previous values
    #[arg(short = 'l', long, value_name = "PAIRS", default_value = "", hide_default_value = true)]
    labels: String,
    /// Annotations to apply to the pod
    #[arg(long, value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// The port that this container exposes
    #[arg(long, value_name = "PORT", default_value = "", hide_default_value = true)]
    port: String,
    /// If true, create a ClusterIP service associated with the pod. Requires --port
    #[arg(long)]
    expose: bool,
    /// The restart policy for this Pod
    #[arg(long, value_enum, value_name = "POLICY", default_value = "Always")]
    restart: Restart,
    /// If true and extra arguments are present, use them as the 'command' field rather than the 'args' field
    #[arg(long)]
    command: bool,
    /// Keep stdin open on the container in the pod, even if nothing is attached
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Allocate a TTY for the container in the pod
    #[arg(short = 't', long)]
    tty: bool,
    /// If true, wait for the pod to start running, and then attach to it. Default false, unless '-i/--stdin' is set
    #[arg(long)]
    attach: bool,
    /// If true, delete the pod after it exits. Only valid when attaching to the container
    #[arg(long)]
    rm: bool,
    /// If true, suppress prompt messages
    #[arg(short = 'q', long)]
    quiet: bool,
    /// If true, run the container in privileged mode
    #[arg(long)]
    privileged: bool,
    /// An inline JSON override for the generated object
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    overrides: String,
    /// The length of time to wait until at least one pod is running
    #[arg(long, value_name = "TIME", default_value = "1m0s")]
    pod_running_timeout: String,
    #[command(flatten)]
    write: WriteArgs,
    /// Arguments of the container, after --
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Restart {
    Always,
    OnFailure,
    Never,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: RunArgs) -> Outcome {
    let [pod_name] = args.words.as_slice() else {
        return fail("NAME is required for run");
    };
    let attach = args.attach || args.stdin;
    let dry_run = args.write.dry_run();
    if args.tty && !args.stdin {
        return fail("-i/--stdin is required for containers with -t/--tty=true");
    }
    if args.rm && !attach {
        return fail("--rm should only be used for attached containers");
    }
    if attach && dry_run != DryRun::None {
        return fail(
            "--dry-run=client or --dry-run=server can't be used with attached containers options (--attach, --stdin, or --tty)",
        );
    }
    if args.expose && args.port.is_empty() {
        return fail("--port must be set when exposing a service");
    }
    let (_, timeout) = duration::parse(&args.pod_running_timeout).map_err(Failure::Message)?;
    let pod = pod(pod_name, &args)?;
    if !attach {
        create::make(session, pod.clone(), &args.write, false).await?;
        if args.expose {
            let options = ServiceOptions { port: args.port.clone(), ..ServiceOptions::default() };
            expose::beside(session, &pod, &options, &args.write).await?;
        }
        return Ok(());
    }
    let cluster = session.cluster()?;
    let info = resolve::resource(&cluster, "pods").await?;
    let made = cluster.create(&info, &cluster.namespace, &pod, false).await?;
    let outcome = match tokio::time::timeout(timeout, started(&cluster, &info, &made)).await {
        Err(_) => fail("timed out waiting for the condition"),
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(pod)) => foreground(session, &cluster, &info, &pod, &args).await,
    };
    if args.rm {
        remove(session, &cluster, &info, &made, args.quiet).await?;
    }
    outcome
}

/// Waits until the container runs or has ended.
async fn started(cluster: &Cluster, info: &ResourceInfo, pod: &Value) -> Outcome<Value> {
    watching::until(cluster, info, namespace(pod), name(pod), |pod| {
        let Some(pod) = pod else { return fail("the pod was deleted before it ran") };
        let ready = items(pod, "status.containerStatuses")
            .first()
            .is_some_and(|status| status.pointer("/state/running").is_some());
        let ended = matches!(text(pod, "status.phase"), "Succeeded" | "Failed");
        Ok((ready || ended).then(|| pod.clone()))
    })
    .await
}

/// Attaches, and ends as the container does.
async fn foreground(
    session: &mut Session,
    cluster: &Cluster,
    info: &ResourceInfo,
    pod: &Value,
    args: &RunArgs,
) -> Outcome {
    if matches!(text(pod, "status.phase"), "Succeeded" | "Failed") {
        // It ended before it could be joined: what it said is in its log.
        super::logs::print_all(session, cluster, pod).await?;
    } else {
        let options = StreamArgs { container: None, stdin: args.stdin, tty: args.tty, quiet: args.quiet };
        attach::attach(session, cluster, pod, &options).await?;
    }
    if args.restart == Restart::Always {
        return Ok(());
    }
    let code = watching::until(cluster, info, namespace(pod), name(pod), |pod| {
        let Some(pod) = pod else { return Ok(Some(0)) };
        if !matches!(text(pod, "status.phase"), "Succeeded" | "Failed") {
            return Ok(None);
        }
        let code = items(pod, "status.containerStatuses")
            .first()
            .and_then(|status| status.pointer("/state/terminated/exitCode")?.as_i64());
        Ok(Some(code.unwrap_or(0)))
    })
    .await?;
    match i32::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Exit(code)),
        Err(_) => Err(Failure::Exit(1)),
    }
}

async fn remove(session: &mut Session, cluster: &Cluster, info: &ResourceInfo, pod: &Value, quiet: bool) -> Outcome {
    let api = cluster.api(info, namespace(pod));
    let deleted = cluster.call(api.delete(name(pod), &DeleteOptions::default())).await?;
    if !quiet {
        session.io.say(&format!("pod {:?} deleted", name(pod)))?;
    }
    if deleted.gone {
        return Ok(());
    }
    let leaving = Leaving {
        info: info.clone(),
        namespace: namespace(pod).to_owned(),
        name: name(pod).to_owned(),
        uid: delete::uid_of(&deleted.object).to_owned(),
    };
    delete::wait_gone(session, cluster, vec![leaving]).await
}

/// The pod that the flags describe.
fn pod(pod_name: &str, args: &RunArgs) -> Outcome<Value> {
    let mut container = json!({"image": args.image, "name": pod_name, "resources": {}});
    if !args.arguments.is_empty() {
        container[if args.command { "command" } else { "args" }] = json!(args.arguments);
    }
    if !args.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = json!(args.image_pull_policy);
    }
    if !args.env.is_empty() {
        let pairs = args.env.iter().map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
            _ => fail(format!("invalid env: {pair}")),
        });
        container["env"] = Value::Array(pairs.collect::<Outcome<_>>()?);
    }
    if !args.port.is_empty() {
        match args.port.parse::<u16>() {
            Ok(port) if port > 0 => container["ports"] = json!([{"containerPort": port}]),
            _ => return fail(format!("invalid port {:?}: it must be a number from 1 to 65535", args.port)),
        }
    }
    if args.stdin {
        container["stdin"] = json!(true);
        // As upstream: input ends with the first that was attached.
        container["stdinOnce"] = json!(true);
    }
    if args.tty {
        container["tty"] = json!(true);
    }
    if args.privileged {
        container["securityContext"] = json!({"privileged": true});
    }
    let labels =
        if args.labels.is_empty() { json!({"run": pod_name}) } else { Value::Object(expose::pairs(&args.labels)?) };
    let restart = match args.restart {
        Restart::Always => "Always",
        Restart::OnFailure => "OnFailure",
        Restart::Never => "Never",
    };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels, "name": pod_name},
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": restart}, "status": {},
    });
    if !args.annotations.is_empty() {
        let mut all = serde_json::Map::new();
        for text in &args.annotations {
            all.extend(expose::pairs(text)?);
        }
        pod["metadata"]["annotations"] = Value::Object(all);
    }
    if !args.overrides.is_empty() {
        let overrides: Value = reeve_api::yaml::from_str(&args.overrides)
            .map_err(|error| Failure::Message(format!("invalid --overrides: {error}")))?;
        json_patch::merge(&mut pod, &overrides);
    }
    Ok(common::typed(pod, resolve::builtin("pods").ok_or_else(|| Failure::Message("pods are not known".into()))?))
}

//! `rctl expose`: a Service for what runs already.

use clap::Args;
use serde_json::{Map, Value, json};

use super::common::{self, TargetArgs, WriteArgs};
use super::create;
use crate::errors::{Failure, Outcome, fail};
use crate::resolve;
use crate::session::Session;
use crate::value::{at, entries, items, map_mut, name, namespace, text};

const EXAMPLES: &str = "  \
  # Create a service for a deployment, which serves on port 80 and connects to the containers on port 8000
  rctl expose deployment web --port=80 --target-port=8000

  # Create a service for pod web, which serves on port 444 with the name \"frontend\"
  rctl expose pod web --port=444 --name=frontend";

/// Expose a resource as a new service.
///
/// Looks up a deployment, service, replica set, replication controller or pod by name and uses the selector for that
/// resource as the selector for a new service on the specified port.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ExposeArgs {
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    options: ServiceOptions,
    #[command(flatten)]
    write: WriteArgs,
}

/// What the service is like.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceOptions {
    /// The port that the service should serve on. Copied from the resource being exposed, if unspecified
    #[arg(long, value_name = "PORT", default_value = "", hide_default_value = true)]
    pub port: String,
    /// Name or number for the port on the container that the service should direct traffic to
    #[arg(long, value_name = "PORT", default_value = "", hide_default_value = true)]
    pub target_port: String,
    /// The network protocol for the service to be created. Default is 'TCP'
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub protocol: String,
    /// Type for this service: ClusterIP, NodePort, LoadBalancer, or ExternalName. Default is 'ClusterIP'
    #[arg(long = "type", value_name = "TYPE", default_value = "", hide_default_value = true)]
    pub kind: String,
    /// The name for the newly created object
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub name: String,
    /// Label pairs to select pods by, instead of those of the resource: `app=web,tier=front`.
    #[arg(skip)]
    pub selector: String,
    /// Labels to apply to the service created by this call
    #[arg(long = "labels", value_name = "PAIRS", default_value = "", hide_default_value = true)]
    pub labels: String,
    /// ClusterIP to be assigned to the service; 'None' to create a headless service
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub cluster_ip: String,
    /// If non-empty, set the session affinity for the service to this; legal values: 'None', 'ClientIP'
    #[arg(long, value_name = "HOW", default_value = "", hide_default_value = true)]
    pub session_affinity: String,
}

/// Runs the command.
pub async fn run(session: &mut Session, mut args: ExposeArgs) -> Outcome {
    let none = "You must provide one or more resources by argument or filename.";
    // Here the selector of the flags is the service's, as in kubectl.
    if args.options.selector.is_empty() {
        args.options.selector = std::mem::take(&mut args.targets.selector);
    }
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, failures) = common::find(&cluster, targets, "", "").await?;
    Failure::collect(failures)?;
    for found in found {
        let mut service = service(&found.info.kind, &found.object, &args.options)?;
        // What is only printed is as general as what a user writes.
        if args.write.dry_run() != common::DryRun::Client {
            map_mut(&mut service, "metadata").insert("namespace".to_owned(), json!(namespace(&found.object)));
        }
        exposed(session, service, &args.write).await?;
    }
    Ok(())
}

async fn exposed(session: &mut Session, service: Value, write: &WriteArgs) -> Outcome {
    let Some(info) = resolve::builtin("services") else { return fail("services are not known") };
    let created = match write.dry_run() {
        common::DryRun::Client => service,
        how => {
            let cluster = session.cluster()?;
            cluster.create(info, namespace(&service), &service, how == common::DryRun::Server).await?
        }
    };
    write.report(&mut session.io, info, &created, "exposed")
}

/// Creates a service beside a pod that was just made.
pub async fn beside(session: &mut Session, pod: &Value, options: &ServiceOptions, write: &WriteArgs) -> Outcome {
    create::make(session, service("Pod", pod, options)?, write, false).await
}

/// The service that exposes an object.
fn service(kind: &str, object: &Value, options: &ServiceOptions) -> Outcome<Value> {
    let selector = if options.selector.is_empty() { selector(kind, object)? } else { pairs(&options.selector)? };
    let mut ports = own_ports(kind, object);
    if !options.port.is_empty() {
        let protocol = ports.first().map_or_else(|| "TCP".to_owned(), |port| port.1.clone());
        let numbers = options.port.split(',').map(|text| match text.parse::<u16>() {
            Ok(number) if number > 0 => Ok((i64::from(number), protocol.clone())),
            _ => fail(format!("invalid port {text:?}: it must be a number from 1 to 65535")),
        });
        ports = numbers.collect::<Outcome<_>>()?;
    }
    if ports.is_empty() {
        return fail("couldn't find port via --port flag or introspection");
    }
    let several = ports.len() > 1;
    let ports: Vec<Value> = ports
        .into_iter()
        .enumerate()
        .map(|(index, (number, protocol))| {
            let target = match options.target_port.parse::<i64>() {
                Ok(number) => json!(number),
                Err(_) if options.target_port.is_empty() => json!(number),
                Err(_) => json!(options.target_port),
            };
            let protocol = if options.protocol.is_empty() { protocol } else { options.protocol.to_uppercase() };
            let mut port = json!({"port": number, "protocol": protocol, "targetPort": target});
            if several {
                port["name"] = json!(format!("port-{}", index + 1));
            }
            port
        })
        .collect();
    let service_name = if options.name.is_empty() { name(object) } else { &options.name };
    let labels = if options.labels.is_empty() {
        at(object, "metadata.labels").cloned()
    } else {
        Some(Value::Object(pairs(&options.labels)?))
    };
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service_name},
        "spec": {"ports": ports, "selector": selector}, "status": {"loadBalancer": {}},
    });
    if let Some(labels) = labels {
        service["metadata"]["labels"] = labels;
    }
    for (key, value) in
        [("type", &options.kind), ("clusterIP", &options.cluster_ip), ("sessionAffinity", &options.session_affinity)]
    {
        if !value.is_empty() {
            service["spec"][key] = json!(value);
        }
    }
    Ok(service)
}

/// `app=web,tier=front` as a map.
pub fn pairs(text: &str) -> Outcome<Map<String, Value>> {
    text.split(',')
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), json!(value))),
            _ => fail(format!("unexpected label spec: {pair}")),
        })
        .collect()
}

fn selector(kind: &str, object: &Value) -> Outcome<Map<String, Value>> {
    let map = |path: &str| -> Map<String, Value> {
        entries(object, path).into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
    };
    let found = match kind {
        "Pod" => map("metadata.labels"),
        "Service" | "ReplicationController" => map("spec.selector"),
        "Deployment" | "ReplicaSet" => {
            if !items(object, "spec.selector.matchExpressions").is_empty() {
                return fail("couldn't convert expressions to a service's selector: use --selector");
            }
            map("spec.selector.matchLabels")
        }
        _ => return fail(format!("cannot expose a {kind}")),
    };
    if found.is_empty() {
        return fail(match kind {
            "Pod" => {
                "couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed"
            }
            _ => "couldn't retrieve selectors via --selector flag or introspection",
        });
    }
    Ok(found)
}

/// The ports that an object names, with their protocols.
fn own_ports(kind: &str, object: &Value) -> Vec<(i64, String)> {
    let read = |port: &Value, key: &str| {
        let protocol = text(port, "protocol");
        Some((port.get(key)?.as_i64()?, if protocol.is_empty() { "TCP" } else { protocol }.to_owned()))
    };
    if kind == "Service" {
        return items(object, "spec.ports").iter().filter_map(|port| read(port, "port")).collect();
    }
    let path = common::pod_spec_path(kind).unwrap_or("spec");
    let containers = items(object, &format!("{path}.containers"));
    containers.iter().flat_map(|one| items(one, "ports")).filter_map(|port| read(port, "containerPort")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_gives_selector_and_ports() {
        let web = json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]}]}}}});
        let made = service("Deployment", &web, &ServiceOptions::default()).expect("a service");
        assert_eq!(made["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(
            made["spec"]["ports"],
            json!([{"name": "port-1", "port": 8080, "protocol": "TCP", "targetPort": 8080},
                   {"name": "port-2", "port": 53, "protocol": "UDP", "targetPort": 53}])
        );
        let options = ServiceOptions { port: "80".into(), target_port: "http".into(), ..ServiceOptions::default() };
        let made = service("Deployment", &web, &options).expect("a service");
        assert_eq!(made["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": "http"}]));
        let bare = json!({"metadata": {"name": "x"}});
        assert!(service("Pod", &bare, &options).is_err());
    }
}

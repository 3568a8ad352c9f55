//! `rctl port-forward`: local ports that lead to a pod's.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reeve_client::streams::{PortForwardRequest, PortForwardStart, Streams, port_forward_request};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::common;
use super::logs::one_pod;
use crate::duration;
use crate::errors::{Failure, Outcome, fail, usage};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{items, name, namespace, text};
use crate::watching;

const EXAMPLES: &str = "  \
  # Listen on ports 5000 and 6000 locally, forwarding data to/from ports 5000 and 6000 in the pod
  rctl port-forward pod/mypod 5000 6000

  # Listen on port 8443 locally, forwarding to the targetPort of the service's port named \"https\"
  rctl port-forward service/myservice 8443:https

  # Listen on port 8888 on localhost and selected IP, forwarding to 5000 in the pod
  rctl port-forward --address localhost,10.19.21.23 pod/mypod 8888:5000

  # Listen on a random port locally, forwarding to 5000 in the pod
  rctl port-forward pod/mypod :5000";

/// Connections that wait to be carried; more wait in the kernel.
const CONNECTIONS_IN_FLIGHT_MAX: usize = 16;

/// Forward one or more local ports to a pod.
///
/// The forwarding session ends when the selected pod terminates, and a rerun of the command is needed to resume
/// forwarding.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct PortForwardArgs {
    /// TYPE/NAME, then [LOCAL_PORT:]REMOTE_PORT
    #[arg(value_name = "TYPE/NAME | [LOCAL_PORT:]REMOTE_PORT")]
    words: Vec<String>,
    /// Addresses to listen on (comma separated). Only accepts IP addresses or localhost as a value
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
    /// The length of time to wait until at least one pod is running
    #[arg(long, value_name = "TIME", default_value = "1m0s")]
    pod_running_timeout: String,
}

/// A local port, 0 for any, and the pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    local: u16,
    remote: u16,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: PortForwardArgs) -> Outcome {
    let Some((target, ports)) = args.words.split_first().filter(|(_, ports)| !ports.is_empty()) else {
        return usage("rctl port-forward", "TYPE/NAME and list of ports are required for port-forward");
    };
    let (_, timeout) = duration::parse(&args.pod_running_timeout).map_err(Failure::Message)?;
    let cluster = session.cluster()?;
    let pod = one_pod(session, &cluster, target).await?;
    let service = match target.split_once('/') {
        Some((word, name)) => {
            let info = resolve::resource(&cluster, word).await?;
            let is_service = info.kind == "Service" && info.resource.group.is_empty();
            if is_service { Some(common::get(&cluster, &info, &cluster.namespace, name).await?) } else { None }
        }
        None => None,
    };
    let pairs = ports.iter().map(|word| pair(word, &pod, service.as_ref())).collect::<Outcome<Vec<_>>>()?;
    let info = resolve::resource(&cluster, "pods").await?;
    let running = watching::until(&cluster, &info, namespace(&pod), name(&pod), |now| match now {
        None => fail("the pod was deleted"),
        Some(now) => match text(now, "status.phase") {
            "Running" => Ok(Some(())),
            "Pending" => Ok(None),
            phase => fail(format!("unable to forward port because pod is not running. Current status={phase}")),
        },
    });
    match tokio::time::timeout(timeout, running).await {
        Ok(outcome) => outcome?,
        Err(_) => return fail("unable to forward port because pod is not running. Current status=Pending"),
    }
    let (sender, mut accepted) = mpsc::channel(CONNECTIONS_IN_FLIGHT_MAX);
    for pair in pairs {
        for (listener, address) in listen(&args.address, pair.local).await? {
            session.io.say(&format!("Forwarding from {address} -> {}", pair.remote))?;
            tokio::spawn(accept(listener, Pair { local: address.port(), ..pair }, sender.clone()));
        }
    }
    let mut gone = std::pin::pin!(lost(&cluster, &info, &pod));
    let mut carried = FuturesUnordered::new();
    loop {
        tokio::select! {
            outcome = &mut gone => {
                outcome?;
                return fail("lost connection to pod");
            }
            Some((pair, connection)) = accepted.recv() => {
                let connection = connection.map_err(|error| {
                    Failure::Message(format!("port {} accepts no more connections: {error}", pair.local))
                })?;
                session.io.say(&format!("Handling connection for {}", pair.local))?;
                let start = PortForwardStart {
                    namespace: namespace(&pod).to_owned(),
                    pod: name(&pod).to_owned(),
                    port: pair.remote.into(),
                    ..PortForwardStart::default()
                };
                let streams = cluster.client().streams();
                carried.push(async move { (pair, carry(streams, start, connection).await) });
            }
            Some((Pair { local, remote }, outcome)) = carried.next() => {
                if let Err(error) = outcome {
                    session.io.note(&format!("an error occurred forwarding {local} -> {remote}: {error}"))?;
                }
            }
        }
    }
}

/// Resolves when the pod has ended.
async fn lost(cluster: &Cluster, info: &reeve_api::ResourceInfo, pod: &Value) -> Outcome {
    let uid = text(pod, "metadata.uid");
    watching::until(cluster, info, namespace(pod), name(pod), |now| {
        let runs = now.is_some_and(|now| {
            text(now, "metadata.uid") == uid && !matches!(text(now, "status.phase"), "Succeeded" | "Failed")
        });
        Ok((!runs).then_some(()))
    })
    .await
}

/// Reads `[LOCAL:]REMOTE`; the remote port may be a name, and that of a service is led to its pods' port.
fn pair(word: &str, pod: &Value, service: Option<&Value>) -> Outcome<Pair> {
    let (local, remote) = match word.split_once(':') {
        Some((local, remote)) => (Some(local), remote),
        None => (None, word),
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let named = |name: &str| {
        let containers = items(pod, "spec.containers").iter();
        let mut ports = containers.flat_map(|container| items(container, "ports"));
        let port = ports.find(|port| text(port, "name") == name)?.get("containerPort")?.as_u64()?;
        u16::try_from(port).ok()
    };
    let target = match service {
        None => number(remote).or_else(|| named(remote)),
        Some(service) => {
            let port = items(service, "spec.ports").iter().find(|port| {
                text(port, "name") == remote
                    || port.get("port").and_then(Value::as_u64) == number(remote).map(u64::from)
            });
            let Some(port) = port else {
                return fail(format!("Service {} does not have a service port {remote}", name(service)));
            };
            let own = port.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            match port.get("targetPort") {
                Some(Value::Number(number)) => {
                    number.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).or(own)
                }
                Some(Value::String(name)) => named(name),
                _ => own,
            }
        }
    };
    let Some(remote_port) = target else {
        return fail(format!("pod {} does not have a port {remote:?}", name(pod)));
    };
    let local = match local {
        None => number(remote).unwrap_or(remote_port),
        Some("") => 0,
        Some(text) => match text.parse() {
            Ok(port) => port,
            Err(_) => return fail(format!("error parsing local port {text:?}: it must be a number from 0 to 65535")),
        },
    };
    Ok(Pair { local, remote: remote_port })
}

/// Listens on each address; of `localhost`'s two families one is enough.
async fn listen(addresses: &[String], port: u16) -> Outcome<Vec<(TcpListener, SocketAddr)>> {
    let mut listeners: Vec<(TcpListener, SocketAddr)> = Vec::new();
    let mut problems = Vec::new();
    for address in addresses {
        let hosts: Vec<IpAddr> = if address == "localhost" {
            vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]
        } else {
            match address.parse() {
                Ok(host) => vec![host],
                Err(_) => return fail(format!("{address} is not a valid IP address or localhost")),
            }
        };
        let before = listeners.len();
        for host in hosts {
            // A port that was chosen for the first family is used for the second too.
            let port = if port == 0 { listeners.get(before).map_or(0, |known| known.1.port()) } else { port };
            match TcpListener::bind((host, port)).await.and_then(|one| Ok((one.local_addr()?, one))) {
                Ok((address, listener)) => listeners.push((listener, address)),
                Err(error) => {
                    problems.push(format!("unable to create listener: listen on {host} port {port}: {error}"))
                }
            }
        }
        if listeners.len() == before {
            return fail(format!("unable to listen on port {port}: [{}]", problems.join(", ")));
        }
    }
    Ok(listeners)
}

/// Hands connections on until one cannot be accepted.
async fn accept(listener: TcpListener, pair: Pair, sender: mpsc::Sender<(Pair, std::io::Result<TcpStream>)>) {
    loop {
        let connection = listener.accept().await.map(|(connection, _)| connection);
        let failed = connection.is_err();
        if sender.send((pair, connection)).await.is_err() || failed {
            return;
        }
    }
}

/// Carries one connection.
async fn carry(streams: Streams, start: PortForwardStart, connection: TcpStream) -> Result<(), String> {
    let (read, mut write) = connection.into_split();
    let first = PortForwardRequest { input: Some(port_forward_request::Input::Start(start)) };
    // The end of what the local side sends is also its failure: either way nothing follows.
    let rest = tokio_stream::StreamExt::map_while(ReaderStream::new(read), |data| {
        Some(PortForwardRequest { input: Some(port_forward_request::Input::Data(data.ok()?)) })
    });
    let requests = futures::stream::once(futures::future::ready(first)).chain(rest);
    let mut answers = streams.port_forward(requests).await.map_err(|error| error.to_string())?;
    while let Some(data) = answers.next().await {
        let data = data.map_err(|error| error.to_string())?;
        if write.write_all(&data).await.is_err() {
            // The local side has gone, which is no failure.
            return Ok(());
        }
    }
    // As above: it may have gone already.
    write.shutdown().await.or(Ok(()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_numbers_names_or_a_services() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let read = |word| pair(word, &pod, None).map(|pair| (pair.local, pair.remote));
        assert_eq!(read("80").expect("fine"), (80, 80));
        assert_eq!(read("5000:80").expect("fine"), (5000, 80));
        assert_eq!(read(":80").expect("fine"), (0, 80));
        assert_eq!(read("1:http").expect("fine"), (1, 8080));
        assert_eq!(read("http").expect("fine"), (8080, 8080));
        assert!(read("x").is_err() && read("70000:80").is_err());
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [
            {"name": "a", "port": 80, "targetPort": "http"}, {"name": "b", "port": 81}]}});
        let read = |word| pair(word, &pod, Some(&service)).map(|pair| (pair.local, pair.remote));
        assert_eq!(read("80").expect("fine"), (80, 8080));
        assert_eq!(read("9:b").expect("fine"), (9, 81));
        assert!(read("82").is_err());
    }
}

//! Makes probes: one task for each probe of each running container, on the period that its spec asks for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Event;
use crate::pod::probe::{ProbeAnswer, ProbeKind};
use crate::runtime::Runtime;

/// The longest part of an answer's body that is read, upstream's limit.
const BODY_LIMIT: usize = 10 << 10;

/// What is probed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The pod's UID.
    pub uid: String,
    /// The container's id in the runtime.
    pub container_id: String,
    /// The container's spec, for named ports.
    pub container: Container,
    /// The pod's address.
    pub address: IpAddr,
    /// When the container started; the initial delay counts from here.
    pub started_at: Timestamp,
}

/// Probes until cancelled, telling the event loop each answer.
pub fn spawn(
    runtime: Runtime,
    subject: Subject,
    kind: ProbeKind,
    probe: Probe,
    sender: mpsc::Sender<Event>,
    cancelled: CancellationToken,
) {
    tokio::spawn(async move {
        let work = async {
            let seconds = |value: Option<i32>, default: i32| {
                Duration::from_secs(u64::try_from(value.unwrap_or(default).max(0)).unwrap_or(0))
            };
            let period = seconds(probe.period_seconds.filter(|it| *it > 0), 10);
            let timeout = seconds(probe.timeout_seconds.filter(|it| *it > 0), 1);
            let age = Timestamp::now().duration_since(subject.started_at);
            let delay = seconds(probe.initial_delay_seconds, 0);
            let age = Duration::try_from(age).unwrap_or_default();
            tokio::time::sleep(delay.saturating_sub(age)).await;
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let answer = answer(&runtime, &subject, &probe, timeout).await;
                let event = Event::ProbeResult {
                    uid: subject.uid.clone(),
                    container_id: subject.container_id.clone(),
                    kind,
                    answer,
                };
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = work => {}
        }
    });
}

async fn answer(runtime: &Runtime, subject: &Subject, probe: &Probe, timeout: Duration) -> ProbeAnswer {
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match runtime.exec_sync(&subject.container_id, &command, timeout).await {
            Ok((0, _)) => ProbeAnswer::Success,
            Ok((_, output)) => ProbeAnswer::Failure(String::from_utf8_lossy(&output).into_owned()),
            Err(error) if error.to_string().contains("timeout") || error.to_string().contains("deadline") => {
                ProbeAnswer::Failure(format!(
                    "command timed out: {} timed out after {}s",
                    command.join(" "),
                    timeout.as_secs()
                ))
            }
            Err(error) => ProbeAnswer::Unknown(error.to_string()),
        };
    }
    let made = async {
        if let Some(http) = &probe.http_get {
            http_get(subject, http).await
        } else if let Some(tcp) = &probe.tcp_socket {
            let address = tcp_address(subject, tcp.host.as_deref(), &tcp.port)?;
            TcpStream::connect(address).await.map(|_| ()).map_err(|error| format!("dial tcp {address}: {error}"))
        } else {
            Err("the probe names no action that this kubelet knows; use exec, httpGet or tcpSocket".into())
        }
    };
    match tokio::time::timeout(timeout, made).await {
        Ok(Ok(())) => ProbeAnswer::Success,
        Ok(Err(message)) => ProbeAnswer::Failure(message),
        Err(_) => {
            ProbeAnswer::Failure("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into())
        }
    }
}

fn port(subject: &Subject, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => subject
            .container
            .ports
            .iter()
            .flatten()
            .find(|it| it.name.as_deref() == Some(name))
            .map(|it| it.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|it| u16::try_from(it).ok())
        .filter(|it| *it > 0)
        .ok_or_else(|| format!("the container has no port {port:?}"))
}

fn tcp_address(subject: &Subject, host: Option<&str>, wanted: &IntOrString) -> Result<SocketAddr, String> {
    let port = port(subject, wanted)?;
    let address = match host.filter(|host| !host.is_empty()) {
        Some(host) => host.parse().map_err(|_| format!("host {host} is not an IP address"))?,
        None => subject.address,
    };
    Ok(SocketAddr::new(address, port))
}

/// One GET over HTTP/1.1; codes from 200 to 399 are success. TLS certificates are not verified, as upstream.
async fn http_get(subject: &Subject, http: &HTTPGetAction) -> Result<(), String> {
    use http_body_util::BodyExt as _;
    let address = tcp_address(subject, http.host.as_deref(), &http.port)?;
    let https = http.scheme.as_deref() == Some("HTTPS");
    let path = http.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("{}://{address}{path}", if https { "https" } else { "http" });
    let fail = |error: &dyn std::fmt::Display| format!("Get \"{url}\": {error}");
    let mut request = hyper::Request::get(&path);
    let mut has_host = false;
    for header in http.http_headers.iter().flatten() {
        has_host |= header.name.eq_ignore_ascii_case("host");
        request = request.header(&header.name, &header.value);
    }
    if !has_host {
        request = request.header("Host", address.to_string());
    }
    let request = request
        .header("User-Agent", concat!("kube-probe/", env!("CARGO_PKG_VERSION")))
        .header("Accept", "*/*")
        .header("Connection", "close")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .map_err(|error| fail(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| fail(&format!("dial tcp {address}: {error}")))?;
    let io: Box<dyn Duplex> = if https {
        Box::new(super::insecure::connect(stream, address.ip()).await.map_err(|error| fail(&error))?)
    } else {
        Box::new(stream)
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(io)).await.map_err(|error| fail(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| fail(&error))?;
        let code = response.status();
        let body = http_body_util::Limited::new(response.into_body(), BODY_LIMIT).collect().await;
        if code.is_success() || code.is_redirection() {
            return Ok(());
        }
        drop(body);
        Err(format!("HTTP probe failed with statuscode: {}", code.as_u16()))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        ended = &mut connection => match ended {
            // The answer may be complete although the connection ended first.
            Ok(()) => exchange.await,
            Err(error) => Err(fail(&error)),
        },
    }
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Duplex for T {}

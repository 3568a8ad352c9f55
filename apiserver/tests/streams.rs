//! Streams of pods as WebSocket clients see them, with a kubelet of a few lines behind a real API server.

#[allow(dead_code, reason = "each test uses a part")]
mod support;

use std::pin::Pin;

use futures::{SinkExt as _, Stream, StreamExt as _};
use http::Method;
use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::exec_response::Output;
use reeve_proto::v1::streams_server::{Streams, StreamsServer};
use reeve_proto::v1::{self, port_forward_request};
use serde_json::{Value, json};
use support::TestServer;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

const JSON: &str = "application/json";

/// Says what it was asked, sends input back in capitals, and ends with the code that the command is.
struct Kubelet;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Streams for Kubelet {
    type LogsStream = Answers<v1::LogsResponse>;
    type ExecStream = Answers<v1::ExecResponse>;
    type AttachStream = Answers<v1::ExecResponse>;
    type PortForwardStream = Answers<v1::PortForwardResponse>;

    async fn logs(&self, _: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let pieces = ["first\n", "second\n"].map(|data| Ok(v1::LogsResponse { data: data.into() }));
        Ok(Response::new(Box::pin(futures::stream::iter(pieces))))
    }

    async fn exec(&self, request: Request<Streaming<v1::ExecRequest>>) -> Result<Response<Self::ExecStream>, Status> {
        let mut input = request.into_inner();
        let Some(Input::Start(start)) = input.message().await?.and_then(|first| first.input) else {
            return Err(Status::invalid_argument("no start"));
        };
        let Ok(code) = start.command[0].parse() else { return Err(Status::internal("no such command")) };
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let say = async |output| sender.send(Ok(v1::ExecResponse { output: Some(output) })).await.is_ok();
            say(Output::Stdout(format!("{} {:?} tty={}", start.container, start.command, start.tty).into())).await;
            say(Output::Stderr("a note".into())).await;
            while start.stdin
                && let Ok(Some(request)) = input.message().await
            {
                match request.input {
                    Some(Input::Stdin(data)) => say(Output::Stdout(data.to_ascii_uppercase().into())).await,
                    Some(Input::Resize(size)) => {
                        say(Output::Stdout(format!("{}x{}", size.width, size.height).into())).await
                    }
                    _ => break,
                };
            }
            say(Output::ExitCode(code)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn attach(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        drop(request);
        let output = Some(Output::Stdout("attached".into()));
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(v1::ExecResponse { output })]))))
    }

    async fn port_forward(
        &self,
        request: Request<Streaming<v1::PortForwardRequest>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        let mut input = request.into_inner();
        let Some(port_forward_request::Input::Start(start)) = input.message().await?.and_then(|it| it.input) else {
            return Err(Status::invalid_argument("no start"));
        };
        if start.port != 80 {
            return Err(Status::unavailable("connection refused"));
        }
        let answers = input.map(|request| match request?.input {
            Some(port_forward_request::Input::Data(data)) => {
                Ok(v1::PortForwardResponse { data: data.to_ascii_uppercase().into() })
            }
            _ => Err(Status::invalid_argument("no data")),
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A server, a kubelet, and the pod `web` on it.
async fn cluster() -> TestServer {
    let server = TestServer::start().await;
    let read = |name: &str| std::fs::read(server.file(name)).unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.crt"), read("server.key")))
        .client_ca_root(Certificate::from_pem(read("ca.crt")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let kubelet = Server::builder().tls_config(tls).unwrap().add_service(StreamsServer::new(Kubelet));
    tokio::spawn(kubelet.serve_with_incoming(TcpListenerStream::new(listener)));
    let node = json!({"metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let pod = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n1",
                     "containers": [{"name": "one", "image": "i:1"}]}});
    for (path, object) in [("/api/v1/nodes", node), ("/api/v1/namespaces/default/pods", pod)] {
        let answer = server.rest(Method::POST, path, Some((JSON, object))).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    server
}

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

async fn open(server: &TestServer, user: &str, path: &str, protocol: &str) -> Result<Socket, Box<Error>> {
    let mut request = format!("wss://localhost{path}").into_client_request()?;
    if !protocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    let connection = server.connect(user).await.expect("a connection");
    Ok(tokio_tungstenite::client_async(request, connection).await?.0)
}

async fn pod(server: &TestServer, path: &str, protocol: &str) -> Socket {
    let path = format!("/api/v1/namespaces/default/pods/web/{path}");
    open(server, "admin", &path, protocol).await.expect("an upgrade")
}

/// The next message that is not empty, as its channel and text; `None` at the end.
async fn next(socket: &mut Socket) -> Option<(u8, String)> {
    loop {
        match socket.next().await?.expect("a message") {
            Message::Binary(data) if data.len() > 1 => {
                return Some((data[0], String::from_utf8_lossy(&data[1..]).into_owned()));
            }
            Message::Binary(_) => {}
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.expect("a code").code), 1000);
                return None;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn message(channel: u8, data: &[u8]) -> Message {
    Message::binary([&[channel], data].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_channels_and_its_end() {
    let server = cluster().await;
    let mut socket =
        pod(&server, "exec?command=3&command=x&stdin=true&stdout=true&stderr=true", "v5.channel.k8s.io").await;
    assert_eq!(next(&mut socket).await, Some((1, r#"one ["3", "x"] tty=false"#.to_owned())));
    assert_eq!(next(&mut socket).await, Some((2, "a note".to_owned())));
    socket.send(message(0, b"hello")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some((1, "HELLO".to_owned())));
    socket.send(message(4, br#"{"Width":80,"Height":24}"#)).await.unwrap();
    assert_eq!(next(&mut socket).await, Some((1, "80x24".to_owned())));
    socket.send(Message::binary(vec![255, 0])).await.unwrap();
    let (channel, status) = next(&mut socket).await.expect("a status");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(channel, 3);
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    assert_eq!(next(&mut socket).await, None);

    let mut socket = pod(&server, "exec?command=0&stdout=true", "v4.channel.k8s.io").await;
    let mut last = None;
    while let Some(message) = next(&mut socket).await {
        last = Some(message);
    }
    assert_eq!(last, Some((3, r#"{"metadata":{},"status":"Success"}"#.to_owned())));

    let mut socket = pod(&server, "exec?command=nothing&stdout=true", "v4.channel.k8s.io").await;
    let (_, status) = next(&mut socket).await.expect("a status");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["message"], &status["code"]), (&json!("no such command"), &json!(500)));

    let mut socket = pod(&server, "attach?stdout=true", "v5.channel.k8s.io").await;
    assert_eq!(next(&mut socket).await, Some((1, "attached".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_refused_before_the_upgrade() {
    let server = cluster().await;
    let base = "/api/v1/namespaces/default/pods/web";
    for (user, path, protocol, code) in [
        ("admin", format!("{base}/exec?stdout=true"), "v5.channel.k8s.io", 400),
        ("admin", format!("{base}/exec?command=0"), "v5.channel.k8s.io", 400),
        ("admin", format!("{base}/exec?command=0&stdout=true&container=two"), "v5.channel.k8s.io", 400),
        ("admin", format!("{base}x/exec?command=0&stdout=true"), "v5.channel.k8s.io", 404),
        ("admin", format!("{base}/exec?command=0&stdout=true"), "v9.channel.k8s.io", 403),
        ("admin", format!("{base}/portforward"), "v4.channel.k8s.io", 400),
        ("somebody", format!("{base}/exec?command=0&stdout=true"), "v5.channel.k8s.io", 403),
    ] {
        match open(&server, user, &path, protocol).await.map_err(|error| *error) {
            Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), code, "{user} {path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    let plain = server.rest(Method::POST, &format!("{base}/exec?command=0&stdout=true"), None).await;
    assert_eq!((plain.status, plain.json()["message"].as_str()), (400, Some("Upgrade request required")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_pairs_of_channels() {
    let server = cluster().await;
    let mut socket = pod(&server, "portforward?ports=80,81", "v4.channel.k8s.io").await;
    let mut begun = Vec::new();
    for _ in 0..4 {
        let Some(Ok(Message::Binary(data))) = socket.next().await else { panic!("no begin") };
        begun.push((data[0], u16::from_le_bytes([data[1], data[2]])));
    }
    assert_eq!(begun, [(0, 80), (1, 80), (2, 81), (3, 81)]);
    let (channel, text) = next(&mut socket).await.expect("a failure");
    assert_eq!((channel, text.as_str()), (3, "error forwarding port 81 to pod web, uid : connection refused"));
    socket.send(message(0, b"get")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some((0, "GET".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_one_text_message_an_event() {
    let server = cluster().await;
    let mut socket =
        open(&server, "admin", "/api/v1/namespaces/default/pods?watch=true", "").await.expect("an upgrade");
    let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no event") };
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("web")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_in_pieces_of_the_clients_form() {
    let server = cluster().await;
    for (protocol, first) in [("binary.k8s.io", "first\n"), ("base64.binary.k8s.io", "Zmlyc3QK")] {
        let mut socket = pod(&server, "log", protocol).await;
        let mut said = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(data) => said.push(String::from_utf8(data.to_vec()).unwrap()),
                Message::Text(text) => said.push(text.to_string()),
                _ => {}
            }
        }
        // Upstream's servers begin with an empty message too, which its clients leave out.
        said.retain(|piece| !piece.is_empty());
        assert_eq!((said[0].as_str(), said.len()), (first, 2), "{protocol}: {said:?}");
    }
    let refused = open(&server, "admin", "/api/v1/namespaces/default/pods/web/log", "v4.channel.k8s.io").await;
    assert!(refused.expect_err("refused").to_string().contains("403"));
    let plain = server.rest(Method::GET, "/api/v1/namespaces/default/pods/web/log", None).await;
    assert_eq!((plain.status, plain.body.as_str()), (200, "first\nsecond\n"));
}

//! The streams of pods against a real containerd: terminals and their sizes, attaching, forwarded ports; and two
//! containers of one pod that work together.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::exec_response::Output;
use reeve_proto::v1::port_forward_request::Input as ForwardInput;
use reeve_proto::v1::{ExecRequest, ExecResponse, ExecStart, PortForwardRequest, PortForwardStart, TerminalSize};
use serde_json::json;
use support::node::{Network, Node, in_time, unavailable, until};
use support::pods::{condition, container, exec, gone, pod, ready, text};
use tokio::sync::mpsc;
use tonic::Streaming;

/// A session's input, and what has come of it so far.
struct Session {
    input: mpsc::Sender<ExecRequest>,
    answers: Streaming<ExecResponse>,
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Session {
    async fn begin(node: &Node, start: ExecStart, attach: bool) -> Self {
        let (input, requests) = mpsc::channel(8);
        let start = ExecStart { namespace: "default".into(), stdin: true, stdout: true, ..start };
        input.send(ExecRequest { input: Some(Input::Start(start)) }).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut streams = node.streams().await;
        let answers = if attach { streams.attach(requests).await } else { streams.exec(requests).await };
        let answers = answers.unwrap().into_inner();
        Self { input, answers, stdout: String::new(), stderr: String::new(), code: None }
    }

    async fn send(&self, input: Input) {
        self.input.send(ExecRequest { input: Some(input) }).await.unwrap();
    }

    async fn resize(&self, width: u32, height: u32) {
        self.send(Input::Resize(TerminalSize { width, height })).await;
    }

    /// Takes the next answer in; false at the end.
    async fn next(&mut self) -> bool {
        let next = tokio::time::timeout(std::time::Duration::from_secs(60), self.answers.message());
        let Some(answer) = next.await.expect("no answer").unwrap() else { return false };
        match answer.output {
            Some(Output::Stdout(data)) => self.stdout.push_str(&String::from_utf8_lossy(&data)),
            Some(Output::Stderr(data)) => self.stderr.push_str(&String::from_utf8_lossy(&data)),
            Some(Output::ExitCode(code)) => self.code = Some(code),
            None => {}
        }
        true
    }

    async fn until_stdout(&mut self, wanted: &str) {
        while !self.stdout.contains(wanted) {
            assert!(self.next().await, "ended without {wanted:?}: {:?}", self.stdout);
        }
    }

    async fn end(&mut self) {
        while self.next().await {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_have_one_stream_and_the_size_that_their_user_says() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut shown = container("shown", &["/bin/stty", "size", "--follow"]);
    shown["stdin"] = json!(true);
    shown["tty"] = json!(true);
    node.api.put("pods", pod("tty", json!({"containers": [shown]})));
    ready(&node, "tty").await;

    // A further process.
    let command = ["/bin/sh", "-c", "echo on a terminal"].map(str::to_owned).to_vec();
    let start = ExecStart { pod: "tty".into(), command, tty: true, ..Default::default() };
    let mut session = Session::begin(&node, start, false).await;
    session.end().await;
    assert_eq!((session.stdout.as_str(), session.stderr.as_str(), session.code), ("on a terminal\r\n", "", Some(0)));
    let command = ["/bin/stty", "size", "--follow"].map(str::to_owned).to_vec();
    let start = ExecStart { pod: "tty".into(), command, tty: true, ..Default::default() };
    let mut session = Session::begin(&node, start, false).await;
    session.resize(100, 30).await;
    session.until_stdout("30 100\r\n").await;
    session.resize(120, 40).await;
    session.until_stdout("40 120\r\n").await;
    // The terminal's own interrupt ends the process.
    session.send(Input::Stdin("\u{3}".into())).await;
    session.end().await;
    assert!(session.code.is_some());

    // The first process.
    let start = ExecStart { pod: "tty".into(), tty: true, ..Default::default() };
    let mut session = Session::begin(&node, start, true).await;
    session.resize(90, 20).await;
    session.until_stdout("20 90\r\n").await;
    drop(session);
    let object = ready(&node, "tty").await;
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));
    let start = ExecStart { pod: "tty".into(), tty: true, ..Default::default() };
    let mut session = Session::begin(&node, start, true).await;
    session.send(Input::Stdin("\u{3}".into())).await;
    session.end().await;
    until("the first process was interrupted", async || {
        let object = node.api.get("pods", "default", "tty")?;
        (object.pointer("/status/containerStatuses/0/restartCount")? == &json!(1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attaching_joins_the_first_process_and_its_input_can_end() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut cat = container("cat", &["/bin/cat"]);
    cat["stdin"] = json!(true);
    cat["stdinOnce"] = json!(true);
    node.api.put("pods", pod("cat", json!({"containers": [cat], "restartPolicy": "Never"})));
    ready(&node, "cat").await;
    let start = ExecStart { pod: "cat".into(), stderr: true, ..Default::default() };
    let mut session = Session::begin(&node, start, true).await;
    session.send(Input::Stdin("typed\n".into())).await;
    session.until_stdout("typed\n").await;
    session.send(Input::Stdin("and more\n".into())).await;
    session.send(Input::StdinClosed(true)).await;
    session.end().await;
    assert_eq!((session.stdout.as_str(), session.stderr.as_str()), ("typed\nand more\n", ""));
    until("the pod has ended", async || {
        node.api.get("pods", "default", "cat").filter(|it| text(it, "/status/phase") == "Succeeded")
    })
    .await;
    // Nobody attaches to what has ended.
    let start = ExecStart { namespace: "default".into(), pod: "cat".into(), stdout: true, ..Default::default() };
    let requests = tokio_stream::once(ExecRequest { input: Some(Input::Start(start)) });
    let refused = node.streams().await.attach(requests).await.unwrap_err();
    assert_eq!(refused.message(), "container not found (\"cat\")");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_pod_share_loopback_and_volume() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::with(Network::Bridge).await;
    node.start_kubelet();
    let shared = json!([{"name": "shared", "mountPath": "/shared"}]);
    let mut web = container("web", &["/bin/demo", "serve", "--port", "8080"]);
    web["volumeMounts"] = shared.clone();
    let ask = "/bin/demo get http://127.0.0.1:8080/healthz --retry 30 > /shared/answer; sleep infinity";
    let mut client = container("client", &["/bin/sh", "-c", ask]);
    client["volumeMounts"] = shared;
    let spec = json!({
        "hostNetwork": false, "containers": [web, client], "volumes": [{"name": "shared", "emptyDir": {}}],
    });
    node.api.put("pods", pod("pair", spec));
    let object = ready(&node, "pair").await;
    assert!(text(&object, "/status/podIP").starts_with("10.88.0."), "{object}");
    let read = async |container: &str| {
        let command = ["/bin/cat", "/shared/answer"].map(str::to_owned).to_vec();
        let start =
            ExecStart { pod: "pair".into(), container: container.into(), command, stderr: true, ..Default::default() };
        let mut session = Session::begin(&node, start, false).await;
        session.end().await;
        session.stdout
    };
    // What the client heard over the loopback lies in the volume, and the server sees it there.
    let answer =
        until("the client wrote an answer", async || Some(read("web").await).filter(|it| !it.is_empty())).await;
    assert_eq!(answer.trim(), "ok");
    assert_eq!(read("client").await, answer);
    node.api.delete_gracefully("pair", 1);
    gone(&node, "pair").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_ports_and_readiness() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut web = container("web", &["/bin/demo", "serve", "--port", &port.to_string()]);
    web["readinessProbe"] =
        json!({"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 1, "failureThreshold": 1});
    web["resources"] = json!({"limits": {"memory": "64Mi", "cpu": "500m"}});
    node.api.put("pods", pod("web", json!({"containers": [web]})));
    let object = ready(&node, "web").await;
    assert_eq!(text(&object, "/status/qosClass"), "Guaranteed");

    // A forwarded port.
    let start =
        PortForwardStart { namespace: "default".into(), pod: "web".into(), port: port.into(), ..Default::default() };
    let ask = "GET /healthz HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    let requests = vec![
        PortForwardRequest { input: Some(ForwardInput::Start(start)) },
        PortForwardRequest { input: Some(ForwardInput::Data(ask.into())) },
    ];
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
    let mut answers = node.streams().await.port_forward(requests).await.unwrap().into_inner();
    let mut reply = String::new();
    while let Some(answer) = in_time("the forwarded answer goes on or ends", answers.message()).await.unwrap() {
        reply.push_str(&String::from_utf8_lossy(&answer.data));
    }
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");

    // The node connects to nothing but its pods, and this one has the node's own address.
    let own = text(&object, "/status/podIP").to_owned();
    for address in ["127.0.0.1", &*own] {
        let start = PortForwardStart { port: port.into(), address: address.to_owned(), ..Default::default() };
        let start = tokio_stream::once(PortForwardRequest { input: Some(ForwardInput::Start(start)) });
        let refused = node.streams().await.port_forward(start).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{address}: {refused}");
    }

    // A failing readiness probe takes the pod out without a restart.
    assert_eq!(
        exec(&node, "web", &["/bin/demo", "get", &format!("http://127.0.0.1:{port}/ready/off")], None).await.2,
        0
    );
    let object = until("the pod is not ready", async || {
        node.api.get("pods", "default", "web").filter(|pod| condition(pod, "Ready") == "False")
    })
    .await;
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));
    assert_eq!(text(&object, "/status/phase"), "Running");

    // Its end leaves no cgroup behind.
    node.api.delete_gracefully("web", 5);
    gone(&node, "web").await;
    assert_eq!(node.cgroups(), Vec::<String>::new());
}

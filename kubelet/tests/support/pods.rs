//! Pods as tests write them, and what tests ask of them.

use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::exec_response::Output;
use reeve_proto::v1::{ExecRequest, ExecStart, LogsRequest};
use serde_json::{Value, json};

use super::node::{Node, in_time, until};

pub fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uuid::Uuid::new_v4().to_string()},
        "spec": {"nodeName": "test", "hostNetwork": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 5},
        "status": {"phase": "Pending"},
    });
    json_patch::merge(&mut pod["spec"], &spec);
    pod
}

pub fn container(name: &str, command: &[&str]) -> Value {
    json!({"name": name, "image": xtask::images::DEMO_1, "imagePullPolicy": "IfNotPresent", "command": command})
}

pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|it| it["type"] == kind).map_or("", |it| text(it, "/status"))
}

pub async fn ready(node: &Node, name: &str) -> Value {
    until(&format!("{name} is ready"), async || {
        node.api.get("pods", "default", name).filter(|pod| condition(pod, "Ready") == "True")
    })
    .await
}

pub async fn gone(node: &Node, name: &str) {
    until(&format!("{name} is gone"), async || node.api.get("pods", "default", name).is_none().then_some(())).await;
}

pub async fn exec(node: &Node, pod: &str, command: &[&str], input: Option<&str>) -> (String, String, i32) {
    exec_in(node, pod, "", command, input).await
}

/// Runs a command in one of a pod's containers; returns what it wrote to both streams, and its code.
pub async fn exec_in(
    node: &Node,
    pod: &str,
    container: &str,
    command: &[&str],
    input: Option<&str>,
) -> (String, String, i32) {
    let start = ExecStart {
        namespace: "default".into(),
        pod: pod.into(),
        container: container.into(),
        command: command.iter().map(|it| (*it).to_owned()).collect(),
        stdin: input.is_some(),
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let mut requests = vec![ExecRequest { input: Some(Input::Start(start)) }];
    if let Some(input) = input {
        requests.push(ExecRequest { input: Some(Input::Stdin(input.to_owned().into())) });
        requests.push(ExecRequest { input: Some(Input::StdinClosed(true)) });
    }
    // A user's stream stays open while the command runs.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
    let mut answers = node.streams().await.exec(requests).await.unwrap().into_inner();
    let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), -1);
    while let Some(answer) = in_time("a command goes on or ends", answers.message()).await.unwrap() {
        match answer.output {
            Some(Output::Stdout(data)) => out.extend_from_slice(&data),
            Some(Output::Stderr(data)) => err.extend_from_slice(&data),
            Some(Output::ExitCode(exit)) => code = exit,
            None => {}
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

pub async fn logs(node: &Node, pod: &str, previous: bool) -> String {
    let request = LogsRequest { namespace: "default".into(), pod: pod.into(), previous, ..Default::default() };
    let mut answers = node.streams().await.logs(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(answer) = in_time("the log goes on or ends", answers.message()).await.unwrap() {
        all.extend_from_slice(&answer.data);
    }
    String::from_utf8(all).unwrap()
}

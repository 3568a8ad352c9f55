//! `rctl port-forward` as a process: a local port that leads to the pod's until the pod is gone.

mod fake;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n\
                   spec: {containers: [{name: one, ports: [{name: http, containerPort: 8080}]}]}\n\
                   status: {phase: Running}\n";

#[test]
fn bytes_go_both_ways_until_the_pod_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = fake::start(folder.path());
    let rctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rctl"));
        command.args(args).env("KUBECONFIG", folder.path().join("kubeconfig"));
        command.args(["--server", &format!("https://{}", server.address)]);
        command
    };
    let file = folder.path().join("pod.yaml");
    std::fs::write(&file, POD).expect("written");
    let created = rctl(&["create", "-f", &file.display().to_string()]).output().expect("rctl runs");
    assert!(created.status.success(), "{created:?}");
    let mut forward = rctl(&["port-forward", "pod/web", ":http", "--address", "127.0.0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rctl runs");
    let mut lines = BufReader::new(forward.stdout.take().expect("its output")).lines();
    let first = lines.next().expect("a line").expect("text");
    let address = first.strip_prefix("Forwarding from ").and_then(|rest| rest.strip_suffix(" -> 8080"));
    for text in ["one", "two"] {
        let mut connection = TcpStream::connect(address.expect(&first)).expect("connected");
        connection.write_all(text.as_bytes()).expect("sent");
        connection.shutdown(Shutdown::Write).expect("ended");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("answered");
        assert_eq!(answer, text.to_uppercase());
        assert!(lines.next().expect("a line").expect("text").starts_with("Handling connection for "));
    }
    let deleted = rctl(&["delete", "pod", "web"]).output().expect("rctl runs");
    assert!(deleted.status.success(), "{deleted:?}");
    let ended = forward.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "error: lost connection to pod\n");
}

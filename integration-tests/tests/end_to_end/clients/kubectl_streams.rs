//! `kubectl` on streams: logs, exec, attach, copies, forwarded ports.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{PATIENCE, bed},
    follow::Follow,
    kubectl::{Kubectl, TIMEOUT, contains},
    terminal::Terminal,
};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: streams, labels: {app: streams}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: files, emptyDir: {}}]
  containers:
  - {name: main, image: 'reeve.local/demo:1', volumeMounts: [{name: files, mountPath: /files}]}
  - {name: reader, image: 'reeve.local/demo:1', command: [cat], stdin: true}
";

#[test]
fn clients_kubectl_reads_logs() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-logs")?;
    kubectl.feed(
        &["apply", "-f", "-"],
        "
apiVersion: v1
kind: Pod
metadata: {name: logged, labels: {app: logged}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: 'reeve.local/demo:1', command: [sh, -c, 'echo one && echo two && echo three && sleep infinity']}
  - {name: crasher, image: 'reeve.local/demo:1', command: [sh, -c, 'echo before the crash && crash 3']}
",
    )?;
    // Restarted once: then there is an instance before.
    let restarted = "--for=jsonpath={.status.containerStatuses[?(@.name==\"crasher\")].restartCount}=1";
    kubectl.run(&["wait", restarted, "pod/logged", TIMEOUT])?;
    assert_eq!(kubectl.run(&["logs", "logged", "-c", "main"])?, "one\ntwo\nthree\n");
    assert_eq!(kubectl.run(&["logs", "logged", "-c", "main", "--tail=1"])?, "three\n");
    assert_eq!(kubectl.run(&["logs", "logged", "-c", "main", "--limit-bytes=5"])?, "one\nt");
    let stamped = kubectl.run(&["logs", "logged", "-c", "main", "--timestamps", "--tail=1"])?;
    contains(&stamped, &["Z three\n"])?;
    let previous = kubectl.run(&["logs", "logged", "-c", "crasher", "--previous"])?;
    contains(&previous, &["before the crash\n"])?;
    let prefixed = kubectl.run(&["logs", "-l", "app=logged", "-c", "main", "--prefix", "--tail=-1"])?;
    contains(&prefixed, &["[pod/logged/main] two\n"])?;
    contains(
        &kubectl.ends_with(1, &["logs", "logged", "-c", "none"])?,
        &["container none is not valid for pod logged"],
    )?;
    // A reader that follows sees the end.
    let mut followed = Follow::start(kubectl.command(&["logs", "-f", "logged", "-c", "main"]))?;
    followed.wait_for("what was written before", |line| line == "three")?;
    kubectl.run(&["delete", "pod", "logged", "--wait=false"])?;
    let (status, _lines) = followed.ended()?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn clients_kubectl_execs_attaches_and_copies() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-streams")?;
    kubectl.feed(&["apply", "-f", "-"], POD)?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/streams", TIMEOUT])?;
    let exec = ["exec", "streams", "-c", "main", "--"];
    assert_eq!(kubectl.run(&[&exec[..], &["sh", "-c", "echo a && echo b"]].concat())?, "a\nb\n");
    contains(&kubectl.ends_with(7, &[&exec[..], &["sh", "-c", "exit 7"]].concat())?, &["exit code 7"])?;
    let missing = kubectl.ends_with(1, &[&exec[..], &["no-such-program"]].concat())?;
    contains(&missing, &["\"no-such-program\": executable file not found in $PATH"])?;
    let long = "0123456789abcdef\n".repeat(16 * 1024);
    let echoed = kubectl.feed(&["exec", "-i", "streams", "-c", "main", "--", "cat"], &long)?;
    assert!(echoed == long, "256 KiB go in and come out: {} of {} bytes", echoed.len(), long.len());
    let kubeconfig = kubectl.kubeconfig().display().to_string();
    let on_terminal =
        kubectl.command(&["--kubeconfig", &kubeconfig, "exec", "-it", "streams", "-c", "main", "--", "sh"]);
    let mut terminal = Terminal::start(&on_terminal, 24, 80)?;
    terminal.wait_for("streams # ")?;
    terminal.type_in("stty size\r")?;
    terminal.wait_for("24 80")?;
    terminal.type_in("exit 5\r")?;
    assert_eq!(terminal.ended()?.code(), Some(5));
    // What is typed at a container that reads comes back: once from the terminal, once from the container.
    let attached = ["--kubeconfig", &kubeconfig, "attach", "-i", "streams", "-c", "reader", "--quiet"];
    let mut terminal = Terminal::start(&kubectl.command(&attached), 24, 80)?;
    terminal.type_in("typed at it\r")?;
    terminal.wait_for("typed at it")?;
    terminal.wait_for("typed at it")?;
    drop(terminal);
    // Files and folders, both ways.
    kubectl.file("up.txt", "sent up\n")?;
    std::fs::create_dir_all(kubectl.folder.path().join("tree/below"))?;
    std::fs::write(kubectl.folder.path().join("tree/below/leaf.bin"), [0u8, 159, 146, 150].repeat(50_000))?;
    kubectl.run(&["cp", "up.txt", "streams:/files/up.txt", "-c", "main"])?;
    kubectl.run(&["cp", "tree", "streams:/files/tree", "-c", "main"])?;
    assert_eq!(kubectl.run(&[&exec[..], &["cat", "/files/up.txt"]].concat())?, "sent up\n");
    kubectl.run(&["cp", "streams:/files/tree", "down", "-c", "main"])?;
    let leaf = std::fs::read(kubectl.folder.path().join("down/below/leaf.bin"))?;
    assert!(leaf == [0u8, 159, 146, 150].repeat(50_000), "the bytes come back: {} of 200000", leaf.len());
    Ok(())
}

#[test]
fn clients_kubectl_forwards_ports() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-forwards")?;
    kubectl.run(&["run", "server", "--image=reeve.local/demo:1", "--port=8080", "--expose"])?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/server", TIMEOUT])?;
    for target in ["pod/server", "service/server"] {
        let mut forward = Follow::start(kubectl.command(&["port-forward", target, ":8080"]))?;
        let line = forward.wait_for("the local port", |line| line.contains("127.0.0.1:"))?;
        let port = line.split(['>', ' ', '-']).find_map(|word| word.strip_prefix("127.0.0.1:"));
        let address = format!("127.0.0.1:{}", port.context("no port in the line")?);
        // Several connections, at once and after each other.
        let answers = (0..4).map(|_| TcpStream::connect(&address)).collect::<Result<Vec<_>, _>>()?;
        for mut stream in answers {
            stream.set_read_timeout(Some(Duration::from_secs(PATIENCE.as_secs())))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            contains(&answer, &["HTTP/1.1 200", "server version=1 path=/"])?;
        }
    }
    Ok(())
}

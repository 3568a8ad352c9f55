//! `rctl` as people use it: on a terminal, following what happens, looking at things, switching
//! between clusters.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{Applied, Bed, bed},
    follow::Follow,
    terminal::Terminal,
};

fn pod<'a>(bed: &'a Bed, name: &str) -> Result<Applied<'a>> {
    let applied = bed.keep_applied(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: 'reeve.local/demo:1'}}]
"
    ))?;
    bed.rctl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"])?;
    Ok(applied)
}

#[test]
fn command_line_exec_on_a_terminal() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _pod = pod(&bed, "typed-at")?;
    let exec = |arguments: &[&str]| {
        let mut all = vec!["exec", "-it", "typed-at", "--"];
        all.extend(arguments);
        Terminal::start(&bed.testbed.rctl.command(&all), 24, 80)
    };
    // The size, its change, and the interrupt key reach the container's terminal.
    let mut terminal = exec(&["stty", "size", "--follow"])?;
    terminal.wait_for("24 80")?;
    terminal.resize(50, 132)?;
    terminal.wait_for("50 132")?;
    terminal.type_in("\u{3}")?;
    assert_eq!(terminal.ended()?.code(), Some(130), "ended by the interrupt key");
    // A shell: echo, a line, and the exit code.
    let mut terminal = exec(&["sh"])?;
    terminal.wait_for("typed-at # ")?;
    terminal.type_in("echo seen $TERM\r")?;
    terminal.wait_for("echo seen $TERM")?;
    terminal.wait_for("seen xterm")?;
    terminal.wait_for("typed-at # ")?;
    terminal.type_in("exit 7\r")?;
    assert_eq!(terminal.ended()?.code(), Some(7));
    // The end of input ends a program that reads.
    let mut terminal = exec(&["cat"])?;
    terminal.type_in("over and\r")?;
    terminal.wait_for("over and")?;
    terminal.wait_for("over and")?;
    terminal.type_in("\u{4}")?;
    assert_eq!(terminal.ended()?.code(), Some(0));
    Ok(())
}

#[test]
fn command_line_watch_and_logs_follow_to_the_end() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let mut watch = Follow::start(bed.testbed.rctl.command(&["get", "pods", "-l", "app=followed", "--watch"]))?;
    let pod = pod(&bed, "followed")?;
    watch.wait_for("its columns", |line| line.starts_with("NAME ") && line.contains("STATUS"))?;
    watch.wait_for("the pod runs", |line| line.starts_with("followed ") && line.contains("Running"))?;
    let mut logs = Follow::start(bed.testbed.rctl.command(&["logs", "-f", "followed"]))?;
    logs.wait_for("what was written before", |line| line.contains("listens on port 8080"))?;
    drop(pod);
    let (status, _) = logs.ended()?;
    assert!(status.success(), "logs -f ends with the container: {status}");
    // The pod's last state, or that it is gone: either way it is told.
    watch.wait_for("the pod ends", |line| line.starts_with("followed ") && !line.contains("1/1")).map(drop)
}

#[test]
fn command_line_describes_every_kind() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    bed.rctl(&["create", "secret", "generic", "described", "--from-literal=word=mellon"])?;
    let described = |arguments: &[&str]| {
        let mut all = vec!["describe"];
        all.extend(arguments);
        bed.rctl(&all)
    };
    let kinds = [
        "nodes",
        "pods",
        "services",
        "endpointslices",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "deployments",
        "replicasets",
        "namespaces",
        "events",
    ];
    for kind in kinds {
        let text = described(&[kind])?;
        assert!(text.starts_with("Name:"), "describe {kind}:\n{text}");
    }
    let text = described(&["leases", "-n", "kube-system"])?;
    assert!(text.contains("kube-scheduler") && text.contains("kube-controller-manager"), "{text}");
    let text = described(&["secret", "described"])?;
    assert!(text.contains("word") && text.contains("6 bytes") && !text.contains("mellon"), "{text}");
    let text = described(&["node", "node-1"])?;
    for part in ["Ready", "Allocatable:", "pods:", "PodCIDR:", "Non-terminated Pods:", "Allocated resources:"] {
        assert!(text.contains(part), "describe node lacks {part}:\n{text}");
    }
    let text = described(&["pod", "-l", "app=web"])?;
    for part in ["Node:", "IP:", "Containers:", "Conditions:", "Events:", "Scheduled", "Started"] {
        assert!(text.contains(part), "describe pod lacks {part}:\n{text}");
    }
    let text = described(&["service", "web"])?;
    assert!(text.contains("Endpoints:") && text.contains(":8080"), "{text}");
    let text = described(&["deployment", "web"])?;
    assert!(text.contains("StrategyType:") && text.contains("NewReplicaSet:"), "{text}");
    bed.rctl(&["delete", "secret", "described"]).map(drop)
}

#[test]
fn command_line_config_changes_what_the_next_command_does() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config");
    std::fs::copy(bed.testbed.instance.admin_kubeconfig(), &file)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let rctl = |arguments: &[&str]| {
        let mut command = xtask::command::system(bed.testbed.programs.join("rctl"));
        xtask::command::run(command.env("KUBECONFIG", file).args(arguments))
    };
    let context = rctl(&["config", "current-context"])?.trim().to_owned();
    assert!(rctl(&["config", "get-contexts", "-o", "name"])?.lines().any(|line| line == context));
    rctl(&["config", "set-context", "--current", "--namespace=kube-system"])?;
    let leases = rctl(&["get", "leases", "-o", "name"])?;
    assert!(leases.contains("kube-scheduler"), "{leases}");
    rctl(&["config", "rename-context", &context, "elsewhere"])?;
    assert_eq!(rctl(&["config", "current-context"])?.trim(), "elsewhere");
    let view = rctl(&["config", "view"])?;
    assert!(view.contains("elsewhere") && view.contains("namespace: kube-system"), "{view}");
    assert!(view.contains("DATA+OMITTED") && !view.contains("PRIVATE KEY"), "{view}");
    let missing = rctl(&["config", "use-context", "nowhere"]);
    let missing = missing.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(missing.contains(r#"no context exists with the name: "nowhere""#), "{missing}");
    Ok(())
}

//! Logs that grow beyond what is kept in one piece.

use std::{cell::Cell, fs, io::Write};

use anyhow::{Context, Result};
use reeve_integration_tests::{bed::bed, engine::until, follow::Follow};

/// More than the ten mebibytes at which a log is rotated.
const LINES: usize = 11 * 1024;
const LINE_BYTES: usize = 1024;

#[test]
fn logs_go_on_when_they_are_rotated() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let mut lines = std::io::BufWriter::new(fs::File::create(folder.path().join("lines"))?);
    for number in 0..LINES {
        writeln!(lines, "{:.<width$}", format!("line {number} "), width = LINE_BYTES - 1)?;
    }
    lines.flush()?;
    let _pod = bed.keep_applied(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: talkative}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {{kubernetes.io/hostname: node-1}}
  volumes: [{{name: host, hostPath: {{path: '{}', type: Directory}}}}]
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'cat /host/lines; sleep infinity']
    volumeMounts: [{{name: host, mountPath: /host}}]
",
        folder.path().display()
    ))?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/talkative", "--timeout=120s"])?;
    let mut followed = Follow::start(bed.testbed.rctl.command(&["logs", "--follow", "talkative"]))?;
    let seen = Cell::new(0);
    followed.wait_for("the last line", |line| {
        let in_order = line.starts_with(&format!("line {} .", seen.get()));
        seen.set(seen.get() + usize::from(in_order));
        seen.get() == LINES
    })?;

    let pod = bed.testbed.rctl.json(&["get", "pod", "talkative"])?;
    let uid = pod["metadata"]["uid"].as_str().context("a uid")?;
    let logs = bed.node(1)?.dir.join("pod-logs").join(format!("default_talkative_{uid}/main"));
    until("the log is put aside", || {
        let entries = fs::read_dir(&logs).with_context(|| format!("cannot read {}", logs.display()))?;
        let names: Vec<String> = entries.flatten().filter_map(|it| it.file_name().into_string().ok()).collect();
        names.iter().any(|name| name.starts_with("0.log.")).then_some(()).with_context(|| format!("{names:?}"))
    })?;
    // Whoever follows goes on in the new one.
    let say = |word: &str| bed.rctl(&["exec", "talkative", "--", "sh", "-c", &format!("echo {word} > /proc/1/fd/1")]);
    say("after")?;
    followed.wait_for("what came after", |line| line == "after")?;
    say("later")?;
    followed.wait_for("what came later", |line| line == "later")?;

    let read = |flags: &[&str]| bed.rctl(&[&["logs", "talkative"], flags].concat());
    assert_eq!(read(&[])?, "after\nlater\n");
    assert_eq!(read(&["--tail=1"])?, "later\n");
    assert_eq!(read(&["--since=1h"])?, "after\nlater\n");
    let stamped = read(&["--timestamps", "--tail=1"])?;
    let (time, word) = stamped.trim_end().split_once(' ').context("a time and a word")?;
    assert_eq!(word, "later");
    assert_eq!(read(&[&format!("--since-time={time}")])?, "later\n");
    assert_eq!(read(&["--limit-bytes=3"])?, "aft");
    Ok(())
}

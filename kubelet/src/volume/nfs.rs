//! NFS volumes: mounted by the node's own `mount`, with upstream's arguments. What another machine holds may not answer:
//! everything that touches it is done beside the event loop, and bounded in time.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{NFSVolumeSource, Pod};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use super::{VolumeError, create_dir, mounted, path};
use crate::config::Config;
use crate::pod::spec;

/// The node's program; it calls [`HELPER`].
const PROGRAM: &str = "mount";
/// Where `mount` looks for what knows NFS.
const HELPER: &str = "/sbin/mount.nfs";

/// Why an NFS volume is not mounted; upstream's form.
#[derive(Debug, thiserror::Error)]
#[error("mount failed: {how}\nMounting command: {PROGRAM}\nMounting arguments: {arguments}\nOutput: {output}")]
pub struct MountError {
    /// How the program ended.
    how: String,
    /// What it was given.
    arguments: String,
    /// What it said, and what the node's owner can do.
    output: String,
}

/// Mounts those of a pod's NFS volumes that are not mounted yet; returns what failed.
pub async fn mount_missing(pod: &Pod, config: &Config) -> Vec<VolumeError> {
    let mut errors = Vec::new();
    for volume in spec::mounted_volumes(pod) {
        let (Some(source), Some(target)) = (&volume.nfs, path(config, spec::uid(pod), volume)) else { continue };
        let io = |source| VolumeError::Io { volume: volume.name.clone(), path: target.clone(), source };
        match mounted::is_mount_point(&target) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                errors.push(io(error));
                continue;
            }
        }
        if let Err(error) = create_dir(&target, 0o750) {
            errors.push(io(error));
            continue;
        }
        let limit = config.tuning.mount_timeout;
        if let Err(source) = run(PROGRAM, &arguments(source, &target), limit).await {
            errors.push(VolumeError::Nfs { volume: volume.name.clone(), source });
            if let Err(error) = mounted::release(&target) {
                errors.push(io(error));
            }
        }
    }
    errors
}

/// Whether the pod has a volume that another machine holds.
pub fn is_used(pod: &Pod) -> bool {
    spec::spec(pod).volumes.iter().flatten().any(|it| it.nfs.is_some())
}

/// Does on another thread what may wait for another machine.
///
/// # Errors
/// It took too long. It may go on; nobody waits for it any more.
pub async fn beside<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await {
        Ok(done) => done.map_err(std::io::Error::other),
        Err(_) => Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer from a network file system within {} s", limit.as_secs()),
        )),
    }
}

/// What `mount` is given.
fn arguments(source: &NFSVolumeSource, target: &Path) -> Vec<String> {
    let server = match source.server.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{}]", source.server),
        Err(_) => source.server.clone(),
    };
    let mut words = vec!["-t".to_owned(), "nfs".to_owned()];
    if source.read_only == Some(true) {
        words.extend(["-o".to_owned(), "ro".to_owned()]);
    }
    words.push(format!("{server}:{}", source.path));
    words.push(target.display().to_string());
    words
}

/// Runs the program to its end; after the limit it is ended with all that it started.
async fn run(program: &str, arguments: &[String], limit: Duration) -> Result<(), MountError> {
    let failed = |how: String, output: String| MountError { how, arguments: arguments.join(" "), output };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = match command.process_group(0).kill_on_drop(true).spawn() {
        Ok(child) => child,
        Err(error) => return Err(failed(format!("exec: \"{program}\": {error}"), String::new())),
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let ended = tokio::time::timeout(limit, child.wait_with_output()).await;
    match ended {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.push_str(&String::from_utf8_lossy(&output.stderr));
            if let Some(advice) = advice(Path::new(HELPER).exists(), &said) {
                said = format!("{}\n{advice}", said.trim_end());
            }
            Err(failed(in_words(output.status), said))
        }
        Ok(Err(error)) => Err(failed(error.to_string(), String::new())),
        Err(_) => {
            if let Some(group) = group
                && let Err(error) = kill_process_group(group, Signal::KILL)
            {
                tracing::debug!(%error, "a mount that took too long ended by itself");
            }
            let output = format!(
                "no answer within {} s: is the server reachable from this node, and does it export the path?",
                limit.as_secs_f32()
            );
            Err(failed("signal: killed".into(), output))
        }
    }
}

/// How a program ended, as upstream's language says it.
fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => format!("signal: {}", std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default()),
    }
}

/// What the node's owner can do about it, where that is known.
fn advice(has_helper: bool, said: &str) -> Option<&'static str> {
    if !has_helper {
        Some("This node has no /sbin/mount.nfs: install nfs-common (Debian, Ubuntu) or nfs-utils (others).")
    } else if said.contains("unknown filesystem type") || said.contains("No such device") {
        Some("This node's kernel has no NFS client: load its module (modprobe nfs), or take a kernel that has it.")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn source(server: &str, read_only: Option<bool>) -> NFSVolumeSource {
        NFSVolumeSource { server: server.into(), path: "/exports/a".into(), read_only }
    }

    #[test]
    fn mount_is_given_what_upstream_gives_it() {
        let words = |source: &NFSVolumeSource| arguments(source, Path::new("/pods/1/share")).join(" ");
        assert_eq!(words(&source("files", None)), "-t nfs files:/exports/a /pods/1/share");
        assert_eq!(words(&source("10.0.0.9", Some(true))), "-t nfs -o ro 10.0.0.9:/exports/a /pods/1/share");
        assert_eq!(words(&source("fd00::9", Some(false))), "-t nfs [fd00::9]:/exports/a /pods/1/share");
    }

    #[tokio::test]
    async fn failures_are_told_in_upstreams_form() {
        let words = |text: &str| vec!["-c".to_owned(), text.to_owned()];
        assert!(run("sh", &words("exit 0"), Duration::from_secs(10)).await.is_ok());
        let error = run("sh", &words("echo no such export >&2; exit 32"), Duration::from_secs(10)).await.unwrap_err();
        let text = error.to_string();
        let form = "mount failed: exit status 32\nMounting command: mount\nMounting arguments: -c echo no such export >&2; exit 32\nOutput: no such export\n";
        assert!(text.starts_with(form), "{text}");
        let error = run("no-such-program", &[], Duration::from_secs(10)).await.unwrap_err();
        assert!(error.to_string().starts_with("mount failed: exec: \"no-such-program\": "), "{error}");
        assert!(advice(false, "").is_some_and(|it| it.contains("nfs-common")));
        assert!(advice(true, "unknown filesystem type 'nfs'").is_some_and(|it| it.contains("kernel")));
        assert_eq!(advice(true, "access denied by server"), None);
    }

    #[tokio::test]
    async fn what_does_not_answer_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let began = Instant::now();
        let error = run("sh", &["-c".to_owned(), script], Duration::from_millis(500)).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert!(error.to_string().contains("mount failed: signal: killed\n"), "{error}");
        let child: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        while !gone() {
            assert!(began.elapsed() < Duration::from_secs(30), "its child goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_may_hang_is_not_waited_for() {
        let (release, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let late = beside(Duration::from_millis(10), move || wait.recv()).await;
        assert_eq!(late.map(drop).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        drop(release);
        assert_eq!(beside(Duration::from_secs(30), || 7).await.unwrap(), 7);
    }
}

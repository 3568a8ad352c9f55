//! Logs that have grown are put aside and compressed, by upstream's rules (`pkg/kubelet/logs`): the log gets the time as
//! an ending, the runtime opens a new one, older ones become `.gz`, the oldest go.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::agent::inventory::ContainerEntry;
use crate::runtime::Runtime;

/// When logs are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    /// Above so many bytes; nothing is rotated for a negative number.
    pub max_size: i64,
    /// How many files of one container are kept, the current one among them; at least 2.
    pub max_files: usize,
}

/// What is done with the files that were put aside before.
#[derive(Debug, PartialEq, Eq)]
struct Aside {
    remove: Vec<String>,
    compress: Vec<String>,
}

/// Decides it by their names, which end in their time. Of all but the current log and the one that is put aside next
/// so many are kept.
fn aside(log: &str, names: &[String], policy: RotationPolicy) -> Aside {
    let mut old: Vec<&String> = names.iter().filter(|it| it.starts_with(&format!("{log}."))).collect();
    old.sort();
    let unfinished = |it: &&&String| it.ends_with(".tmp");
    let mut remove: Vec<String> = old.iter().filter(unfinished).map(|it| (*it).clone()).collect();
    old.retain(|it| !it.ends_with(".tmp"));
    let excess = old.len().saturating_sub(policy.max_files.max(2) - 2);
    remove.extend(old.drain(..excess).cloned());
    let compress = old.into_iter().filter(|it| !it.ends_with(".gz")).cloned().collect();
    Aside { remove, compress }
}

/// Rotates a container's log where it is too large. What fails is told and tried again at the next look.
pub async fn rotate(runtime: &Runtime, container: &ContainerEntry, policy: RotationPolicy, now: Timestamp) {
    let size = match std::fs::metadata(&container.log_path) {
        Ok(found) => i64::try_from(found.len()).unwrap_or(i64::MAX),
        // A container that never wrote, or is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(path = %container.log_path.display(), %error, "a log cannot be looked at");
            return;
        }
    };
    if policy.max_size < 0 || size < policy.max_size {
        return;
    }
    let path = container.log_path.clone();
    // Compressing takes a while.
    let prepared = tokio::task::spawn_blocking(move || prepare(&path, policy)).await;
    let prepared = prepared.unwrap_or_else(|error| Err(io::Error::other(error)));
    if let Err(error) = prepared {
        tracing::warn!(path = %container.log_path.display(), %error, "old logs could not be put in order");
    }
    let ending = jiff::tz::TimeZone::UTC.to_datetime(now).strftime("%Y%m%d-%H%M%S").to_string();
    let put_aside = PathBuf::from(format!("{}.{ending}", container.log_path.display()));
    if let Err(error) = std::fs::rename(&container.log_path, &put_aside) {
        tracing::warn!(path = %container.log_path.display(), %error, "a log could not be rotated");
        return;
    }
    if let Err(error) = runtime.reopen_log(&container.id).await {
        tracing::warn!(path = %container.log_path.display(), %error, "the runtime opens no new log; the old one goes on");
        if let Err(error) = std::fs::rename(&put_aside, &container.log_path) {
            tracing::warn!(path = %put_aside.display(), %error, "a log could not be put back");
        }
    } else {
        tracing::info!(path = %container.log_path.display(), size, "a log is rotated");
    }
}

fn prepare(log: &Path, policy: RotationPolicy) -> io::Result<()> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|it| it.to_str())) else {
        return Err(io::Error::other("the log has no name"));
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    let aside = aside(name, &names, policy);
    for name in aside.remove {
        std::fs::remove_file(folder.join(name))?;
    }
    for name in aside.compress {
        compress(&folder.join(name))?;
    }
    Ok(())
}

/// Puts a compressed file in the place of a plain one; whoever reads it sees one or the other.
fn compress(path: &Path) -> io::Result<()> {
    let unfinished = PathBuf::from(format!("{}.tmp", path.display()));
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(&unfinished, format!("{}.gz", path.display()))?;
    std::fs::remove_file(path)
}

/// Removes a container's log and all that was put aside of it. What is not there is removed.
pub fn remove(log: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|it| it.to_str())) else {
        return Ok(());
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let own = entry.file_name().to_str().is_some_and(|it| it == name || it.starts_with(&format!("{name}.")));
        if own
            && let Err(error) = std::fs::remove_file(entry.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RotationPolicy = RotationPolicy { max_size: 10, max_files: 4 };

    #[test]
    fn the_oldest_go_and_the_others_are_compressed() {
        let names = ["0.log", "0.log.3", "0.log.1.gz", "0.log.2.gz", "0.log.3.tmp", "1.log.9", "0.log.0.gz"];
        let names = names.map(str::to_owned);
        let expected = |remove: &[&str], compress: &[&str]| Aside {
            remove: remove.iter().map(|it| (*it).to_owned()).collect(),
            compress: compress.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert_eq!(
            aside("0.log", &names, POLICY),
            expected(&["0.log.3.tmp", "0.log.0.gz", "0.log.1.gz"], &["0.log.3"])
        );
        assert_eq!(aside("1.log", &names, POLICY), expected(&[], &["1.log.9"]));
        let few = RotationPolicy { max_files: 2, ..POLICY };
        assert_eq!(aside("1.log", &names, few), expected(&["1.log.9"], &[]));
    }

    #[test]
    fn files_are_compressed_in_place_and_go_together() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        for name in ["0.log", "0.log.20260101-000000", "10.log"] {
            std::fs::write(folder.path().join(name), "some words").unwrap();
        }
        prepare(&log, POLICY).unwrap();
        let packed = File::open(folder.path().join("0.log.20260101-000000.gz")).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "some words");
        remove(&log).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|it| it.file_name()).collect();
        assert_eq!(left, ["10.log"]);
    }
}

//! Files of a pod's volumes that environment variables come from: found by the kernel beneath the volume's root, whatever
//! a container puts there meanwhile.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use k8s_openapi::api::core::v1::{FileKeySelector, Pod};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::config::Config;
use crate::pod::env::{EnvError, EnvFiles};
use crate::pod::{env_file, spec};
use crate::volume;

/// The longest file that is read: as much as a ConfigMap may hold.
const BYTES_MAX: u64 = 1 << 20;

/// The files in the volumes of a pod.
pub(super) struct FilesOf<'a> {
    pub pod: &'a Pod,
    pub config: &'a Config,
}

impl EnvFiles for FilesOf<'_> {
    fn value(&self, file: &FileKeySelector) -> Result<Option<String>, EnvError> {
        let no_volume = || EnvError::NoVolume { volume: file.volume_name.clone() };
        let volume = spec::mounted_volumes(self.pod).find(|it| it.name == file.volume_name).ok_or_else(no_volume)?;
        let root = volume::path(self.config, spec::uid(self.pod), volume).ok_or_else(no_volume)?;
        let path = root.join(file.path.trim_start_matches('/'));
        let refused = |error: &dyn std::error::Error| {
            tracing::warn!(pod = %spec::key(self.pod), path = %path.display(), %error, "a file of variables is of no use");
            EnvError::File
        };
        let text = read(&root, &file.path).map_err(|error| refused(&error))?;
        let value = env_file::value(&text, &file.key).map_err(|error| refused(&error))?;
        match value.is_empty() {
            false => Ok(Some(value)),
            true if file.optional == Some(true) => Ok(None),
            true => Err(EnvError::MissingInFile { key: file.key.clone(), path: path.display().to_string() }),
        }
    }
}

/// Reads a file below a folder, which its links see as the root.
fn read(root: &Path, path: &str) -> io::Result<String> {
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Whatever lies there: nothing is waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&folder, path, flags, Mode::empty(), resolve)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_volume_and_nothing_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let volume = place.path().join("volume");
        std::fs::create_dir_all(volume.join("below")).unwrap();
        std::fs::write(place.path().join("env"), "outside").unwrap();
        std::fs::write(volume.join("env"), "inside").unwrap();
        std::os::unix::fs::symlink("../../../env", volume.join("below/link")).unwrap();
        std::os::unix::fs::symlink("/env", volume.join("absolute")).unwrap();
        for path in ["env", "below/link", "absolute"] {
            assert_eq!(read(&volume, path).unwrap(), "inside", "{path}");
        }
        rustix::fs::mknodat(rustix::fs::CWD, volume.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in ["none", "below", "pipe"] {
            assert!(read(&volume, path).is_err(), "{path}");
        }
        std::fs::write(volume.join("long"), vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(read(&volume, "long").is_err());
    }
}

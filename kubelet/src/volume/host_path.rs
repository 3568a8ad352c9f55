//! Paths of the node itself: whether one is what its volume says, and what is made where nothing is.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::{create_dir, set_mode};

/// Why a path of the node cannot be had, in upstream's words.
#[derive(Debug, thiserror::Error)]
pub enum HostPathError {
    /// It is missing, or something else.
    #[error("hostPath type check failed: {path} is not {wanted}")]
    Type {
        /// The path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// The volume's type is none.
    #[error("{0} is an invalid volume type")]
    Unknown(String),
    /// It cannot be made.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Checks a path by the volume's type, and makes what the type says is to be made.
pub(super) fn prepare(path: &Path, kind: &str) -> Result<(), HostPathError> {
    let made = |result: io::Result<()>| result.map_err(|source| HostPathError::Io { path: path.to_owned(), source });
    let found = fs::metadata(path).ok().map(|it| it.file_type());
    match (kind, found) {
        ("DirectoryOrCreate", None) => return made(create_dir(path, 0o755)),
        ("FileOrCreate", None) => return made(fs::File::create_new(path).and_then(|_| set_mode(path, 0o644))),
        _ => {}
    }
    let is = |check: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(check);
    let (matches, wanted) = match kind {
        // Without a type nothing is checked; the runtime makes a folder where there is nothing.
        "" => return Ok(()),
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(|it| !it.is_dir()), "a file"),
        "Socket" => (is(fs::FileType::is_socket), "a socket file"),
        "CharDevice" => (is(fs::FileType::is_char_device), "a character device"),
        "BlockDevice" => (is(fs::FileType::is_block_device), "a block device"),
        other => return Err(HostPathError::Unknown(other.to_owned())),
    };
    if matches { Ok(()) } else { Err(HostPathError::Type { path: path.to_owned(), wanted }) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_there_must_be_of_the_type_and_what_is_not_may_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let told = |name: &str, kind: &str| prepare(&at(name), kind).err().map(|error| error.to_string());
        let wrong = |name: &str, wanted: &str| {
            Some(format!("hostPath type check failed: {} is not {wanted}", at(name).display()))
        };
        assert_eq!(told("none", "Directory"), wrong("none", "a directory"));
        assert_eq!(told("none", "File"), wrong("none", "a file"));
        assert_eq!(told("none", ""), None);
        assert!(!at("none").exists());
        assert_eq!(told("a/b", "DirectoryOrCreate"), None);
        assert_eq!(told("a/file", "FileOrCreate"), None);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b"), mode("a/file")), (0o755, 0o644));
        // Again, and as the other of the two.
        assert_eq!(told("a/b", "DirectoryOrCreate"), None);
        assert_eq!(told("a/file", "File"), None);
        assert_eq!(told("a/b", "FileOrCreate"), wrong("a/b", "a file"));
        assert_eq!(told("a/file", "DirectoryOrCreate"), wrong("a/file", "a directory"));
        assert_eq!(told("a/file", "Socket"), wrong("a/file", "a socket file"));
        assert_eq!(told("a/file", "BlockDevice"), wrong("a/file", "a block device"));
        assert!(prepare(Path::new("/dev/null"), "CharDevice").is_ok());
        assert_eq!(told("a", "Pipe").as_deref(), Some("Pipe is an invalid volume type"));
    }
}

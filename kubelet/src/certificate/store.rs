//! The files of a certificate: `PREFIX-current.pem` is a link to `PREFIX-TIME.pem`, which holds chain and key.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{CertificateError, file_error};

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last.
    pub not_after: Timestamp,
}

impl Validity {
    /// Of the first certificate in a PEM document.
    ///
    /// # Errors
    /// It holds none that can be read.
    pub fn of(pem: &[u8]) -> Result<Self, CertificateError> {
        let invalid = |message: String| CertificateError::Invalid { what: "certificate".into(), message };
        let der = CertificateDer::from_pem_slice(pem).map_err(|error| invalid(error.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|error| invalid(error.to_string()))?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| invalid(error.to_string()));
        let validity = parsed.validity();
        Ok(Self {
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }
}

/// The certificates of one purpose in `--cert-dir`.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    prefix: &'static str,
}

impl Store {
    /// In a folder, which is made when something is written.
    pub fn new(folder: &Path, prefix: &'static str) -> Self {
        Self { folder: folder.to_owned(), prefix }
    }

    /// The file that others are told: chain and key of the certificate in use.
    pub fn current(&self) -> PathBuf {
        self.folder.join(format!("{}-current.pem", self.prefix))
    }

    /// How long the certificate in use is valid; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn validity(&self) -> Result<Option<Validity>, CertificateError> {
        match std::fs::read(self.current()) {
            Ok(pem) => Validity::of(&pem).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error(&self.current())(error)),
        }
    }

    /// The key of a request that is under way: a kubelet that starts again goes on with it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn pending_key(&self) -> Result<KeyPair, CertificateError> {
        let path = self.pending_path();
        if let Ok(pem) = std::fs::read_to_string(&path)
            && let Ok(key) = KeyPair::from_pem(&pem)
        {
            return Ok(key);
        }
        let key = new_key()?;
        write_private(&path, key.serialize_pem().as_bytes())?;
        Ok(key)
    }

    fn pending_path(&self) -> PathBuf {
        self.folder.join(format!("{}.key.tmp", self.prefix))
    }

    /// Puts a certificate into use; the one before it goes.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn put(&self, chain: &str, key: &KeyPair, now: Timestamp) -> Result<Validity, CertificateError> {
        let validity = Validity::of(chain.as_bytes())?;
        let name = format!("{}-{}.pem", self.prefix, now.strftime("%Y-%m-%d-%H-%M-%S.%f"));
        let path = self.folder.join(&name);
        write_private(&path, format!("{}\n{}", chain.trim_end(), key.serialize_pem()).as_bytes())?;
        let current = self.current();
        let before = std::fs::read_link(&current).ok();
        let link = self.folder.join(format!("{}-current.pem.tmp", self.prefix));
        remove(&link)?;
        std::os::unix::fs::symlink(&name, &link).map_err(file_error(&link))?;
        std::fs::rename(&link, &current).map_err(file_error(&current))?;
        if let Some(before) = before.filter(|before| before.as_os_str() != name.as_str()) {
            remove(&self.folder.join(before))?;
        }
        remove(&self.pending_path())?;
        Ok(validity)
    }
}

/// A key: P-256, as upstream's.
pub(crate) fn new_key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate().map_err(|error| CertificateError::Invalid { what: "key".into(), message: error.to_string() })
}

fn remove(path: &Path) -> Result<(), CertificateError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error(path)(error)),
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read, whole or not at all. Makes its folder.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file_error(folder))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    remove(&unfinished)?;
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().map_err(file_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn certificate(key: &KeyPair) -> String {
        rcgen::CertificateParams::new(vec!["n1".into()]).unwrap().self_signed(key).unwrap().pem()
    }

    #[test]
    fn what_is_put_is_current_private_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("pki"), "kubelet-client");
        assert_eq!(store.validity().unwrap(), None);
        let key = store.pending_key().unwrap();
        assert_eq!(store.pending_key().unwrap().serialize_pem(), key.serialize_pem(), "kept over a restart");
        let first: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let put = store.put(&certificate(&key), &key, first).unwrap();
        assert_eq!(store.validity().unwrap(), Some(put));
        let second = new_key().unwrap();
        assert_ne!(store.pending_key().unwrap().serialize_pem(), key.serialize_pem(), "used once");
        store.put(&certificate(&second), &second, "2026-02-01T00:00:00.5Z".parse().unwrap()).unwrap();
        let text = std::fs::read_to_string(store.current()).unwrap();
        assert!(text.contains(&second.serialize_pem()));
        let mode = std::fs::metadata(store.current()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut names: Vec<_> = std::fs::read_dir(folder.path().join("pki"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["kubelet-client-2026-02-01-00-00-00.5.pem", "kubelet-client-current.pem"]);
    }
}

//! The records of pulled images below the kubelet's folder, as upstream lays them out: `image_manager/pulled` holds one
//! for each image, `image_manager/pulling` one for each name whose pull has begun. Only root may read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_cri::v1 as cri;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Access, PullSecret, PulledRecord, VerificationPolicy};
use crate::pod::image::{self, Credentials};

const API_VERSION: &str = "kubelet.config.k8s.io/v1alpha1";
const PREFIX: &str = "sha256-";
const UNFINISHED: &str = ".tmp";

/// What is known of the images on this node.
pub struct PulledImages {
    folder: PathBuf,
    salt: Vec<u8>,
    policy: VerificationPolicy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the runtime's id.
    records: BTreeMap<String, PulledRecord>,
    /// Names whose pull has begun, and how many are under way; none for those of an earlier kubelet.
    pulling: BTreeMap<String, usize>,
    /// Files that could not be read: their images need credentials.
    unreadable: BTreeSet<String>,
}

#[derive(serde::Deserialize)]
struct Intent {
    image: String,
}

impl PulledImages {
    /// Reads what an earlier kubelet left.
    ///
    /// # Errors
    /// The folders cannot be made or read.
    pub fn open(root_dir: &Path, policy: VerificationPolicy) -> io::Result<Self> {
        let folder = root_dir.join("image_manager");
        for name in ["pulled", "pulling"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(name))?;
        }
        let salt = salt(&folder.join("salt"))?;
        let mut state = State::default();
        let records: Vec<PulledRecord> = read_all(&folder.join("pulled"), &mut state.unreadable)?;
        state.records = records.into_iter().map(|it| (it.image_ref.clone(), it)).collect();
        let pulling: Vec<Intent> = read_all(&folder.join("pulling"), &mut BTreeSet::new())?;
        state.pulling = pulling.into_iter().map(|it| (it.image, 0)).collect();
        Ok(Self { folder, salt, policy, state: Mutex::new(state) })
    }

    /// Credentials as they are remembered.
    pub fn secret(&self, credentials: &Credentials) -> PullSecret {
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        // As JSON, so that no two pairs of user and password are the same text.
        hash.update(json!([credentials.user, credentials.password]).to_string());
        let source = &credentials.source;
        PullSecret {
            uid: source.uid.clone(),
            namespace: source.namespace.clone(),
            name: source.name.clone(),
            credential_hash: hex(&hash.finalize()),
        }
    }

    /// Whether the use of an image that is there needs credentials.
    pub fn verifies(&self, image: &str, image_ref: &str) -> bool {
        let state = self.state.lock();
        let pulled = state.records.contains_key(image_ref)
            || state.pulling.contains_key(image)
            || state.unreadable.contains(&file_name(image_ref));
        self.policy.verifies(&image::repository(image), pulled)
    }

    /// Whether these credentials let a pod use an image that is there.
    ///
    /// # Errors
    /// What is learned from it cannot be written.
    pub fn grants(&self, image: &str, image_ref: &str, secrets: &[PullSecret]) -> io::Result<bool> {
        let name = image::repository(image);
        let access =
            self.state.lock().records.get(image_ref).map_or(Access::Denied, |record| record.access(&name, secrets));
        match access {
            Access::Granted => Ok(true),
            Access::Denied => Ok(false),
            Access::GrantedBy(secret) => self.record(&name, image_ref, Some(secret)).map(|()| true),
        }
    }

    /// A pull begins: from now on the image counts as pulled by this kubelet, whatever happens.
    ///
    /// # Errors
    /// It cannot be written; then the image must not be pulled.
    pub fn begin(&self, image: &str) -> io::Result<()> {
        let intent = json!({"apiVersion": API_VERSION, "kind": "ImagePullIntent", "image": image});
        write(&self.folder.join("pulling").join(file_name(image)), &intent)?;
        *self.state.lock().pulling.entry(image.to_owned()).or_default() += 1;
        Ok(())
    }

    /// A pull ended: with the image and the credentials that got it (none, where it needed none), or in vain.
    ///
    /// # Errors
    /// It cannot be written; then the image needs credentials until it is pulled again.
    pub fn end(&self, image: &str, pulled: Option<(&str, Option<PullSecret>)>) -> io::Result<()> {
        if let Some((image_ref, secret)) = pulled {
            self.record(&image::repository(image), image_ref, secret)?;
        }
        let mut state = self.state.lock();
        let under_way = state.pulling.get(image).copied().unwrap_or_default();
        if under_way > 1 {
            state.pulling.insert(image.to_owned(), under_way - 1);
            return Ok(());
        }
        remove(&self.folder.join("pulling").join(file_name(image)))?;
        state.pulling.remove(image);
        Ok(())
    }

    /// Takes in which images there were at `listed_at`: records of others go, and pulls that an earlier kubelet did not see
    /// the end of have come to something or not.
    ///
    /// # Errors
    /// A file cannot be written or removed; the rest is done.
    pub fn reconcile(&self, images: &[cri::Image], listed_at: Timestamp) -> io::Result<()> {
        let mut result = Ok(());
        let mut keep = |done: io::Result<()>| {
            if let (Err(error), true) = (done, result.is_ok()) {
                result = Err(error);
            }
        };
        let left: Vec<String> = self
            .state
            .lock()
            .pulling
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(image, _)| image.clone())
            .collect();
        for image in left {
            let full = image::full_name(&image);
            let found = images.iter().find(|it| {
                let mut names = it.repo_tags.iter().chain(&it.repo_digests);
                names.any(|name| *name == full || *name == image)
            });
            keep(match found {
                // Nobody knows by whose credentials: whoever wants it next has to show some.
                Some(found) => self.record_unknown(&found.id).and_then(|()| self.end(&image, None)),
                None => self.end(&image, None),
            });
        }
        let there: BTreeSet<&str> = images.iter().map(|it| it.id.as_str()).collect();
        let names: BTreeSet<String> = there.iter().map(|it| file_name(it)).collect();
        let gone =
            |record: &&PulledRecord| record.last_updated_time < listed_at && !there.contains(record.image_ref.as_str());
        let (gone, unreadable): (Vec<String>, Vec<String>) = {
            let state = self.state.lock();
            let gone = state.records.values().filter(gone).map(|it| it.image_ref.clone()).collect();
            (gone, state.unreadable.difference(&names).cloned().collect())
        };
        for image_ref in gone {
            keep(self.forget(&image_ref));
        }
        for name in unreadable {
            keep(remove(&self.folder.join("pulled").join(&name)));
            self.state.lock().unreadable.remove(&name);
        }
        result
    }

    /// An image is gone.
    ///
    /// # Errors
    /// Its record cannot be removed.
    pub fn forget(&self, image_ref: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        remove(&self.folder.join("pulled").join(file_name(image_ref)))?;
        state.records.remove(image_ref);
        state.unreadable.remove(&file_name(image_ref));
        Ok(())
    }

    fn record(&self, name: &str, image_ref: &str, secret: Option<PullSecret>) -> io::Result<()> {
        self.change(image_ref, |record, now| record.add(name, secret, now))
    }

    fn record_unknown(&self, image_ref: &str) -> io::Result<()> {
        self.change(image_ref, |_, _| false)
    }

    fn change(&self, image_ref: &str, change: impl FnOnce(&mut PulledRecord, Timestamp) -> bool) -> io::Result<()> {
        let now = Timestamp::now();
        let mut state = self.state.lock();
        let known = state.records.get(image_ref).cloned();
        let is_new = known.is_none();
        let mut record = known.unwrap_or_else(|| PulledRecord::new(image_ref, now));
        if !change(&mut record, now) && !is_new {
            return Ok(());
        }
        let mut text = serde_json::to_value(&record)?;
        text["apiVersion"] = API_VERSION.into();
        text["kind"] = "ImagePulledRecord".into();
        write(&self.folder.join("pulled").join(file_name(image_ref)), &text)?;
        state.unreadable.remove(&file_name(image_ref));
        state.records.insert(image_ref.to_owned(), record);
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_name(of: &str) -> String {
    format!("{PREFIX}{}", hex(&Sha256::digest(of)))
}

/// What this node's hashes begin with: made once.
fn salt(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(salt) if !salt.is_empty() => return Ok(salt),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let salt: [u8; 32] = rand::random();
    write_bytes(path, &salt)?;
    Ok(salt.to_vec())
}

/// Reads the files of a folder; those that hold something else are told and named.
fn read_all<T: DeserializeOwned>(folder: &Path, unreadable: &mut BTreeSet<String>) -> io::Result<Vec<T>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|it| it.to_str()).map(str::to_owned) else { continue };
        if !name.starts_with(PREFIX) || name.ends_with(UNFINISHED) {
            continue;
        }
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        match read {
            Ok(record) => all.push(record),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a record of a pulled image cannot be read: the image needs credentials");
                unreadable.insert(name);
            }
        }
    }
    Ok(all)
}

fn write(path: &Path, value: &Value) -> io::Result<()> {
    write_bytes(path, value.to_string().as_bytes())
}

/// Writes a file whole or not at all.
fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    fs::rename(&unfinished, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::pod::image::SecretSource;

    const IMAGE: &str = "a.example/x:1";

    fn open(folder: &Path) -> PulledImages {
        PulledImages::open(folder, VerificationPolicy::default()).unwrap()
    }

    fn credentials(uid: &str, password: &str) -> Credentials {
        let source = SecretSource { uid: uid.into(), namespace: "n".into(), name: "s".into() };
        Credentials { server: "a.example".into(), user: "me".into(), password: password.into(), source }
    }

    fn listed(ids: &[&str]) -> Vec<cri::Image> {
        let image =
            |id: &&str| cri::Image { id: (*id).to_owned(), repo_tags: vec![IMAGE.into()], ..cri::Image::default() };
        ids.iter().map(image).collect()
    }

    fn files(folder: &Path, name: &str) -> usize {
        fs::read_dir(folder.join("image_manager").join(name)).unwrap().count()
    }

    #[test]
    fn what_was_pulled_is_known_after_a_restart_and_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let pulled = open(folder.path());
        assert!(!pulled.verifies(IMAGE, "sha256:1"), "it was there before");
        pulled.begin(IMAGE).unwrap();
        assert!(pulled.verifies(IMAGE, "sha256:1"));
        let mine = pulled.secret(&credentials("u", "pass"));
        pulled.end(IMAGE, Some(("sha256:1", Some(mine.clone())))).unwrap();
        assert_eq!((files(folder.path(), "pulled"), files(folder.path(), "pulling")), (1, 0));

        let again = open(folder.path());
        assert!(again.verifies(IMAGE, "sha256:1") && !again.verifies(IMAGE, "sha256:2"));
        assert_eq!(again.secret(&credentials("u", "pass")), mine, "the salt stays");
        assert!(again.grants(IMAGE, "sha256:1", &[mine]).unwrap());
        assert!(!again.grants(IMAGE, "sha256:1", &[again.secret(&credentials("v", "other"))]).unwrap());
        let copy = again.secret(&credentials("w", "pass"));
        assert!(again.grants(IMAGE, "sha256:1", std::slice::from_ref(&copy)).unwrap());
        assert!(
            open(folder.path()).state.lock().records["sha256:1"].credential_mapping["a.example/x"]
                .kubernetes_secrets
                .contains(&copy)
        );
        for entry in fs::read_dir(folder.path().join("image_manager/pulled")).unwrap() {
            let path = entry.unwrap().path();
            assert!(!fs::read_to_string(&path).unwrap().contains("pass"));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(open(elsewhere.path()).secret(&credentials("u", "pass")), again.secret(&credentials("u", "pass")));
    }

    #[test]
    fn a_pull_whose_end_nobody_saw_leaves_an_image_that_needs_credentials() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).begin(IMAGE).unwrap();
        let pulled = open(folder.path());
        assert!(pulled.verifies(IMAGE, "sha256:1"));
        pulled.reconcile(&listed(&["sha256:1"]), Timestamp::now()).unwrap();
        assert_eq!((files(folder.path(), "pulled"), files(folder.path(), "pulling")), (1, 0));
        assert!(pulled.verifies(IMAGE, "sha256:1"));
        assert!(!pulled.grants(IMAGE, "sha256:1", &[pulled.secret(&credentials("u", "pass"))]).unwrap());
    }

    #[test]
    fn two_pulls_of_one_name_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let pulled = open(folder.path());
        pulled.begin(IMAGE).unwrap();
        pulled.begin(IMAGE).unwrap();
        pulled.end(IMAGE, None).unwrap();
        assert_eq!(files(folder.path(), "pulling"), 1);
        pulled.end(IMAGE, None).unwrap();
        assert_eq!((files(folder.path(), "pulled"), files(folder.path(), "pulling")), (0, 0));
        assert!(!pulled.verifies(IMAGE, "sha256:1"));
    }

    #[test]
    fn records_go_with_their_images() {
        let folder = tempfile::tempdir().unwrap();
        let pulled = open(folder.path());
        for id in ["sha256:1", "sha256:2", "sha256:3"] {
            pulled.begin(IMAGE).unwrap();
            pulled.end(IMAGE, Some((id, None))).unwrap();
        }
        pulled.reconcile(&[], Timestamp::from_second(0).unwrap()).unwrap();
        assert_eq!(files(folder.path(), "pulled"), 3, "they were pulled after the list was made");
        pulled.forget("sha256:3").unwrap();
        let later = Timestamp::now().checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        pulled.reconcile(&listed(&["sha256:2"]), later).unwrap();
        assert_eq!(files(folder.path(), "pulled"), 1);
        assert!(pulled.grants(IMAGE, "sha256:2", &[]).unwrap());
    }

    #[test]
    fn what_cannot_be_read_grants_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let pulled = open(folder.path());
        pulled.end(IMAGE, Some(("sha256:1", None))).unwrap();
        let file = folder.path().join("image_manager/pulled").join(file_name("sha256:1"));
        fs::write(&file, "{").unwrap();
        let again = open(folder.path());
        assert!(again.verifies(IMAGE, "sha256:1") && !again.grants(IMAGE, "sha256:1", &[]).unwrap());
        again.end(IMAGE, Some(("sha256:1", None))).unwrap();
        assert!(again.grants(IMAGE, "sha256:1", &[]).unwrap());
        fs::write(&file, "{").unwrap();
        open(folder.path()).reconcile(&[], Timestamp::now()).unwrap();
        assert!(!file.exists());
    }
}

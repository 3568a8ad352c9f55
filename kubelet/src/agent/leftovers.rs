//! What pods left on the node that neither the runtime nor the API has any more: the kubelet ended after it had made a
//! pod's files, and the pod was deleted before it came back. Their mounts, folders and logs are taken away at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use reeve_api::ObjectKey;

use super::Agent;
use crate::pod::spec;

impl Agent {
    /// Takes pods of which only files are left into the table, so that they are ended like any other.
    pub(super) fn adopt_leftovers(&mut self) {
        let config = &self.executor.config;
        let mut found = BTreeMap::new();
        for result in [of_folders(&config.root_dir.join("pods"), &mut found), of_logs(&config.pod_logs_dir, &mut found)]
        {
            if let Err(error) = result {
                tracing::warn!(%error, "what earlier pods left cannot be looked for");
            }
        }
        let fixed = self.executor.fixed.keys().into_iter().filter_map(|key| self.executor.fixed.get(&key));
        let wanted: BTreeSet<String> =
            self.pods.list().into_iter().chain(fixed).map(|pod| spec::runtime_uid(&pod).to_owned()).collect();
        for (uid, key) in found {
            if !wanted.contains(&uid) && !self.workers.contains_key(&uid) {
                tracing::info!(pod = %key, %uid, "an earlier pod's files are left: they are removed");
                self.adopt(uid, key);
            }
        }
    }
}

/// The folders of pods' files are named by UID alone.
fn of_folders(folder: &Path, found: &mut BTreeMap<String, ObjectKey>) -> io::Result<()> {
    for name in names(folder)? {
        found.entry(name.clone()).or_insert_with(|| ObjectKey::new("", name));
    }
    Ok(())
}

/// The folders of logs tell namespace and name too: `NAMESPACE_NAME_UID`, none of which has an underscore.
fn of_logs(folder: &Path, found: &mut BTreeMap<String, ObjectKey>) -> io::Result<()> {
    for name in names(folder)? {
        let parts: Vec<&str> = name.split('_').collect();
        if let [namespace, pod, uid] = parts.as_slice() {
            found.insert((*uid).to_owned(), ObjectKey::new(*namespace, *pod));
        }
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_logs_tell_whose_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pods/u1", "pods/u2", "logs/shop_web_u2", "logs/shop_db_u3", "logs/other"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("logs/shop_file_u4"), "").unwrap();
        let mut found = BTreeMap::new();
        of_folders(&folder.path().join("pods"), &mut found).unwrap();
        of_logs(&folder.path().join("logs"), &mut found).unwrap();
        of_logs(&folder.path().join("none"), &mut found).unwrap();
        let found: Vec<(String, String)> = found.into_iter().map(|(uid, key)| (uid, key.to_string())).collect();
        let expected = [("u1", "u1"), ("u2", "shop/web"), ("u3", "shop/db")];
        assert_eq!(found, expected.map(|(uid, key)| (uid.to_owned(), key.to_owned())));
    }
}

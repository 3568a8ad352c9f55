//! What a server serves, remembered on disk, so that most commands need not ask first.
//!
//! One file a server below `~/.kube/cache/rctl`. It is believed for six hours, as kubectl does; a word that it does not
//! know makes rctl ask the server, and a type that turns out not to be served drops it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reeve_api::{GroupVersionResource, ResourceInfo};
use serde::{Deserialize, Serialize};

use crate::cli::Globals;
use crate::io::Io;

/// How long a file is believed.
const AGE_MAX: Duration = Duration::from_secs(6 * 3600);

/// Where one server's resources are remembered; nowhere without a home folder.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryCache {
    file: Option<PathBuf>,
}

#[derive(Deserialize, Serialize)]
struct Row {
    group: String,
    version: String,
    resource: String,
    singular: String,
    kind: String,
    namespaced: bool,
    short_names: Vec<String>,
    categories: Vec<String>,
    verbs: Vec<String>,
}

impl DiscoveryCache {
    /// The file of a server, in the folder that the flag, the environment or the home folder gives.
    pub fn of_server(server: &str, globals: &Globals, io: &Io) -> Self {
        let folder = match &globals.cache_dir {
            Some(folder) => Some(folder).filter(|folder| !folder.is_empty()).map(PathBuf::from),
            None => match io.variable("KUBECACHEDIR") {
                Some(folder) => Some(PathBuf::from(folder)),
                None => io.home().map(|home| Path::new(home).join(".kube/cache")),
            },
        };
        let address: String = server
            .trim_start_matches("https://")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
            .collect();
        Self { file: folder.map(|folder| folder.join("rctl").join(format!("{address}.json"))) }
    }

    /// What is remembered, if it is young enough. A file that cannot be read is as good as none.
    pub fn load(&self) -> Option<Vec<ResourceInfo>> {
        let file = self.file.as_deref()?;
        let changed = std::fs::metadata(file).ok()?.modified().ok()?;
        if SystemTime::now().duration_since(changed).ok()? > AGE_MAX {
            return None;
        }
        let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        Some(rows.into_iter().map(info).collect())
    }

    /// Remembers. Failing to is no failure of the command: the next one asks again.
    pub fn store(&self, resources: &[ResourceInfo]) -> bool {
        let Some(file) = self.file.as_deref() else { return false };
        let rows: Vec<Row> = resources.iter().map(row).collect();
        let Some(folder) = file.parent() else { return false };
        let temporary = file.with_extension(format!("{}.new", std::process::id()));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&temporary, serde_json::to_vec(&rows).unwrap_or_default()))
            .and_then(|()| std::fs::rename(&temporary, file));
        written.is_ok()
    }

    /// Forgets.
    pub fn forget(&self) -> bool {
        self.file.as_deref().is_some_and(|file| std::fs::remove_file(file).is_ok())
    }
}

fn info(row: Row) -> ResourceInfo {
    ResourceInfo {
        resource: GroupVersionResource::new(&row.group, &row.version, &row.resource),
        singular: row.singular,
        kind: row.kind,
        namespaced: row.namespaced,
        short_names: row.short_names,
        categories: row.categories,
        verbs: row.verbs,
    }
}

fn row(info: &ResourceInfo) -> Row {
    Row {
        group: info.resource.group.clone(),
        version: info.resource.version.clone(),
        resource: info.resource.resource.clone(),
        singular: info.singular.clone(),
        kind: info.kind.clone(),
        namespaced: info.namespaced,
        short_names: info.short_names.clone(),
        categories: info.categories.clone(),
        verbs: info.verbs.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let globals = Globals { cache_dir: Some(folder.path().display().to_string()), ..Globals::default() };
        let cache = DiscoveryCache::of_server("https://127.0.0.1:1", &globals, &Io::process());
        assert!(cache.load().is_none());
        let pods = crate::resolve::builtin("pods").expect("built in").clone();
        assert!(cache.store(std::slice::from_ref(&pods)));
        assert_eq!(cache.load().expect("stored").first().map(|info| info.resource.clone()), Some(pods.resource));
        assert!(cache.forget());
        assert!(cache.load().is_none());
        let none = Globals { cache_dir: Some(String::new()), ..Globals::default() };
        assert!(!DiscoveryCache::of_server("https://127.0.0.1:1", &none, &Io::process()).store(&[]));
    }
}

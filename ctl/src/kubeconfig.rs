//! kubeconfig files as `rctl config` reads and edits them: which files count, and changes that keep all the rest.
//!
//! Rules from `k8s.io/client-go/tools/clientcmd`: `--kubeconfig`, else the files of `KUBECONFIG`, else
//! `~/.kube/config`; the first file that names a thing wins; a change goes to the file that holds the thing.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::Globals;
use crate::errors::{Failure, Layer, Outcome, fail};
use crate::io::Io;
use crate::value::{as_map, items, map_mut, text};

/// The three lists of a kubeconfig: its key and the key of the payload of an entry.
pub const CLUSTERS: (&str, &str) = ("clusters", "cluster");
/// See [`CLUSTERS`].
pub const USERS: (&str, &str) = ("users", "user");
/// See [`CLUSTERS`].
pub const CONTEXTS: (&str, &str) = ("contexts", "context");

/// The files that count, whether they exist or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// In order of precedence.
    pub files: Vec<PathBuf>,
    /// Whether one was named by `--kubeconfig`, so that it must exist to be read.
    pub explicit: bool,
}

impl Paths {
    /// What the flag, the environment and the home folder say.
    pub fn choose(globals: &Globals, io: &Io) -> Paths {
        if let Some(path) = globals.kubeconfig.as_deref().filter(|path| !path.is_empty()) {
            return Paths { files: vec![PathBuf::from(path)], explicit: true };
        }
        let listed: Vec<PathBuf> = io
            .variable("KUBECONFIG")
            .map(|list| list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect())
            .unwrap_or_default();
        if !listed.is_empty() {
            return Paths { files: listed, explicit: false };
        }
        let files = io.home().map(|home| Path::new(home).join(".kube/config")).into_iter().collect();
        Paths { files, explicit: false }
    }

    /// The files that exist; an explicit one that does not is an error.
    pub fn existing(&self) -> Outcome<Vec<PathBuf>> {
        let existing: Vec<PathBuf> = self.files.iter().filter(|path| path.exists()).cloned().collect();
        match self.files.first() {
            Some(path) if self.explicit && existing.is_empty() => Err(Failure::Layer {
                layer: Layer::Configuration,
                message: format!("stat {}: no such file or directory", path.display()),
                hints: vec!["--kubeconfig must name a file that exists.".to_owned()],
            }),
            _ => Ok(existing),
        }
    }

    /// Where new things are written: the first file that exists, else the last one.
    pub fn default_file(&self) -> Option<&Path> {
        self.files.iter().find(|path| path.exists()).or(self.files.last()).map(PathBuf::as_path)
    }
}

/// One kubeconfig file, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Where it lies.
    pub path: PathBuf,
    /// What is in it.
    pub content: Value,
}

/// A file that does not exist yet.
fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "preferences": {}, "clusters": [], "contexts": [], "users": [], "current-context": ""})
}

impl File {
    /// Reads a file; one that does not exist is empty.
    pub fn read(path: &Path) -> Outcome<File> {
        let content = match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => empty(),
            Ok(text) => reeve_api::yaml::from_str(&text).map_err(|error| Failure::Layer {
                layer: Layer::Configuration,
                message: format!("error loading config file {:?}: {error}", path.display().to_string()),
                hints: vec!["A kubeconfig is YAML with clusters, users and contexts.".to_owned()],
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty(),
            Err(error) => {
                return Err(Failure::Layer {
                    layer: Layer::Configuration,
                    message: format!("error loading config file {:?}: {error}", path.display().to_string()),
                    hints: vec![],
                });
            }
        };
        Ok(File { path: path.to_owned(), content })
    }

    /// Replaces the file at once, readable by its owner only.
    pub fn write(&self) -> Outcome {
        let failed = |error: std::io::Error| Failure::Layer {
            layer: Layer::Configuration,
            message: format!("cannot write {}: {error}", self.path.display()),
            hints: vec![],
        };
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".rctl-new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(crate::output::yaml::yaml(&self.content)?.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&temporary, &self.path).map_err(failed)
    }

    /// The payload of an entry.
    pub fn entry(&self, list: (&str, &str), name: &str) -> Option<&Value> {
        items(&self.content, list.0)
            .iter()
            .find(|entry| text(entry, "name") == name)
            .and_then(|entry| entry.get(list.1))
    }

    /// The payload of an entry, made if it is missing.
    pub fn entry_mut(&mut self, list: (&str, &str), name: &str) -> &mut Map<String, Value> {
        let slot = as_map(&mut self.content).entry(list.0).or_insert(Value::Null);
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        let Value::Array(entries) = slot else { unreachable!("it was just made a list") };
        let index = match entries.iter().position(|entry| text(entry, "name") == name) {
            Some(index) => index,
            None => {
                entries.push(json!({"name": name, list.1: {}}));
                entries.len() - 1
            }
        };
        map_mut(&mut entries[index], list.1)
    }

    /// Removes an entry; false if there is none.
    pub fn remove(&mut self, list: (&str, &str), name: &str) -> bool {
        let Some(Value::Array(entries)) = self.content.get_mut(list.0) else { return false };
        let before = entries.len();
        entries.retain(|entry| text(entry, "name") != name);
        entries.len() != before
    }

    /// The current context, or the empty text.
    pub fn current_context(&self) -> &str {
        text(&self.content, "current-context")
    }
}

/// All files, in order of precedence.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// The files; at least one unless nothing names any.
    pub files: Vec<File>,
    default: Option<PathBuf>,
}

impl Files {
    /// Reads the files that exist.
    pub fn load(paths: &Paths) -> Outcome<Files> {
        let files = paths.existing()?.iter().map(|path| File::read(path)).collect::<Outcome<Vec<File>>>()?;
        Ok(Files { files, default: paths.default_file().map(Path::to_owned) })
    }

    /// Reads the files to change them: an explicit one need not exist yet.
    pub fn load_to_change(paths: &Paths) -> Outcome<Files> {
        Files::load(&Paths { explicit: false, ..paths.clone() })
    }

    /// The name of the context in use.
    pub fn current_context(&self) -> &str {
        self.files.iter().map(File::current_context).find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// The payload of an entry, from the first file that has it.
    pub fn entry(&self, list: (&str, &str), name: &str) -> Option<&Value> {
        self.files.iter().find_map(|file| file.entry(list, name))
    }

    /// The names of all entries, sorted.
    pub fn names(&self, list: (&str, &str)) -> Vec<String> {
        let mut names: Vec<String> = self
            .files
            .iter()
            .flat_map(|file| items(&file.content, list.0))
            .map(|entry| text(entry, "name").to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// One kubeconfig of all files.
    pub fn merged(&self) -> Value {
        let list = |list: (&str, &str)| -> Value {
            let entries: Vec<Value> = self
                .names(list)
                .into_iter()
                .filter_map(|name| Some(json!({"name": name, list.1: self.entry(list, &name)?})))
                .collect();
            if entries.is_empty() { Value::Null } else { Value::Array(entries) }
        };
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": list(CLUSTERS),
            "contexts": list(CONTEXTS),
            "users": list(USERS),
            "current-context": self.current_context(),
        })
    }

    /// The file to change for an entry: the one that has it, else the default one.
    pub fn holder_mut(&mut self, list: (&str, &str), name: &str) -> Outcome<&mut File> {
        match self.files.iter().position(|file| file.entry(list, name).is_some()) {
            Some(index) => Ok(&mut self.files[index]),
            None => self.default_mut(),
        }
    }

    /// The file to change for the current context.
    pub fn current_holder_mut(&mut self) -> Outcome<&mut File> {
        match self.files.iter().position(|file| !file.current_context().is_empty()) {
            Some(index) => Ok(&mut self.files[index]),
            None => self.default_mut(),
        }
    }

    /// The file that new things go to.
    pub fn default_mut(&mut self) -> Outcome<&mut File> {
        let Some(path) = self.default.clone() else {
            return fail("no kubeconfig to change: set HOME or KUBECONFIG, or give --kubeconfig");
        };
        let index = match self.files.iter().position(|file| file.path == path) {
            Some(index) => index,
            None => {
                self.files.push(File::read(&path)?);
                self.files.len() - 1
            }
        };
        Ok(&mut self.files[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: Value) -> File {
        File { path: path.into(), content }
    }

    fn two_files() -> Files {
        Files {
            files: vec![
                file("/a", json!({"clusters": [{"name": "c", "cluster": {"server": "https://first"}}]})),
                file(
                    "/b",
                    json!({
                        "current-context": "x",
                        "clusters": [{"name": "c", "cluster": {"server": "https://second"}}, {"name": "d", "cluster": {}}],
                        "contexts": [{"name": "x", "context": {"cluster": "d", "user": "u"}}],
                    }),
                ),
            ],
            default: Some("/a".into()),
        }
    }

    #[test]
    fn the_first_file_that_names_a_thing_wins() {
        let merged = two_files().merged();
        assert_eq!(merged["current-context"], "x");
        assert_eq!(merged["clusters"][0]["cluster"]["server"], "https://first");
        assert_eq!(merged["clusters"][1]["name"], "d");
        assert_eq!(merged["users"], Value::Null);
    }

    #[test]
    fn changes_go_to_the_file_that_holds_the_thing() {
        let mut files = two_files();
        let holder = files.holder_mut(CONTEXTS, "x").expect("a file");
        assert_eq!(holder.path, Path::new("/b"));
        holder.entry_mut(CONTEXTS, "x").insert("namespace".into(), "shop".into());
        assert_eq!(text(files.entry(CONTEXTS, "x").expect("the entry"), "namespace"), "shop");
        assert_eq!(files.holder_mut(CONTEXTS, "new").expect("a file").path, Path::new("/a"));
        assert_eq!(files.current_holder_mut().expect("a file").path, Path::new("/b"));
    }

    #[test]
    fn entries_are_removed() {
        let mut files = two_files();
        assert!(files.files[1].remove(CLUSTERS, "d"));
        assert!(!files.files[1].remove(CLUSTERS, "d"));
    }
}

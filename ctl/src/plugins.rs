//! Plugins: a program `rctl-foo-bar` on PATH is the command `rctl foo bar`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::io::Io;

const PREFIX: &str = "rctl-";

/// The plugin that words name, and how many of them; the longest name wins.
pub fn find(words: &[String], io: &Io) -> Option<(PathBuf, usize)> {
    let named = words.iter().take_while(|word| !word.starts_with('-')).count();
    (1..=named).rev().find_map(|count| {
        let parts: Vec<String> = words.get(..count)?.iter().map(|word| word.replace('-', "_")).collect();
        // A name with a slash would leave the folders of PATH.
        if parts.iter().any(|part| part.is_empty() || part.contains('/')) {
            return None;
        }
        let file = format!("{PREFIX}{}", parts.join("-"));
        folders(io).into_iter().map(|folder| folder.join(&file)).find(|path| is_program(path)).map(|path| (path, count))
    })
}

/// Runs a plugin with the words after its name; its exit code.
pub fn run(plugin: &Path, words: &[String], io: &mut Io) -> i32 {
    match Command::new(plugin).args(words).status() {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => match io.note(&format!("error: cannot run the plugin {}: {error}", plugin.display())) {
            Ok(()) | Err(_) => 1,
        },
    }
}

/// All plugins, in the order of PATH; of two with one name only the first runs.
pub fn all(io: &Io) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders(io) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let names: BTreeSet<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        let is_plugin = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) && path.is_file()
        };
        found.extend(names.into_iter().filter(is_plugin));
    }
    found
}

/// Whether a file may be run.
pub fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn folders(io: &Io) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let path = io.variable("PATH").unwrap_or_default();
    std::env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty() && seen.insert(folder.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["rctl-foo", "rctl-foo-bar_baz"] {
            let path = folder.path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("made a program");
        }
        let mut io = Io::process();
        io.environment.insert("PATH".to_owned(), folder.path().display().to_string());
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let found = |line: &str| {
            find(&words(line), &io).map(|(path, count)| (path.file_name().map(|name| name.to_owned()), count))
        };
        assert_eq!(found("foo x"), Some((Some("rctl-foo".into()), 1)));
        assert_eq!(found("foo bar-baz x"), Some((Some("rctl-foo-bar_baz".into()), 2)));
        assert_eq!(found("bar"), None);
        assert_eq!(found("../foo"), None);
        assert_eq!(all(&io).len(), 2);
    }
}

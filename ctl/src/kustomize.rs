//! `-k`: what a kustomization folder builds.
//!
//! Building is kustomize's own, a language of its own that its maintainers extend: rctl runs the program, or kubectl,
//! which has it built in, and reads what it prints.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::errors::{Failure, Outcome, fail};
use crate::manifest::{self, Manifest};

/// The programs that build a folder, and their arguments before it.
const BUILDERS: [(&str, &str); 2] = [("kustomize", "build"), ("kubectl", "kustomize")];

/// The names that a kustomization may have.
const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The objects that a folder builds.
pub fn read(folder: &str) -> Outcome<Vec<Manifest>> {
    let text = build(folder)?;
    let mut manifests = Vec::new();
    manifest::parse(&text, folder, &mut manifests)?;
    Ok(manifests)
}

/// The YAML that a folder builds.
pub fn build(folder: &str) -> Outcome<String> {
    let remote = folder.contains("://") || folder.starts_with("git@");
    if !remote && !FILES.iter().any(|file| Path::new(folder).join(file).is_file()) {
        let names = FILES.map(|file| format!("'{file}'")).join(", ");
        return fail(format!("unable to find one of {names} in directory '{folder}'"));
    }
    for (program, verb) in BUILDERS {
        match run(program, verb, folder) {
            Ok(output) if output.status.success() => {
                return String::from_utf8(output.stdout)
                    .map_err(|_| Failure::Message(format!("{program} printed something that is not text")));
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                return fail(said.trim().trim_start_matches("Error: ").trim_start_matches("error: "));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return fail(format!("cannot run {program}: {error}")),
        }
    }
    fail(format!(
        "{folder} is a kustomization, and neither kustomize nor kubectl is on PATH to build it\n  \
         Install kustomize, or build it elsewhere and pipe it in: kustomize build {folder} | rctl apply -f -"
    ))
}

fn run(program: &str, verb: &str, folder: &str) -> io::Result<Output> {
    Command::new(program).args([verb, folder]).stdin(Stdio::null()).output()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_kustomization_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = read(&folder.path().display().to_string()).expect_err("nothing to build").text();
        assert!(text.starts_with("error: unable to find one of 'kustomization.yaml'"), "{text}");
    }
}

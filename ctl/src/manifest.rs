//! Manifests: files, folders and standard input to objects that know where they came from.
//!
//! All sources are read and checked before anything is sent, so that a mistake in the last document
//! leaves the cluster as it was. Errors carry file, document and line.

use std::io::Read;
use std::path::{Path, PathBuf};

use reeve_api::{GroupVersionKind, yaml};
use serde_json::Value;

use crate::errors::{Failure, Outcome, fail};
use crate::value::{name, text};

/// An object and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The object; `apiVersion` and `kind` are there.
    pub object: Value,
    /// The path as the user gave it, or `STDIN`.
    pub source: String,
    /// The document in the source, counted from 1.
    pub document: usize,
    /// The line that the document begins at, counted from 1.
    pub line: usize,
}

impl Manifest {
    /// The object's kind.
    pub fn kind(&self) -> GroupVersionKind {
        GroupVersionKind::from_object(text(&self.object, "apiVersion"), text(&self.object, "kind"))
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        name(&self.object)
    }

    /// `web.yaml, document 2, line 14`, for errors.
    pub fn place(&self) -> String {
        format!("{}, document {}, line {}", self.source, self.document, self.line)
    }

    /// The error for a kind that the server does not serve.
    pub fn unknown_kind(&self) -> Failure {
        let kind = self.kind();
        Failure::Message(format!(
            "resource mapping not found for name: {:?} namespace: {:?} from {:?}: no matches for kind {:?} in version {:?}\n\
             ensure CRDs are installed first",
            self.name(),
            crate::value::namespace(&self.object),
            self.source,
            kind.kind,
            kind.api_version(),
        ))
    }
}

/// Reads everything that `-f` names.
pub fn read(paths: &[String], recursive: bool, input: &mut dyn Read) -> Outcome<Vec<Manifest>> {
    let mut manifests = Vec::new();
    let mut stdin_taken = false;
    for path in paths.iter().flat_map(|path| path.split(',')).filter(|path| !path.is_empty()) {
        if path == "-" {
            if std::mem::replace(&mut stdin_taken, true) {
                return fail("standard input cannot be used for multiple arguments");
            }
            let mut content = String::new();
            input
                .read_to_string(&mut content)
                .map_err(|error| Failure::Message(format!("error reading STDIN: {error}")))?;
            parse(&content, "STDIN", &mut manifests)?;
        } else if path.starts_with("http://") || path.starts_with("https://") {
            return fail(format!(
                "{path}: manifests are not fetched from URLs; fetch it yourself: curl -fsSL {path} | rctl apply -f -"
            ));
        } else {
            for file in files(path, recursive)? {
                let content = std::fs::read_to_string(&file)
                    .map_err(|error| Failure::Message(format!("error reading {}: {error}", file.display())))?;
                parse(&content, &file.display().to_string(), &mut manifests)?;
            }
        }
    }
    Ok(manifests)
}

/// The files of a path: itself, or the manifests in a folder in order of their names.
fn files(path: &str, recursive: bool) -> Outcome<Vec<PathBuf>> {
    let root = Path::new(path);
    let Ok(metadata) = std::fs::metadata(root) else {
        return fail(format!("the path {path:?} does not exist"));
    };
    if !metadata.is_dir() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    collect(root, recursive, &mut found)?;
    if found.is_empty() {
        return fail(format!("error reading [{path}]: recognized file extensions are [.json .yaml .yml]"));
    }
    Ok(found)
}

fn collect(folder: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Outcome {
    let failed = |error: std::io::Error| Failure::Message(format!("error reading {}: {error}", folder.display()));
    let mut entries = std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            if recursive {
                collect(&path, recursive, found)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Adds the objects of a source.
pub fn parse(content: &str, source: &str, manifests: &mut Vec<Manifest>) -> Outcome {
    if !content.trim_start().starts_with('{') {
        return parse_yaml(content, source, manifests);
    }
    // JSON, or YAML in flow style; a mistake is told as one of JSON, which most such files are meant to be.
    let (mut as_json, mut as_yaml) = (Vec::new(), Vec::new());
    match parse_json(content, source, &mut as_json) {
        Ok(()) => manifests.extend(as_json),
        Err(failure) => match parse_yaml(content, source, &mut as_yaml) {
            Ok(()) => manifests.extend(as_yaml),
            Err(_) => return Err(failure),
        },
    }
    Ok(())
}

fn parse_yaml(content: &str, source: &str, manifests: &mut Vec<Manifest>) -> Outcome {
    let failure = |yaml::Error { problem, document, line, column }: yaml::Error| {
        Failure::Message(format!(
            "error parsing {source}: document {document}, line {line}: {problem} (column {column})"
        ))
    };
    for document in yaml::documents(content).map_err(failure)? {
        let (number, line) = (document.number, document.line);
        let object = document.into_strict_value().map_err(failure)?;
        add(Manifest { object, source: source.to_owned(), document: number, line }, manifests)?;
    }
    Ok(())
}

fn parse_json(content: &str, source: &str, manifests: &mut Vec<Manifest>) -> Outcome {
    let mut stream = serde_json::Deserializer::from_str(content).into_iter::<Value>();
    let mut document = 0;
    loop {
        let start = stream.byte_offset();
        let line = content[..start].matches('\n').count() + 1;
        let Some(object) = stream.next() else { return Ok(()) };
        document += 1;
        let object = object.map_err(|error| {
            Failure::Message(format!("error parsing {source}: document {document}, line {}: {error}", error.line()))
        })?;
        add(Manifest { object, source: source.to_owned(), document, line }, manifests)?;
    }
}

/// Adds an object, or the items of a list.
fn add(manifest: Manifest, manifests: &mut Vec<Manifest>) -> Outcome {
    let missing: Vec<&str> =
        ["apiVersion", "kind"].into_iter().filter(|key| text(&manifest.object, key).is_empty()).collect();
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|key| format!("{key} not set")).collect();
        return fail(format!(
            "error validating {:?}: error validating data: [{}] (document {}, line {})",
            manifest.source,
            list.join(", "),
            manifest.document,
            manifest.line
        ));
    }
    let is_list = text(&manifest.object, "kind").ends_with("List") && manifest.object.get("items").is_some();
    if !is_list {
        manifests.push(manifest);
        return Ok(());
    }
    let Value::Object(mut list) = manifest.object else { return Ok(()) };
    let item_kind =
        list.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List")).unwrap_or("").to_owned();
    let item_version = list.get("apiVersion").and_then(Value::as_str).unwrap_or("").to_owned();
    let Some(Value::Array(objects)) = list.remove("items") else { return Ok(()) };
    for mut object in objects {
        // Items of typed lists may leave out what the list says.
        if !item_kind.is_empty()
            && let Some(map) = object.as_object_mut()
        {
            map.entry("apiVersion").or_insert_with(|| Value::String(item_version.clone()));
            map.entry("kind").or_insert_with(|| Value::String(item_kind.clone()));
        }
        add(
            Manifest { object, source: manifest.source.clone(), document: manifest.document, line: manifest.line },
            manifests,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(content: &str) -> Outcome<Vec<Manifest>> {
        let mut manifests = Vec::new();
        parse(content, "web.yaml", &mut manifests).map(|()| manifests)
    }

    fn error(content: &str) -> String {
        parsed(content).expect_err("a mistake").text()
    }

    fn names(manifests: &[Manifest]) -> Vec<&str> {
        manifests.iter().map(Manifest::name).collect()
    }

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n";

    #[test]
    fn documents_know_their_place() {
        let content = format!("# top\n{POD}---\n\n# nothing\n---\n{POD}--- \n{POD}");
        let manifests = parsed(&content).expect("parses");
        let places: Vec<(usize, usize)> = manifests.iter().map(|m| (m.document, m.line)).collect();
        assert_eq!(places, [(1, 2), (2, 10), (3, 15)]);
        assert_eq!(names(&manifests), ["a", "a", "a"]);
        assert_eq!(manifests[1].place(), "web.yaml, document 2, line 10");
    }

    #[test]
    fn mistakes_carry_file_document_and_line() {
        let text = error(&format!("{POD}---\nkind: [a\n"));
        assert!(text.starts_with("error: error parsing web.yaml: document 2, line "), "{text}");
        assert_eq!(
            error("a: b\n"),
            "error: error validating \"web.yaml\": error validating data: [apiVersion not set, kind not set] \
             (document 1, line 1)"
        );
        let text = error("apiVersion: v1\nkind: Pod\nkind: Pod\n");
        assert_eq!(
            text,
            "error: error parsing web.yaml: document 1, line 3: duplicate key \"kind\": already set in map at line 2 (column 1)"
        );
        let text = error("{\"kind\": \"Pod\",\n x}");
        assert!(text.starts_with("error: error parsing web.yaml: document 1, line 2: "), "{text}");
    }

    #[test]
    fn lists_are_taken_apart() {
        let manifests = parsed(
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n",
        )
        .expect("parses");
        assert_eq!(names(&manifests), ["a", "b"]);
        let manifests = parsed(r#"{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "c"}}]}"#)
            .expect("parses");
        assert_eq!((manifests[0].name(), manifests[0].kind().kind.as_str()), ("c", "Pod"));
    }

    #[test]
    fn json_documents_may_follow_each_other() {
        let one = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}"#;
        assert_eq!(parsed(&format!("{one}\n{one}\n")).expect("parses").len(), 2);
    }

    #[test]
    fn yaml_may_be_in_flow_style() {
        let one =
            "{apiVersion: v1, kind: Pod, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
        assert_eq!(names(&parsed(one).expect("parses")), ["a", "b"]);
    }

    #[test]
    fn anchors_merge_keys_and_numeric_keys_work() {
        let manifests =
            parsed("apiVersion: v1\nkind: ConfigMap\nbase: &base {a: 1}\nall:\n  <<: *base\n  b: 2\ndata:\n  1: one\n")
                .expect("parses");
        assert_eq!(manifests[0].object["all"], serde_json::json!({"b": 2, "a": 1}));
        assert_eq!(manifests[0].object["data"]["1"], "one");
    }

    #[test]
    fn scalars_are_those_of_kubectl() {
        let manifests = parsed("apiVersion: v1\nkind: X\nmode: 0400\non: yes\ntext: \"0400\"\n").expect("parses");
        let expected = serde_json::json!({"apiVersion": "v1", "kind": "X", "mode": 256, "true": true, "text": "0400"});
        assert_eq!(manifests[0].object, expected);
    }

    #[test]
    fn missing_paths_are_told() {
        let failure = read(&["/nonexistent/x.yaml".into()], false, &mut std::io::empty()).expect_err("missing");
        assert_eq!(failure.text(), "error: the path \"/nonexistent/x.yaml\" does not exist");
        let failure = read(&["-".into(), "-".into()], false, &mut POD.as_bytes()).expect_err("twice");
        assert_eq!(failure.text(), "error: standard input cannot be used for multiple arguments");
    }

    #[test]
    fn folders_are_read_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for (file, name) in [("b.yaml", "b"), ("a.yml", "a"), ("c.txt", "c"), ("sub/d.json", "d")] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            let content = format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n");
            std::fs::write(path, content).expect("written");
        }
        let path = folder.path().display().to_string();
        let flat = read(std::slice::from_ref(&path), false, &mut std::io::empty()).expect("reads");
        assert_eq!(names(&flat), ["a", "b"]);
        let deep = read(&[path], true, &mut std::io::empty()).expect("reads");
        assert_eq!(names(&deep), ["a", "b", "d"]);
    }
}

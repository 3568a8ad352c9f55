//! Words about a value of the wrong type: where it is, and what was expected.

use reeve_api::GroupVersionKind;
use serde_ignored::Path;

/// Fields that hold maps: the key below is no field.
const MAPS: [&str; 11] = [
    "data",
    "binaryData",
    "stringData",
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "limits",
    "requests",
    "capacity",
    "allocatable",
];

/// The path of an unknown field: `spec.containers[0].imagePullpolicy`.
pub(super) fn path(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", self::path(parent)),
        Path::Map { parent, key } => {
            let parent = self::path(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => self::path(parent),
    }
}

/// What is wrong, in upstream's words as far as they can be known.
pub(super) fn explain(json: &[u8], kind: &GroupVersionKind, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let Some((offset, (fields, value))) = offset(json, error).and_then(|offset| Some((offset, locate(json, offset)?)))
    else {
        return text.to_owned();
    };
    let mut fields = fields;
    if fields.len() >= 2 && MAPS.contains(&fields[fields.len() - 2].as_str()) {
        fields.pop();
    }
    if let Some(place) = text.strip_prefix("Invalid symbol ").and_then(|rest| rest.split_once("offset ")) {
        return format!("illegal base64 data at input byte {}", place.1.trim_end_matches('.'));
    }
    if fields.last().is_some_and(|field| field.ends_with("Timestamp") || field.ends_with("Time")) {
        return format!("{}: {text}", fields.join("."));
    }
    let Some((_, expected)) = text.split_once(", expected ") else {
        let place = fields.join(".");
        return format!("{place}: {text} (byte {offset})");
    };
    let expected = match expected {
        "a string" => "string".to_owned(),
        "a boolean" => "bool".to_owned(),
        "i32" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        "a sequence" => list_type(fields.last().map_or("", String::as_str)),
        "a map" => "map[string]string".to_owned(),
        kind => format!("v1.{kind}"),
    };
    format!(
        "json: cannot unmarshal {value} into Go struct field {}.{} of type {expected}",
        holder(kind, &fields),
        fields.join(".")
    )
}

/// The structure that has the last of the fields.
fn holder(kind: &GroupVersionKind, fields: &[String]) -> String {
    let parent = fields.len().checked_sub(2).and_then(|index| fields.get(index)).map(String::as_str);
    let grandparent = fields.len().checked_sub(3).and_then(|index| fields.get(index)).map(String::as_str);
    match (grandparent, parent) {
        (_, Some("metadata")) => "ObjectMeta".to_owned(),
        (Some("template"), Some("spec")) => "PodSpec".to_owned(),
        (None, Some("spec")) => format!("{}Spec", kind.kind),
        (None, Some("status")) => format!("{}Status", kind.kind),
        (_, Some("containers" | "initContainers")) => "Container".to_owned(),
        (_, Some("template")) => "PodTemplateSpec".to_owned(),
        (_, Some("ports")) if kind.kind == "Service" => "ServicePort".to_owned(),
        (_, Some("ports")) => "ContainerPort".to_owned(),
        (_, Some("env")) => "EnvVar".to_owned(),
        (_, Some("volumes")) => "Volume".to_owned(),
        _ => kind.kind.clone(),
    }
}

fn list_type(field: &str) -> String {
    let element = match field {
        "containers" | "initContainers" => "v1.Container",
        "volumes" => "v1.Volume",
        "env" => "v1.EnvVar",
        "volumeMounts" => "v1.VolumeMount",
        "tolerations" => "v1.Toleration",
        "command" | "args" | "finalizers" => "string",
        "ownerReferences" => "v1.OwnerReference",
        _ => return "array".to_owned(),
    };
    format!("[]{element}")
}

/// The byte that the error is about.
fn offset(json: &[u8], error: &serde_json::Error) -> Option<usize> {
    let lines = json.split(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().checked_sub(1)?).map(|line| line.len() + 1).sum();
    (before + error.column()).checked_sub(1)
}

/// The names of the fields down to the value at a byte, and what that value is.
fn locate(json: &[u8], target: usize) -> Option<(Vec<String>, &'static str)> {
    enum Open {
        Object,
        List,
    }
    let mut open = Vec::new();
    let mut names: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    let mut name_comes = false;
    let fields = |names: &[Option<String>]| names.iter().flatten().cloned().collect::<Vec<_>>();
    while at < json.len() {
        let start = at;
        match json[at] {
            opening @ (b'{' | b'[') => {
                if at >= target {
                    return Some((fields(&names), if opening == b'{' { "object" } else { "array" }));
                }
                let is_object = opening == b'{';
                open.push(if is_object { Open::Object } else { Open::List });
                names.push(None);
                name_comes = is_object;
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                names.pop();
                at += 1;
                if start >= target {
                    return None;
                }
            }
            b',' => {
                name_comes = matches!(open.last(), Some(Open::Object));
                at += 1;
            }
            b'"' => {
                at += 1;
                while at < json.len() && json[at] != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if name_comes {
                    let name = std::str::from_utf8(json.get(start + 1..at - 1)?).ok()?;
                    *names.last_mut()? = Some(name.to_owned());
                    name_comes = false;
                } else if at > target {
                    return Some((fields(&names), "string"));
                }
            }
            b':' | b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            first => {
                while at < json.len() && !matches!(json[at], b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                    at += 1;
                }
                if at > target {
                    let what = if matches!(first, b't' | b'f') { "bool" } else { "number" };
                    return Some((fields(&names), what));
                }
            }
        }
    }
    None
}

//! Writes `builtin.txt` from upstream's OpenAPI v3 documents:
//! `REEVE_OPENAPI_V3=folder cargo test -p reeve-api schema::generate`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

/// Types whose JSON form is a scalar or opaque, whatever their schema says.
fn special(name: &str, schema: &Value) -> Option<&'static str> {
    if let Some(kind) = schema["type"].as_str().filter(|kind| *kind != "object") {
        return Some(match (kind, schema["format"].as_str()) {
            ("string", None | Some("byte")) => "s",
            ("integer" | "number", _) => "n",
            ("boolean", _) => "b",
            ("array", _) => "?",
            _ => "x",
        });
    }
    if schema.get("oneOf").is_some() {
        return Some("x");
    }
    if schema.get("properties").is_none() || name.ends_with("FieldsV1") {
        return Some("?");
    }
    None
}

struct Generator {
    schemas: BTreeMap<String, Value>,
}

impl Generator {
    fn reference<'a>(&self, schema: &'a Value) -> Option<&'a str> {
        let target = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())?;
        target.rsplit('/').next()
    }

    fn shape(&self, schema: &Value) -> String {
        if let Some(name) = self.reference(schema) {
            let target = &self.schemas[name];
            return match special(name, target) {
                Some(shape) => shape.to_owned(),
                None if schema["x-kubernetes-map-type"] == "atomic" => format!("&!{}", short(name)),
                None => format!("&{}", short(name)),
            };
        }
        match schema["type"].as_str() {
            Some("array") => {
                let keys = match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => "=".to_owned(),
                    Some("map") => {
                        let keys = schema["x-kubernetes-list-map-keys"].as_array().cloned().unwrap_or_default();
                        keys.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
                    }
                    Some(_) => String::new(),
                    None if strategies(schema).contains(&"merge") => {
                        schema["x-kubernetes-patch-merge-key"].as_str().unwrap_or("=").to_owned()
                    }
                    None => String::new(),
                };
                format!("[{keys}]{}", self.shape(&schema["items"]))
            }
            Some("object") => {
                let mark = if schema["x-kubernetes-map-type"] == "atomic" { "!" } else { "" };
                match schema.get("additionalProperties") {
                    Some(element) => format!("{{{mark}}}{}", self.shape(element)),
                    None => "?".to_owned(),
                }
            }
            _ => special("", schema).unwrap_or("?").to_owned(),
        }
    }

    fn field(&self, name: &str, schema: &Value, required: bool) -> String {
        let mut text = format!("{name}={}", self.shape(schema));
        let strategies = strategies(schema);
        if strategies.contains(&"replace") {
            text.push_str("~replace");
        } else if strategies.contains(&"merge") {
            text.push_str("~merge");
            if let Some(key) = schema["x-kubernetes-patch-merge-key"].as_str() {
                let _ = write!(text, ":{key}");
            }
        }
        match schema.get("default") {
            Some(Value::Object(empty)) if empty.is_empty() => text.push('*'),
            Some(default) if *default == "" || *default == 0 || *default == false => {
                text.push('*');
            }
            Some(default) => {
                let default = default.to_string();
                if !default.contains(' ') {
                    let _ = write!(text, "^{default}");
                }
            }
            None if required => text.push_str("*0"),
            None => {}
        }
        text
    }
}

fn strategies(schema: &Value) -> Vec<&str> {
    schema["x-kubernetes-patch-strategy"].as_str().map(|text| text.split(',').collect()).unwrap_or_default()
}

fn short(name: &str) -> String {
    let name = name.strip_prefix("io.k8s.").unwrap_or(name);
    let name = name.strip_prefix("api.").unwrap_or(name);
    name.replace("apimachinery.pkg.apis.", "").replace("apimachinery.pkg.", "").replace(".pkg.apis.", ".")
}

/// The table's text for a folder of documents.
fn generate(folder: &Path) -> String {
    let mut generator = Generator { schemas: BTreeMap::new() };
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let document: Value = serde_json::from_slice(&std::fs::read(entry.path()).expect("a file")).expect("JSON");
        for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
            generator.schemas.insert(name.clone(), schema.clone());
        }
    }
    let mut text = String::from(
        "# Written by generate.rs from Kubernetes 1.36 OpenAPI documents; table.rs says how to read it.\n",
    );
    for (name, schema) in &generator.schemas {
        if special(name, schema).is_some() {
            continue;
        }
        let kinds = schema["x-kubernetes-group-version-kind"].as_array().cloned().unwrap_or_default();
        let kind = match kinds.as_slice() {
            [kind] => {
                let part = |name: &str| kind[name].as_str().unwrap_or_default().to_owned();
                let group = if part("group").is_empty() { String::new() } else { part("group") + "/" };
                format!("{group}{}/{}", part("version"), part("kind"))
            }
            _ => "-".to_owned(),
        };
        let mark = if schema["x-kubernetes-map-type"] == "atomic" { "!" } else { "" };
        let _ = write!(text, "{}{mark} {kind}", short(name));
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            text.push(' ');
            text.push_str(&generator.field(field, schema, required.contains(&field.as_str())));
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_table_is_written_when_asked() {
    let Some(folder) = std::env::var_os("REEVE_OPENAPI_V3") else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema/builtin.txt");
    std::fs::write(path, generate(Path::new(&folder))).expect("written");
}

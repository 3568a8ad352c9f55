//! The paths of a custom kind: what can be asked of its objects, and with which options. Upstream's
//! `apiextensions-apiserver/pkg/controller/openapi/builder`.

use std::sync::LazyLock;

use reeve_api::GroupVersionKind;
use serde_json::{Map, Value, json};

use super::source::{GROUP_VERSIONS, unpack};
use crate::registry::{Row, SubresourceAction};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Options of requests, which all kinds have alike: those of a built-in kind.
struct Options {
    list: Vec<Value>,
    write: Value,
    patch: Value,
    delete: Value,
    namespace: Value,
    pretty: Value,
}

static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    let packed = GROUP_VERSIONS.iter().find(|(path, _)| *path == "apis/coordination.k8s.io/v1");
    let document = packed.and_then(|(_, packed)| serde_json::from_str::<Value>(&unpack(packed).ok()?).ok());
    let document = document.unwrap_or_default();
    let all = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases";
    let collection = &document["paths"][all];
    let one = &document["paths"][format!("{all}/{{name}}")];
    let of = |operation: &Value| operation["parameters"].clone();
    let shared = |name: &str| {
        let mut own = collection["parameters"].as_array().into_iter().flatten();
        own.find(|parameter| parameter["name"] == name).cloned().unwrap_or_default()
    };
    Options {
        list: of(&collection["get"]).as_array().cloned().unwrap_or_default(),
        write: of(&one["put"]),
        patch: of(&one["patch"]),
        delete: of(&one["delete"]),
        namespace: shared("namespace"),
        pretty: shared("pretty"),
    }
});

/// A kind whose paths are told.
pub struct Paths<'a> {
    /// Its row.
    pub row: &'a Row,
    /// The kind as it is served.
    pub kind: &'a GroupVersionKind,
    /// The names of the schemas of its objects and of their lists.
    pub schemas: [String; 2],
}

/// What can be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    List,
    Create,
    DeleteCollection,
    Read,
    Replace,
    Patch,
    Delete,
}

impl Action {
    /// The verb of operations, that of texts, and `x-kubernetes-action`.
    fn words(self) -> [&'static str; 3] {
        match self {
            Action::List => ["list", "list", "list"],
            Action::Create => ["create", "create", "post"],
            Action::DeleteCollection => ["delete", "delete collection of", "deletecollection"],
            Action::Read => ["read", "read", "get"],
            Action::Replace => ["replace", "replace", "put"],
            Action::Patch => ["patch", "partially update", "patch"],
            Action::Delete => ["delete", "delete", "delete"],
        }
    }
}

/// A name as operations have it: `x.example.com` is `XExampleCom`, or `xExampleCom` where it stands first.
fn identifier(text: &str, is_first: bool) -> String {
    let mut out = String::new();
    let mut upper = !is_first;
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.push(character.to_ascii_uppercase());
        } else {
            out.push(character);
        }
    }
    out
}

fn reference(schema: &str) -> Value {
    json!({"schema": {"$ref": format!("#/components/schemas/{schema}")}})
}

/// The same body in each of several media types.
fn content(types: &[&str], schema: &str) -> Value {
    types.iter().map(|media| ((*media).to_owned(), reference(schema))).collect::<Map<_, _>>().into()
}

impl Paths<'_> {
    /// Adds all of them.
    pub fn add(&self, paths: &mut Map<String, Value>) {
        let resource = &self.row.info.resource;
        let base = format!("/apis/{}/{}", resource.group, resource.version);
        let place = if self.row.info.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{base}{place}/{}", resource.resource);
        if self.row.info.namespaced {
            let mut all = self.operation(Action::List, None);
            all["operationId"] = format!("list{}{}ForAllNamespaces", self.prefix(), self.kind.kind).into();
            let mut parameters = OPTIONS.list.clone();
            let at =
                parameters.iter().position(|own| own["name"].as_str() > Some("pretty")).unwrap_or(parameters.len());
            parameters.insert(at, OPTIONS.pretty.clone());
            if let Some(own) = all.as_object_mut() {
                own.shift_remove("parameters");
            }
            paths.insert(format!("{base}/{}", resource.resource), json!({"get": all, "parameters": parameters}));
        }
        paths.insert(
            collection.clone(),
            json!({
                "get": self.operation(Action::List, None),
                "post": self.operation(Action::Create, None),
                "delete": self.operation(Action::DeleteCollection, None),
                "parameters": self.shared(false),
            }),
        );
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({
                "get": self.operation(Action::Read, None),
                "put": self.operation(Action::Replace, None),
                "patch": self.operation(Action::Patch, None),
                "delete": self.operation(Action::Delete, None),
                "parameters": self.shared(true),
            }),
        );
        for part in &self.row.subresources {
            let is_scale = part.action == SubresourceAction::Scale;
            let part = Some((part.name, is_scale));
            paths.insert(
                format!("{collection}/{{name}}/{}", part.map_or("", |(name, _)| name)),
                json!({
                    "get": self.operation(Action::Read, part),
                    "put": self.operation(Action::Replace, part),
                    "patch": self.operation(Action::Patch, part),
                    "parameters": self.shared(true),
                }),
            );
        }
    }

    /// `YExampleComV1`: what operations of the version begin with after their verb.
    fn prefix(&self) -> String {
        let group = self.kind.group.strip_suffix(".k8s.io").unwrap_or(&self.kind.group);
        identifier(group, false) + &identifier(&self.kind.version, false)
    }

    /// What all operations of a path are asked with.
    fn shared(&self, has_name: bool) -> Vec<Value> {
        let name = json!({
            "description": format!("name of the {}", self.kind.kind),
            "in": "path",
            "name": "name",
            "required": true,
            "schema": {"type": "string", "uniqueItems": true},
        });
        let mut shared = Vec::new();
        if has_name {
            shared.push(name);
        }
        if self.row.info.namespaced {
            shared.push(OPTIONS.namespace.clone());
        }
        shared.push(OPTIONS.pretty.clone());
        shared
    }

    /// What is done to objects, or to a part of them: its name, and whether it is their scale.
    fn operation(&self, action: Action, part: Option<(&str, bool)>) -> Value {
        let [own, many] = &self.schemas;
        let kind = &self.kind.kind;
        let [verb, words, mark] = action.words();
        let is_scale = part.is_some_and(|(_, is_scale)| is_scale);
        let schema = match action {
            Action::List => many,
            Action::Delete | Action::DeleteCollection => STATUS,
            _ if is_scale => SCALE,
            _ => own,
        };
        let list = || Value::from(OPTIONS.list.clone());
        let (parameters, body, more) = match action {
            Action::List => (list(), None, &[][..]),
            Action::DeleteCollection => (list(), None, &[][..]),
            Action::Read => {
                let version = OPTIONS.list.iter().filter(|own| own["name"] == "resourceVersion");
                (version.cloned().collect(), None, &[][..])
            }
            Action::Create => {
                (OPTIONS.write.clone(), Some((BODIES, schema, true)), &[("201", "Created"), ("202", "Accepted")][..])
            }
            Action::Replace => (OPTIONS.write.clone(), Some((BODIES, schema, true)), &[("201", "Created")][..]),
            Action::Patch => (OPTIONS.patch.clone(), Some((PATCHES, PATCH, true)), &[][..]),
            Action::Delete => {
                (OPTIONS.delete.clone(), Some((BODIES, DELETE_OPTIONS, false)), &[("202", "Accepted")][..])
            }
        };
        let mut responses = Map::new();
        for (code, text) in std::iter::once(&("200", "OK")).chain(more) {
            responses.insert((*code).to_owned(), json!({"description": text, "content": content(BODIES, schema)}));
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        let article = match action {
            Action::List => "objects of kind ",
            Action::Read | Action::Replace | Action::Patch => "the specified ",
            Action::DeleteCollection => "",
            Action::Create | Action::Delete if kind.starts_with(['A', 'E', 'I', 'O', 'U']) => "an ",
            Action::Create | Action::Delete => "a ",
        };
        let of_part = part.map(|(name, _)| format!("{name} of ")).unwrap_or_default();
        let collection = if action == Action::DeleteCollection { "Collection" } else { "" };
        let scope = if self.row.info.namespaced { "Namespaced" } else { "" };
        let suffix = part.map(|(name, _)| identifier(name, false)).unwrap_or_default();
        let group = self.kind.group.strip_suffix(".k8s.io").unwrap_or(&self.kind.group);
        let marks = if is_scale {
            json!({"group": "autoscaling", "kind": "Scale", "version": "v1"})
        } else {
            json!({"group": self.kind.group, "kind": kind, "version": self.kind.version})
        };
        let mut operation = json!({
            "description": format!("{words} {of_part}{article}{kind}"),
            "operationId": format!("{verb}{}{collection}{scope}{kind}{suffix}", self.prefix()),
            "parameters": parameters,
            "responses": responses,
            "tags": [format!("{}_{}", identifier(group, true), identifier(&self.kind.version, true))],
            "x-kubernetes-action": mark,
            "x-kubernetes-group-version-kind": marks,
        });
        if let Some((types, schema, required)) = body {
            operation["requestBody"] = json!({"content": content(types, schema)});
            if required {
                operation["requestBody"]["required"] = true.into();
            }
        }
        operation
    }
}

const BODIES: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

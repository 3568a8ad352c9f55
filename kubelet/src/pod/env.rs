//! A container's environment: order, references and `$(VAR)` expansion, pure.
//!
//! Upstream's order: the Services of the namespace, then `envFrom`, then `env`; a later name replaces an
//! earlier one; `$(VAR)` sees the Services' variables and the `env` entries above it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, FileKeySelector, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret,
};

use super::spec;
use crate::node::allocatable::Amounts;

/// A Service as the environment sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// The Service's name.
    pub name: String,
    /// Its cluster address.
    pub cluster_ip: String,
    /// Name, number and protocol of its ports.
    pub ports: Vec<(String, i32, String)>,
}

/// What references resolve to. A missing map is `None`.
pub trait References {
    /// A ConfigMap of the pod's namespace.
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>>;
    /// A Secret of the pod's namespace.
    fn secret(&self, name: &str) -> Option<Arc<Secret>>;
}

/// The files of a pod's volumes that variables come from.
pub trait EnvFiles {
    /// The value of a variable in a file of a volume of the pod; `None` where the file does not set it, and the variable
    /// need not be set.
    ///
    /// # Errors
    /// When there is no such file, or it is not of the format; when it must set the variable and does not.
    fn value(&self, file: &FileKeySelector) -> Result<Option<String>, EnvError>;
}

/// Why an environment cannot be made. The container waits with reason `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvError {
    /// A map that must be there is not.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// The map's name.
        name: String,
    },
    /// A key that must be there is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The pod's namespace.
        namespace: String,
        /// The map's name.
        name: String,
        /// The key.
        key: String,
    },
    /// A variable is to come from a file of a volume that the pod does not have, or that none of its containers mounts.
    #[error("cannot find the volume \"{volume}\" referenced by FileKeyRef")]
    NoVolume {
        /// The volume's name.
        volume: String,
    },
    /// A file of variables is not there, or not of the format.
    #[error("couldn't parse env file")]
    File,
    /// A file of variables must set one and does not, or to nothing.
    #[error("environment variable key \"{key}\" not found in file \"{path}\"")]
    MissingInFile {
        /// The variable's name in the file.
        key: String,
        /// The file on the node.
        path: String,
    },
    /// A text that must be expanded names variables that are not there or empty.
    #[error("missing value for {names}")]
    NoValue {
        /// The variables' names.
        names: String,
    },
    /// A downward API path that does not exist.
    #[error("field path \"{path}\" is not supported; see the downward API's fields")]
    FieldPath {
        /// The path.
        path: String,
    },
}

/// The pod's addresses, known once the sandbox is there.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The pod's addresses, primary first.
    pub pod_ips: Vec<String>,
    /// The node's address.
    pub host_ip: String,
    /// The node's name.
    pub node_name: String,
    /// What the node's pods may use together, for limits that are not set.
    pub allocatable: Amounts,
}

/// The environment of a container, in order, each name once.
pub fn environment(
    pod: &Pod,
    container: &Container,
    services: &[ServiceFacts],
    references: &dyn References,
    files: &dyn EnvFiles,
    addresses: &Addresses,
) -> Result<Vec<(String, String)>, EnvError> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut result = Ordered::default();
    let service_variables: BTreeMap<String, String> = services.iter().flat_map(service_variables).collect();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(from) = &source.config_map_ref {
            match references.config_map(&from.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        result.set(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if from.optional == Some(true) => {}
                None => return Err(EnvError::Missing { kind: "configmap", name: from.name.clone() }),
            }
        }
        if let Some(from) = &source.secret_ref {
            match references.secret(&from.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        result.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if from.optional == Some(true) => {}
                None => return Err(EnvError::Missing { kind: "secret", name: from.name.clone() }),
            }
        }
    }
    // Upstream's expansion sees only what `env` set so far, and the Services' variables.
    let mut known: BTreeMap<String, String> = service_variables.clone();
    for variable in container.env.iter().flatten() {
        let value = if let Some(from) = &variable.value_from {
            if let Some(field) = &from.field_ref {
                Some(field_value(pod, field, addresses)?)
            } else if let Some(field) = &from.resource_field_ref {
                Some(resource_value(pod, container, field, addresses))
            } else if let Some(selector) = &from.config_map_key_ref {
                let optional = selector.optional == Some(true);
                let missing = EnvError::MissingKey {
                    kind: "ConfigMap",
                    namespace: namespace.clone(),
                    name: selector.name.clone(),
                    key: selector.key.clone(),
                };
                match references.config_map(&selector.name) {
                    Some(map) => match map.data.iter().flatten().find(|(key, _)| **key == selector.key) {
                        Some((_, value)) => Some(value.clone()),
                        None if optional => None,
                        None => return Err(missing),
                    },
                    None if optional => None,
                    None => return Err(EnvError::Missing { kind: "configmap", name: selector.name.clone() }),
                }
            } else if let Some(selector) = &from.secret_key_ref {
                let optional = selector.optional == Some(true);
                let missing = EnvError::MissingKey {
                    kind: "Secret",
                    namespace: namespace.clone(),
                    name: selector.name.clone(),
                    key: selector.key.clone(),
                };
                match references.secret(&selector.name) {
                    Some(map) => match map.data.iter().flatten().find(|(key, _)| **key == selector.key) {
                        Some((_, value)) => Some(String::from_utf8_lossy(&value.0).into_owned()),
                        None if optional => None,
                        None => return Err(missing),
                    },
                    None if optional => None,
                    None => return Err(EnvError::Missing { kind: "secret", name: selector.name.clone() }),
                }
            } else if let Some(file) = &from.file_key_ref {
                files.value(file)?
            } else {
                None
            }
        } else {
            Some(expand(variable.value.as_deref().unwrap_or_default(), &known))
        };
        if let Some(value) = value {
            known.insert(variable.name.clone(), value.clone());
            result.set(variable.name.clone(), value);
        }
    }
    let mut all = Ordered::default();
    for (name, value) in service_variables {
        if !result.index.contains_key(&name) {
            all.set(name, value);
        }
    }
    for (name, value) in result.entries {
        all.set(name, value);
    }
    Ok(all.entries)
}

#[derive(Default)]
struct Ordered {
    entries: Vec<(String, String)>,
    index: BTreeMap<String, usize>,
}

impl Ordered {
    fn set(&mut self, name: String, value: String) {
        if let Some(&at) = self.index.get(&name) {
            self.entries[at].1 = value;
        } else {
            self.index.insert(name.clone(), self.entries.len());
            self.entries.push((name, value));
        }
    }
}

/// Replaces `$(NAME)` by its value; an unknown name stays as it is, `$$` is one `$`.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    expand_with(text, known).0
}

/// The same for text in which every name must have a value, and not an empty one.
pub fn expand_known(text: &str, known: &BTreeMap<String, String>) -> Result<String, EnvError> {
    let (expanded, missing) = expand_with(text, known);
    if missing.is_empty() {
        Ok(expanded)
    } else {
        Err(EnvError::NoValue { names: missing.into_iter().collect::<Vec<_>>().join(", ") })
    }
}

/// The expanded text, and the names that have no value.
fn expand_with(text: &str, known: &BTreeMap<String, String>) -> (String, BTreeSet<String>) {
    let mut out = String::with_capacity(text.len());
    let mut missing = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            let value = known.get(name);
            if value.is_none_or(String::is_empty) {
                missing.insert(name.to_owned());
            }
            match value {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    (out, missing)
}

/// The variables of a Service: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`, and Docker's link variables.
fn service_variables(service: &ServiceFacts) -> Vec<(String, String)> {
    let name = service.name.to_uppercase().replace('-', "_");
    let host = &service.cluster_ip;
    let mut out = vec![(format!("{name}_SERVICE_HOST"), host.clone())];
    for (position, (port_name, port, protocol)) in service.ports.iter().enumerate() {
        if position == 0 {
            out.push((format!("{name}_SERVICE_PORT"), port.to_string()));
            let lower = protocol.to_lowercase();
            out.push((format!("{name}_PORT"), format!("{lower}://{host}:{port}")));
        }
        if !port_name.is_empty() {
            let port_name = port_name.to_uppercase().replace('-', "_");
            out.push((format!("{name}_SERVICE_PORT_{port_name}"), port.to_string()));
        }
        let lower = protocol.to_lowercase();
        let prefix = format!("{name}_PORT_{port}_{}", protocol.to_uppercase());
        out.push((prefix.clone(), format!("{lower}://{host}:{port}")));
        out.push((format!("{prefix}_PROTO"), lower));
        out.push((format!("{prefix}_PORT"), port.to_string()));
        out.push((format!("{prefix}_ADDR"), host.clone()));
    }
    out
}

/// A field of the downward API.
pub fn field_value(pod: &Pod, field: &ObjectFieldSelector, addresses: &Addresses) -> Result<String, EnvError> {
    let metadata = &pod.metadata;
    let path = field.field_path.as_str();
    let value = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "metadata.labels" => Some(map_lines(metadata.labels.iter().flatten())),
        "metadata.annotations" => Some(map_lines(metadata.annotations.iter().flatten())),
        "spec.nodeName" => Some(addresses.node_name.clone()),
        "spec.serviceAccountName" => spec::spec(pod).service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => Some(addresses.host_ip.clone()),
        "status.podIP" => Some(addresses.pod_ips.first().cloned().unwrap_or_default()),
        "status.podIPs" => Some(addresses.pod_ips.join(",")),
        _ => {
            let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
            if let Some(key) = subscript("metadata.labels['") {
                metadata.labels.as_ref().and_then(|map| map.get(&key)).cloned()
            } else if let Some(key) = subscript("metadata.annotations['") {
                metadata.annotations.as_ref().and_then(|map| map.get(&key)).cloned()
            } else {
                return Err(EnvError::FieldPath { path: path.to_owned() });
            }
        }
    };
    Ok(value.unwrap_or_default())
}

fn map_lines<'a>(map: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    map.map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join("\n")
}

/// A text in quotes as Go writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Rust escapes what cannot be printed, by other words.
            c if c.escape_debug().len() > 1 && c != '\'' && u32::from(c) < 0x10000 => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.escape_debug().len() > 1 && c != '\'' => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A resource of a container in units of the divisor, rounded up. What is not limited is the node's.
pub fn resource_value(
    pod: &Pod,
    container: &Container,
    field: &ResourceFieldSelector,
    addresses: &Addresses,
) -> String {
    let container = field.container_name.as_deref().and_then(|name| spec::container(pod, name)).unwrap_or(container);
    let resources = container.resources.clone().unwrap_or_default();
    let (kind, resource) = field.resource.split_once('.').unwrap_or(("limits", field.resource.as_str()));
    let map = if kind == "requests" { resources.requests } else { resources.limits };
    let is_cpu = resource == "cpu";
    let parse = |text: &str| if is_cpu { crate::quantity::milli(text) } else { crate::quantity::whole(text) };
    let value = map.and_then(|map| map.get(resource).map(|quantity| parse(&quantity.0))).flatten();
    let value = value.unwrap_or(match kind {
        "limits" => addresses.allocatable.get(resource).copied().unwrap_or_default(),
        _ => 0,
    });
    let divisor = field.divisor.as_ref().and_then(|divisor| parse(&divisor.0)).filter(|it| *it > 0);
    let divisor = divisor.unwrap_or(if is_cpu { 1000 } else { 1 });
    (value.max(0).unsigned_abs().div_ceil(divisor.unsigned_abs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMapKeySelector, EnvVar, EnvVarSource};

    struct Maps(Vec<ConfigMap>);

    impl References for Maps {
        fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
            self.0.iter().find(|map| map.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
        }
        fn secret(&self, _: &str) -> Option<Arc<Secret>> {
            None
        }
    }

    impl EnvFiles for Maps {
        fn value(&self, file: &FileKeySelector) -> Result<Option<String>, EnvError> {
            if file.optional == Some(true) { Ok(None) } else { Ok(Some(format!("{} of {}", file.key, file.path))) }
        }
    }

    fn from_file(name: &str, optional: bool) -> EnvVar {
        let selector =
            FileKeySelector { key: "K".into(), optional: Some(optional), path: "env".into(), volume_name: "v".into() };
        let source = EnvVarSource { file_key_ref: Some(selector), ..EnvVarSource::default() };
        EnvVar { name: name.into(), value_from: Some(source), ..EnvVar::default() }
    }

    fn variable(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() }
    }

    fn from_map(name: &str, map: &str, key: &str, optional: bool) -> EnvVar {
        let selector = ConfigMapKeySelector { name: map.into(), key: key.into(), optional: Some(optional) };
        let source = EnvVarSource { config_map_key_ref: Some(selector), ..EnvVarSource::default() };
        EnvVar { name: name.into(), value_from: Some(source), ..EnvVar::default() }
    }

    #[test]
    fn later_names_win_and_expansion_sees_what_is_above() {
        let service = ServiceFacts {
            name: "my-db".into(),
            cluster_ip: "10.96.0.7".into(),
            ports: vec![("sql".into(), 5432, "TCP".into())],
        };
        let mut map = ConfigMap::default();
        map.metadata.name = Some("m".into());
        map.data = Some([("k".to_owned(), "from-map".to_owned())].into());
        let container = Container {
            env: Some(vec![
                variable("A", "1"),
                variable("B", "$(A)-$(MY_DB_SERVICE_HOST)-$(NO)-$$(A)"),
                from_map("C", "m", "k", false),
                from_map("D", "none", "k", true),
                variable("A", "2"),
                from_file("E", false),
                from_file("F", true),
                variable("G", "$(E)!"),
            ]),
            ..Container::default()
        };
        let maps = Maps(vec![map]);
        let got = environment(&Pod::default(), &container, &[service], &maps, &maps, &Addresses::default()).unwrap();
        let get = |name: &str| got.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(get("A"), Some("2"));
        assert_eq!(get("B"), Some("1-10.96.0.7-$(NO)-$(A)"));
        assert_eq!(get("C"), Some("from-map"));
        assert_eq!(get("D"), None);
        assert_eq!((get("E"), get("F"), get("G")), (Some("K of env"), None, Some("K of env!")));
        assert_eq!(get("MY_DB_SERVICE_PORT_SQL"), Some("5432"));
        assert_eq!(get("MY_DB_PORT_5432_TCP"), Some("tcp://10.96.0.7:5432"));
    }

    #[test]
    fn a_missing_map_is_an_error_that_names_it() {
        let container = Container { env: Some(vec![from_map("C", "m", "k", false)]), ..Container::default() };
        let error = environment(&Pod::default(), &container, &[], &Maps(vec![]), &Maps(vec![]), &Addresses::default())
            .unwrap_err();
        assert_eq!(error.to_string(), "configmap \"m\" not found");
    }

    #[test]
    fn labels_are_quoted_as_go_does() {
        for (text, wanted) in [
            ("plain", r#""plain""#),
            ("it's \"so\"", r#""it's \"so\"""#),
            ("a\\b\nc\td\u{7f}\u{1b}", r#""a\\b\nc\td\x7f\x1b""#),
            ("höher ☃", r#""höher ☃""#),
            ("\u{200b}\u{e0001}", r#""\u200b\U000e0001""#),
        ] {
            assert_eq!(quoted(text), wanted);
        }
    }

    #[test]
    fn what_must_have_a_value_names_all_that_has_none() {
        let known: BTreeMap<String, String> =
            [("A", "a"), ("E", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(expand_known("$(A)/x", &known).unwrap(), "a/x");
        let error = expand_known("$(N)/$(A)/$(E)", &known).unwrap_err();
        assert_eq!(error.to_string(), "missing value for E, N");
        assert_eq!(expand("$(N)/$(E)", &known), "$(N)/");
    }
}

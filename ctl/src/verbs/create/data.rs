//! `rctl create configmap` and `create secret`: keys from literals, files, folders and environment files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Made, Named};
use crate::errors::{Failure, Outcome, fail};
use crate::names::content_hash;
use crate::value::as_map;

/// Where keys come from.
#[derive(Args, Clone, Debug, Default)]
pub struct Sources {
    /// A key and literal value (mykey=somevalue)
    #[arg(long, value_name = "KEY=VALUE")]
    pub from_literal: Vec<String>,
    /// A file, KEY=file, or a folder of which each file becomes a key
    #[arg(long, value_name = "PATH")]
    pub from_file: Vec<String>,
    /// A file of lines KEY=VALUE
    #[arg(long, value_name = "PATH")]
    pub from_env_file: Vec<String>,
    /// Append a hash of the content to its name
    #[arg(long)]
    pub append_hash: bool,
}

/// `rctl create configmap`.
#[derive(Args, Debug)]
pub struct ConfigMapArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    sources: Sources,
}

/// `rctl create secret`.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct SecretArgs {
    #[command(subcommand)]
    kind: SecretKind,
}

#[derive(Debug, Subcommand)]
enum SecretKind {
    /// Create a secret from a local file, directory, or literal value
    #[command(
        before_help = "  # Create a new secret with two literal values\n  rctl create secret generic my-secret --from-literal=user=a --from-literal=password=b\n\n  # Create one with a key for each file of a folder\n  rctl create secret generic my-secret --from-file=path/to/bar"
    )]
    Generic(GenericArgs),
    /// Create a secret for use with a container registry
    #[command(
        before_help = "  # Create a secret for a registry from a user's name and password\n  rctl create secret docker-registry my-secret --docker-server=registry.example --docker-username=a --docker-password=b\n\n  # Create it from a file\n  rctl create secret docker-registry my-secret --from-file=.dockerconfigjson=path/to/.docker/config.json"
    )]
    DockerRegistry(RegistryArgs),
    /// Create a TLS secret
    #[command(
        before_help = "  # Create a new TLS secret from a key pair\n  rctl create secret tls tls-secret --cert=path/to/tls.crt --key=path/to/tls.key\n\n  # Only print it\n  rctl create secret tls tls-secret --cert=tls.crt --key=tls.key --dry-run=client -o yaml"
    )]
    Tls(TlsArgs),
}

#[derive(Args, Debug)]
struct GenericArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    sources: Sources,
    /// The type of secret to create
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(Args, Debug)]
struct RegistryArgs {
    #[command(flatten)]
    named: Named,
    /// Server location for the registry
    #[arg(long, value_name = "URL", default_value = "https://index.docker.io/v1/")]
    docker_server: String,
    /// Username for registry authentication
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    docker_username: String,
    /// Password for registry authentication
    #[arg(long, value_name = "PASSWORD", default_value = "", hide_default_value = true)]
    docker_password: String,
    /// Email for the registry
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    docker_email: String,
    /// A file with the registries' credentials, in the form of .docker/config.json
    #[arg(long, value_name = "PATH")]
    from_file: Vec<String>,
    /// Append a hash of the content to its name
    #[arg(long)]
    append_hash: bool,
}

#[derive(Args, Debug)]
struct TlsArgs {
    #[command(flatten)]
    named: Named,
    /// Path to PEM encoded public key certificate
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    cert: String,
    /// Path to private key associated with given certificate
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    key: String,
    /// Append a hash of the content to its name
    #[arg(long)]
    append_hash: bool,
}

impl ConfigMapArgs {
    /// The config map.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create configmap")?;
        let mut object = config_map(&name, self.sources.pairs()?);
        if self.sources.append_hash {
            object["metadata"]["name"] = json!(format!("{name}-{}", content_hash(&object)));
        }
        Ok(self.named.made(object))
    }
}

/// A config map of keys; what is not text becomes binary data.
pub fn config_map(name: &str, pairs: Vec<(String, Vec<u8>)>) -> Value {
    let (mut texts, mut binaries) = (Map::new(), Map::new());
    for (key, bytes) in pairs {
        match String::from_utf8(bytes) {
            Ok(text) => texts.insert(key, Value::String(text)),
            Err(error) => binaries.insert(key, Value::String(STANDARD.encode(error.as_bytes()))),
        };
    }
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    for (key, map) in [("data", texts), ("binaryData", binaries)] {
        if !map.is_empty() {
            as_map(&mut object).insert(key.to_owned(), Value::Object(map));
        }
    }
    object
}

/// A secret of keys.
fn secret(name: &str, kind: Option<&str>, pairs: Vec<(String, Vec<u8>)>, append_hash: bool) -> Value {
    let entries: Map<String, Value> =
        pairs.into_iter().map(|(key, bytes)| (key, Value::String(STANDARD.encode(bytes)))).collect();
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    if !entries.is_empty() {
        object["data"] = Value::Object(entries);
    }
    if let Some(kind) = kind {
        object["type"] = json!(kind);
    }
    if append_hash {
        object["metadata"]["name"] = json!(format!("{name}-{}", content_hash(&object)));
    }
    object
}

impl SecretArgs {
    /// The secret.
    pub fn object(self) -> Outcome<Made> {
        match self.kind {
            SecretKind::Generic(args) => {
                let name = args.named.name("rctl create secret generic")?;
                let object = secret(&name, args.kind.as_deref(), args.sources.pairs()?, args.sources.append_hash);
                Ok(args.named.made(object))
            }
            SecretKind::DockerRegistry(args) => {
                let name = args.named.name("rctl create secret docker-registry")?;
                let pairs = args.pairs()?;
                let object = secret(&name, Some("kubernetes.io/dockerconfigjson"), pairs, args.append_hash);
                Ok(args.named.made(object))
            }
            SecretKind::Tls(args) => {
                let name = args.named.name("rctl create secret tls")?;
                if args.cert.is_empty() || args.key.is_empty() {
                    return fail("key and cert must be specified");
                }
                let pairs = vec![
                    ("tls.crt".to_owned(), read(Path::new(&args.cert))?),
                    ("tls.key".to_owned(), read(Path::new(&args.key))?),
                ];
                Ok(args.named.made(secret(&name, Some("kubernetes.io/tls"), pairs, args.append_hash)))
            }
        }
    }
}

impl RegistryArgs {
    fn pairs(&self) -> Outcome<Vec<(String, Vec<u8>)>> {
        if !self.from_file.is_empty() {
            let sources = Sources { from_file: self.from_file.clone(), ..Sources::default() };
            let pairs = sources.pairs()?;
            return match pairs.as_slice() {
                [(_, content)] => Ok(vec![(".dockerconfigjson".to_owned(), content.clone())]),
                _ => fail("exactly one file is required for a docker-registry secret"),
            };
        }
        if self.docker_username.is_empty() || self.docker_password.is_empty() || self.docker_server.is_empty() {
            return fail(
                "either --from-file or the combination of --docker-username, --docker-password and --docker-server is \
                 required",
            );
        }
        let mut login = json!({"username": self.docker_username, "password": self.docker_password});
        if !self.docker_email.is_empty() {
            login["email"] = json!(self.docker_email);
        }
        login["auth"] = json!(STANDARD.encode(format!("{}:{}", self.docker_username, self.docker_password)));
        let mut registries = Map::new();
        registries.insert(self.docker_server.clone(), login);
        Ok(vec![(".dockerconfigjson".to_owned(), json!({"auths": registries}).to_string().into_bytes())])
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Failure::Message(format!("error reading {}: {why}", path.display()))
}

impl Sources {
    /// Keys and their bytes, each key once.
    pub fn pairs(&self) -> Outcome<Vec<(String, Vec<u8>)>> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |key: String, bytes: Vec<u8>| {
            if pairs.iter().any(|(known, _)| *known == key) {
                return fail(format!("cannot add key {key}, another key by that name already exists"));
            }
            pairs.push((key, bytes));
            Ok(())
        };
        for path in &self.from_file {
            for (key, path) in files(path)? {
                add(key, read(&path)?)?;
            }
        }
        for path in &self.from_env_file {
            let text = String::from_utf8_lossy(&read(Path::new(path))?).into_owned();
            for (key, value) in environment_lines(&text) {
                add(key, value.into_bytes())?;
            }
        }
        for literal in &self.from_literal {
            match literal.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    let unquoted = value.strip_prefix(['"', '\'']).and_then(|value| value.strip_suffix(['"', '\'']));
                    add(key.to_owned(), unquoted.unwrap_or(value).as_bytes().to_vec())?;
                }
                _ => return fail(format!("invalid literal source {literal}, expected key=value")),
            }
        }
        Ok(pairs)
    }
}

/// The lines `KEY=VALUE` of an environment file.
fn environment_lines(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What `--from-file` names: a file under its own or another key, or the files of a folder.
fn files(source: &str) -> Outcome<Vec<(String, std::path::PathBuf)>> {
    let (key, path) = match source.split_once('=') {
        Some(("", _)) => return fail(format!("key name for file path {source} missing")),
        Some((_, "")) => return fail(format!("file path for key name {source} missing")),
        Some((key, path)) => (Some(key.to_owned()), Path::new(path)),
        None => (None, Path::new(source)),
    };
    let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.is_dir() {
        return Ok(vec![(key.unwrap_or_else(|| file_name(path)), path.to_owned())]);
    }
    if key.is_some() {
        return fail(format!("cannot give a key name for a directory path {}", path.display()));
    }
    let failed = |error: std::io::Error| unreadable(path, &error);
    let mut entries = std::fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let files = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file());
    Ok(files.map(|path| (file_name(&path), path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_from_literals_and_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.conf");
        std::fs::write(&file, "x").expect("written");
        let data = |literal: &[&str], files: &[String]| Sources {
            from_literal: literal.iter().map(|text| (*text).to_owned()).collect(),
            from_file: files.to_vec(),
            ..Sources::default()
        };
        let pairs = data(&["a=b=c", "q='x'"], &[file.display().to_string(), format!("k={}", file.display())]).pairs();
        let pairs: Vec<(String, String)> = pairs
            .expect("pairs")
            .into_iter()
            .map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes).into_owned()))
            .collect();
        let expected = [("app.conf", "x"), ("k", "x"), ("a", "b=c"), ("q", "x")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(data(&["a=b", "a=c"], &[]).pairs().is_err());
        assert!(data(&["ab"], &[]).pairs().is_err());
    }

    #[test]
    fn environment_files_have_comments() {
        assert_eq!(environment_lines("# a\n\nA=b=c\nB\n"), [("A".into(), "b=c".into()), ("B".into(), String::new())]);
    }
}

//! `rctl create`: from files, and from flags for the simple kinds.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::common::{self, DryRun, FileArgs, ValidateArgs, WriteArgs};
use crate::errors::{Failure, Outcome, fail, usage};
use crate::manifest::Manifest;
use crate::merge;
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{map_mut, namespace};

const EXAMPLES: &str = "  \
  # Create a pod using the data in pod.json
  rctl create -f ./pod.json

  # Create a pod based on the JSON passed into stdin
  cat pod.json | rctl create -f -

  # Create a deployment with three replicas
  rctl create deployment web --image=web:1 --replicas=3";

/// Create a resource from a file or from stdin.
///
/// JSON and YAML formats are accepted.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct CreateArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    validate: ValidateArgs,
    /// Keep the configuration in the object's annotation, so that rctl apply can follow
    #[arg(long)]
    save_config: bool,
    #[command(subcommand)]
    kind: Option<Kind>,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Create a namespace with the specified name
    #[command(
        visible_alias = "ns",
        before_help = "  # Create a new namespace named my-namespace\n  rctl create namespace my-namespace"
    )]
    Namespace(Named),
    /// Create a service account with the specified name
    #[command(
        visible_alias = "sa",
        before_help = "  # Create a new service account named my-service-account\n  rctl create serviceaccount my-service-account"
    )]
    Serviceaccount(Named),
    /// Create a config map from a local file, directory or literal value
    #[command(
        visible_alias = "cm",
        before_help = "  # Create a new config map with two literal values\n  rctl create configmap my-config --from-literal=key1=config1 --from-literal=key2=config2\n\n  # Create one with a key for each file of a folder\n  rctl create configmap my-config --from-file=path/to/bar"
    )]
    Configmap(Data),
    /// Create a secret using specified subcommand
    #[command(
        before_help = "  # Create a new secret with a literal value\n  rctl create secret generic my-secret --from-literal=password=x"
    )]
    Secret(SecretArgs),
    /// Create a deployment with the specified name
    #[command(
        visible_alias = "deploy",
        before_help = "  # Create a deployment with 3 replicas of the image\n  rctl create deployment web --image=web:1 --replicas=3\n\n  # Create a deployment with a command\n  rctl create deployment web --image=busybox -- date"
    )]
    Deployment(DeploymentArgs),
    /// Create a service using a specified subcommand
    #[command(
        visible_alias = "svc",
        before_help = "  # Create a ClusterIP service for port 80\n  rctl create service clusterip web --tcp=80:8080"
    )]
    Service(ServiceArgs),
}

#[derive(Args, Debug)]
struct Named {
    /// The name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
struct Data {
    /// The name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// A key and literal value (mykey=somevalue)
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file, KEY=file, or a folder of which each file becomes a key
    #[arg(long, value_name = "PATH")]
    from_file: Vec<String>,
    /// A file of lines KEY=VALUE
    #[arg(long, value_name = "PATH")]
    from_env_file: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
struct SecretArgs {
    #[command(subcommand)]
    kind: SecretKind,
}

#[derive(Debug, Subcommand)]
enum SecretKind {
    /// Create a secret from a local file, directory, or literal value
    Generic {
        #[command(flatten)]
        data: Data,
        /// The type of secret to create
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Create a TLS secret
    Tls {
        /// The name
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Path to PEM encoded public key certificate
        #[arg(long, value_name = "PATH")]
        cert: String,
        /// Path to private key associated with given certificate
        #[arg(long, value_name = "PATH")]
        key: String,
        #[command(flatten)]
        write: WriteArgs,
    },
}

#[derive(Args, Debug)]
struct DeploymentArgs {
    /// The name, then after -- the command
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Image names to run
    #[arg(long, value_name = "IMAGE", required = true, value_delimiter = ',')]
    image: Vec<String>,
    /// Number of replicas to create
    #[arg(short = 'r', long, value_name = "N", default_value_t = 1)]
    replicas: i32,
    /// The containerPort that this deployment exposes
    #[arg(long, value_name = "PORT")]
    port: Option<i32>,
    /// The command to run in the container
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
struct ServiceArgs {
    #[command(subcommand)]
    kind: ServiceKind,
}

#[derive(Args, Debug)]
struct Ports {
    /// The name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Port pairs: PORT or PORT:TARGET
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    tcp: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Subcommand)]
enum ServiceKind {
    /// Create a ClusterIP service
    Clusterip {
        #[command(flatten)]
        ports: Ports,
        /// Assign your own ClusterIP or set to 'None' for a 'headless' service
        #[arg(long, value_name = "IP")]
        clusterip: Option<String>,
    },
    /// Create a NodePort service
    Nodeport {
        #[command(flatten)]
        ports: Ports,
        /// Port used to expose the service on each node in a cluster
        #[arg(long, value_name = "PORT")]
        node_port: Option<i32>,
    },
    /// Create a LoadBalancer service
    Loadbalancer {
        #[command(flatten)]
        ports: Ports,
    },
    /// Create an ExternalName service
    Externalname {
        #[command(flatten)]
        ports: Ports,
        /// External name of service
        #[arg(long, value_name = "NAME")]
        external_name: String,
    },
}

/// Runs the command.
pub async fn run(session: &mut Session, args: CreateArgs) -> Outcome {
    session.validate_fields(args.validate.word());
    if let Some(kind) = args.kind {
        let (object, write) = kind.object()?;
        return make(session, object, &write, args.save_config).await;
    }
    if args.files.filenames.is_empty() {
        return usage("rctl create", "must specify one of -f and -k");
    }
    let manifests = args.files.read(session.io.input.as_mut())?;
    if manifests.is_empty() {
        return fail("no objects passed to create");
    }
    let cluster = session.cluster()?;
    let mut failures = Vec::new();
    for manifest in manifests {
        match one(session, &cluster, manifest, &args.write, args.save_config, "created").await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => {
                failures.push(failure);
                break;
            }
        }
    }
    Failure::collect(failures)
}

/// Creates an object that rctl itself describes.
pub async fn make(session: &mut Session, object: Value, write: &WriteArgs, save: bool) -> Outcome {
    make_as(session, object, write, save, "created").await
}

/// As [`make`], with another word for what was done.
pub async fn make_as(
    session: &mut Session,
    object: Value,
    write: &WriteArgs,
    save: bool,
    done: &'static str,
) -> Outcome {
    let manifest = Manifest { object, source: String::new(), document: 1, line: 1 };
    // What only prints needs no cluster.
    if write.dry_run() == DryRun::Client {
        return print_only(session, &manifest, write, done);
    }
    let cluster = session.cluster()?;
    one(session, &cluster, manifest, write, save, done).await
}

/// `--dry-run=client` of a kind that rctl itself makes.
fn print_only(session: &mut Session, manifest: &Manifest, write: &WriteArgs, done: &str) -> Outcome {
    let Some(info) = resolve::builtin_kind(&manifest.kind()) else {
        return Err(manifest.unknown_kind());
    };
    let mut object = manifest.object.clone();
    if let Some(name) = session.globals.namespace.as_deref().filter(|name| info.namespaced && !name.is_empty()) {
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(name));
    }
    write.report(&mut session.io, info, &object, done)
}

async fn one(
    session: &mut Session,
    cluster: &Cluster,
    manifest: Manifest,
    write: &WriteArgs,
    save: bool,
    done: &str,
) -> Outcome {
    let Some(info) = resolve::kind(cluster, &manifest.kind()).await? else {
        return Err(manifest.unknown_kind());
    };
    let scope = common::manifest_namespace(cluster, &info, &manifest)?;
    let mut object = manifest.object.clone();
    if info.namespaced && namespace(&object).is_empty() {
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(scope));
    }
    if save {
        object = merge::with_last_applied(&object);
    }
    let created = match write.dry_run() {
        DryRun::Client => object,
        how => cluster.create(&info, &scope, &object, how == DryRun::Server).await.map_err(|failure| {
            let failure = common::unserved(failure, &info);
            match manifest.source.as_str() {
                "" => failure.during(format!("failed to create {}", info.singular)),
                source => failure.during(format!("error when creating {source:?}")),
            }
        })?,
    };
    write.report(&mut session.io, &info, &created, done)
}

fn one_name(names: &[String], command: &'static str) -> Outcome<String> {
    match names {
        [name] if !name.is_empty() => Ok(name.clone()),
        names => usage(command, format!("exactly one NAME is required, got {}", names.len())),
    }
}

impl Kind {
    /// The object that the flags describe, and how to write it.
    fn object(self) -> Outcome<(Value, WriteArgs)> {
        match self {
            Kind::Namespace(args) => {
                let name = one_name(&args.names, "rctl create namespace")?;
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}, "status": {}});
                Ok((object, args.write))
            }
            Kind::Serviceaccount(args) => {
                let name = one_name(&args.names, "rctl create serviceaccount")?;
                Ok((json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}), args.write))
            }
            Kind::Configmap(args) => {
                let name = one_name(&args.names, "rctl create configmap")?;
                let (mut texts, mut binaries) = (Map::new(), Map::new());
                for (key, bytes) in args.pairs()? {
                    match String::from_utf8(bytes) {
                        Ok(text) => texts.insert(key, Value::String(text)),
                        Err(error) => binaries.insert(key, Value::String(STANDARD.encode(error.as_bytes()))),
                    };
                }
                let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
                let map = map_mut_root(&mut object);
                if !texts.is_empty() {
                    map.insert("data".to_owned(), Value::Object(texts));
                }
                if !binaries.is_empty() {
                    map.insert("binaryData".to_owned(), Value::Object(binaries));
                }
                Ok((object, args.write))
            }
            Kind::Secret(args) => secret(args.kind),
            Kind::Deployment(args) => {
                let name = one_name(&args.names, "rctl create deployment")?;
                Ok((deployment(&name, &args)?, args.write))
            }
            Kind::Service(args) => service(args.kind),
        }
    }
}

fn map_mut_root(object: &mut Value) -> &mut Map<String, Value> {
    crate::value::as_map(object)
}

impl Data {
    /// Keys and their bytes, each key once.
    fn pairs(&self) -> Outcome<Vec<(String, Vec<u8>)>> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |key: String, bytes: Vec<u8>| {
            if pairs.iter().any(|(known, _)| *known == key) {
                return fail(format!("cannot add key {key}, another key by that name already exists"));
            }
            pairs.push((key, bytes));
            Ok(())
        };
        for path in &self.from_file {
            let (key, path) = match path.split_once('=') {
                Some(("", _)) => return fail(format!("key name for file path {path} missing")),
                Some((_, "")) => return fail(format!("file path for key name {path} missing")),
                Some((key, path)) => (Some(key.to_owned()), path),
                None => (None, path.as_str()),
            };
            let path = Path::new(path);
            let failed = |error: std::io::Error| Failure::Message(format!("error reading {}: {error}", path.display()));
            let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if key.is_some() {
                    return fail(format!("cannot give a key name for a directory path {}", path.display()));
                }
                let mut entries =
                    std::fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
                entries.sort_by_key(std::fs::DirEntry::file_name);
                for entry in entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()) {
                    add(file_name(&entry), std::fs::read(&entry).map_err(failed)?)?;
                }
            } else {
                let key = key.unwrap_or_else(|| file_name(path));
                add(key, std::fs::read(path).map_err(failed)?)?;
            }
        }
        for path in &self.from_env_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Message(format!("error reading {path}: {error}")))?;
            for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                add(key.to_owned(), value.as_bytes().to_vec())?;
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

fn secret(kind: SecretKind) -> Outcome<(Value, WriteArgs)> {
    match kind {
        SecretKind::Generic { data, kind } => {
            let name = one_name(&data.names, "rctl create secret generic")?;
            let entries: Map<String, Value> =
                data.pairs()?.into_iter().map(|(key, bytes)| (key, Value::String(STANDARD.encode(bytes)))).collect();
            let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
            let map = map_mut_root(&mut object);
            if !entries.is_empty() {
                map.insert("data".to_owned(), Value::Object(entries));
            }
            if let Some(kind) = kind {
                map.insert("type".to_owned(), Value::String(kind));
            }
            Ok((object, data.write))
        }
        SecretKind::Tls { names, cert, key, write } => {
            let name = one_name(&names, "rctl create secret tls")?;
            let read = |path: &str| {
                std::fs::read(path)
                    .map(|bytes| STANDARD.encode(bytes))
                    .map_err(|error| Failure::Message(format!("error reading {path}: {error}")))
            };
            let object = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
                "data": {"tls.crt": read(&cert)?, "tls.key": read(&key)?},
            });
            Ok((object, write))
        }
    }
}

fn deployment(name: &str, args: &DeploymentArgs) -> Outcome<Value> {
    if args.replicas < 0 {
        return fail(format!("invalid argument \"{}\" for \"--replicas\" flag: must be 0 or more", args.replicas));
    }
    if !args.command.is_empty() && args.image.len() > 1 {
        return fail("cannot specify multiple --image options and command");
    }
    let mut containers: Vec<Value> = args
        .image
        .iter()
        .map(|image| {
            let mut container = json!({"image": image, "name": container_name(image)});
            if !args.command.is_empty() {
                container["command"] = json!(args.command);
            }
            container["resources"] = json!({});
            container
        })
        .collect();
    // Images of one name are told apart by a number.
    for index in 1..containers.len() {
        let taken = |name: &Value, containers: &[Value]| containers[..index].iter().any(|other| other["name"] == *name);
        let base = containers[index]["name"].as_str().unwrap_or_default().to_owned();
        let mut number = 1;
        while taken(&containers[index]["name"], &containers) {
            number += 1;
            containers[index]["name"] = json!(format!("{base}-{number}"));
        }
    }
    if let (Some(port), Some(container)) = (args.port, containers.first_mut()) {
        container["ports"] = json!([{"containerPort": port}]);
    }
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"labels": {"app": name}, "name": name},
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        },
        "status": {},
    }))
}

/// `registry/path/web:1@sha256:...` names its container `web`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare = last.split([':', '@']).next().unwrap_or(last).to_ascii_lowercase();
    let name: String = bare.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    name.trim_matches('-').to_owned()
}

fn service(kind: ServiceKind) -> Outcome<(Value, WriteArgs)> {
    let (command, kind_name) = match &kind {
        ServiceKind::Clusterip { .. } => ("rctl create service clusterip", "ClusterIP"),
        ServiceKind::Nodeport { .. } => ("rctl create service nodeport", "NodePort"),
        ServiceKind::Loadbalancer { .. } => ("rctl create service loadbalancer", "LoadBalancer"),
        ServiceKind::Externalname { .. } => ("rctl create service externalname", "ExternalName"),
    };
    let (ServiceKind::Clusterip { ports, .. }
    | ServiceKind::Nodeport { ports, .. }
    | ServiceKind::Loadbalancer { ports }
    | ServiceKind::Externalname { ports, .. }) = &kind;
    let name = one_name(&ports.names, command)?;
    let headless = matches!(&kind, ServiceKind::Clusterip { clusterip: Some(ip), .. } if ip == "None");
    if ports.tcp.is_empty() && !headless && !matches!(kind, ServiceKind::Externalname { .. }) {
        return fail("at least one tcp port specifier must be provided");
    }
    let mut list = ports.tcp.iter().map(|text| port(text)).collect::<Outcome<Vec<Value>>>()?;
    let mut spec = json!({"selector": {"app": name}, "type": kind_name});
    match &kind {
        ServiceKind::Clusterip { clusterip: Some(ip), .. } => spec["clusterIP"] = json!(ip),
        ServiceKind::Nodeport { node_port: Some(node_port), .. } => {
            list.iter_mut().for_each(|port| port["nodePort"] = json!(node_port));
        }
        ServiceKind::Externalname { external_name, .. } => spec["externalName"] = json!(external_name),
        _ => {}
    }
    if !list.is_empty() {
        spec["ports"] = Value::Array(list);
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"labels": {"app": name}, "name": name},
        "spec": spec, "status": {"loadBalancer": {}},
    });
    Ok((object, ports.write.clone()))
}

/// `80` or `80:8080`.
fn port(text: &str) -> Outcome<Value> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => fail(format!("invalid port {text:?}: must be a number from 1 to 65535")),
    };
    let (port, target, name) = match text.split_once(':') {
        None => (number(text)?, json!(number(text)?), text.to_owned()),
        Some((port, target)) => {
            let target_value = match target.parse::<u16>() {
                Ok(_) => json!(number(target)?),
                Err(_) => json!(target),
            };
            (number(port)?, target_value, format!("{port}-{target}"))
        }
    };
    Ok(json!({"name": name, "port": port, "protocol": "TCP", "targetPort": target}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write() -> WriteArgs {
        WriteArgs::default()
    }

    #[test]
    fn deployments_are_kubectls() {
        let args = DeploymentArgs {
            names: vec!["web".into()],
            image: vec!["registry.example/a/web:1".into(), "web@sha256:00".into()],
            replicas: 2,
            port: Some(80),
            command: vec![],
            write: write(),
        };
        let object = deployment("web", &args).expect("an object");
        assert_eq!(
            object["spec"]["template"]["spec"]["containers"],
            json!([
                {"image": "registry.example/a/web:1", "name": "web", "resources": {}, "ports": [{"containerPort": 80}]},
                {"image": "web@sha256:00", "name": "web-2", "resources": {}},
            ])
        );
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"app": "web"}}));
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(port("80").expect("fine"), json!({"name": "80", "port": 80, "protocol": "TCP", "targetPort": 80}));
        assert_eq!(
            port("80:http").expect("fine"),
            json!({"name": "80-http", "port": 80, "protocol": "TCP", "targetPort": "http"})
        );
        assert!(port("0").is_err());
        assert!(port("x:80").is_err());
    }

    #[test]
    fn data_comes_from_literals_and_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.conf");
        std::fs::write(&file, "x").expect("written");
        let data = |literal: &[&str], files: &[String]| Data {
            names: vec!["a".into()],
            from_literal: literal.iter().map(|text| (*text).to_owned()).collect(),
            from_file: files.to_vec(),
            from_env_file: vec![],
            write: write(),
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
}

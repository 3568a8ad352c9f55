//! `rctl create service` and `create ingress`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Made, Named};
use crate::errors::{Outcome, fail};

/// `rctl create service`.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct ServiceArgs {
    #[command(subcommand)]
    kind: ServiceKind,
}

#[derive(Args, Debug)]
struct Ports {
    #[command(flatten)]
    named: Named,
    /// Port pairs: PORT or PORT:TARGET
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    tcp: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum ServiceKind {
    /// Create a ClusterIP service
    #[command(
        before_help = "  # Create a ClusterIP service for port 5678, which pods serve on 8080\n  rctl create service clusterip my-cs --tcp=5678:8080\n\n  # Create a headless one\n  rctl create service clusterip my-cs --clusterip=\"None\""
    )]
    Clusterip {
        #[command(flatten)]
        ports: Ports,
        /// Assign your own ClusterIP or set to 'None' for a 'headless' service
        #[arg(long, value_name = "IP")]
        clusterip: Option<String>,
    },
    /// Create a NodePort service
    #[command(
        before_help = "  # Create a NodePort service\n  rctl create service nodeport my-ns --tcp=5678:8080\n\n  # Create one with a port of your choice\n  rctl create service nodeport my-ns --tcp=80 --node-port=30080"
    )]
    Nodeport {
        #[command(flatten)]
        ports: Ports,
        /// Port used to expose the service on each node in a cluster
        #[arg(long, value_name = "PORT")]
        node_port: Option<i32>,
    },
    /// Create a LoadBalancer service
    #[command(
        before_help = "  # Create a LoadBalancer service\n  rctl create service loadbalancer my-lbs --tcp=5678:8080\n\n  # Only print it\n  rctl create service loadbalancer my-lbs --tcp=80 --dry-run=client -o yaml"
    )]
    Loadbalancer {
        #[command(flatten)]
        ports: Ports,
    },
    /// Create an ExternalName service
    #[command(
        before_help = "  # Create a name for a name outside of the cluster\n  rctl create service externalname my-ns --external-name bar.com\n\n  # With a port\n  rctl create service externalname my-ns --external-name bar.com --tcp=443"
    )]
    Externalname {
        #[command(flatten)]
        ports: Ports,
        /// External name of service
        #[arg(long, value_name = "NAME")]
        external_name: String,
    },
}

impl ServiceArgs {
    /// The service.
    pub fn object(self) -> Outcome<Made> {
        let (command, kind_name) = match &self.kind {
            ServiceKind::Clusterip { .. } => ("rctl create service clusterip", "ClusterIP"),
            ServiceKind::Nodeport { .. } => ("rctl create service nodeport", "NodePort"),
            ServiceKind::Loadbalancer { .. } => ("rctl create service loadbalancer", "LoadBalancer"),
            ServiceKind::Externalname { .. } => ("rctl create service externalname", "ExternalName"),
        };
        let (ServiceKind::Clusterip { ports, .. }
        | ServiceKind::Nodeport { ports, .. }
        | ServiceKind::Loadbalancer { ports }
        | ServiceKind::Externalname { ports, .. }) = &self.kind;
        let name = ports.named.name(command)?;
        let headless = matches!(&self.kind, ServiceKind::Clusterip { clusterip: Some(ip), .. } if ip == "None");
        if ports.tcp.is_empty() && !headless && !matches!(self.kind, ServiceKind::Externalname { .. }) {
            return fail("at least one tcp port specifier must be provided");
        }
        let mut list = ports.tcp.iter().map(|text| port(text)).collect::<Outcome<Vec<Value>>>()?;
        let mut spec = json!({"selector": {"app": name}, "type": kind_name});
        match &self.kind {
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
        Ok(ports.named.made(object))
    }
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

/// `rctl create ingress`.
#[derive(Args, Debug)]
pub struct IngressArgs {
    #[command(flatten)]
    named: Named,
    /// Rule in format host/path=service:port[,tls=secretname]. Paths containing the leading character '*' are
    /// considered pathType=Prefix. tls argument is optional
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// Ingress Class to be used
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    class: String,
    /// Default service for backend, in format of svcname:port
    #[arg(long, value_name = "SERVICE:PORT", default_value = "", hide_default_value = true)]
    default_backend: String,
    /// Annotation to insert in the ingress object, in the format annotation=value
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
}

impl IngressArgs {
    /// The ingress.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create ingress")?;
        let object = self.ingress(&name)?;
        Ok(self.named.made(object))
    }

    fn ingress(&self, name: &str) -> Outcome<Value> {
        if self.rule.is_empty() && self.default_backend.is_empty() {
            return fail(
                "not enough information provided: every ingress has to either specify a default-backend (which \
                 catches all traffic) or a list of rules (which catch specific paths)",
            );
        }
        let mut spec = Map::new();
        if !self.default_backend.is_empty() {
            let Some(backend) = backend(&self.default_backend) else {
                return fail("default-backend should be in format servicename:serviceport");
            };
            spec.insert("defaultBackend".to_owned(), backend);
        }
        if !self.class.is_empty() {
            spec.insert("ingressClassName".to_owned(), json!(self.class));
        }
        let mut rules: Vec<Value> = Vec::new();
        let mut tls: Vec<Value> = Vec::new();
        for text in &self.rule {
            let Some(rule) = Rule::parse(text) else {
                return fail(format!(
                    "rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
                ));
            };
            rule.add(&mut rules, &mut tls);
        }
        if !rules.is_empty() {
            spec.insert("rules".to_owned(), Value::Array(rules));
        }
        if !tls.is_empty() {
            spec.insert("tls".to_owned(), Value::Array(tls));
        }
        let mut metadata = json!({"name": name});
        for annotation in &self.annotation {
            let Some((key, value)) = annotation.split_once('=') else {
                return fail(format!("annotation {annotation} is invalid and should be in format key=[value]"));
            };
            metadata["annotations"][key] = json!(value);
        }
        Ok(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
            "spec": spec, "status": {"loadBalancer": {}},
        }))
    }
}

/// `service:port`, the port a number or a name.
fn backend(text: &str) -> Option<Value> {
    let (service, port) = text.split_once(':')?;
    if service.is_empty() || port.is_empty() || port.contains(':') {
        return None;
    }
    let port = match port.parse::<u16>() {
        Ok(number) => json!({"number": number}),
        Err(_) => json!({"name": port}),
    };
    Some(json!({"service": {"name": service, "port": port}}))
}

/// A rule of the command line.
struct Rule {
    host: String,
    path: Value,
    /// The name of the secret, maybe empty, if the host is to be served over TLS.
    tls: Option<String>,
}

impl Rule {
    fn parse(text: &str) -> Option<Rule> {
        let (route, rest) = text.split_once('=')?;
        let slash = route.find('/')?;
        let (host, path) = route.split_at(slash);
        let (service, tls) = match rest.split_once(',') {
            None => (rest, None),
            Some((service, "tls")) => (service, Some(String::new())),
            Some((service, tls)) => {
                (service, Some(tls.strip_prefix("tls=").filter(|secret| !secret.is_empty())?.to_owned()))
            }
        };
        let backend = backend(service)?;
        let (path, path_type) = match path.strip_suffix('*') {
            Some(path) => (path, "Prefix"),
            None => (path, "Exact"),
        };
        let path = json!({"backend": backend, "path": path, "pathType": path_type});
        Some(Rule { host: host.to_owned(), path, tls })
    }

    /// Joins the rules of one host.
    fn add(self, rules: &mut Vec<Value>, tls: &mut Vec<Value>) {
        let host_of = |rule: &Value| rule.get("host").and_then(Value::as_str).unwrap_or_default().to_owned();
        match rules.iter_mut().find(|rule| host_of(rule) == self.host) {
            Some(rule) => {
                if let Some(paths) = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut) {
                    paths.push(self.path);
                }
            }
            None => {
                let mut rule = json!({"http": {"paths": [self.path]}});
                if !self.host.is_empty() {
                    rule["host"] = json!(self.host);
                }
                rules.push(rule);
            }
        }
        let Some(secret) = self.tls.filter(|_| !self.host.is_empty()) else { return };
        let mut entry = json!({"hosts": [self.host]});
        if !secret.is_empty() {
            entry["secretName"] = json!(secret);
        }
        if !tls.contains(&entry) {
            tls.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn rules_of_a_host_are_joined() {
        let (mut rules, mut tls) = (Vec::new(), Vec::new());
        for text in ["a.b/x*=s:80,tls=cert", "a.b/y=s:http,tls=cert", "/=t:1"] {
            Rule::parse(text).expect("a rule").add(&mut rules, &mut tls);
        }
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0]["http"]["paths"][0]["pathType"], "Prefix");
        assert_eq!(rules[0]["http"]["paths"][1]["backend"]["service"]["port"], json!({"name": "http"}));
        assert_eq!(tls, [json!({"hosts": ["a.b"], "secretName": "cert"})]);
        for bad in ["foo", "a=b", "a/=b", "a/=b:1,x", "a/=b:1,tls="] {
            assert!(Rule::parse(bad).is_none(), "{bad}");
        }
    }
}

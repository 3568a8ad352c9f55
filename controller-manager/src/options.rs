//! The flags, with upstream's names and defaults.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Parser};
use jiff::SignedDuration;
use reeve_client::process::{KubeconfigOptions, LogOptions};

use crate::certificates::authority::{Authority, AuthorityError};
use crate::load_balancer::{Pool, PoolError};
use crate::manager::{Controller, Settings, Signer, Workers};
use crate::node_ipam::{Cidr, CidrError, Plan};

/// The controllers of a Reeve cluster
#[derive(Debug, Parser)]
#[command(name = "controller-manager", version)]
pub struct Options {
    /// How to reach the API server
    #[command(flatten)]
    pub kubeconfig: KubeconfigOptions,
    /// What to log
    #[command(flatten)]
    pub logs: LogOptions,
    /// Run only while holding the lease kube-system/kube-controller-manager
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_elect: bool,
    /// How long other candidates wait for a silent leader
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it stops
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    /// How long between attempts to take or renew the lease
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// Which controllers to run: '*' for all that are on by default, NAME for one more, -NAME for one less; off by
    /// default are bootstrap-signer-controller and token-cleaner-controller
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// The ranges of pod addresses, at most one a family
    #[arg(long, value_delimiter = ',')]
    pub cluster_cidr: Vec<String>,
    /// Give each node a part of --cluster-cidr
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub allocate_node_cidrs: bool,
    /// The prefix of a node's part of an IPv4 range
    #[arg(long, default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    /// The prefix of a node's part of an IPv6 range
    #[arg(long, default_value_t = 64)]
    pub node_cidr_mask_size_ipv6: u8,
    /// How long a node may be silent before it counts as unknown
    #[arg(long, default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    /// How many ended pods may stay; 0 or less for all
    #[arg(long, default_value_t = 12500, allow_negative_numbers = true)]
    pub terminated_pod_gc_threshold: i32,
    /// Addresses for Services of type LoadBalancer, as 192.0.2.32/27 or 192.0.2.40-192.0.2.60, on the nodes' link;
    /// without it such Services get none here
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pub load_balancer_addresses: Vec<String>,
    /// How many Deployments are worked on at a time
    #[arg(long, default_value_t = 5)]
    pub concurrent_deployment_syncs: usize,
    /// How many ReplicaSets are worked on at a time
    #[arg(long, default_value_t = 5)]
    pub concurrent_replicaset_syncs: usize,
    /// How many Services are worked on at a time
    #[arg(long, default_value_t = 5)]
    pub concurrent_service_endpoint_syncs: usize,
    /// How many namespaces are deleted at a time
    #[arg(long, default_value_t = 10)]
    pub concurrent_namespace_syncs: usize,
    /// How many objects the garbage collector works on at a time
    #[arg(long, default_value_t = 20)]
    pub concurrent_gc_syncs: usize,
    /// How many namespaces get their service account at a time
    #[arg(long, default_value_t = 5)]
    pub concurrent_serviceaccount_syncs: usize,
    /// How many ResourceQuotas are counted at a time
    #[arg(long, default_value_t = 5)]
    pub concurrent_resource_quota_syncs: usize,
    /// The certificate authority that signs requests; without it none are signed
    #[arg(long, value_name = "FILE")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// The key of --cluster-signing-cert-file
    #[arg(long, value_name = "FILE")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// How long signed certificates are valid at most
    #[arg(long, default_value = "8760h", value_parser = duration)]
    pub cluster_signing_duration: Duration,
    /// The certificate authority that pods are given in the ConfigMap kube-root-ca.crt
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// The key of service account tokens; must be readable, is not used: the API server issues the tokens
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
}

/// Why flags are refused.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A file cannot be read.
    #[error("--{flag}: cannot read {}: {source}", path.display())]
    File {
        /// The flag's name.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A name in `--controllers` is not known.
    #[error("--controllers: {name:?} is not in the list of known controllers: {known}")]
    Controller {
        /// The name.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// A range in `--cluster-cidr` is wrong.
    #[error("--cluster-cidr: {0}")]
    Cidr(#[from] CidrError),
    /// A range in `--load-balancer-addresses` is wrong.
    #[error("--load-balancer-addresses: {0}")]
    Pool(#[from] PoolError),
    /// Node ranges are wanted but cannot be given.
    #[error("--allocate-node-cidrs: {0}")]
    Allocation(String),
    /// A signer without its key or certificate.
    #[error("--cluster-signing-cert-file and --cluster-signing-key-file must be given together")]
    HalfSigner,
    /// The signer's files are wrong.
    #[error("--cluster-signing-cert-file, --cluster-signing-key-file: {0}")]
    Signer(#[from] AuthorityError),
    /// The times of the election do not fit together.
    #[error(
        "--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline, and that longer than --leader-elect-retry-period"
    )]
    Election,
}

impl Options {
    /// Checks the flags and reads the files.
    pub fn settings(&self) -> Result<Settings, OptionsError> {
        if let Some(path) = &self.service_account_private_key_file {
            read("service-account-private-key-file", path)?;
        }
        let root_ca = self.root_ca_file.as_deref().map(|path| read("root-ca-file", path)).transpose()?;
        let ordered = self.leader_elect_lease_duration > self.leader_elect_renew_deadline
            && self.leader_elect_renew_deadline > self.leader_elect_retry_period;
        if self.leader_elect && !ordered {
            return Err(OptionsError::Election);
        }
        Ok(Settings {
            controllers: chosen(&self.controllers)?,
            workers: Workers {
                deployments: self.concurrent_deployment_syncs.max(1),
                replica_sets: self.concurrent_replicaset_syncs.max(1),
                services: self.concurrent_service_endpoint_syncs.max(1),
                namespaces: self.concurrent_namespace_syncs.max(1),
                garbage: self.concurrent_gc_syncs.max(1),
                service_accounts: self.concurrent_serviceaccount_syncs.max(1),
                quotas: self.concurrent_resource_quota_syncs.max(1),
            },
            signer: self.signer()?,
            load_balancer_pool: Pool::new(self.load_balancer_addresses.iter().map(String::as_str))?,
            node_cidrs: self.node_cidrs()?,
            node_monitor_grace_period: SignedDuration::try_from(self.node_monitor_grace_period)
                .unwrap_or(SignedDuration::MAX),
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            root_ca,
        })
    }

    fn signer(&self) -> Result<Option<Signer>, OptionsError> {
        let (certificate, key) = match (&self.cluster_signing_cert_file, &self.cluster_signing_key_file) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Err(OptionsError::HalfSigner),
        };
        let certificate = read("cluster-signing-cert-file", certificate)?;
        let key = read("cluster-signing-key-file", key)?;
        let longest = SignedDuration::try_from(self.cluster_signing_duration).unwrap_or(SignedDuration::MAX);
        Ok(Some(Signer { authority: Arc::new(Authority::new(&certificate, &key)?), longest }))
    }

    fn node_cidrs(&self) -> Result<Option<Plan>, OptionsError> {
        let mut ranges: Vec<(Cidr, u8)> = Vec::new();
        for text in &self.cluster_cidr {
            let range: Cidr = text.trim().parse()?;
            let prefix = if range.is_v6() { self.node_cidr_mask_size_ipv6 } else { self.node_cidr_mask_size };
            if prefix < range.prefix() || prefix > if range.is_v6() { 128 } else { 32 } {
                let text = format!("a node's part /{prefix} does not lie in {range}");
                return Err(OptionsError::Allocation(text));
            }
            if ranges.iter().any(|(other, _)| other.is_v6() == range.is_v6()) {
                return Err(OptionsError::Allocation("--cluster-cidr has two ranges of one family".to_owned()));
            }
            ranges.push((range, prefix));
        }
        if !self.allocate_node_cidrs {
            return Ok(None);
        }
        if ranges.is_empty() {
            return Err(OptionsError::Allocation("--cluster-cidr is needed as well".to_owned()));
        }
        Ok(Some(Plan { ranges }))
    }
}

fn read(flag: &'static str, path: &Path) -> Result<String, OptionsError> {
    std::fs::read_to_string(path).map_err(|source| OptionsError::File { flag, path: path.to_owned(), source })
}

/// The controllers that the words of `--controllers` choose.
fn chosen(words: &[String]) -> Result<BTreeSet<Controller>, OptionsError> {
    let mut chosen = BTreeSet::new();
    let mut without = BTreeSet::new();
    for word in words {
        if word == "*" {
            let all = Controller::ALL.iter().map(|(controller, _, _)| *controller);
            chosen.extend(all.filter(|controller| !controller.is_off_by_default()));
            continue;
        }
        let (name, set) = match word.strip_prefix('-') {
            Some(name) => (name, &mut without),
            None => (word.as_str(), &mut chosen),
        };
        let known = Controller::ALL.iter().find(|(_, present, older)| name == *present || name == *older);
        let Some((controller, _, _)) = known else {
            let known: Vec<&str> = Controller::ALL.iter().map(|(_, name, _)| *name).collect();
            return Err(OptionsError::Controller { name: name.to_owned(), known: known.join(", ") });
        };
        set.insert(*controller);
    }
    Ok(&chosen - &without)
}

/// A duration as Go writes it: `50s`, `1m30s`, `1.5h`, `200ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration like 50s or 1m30s");
    let mut rest = text;
    let mut seconds = 0.0;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    if text.is_empty() { Err(wrong()) } else { Duration::try_from_secs_f64(seconds).map_err(|_| wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Settings, String> {
        let all = ["controller-manager", "--kubeconfig", "k"].iter().chain(flags);
        Options::try_parse_from(all).map_err(|error| error.to_string())?.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_upstreams() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.controllers.len(), Controller::ALL.len() - 2, "all but those of bootstrap tokens");
        assert_eq!(settings.node_monitor_grace_period, SignedDuration::from_secs(50));
        assert!(settings.node_cidrs.is_none());
    }

    #[test]
    fn controllers_are_chosen_by_name() {
        let names = |flag: &str| parse(&[&format!("--controllers={flag}")]).map(|settings| settings.controllers);
        assert_eq!(names("*,tokencleaner,bootstrapsigner,-podgc").unwrap().len(), Controller::ALL.len() - 1);
        let two = BTreeSet::from([Controller::Deployment, Controller::ReplicaSet]);
        assert_eq!(names("deployment,replicaset-controller").unwrap(), two);
        assert!(names("nothing").unwrap_err().contains("is not in the list of known controllers"));
    }

    #[test]
    fn wrong_flags_are_explained() {
        let error = parse(&["--allocate-node-cidrs"]).unwrap_err();
        assert_eq!(error, "--allocate-node-cidrs: --cluster-cidr is needed as well");
        let error = parse(&["--allocate-node-cidrs=true", "--cluster-cidr=10.244.0.0"]).unwrap_err();
        assert!(error.starts_with("--cluster-cidr: \"10.244.0.0\" is not a range"), "{error}");
        let error = parse(&["--root-ca-file=/nowhere/ca.crt"]).unwrap_err();
        assert!(error.starts_with("--root-ca-file: cannot read /nowhere/ca.crt"), "{error}");
        assert!(parse(&["--leader-elect-lease-duration=5s"]).is_err());
        let error = parse(&["--cluster-signing-cert-file=/nowhere/ca.crt"]).unwrap_err();
        assert!(error.ends_with("must be given together"), "{error}");
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        for wrong in ["", "5", "s", "5x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

//! Flags, with upstream's names.

use std::time::Duration;

use reeve_client::LeaseConfig;
use reeve_client::process::{KubeconfigOptions, LogOptions};

/// The scheduler assigns pods to nodes: to each pod that has none it finds the nodes that it can run on, ranks them,
/// and binds it to the best.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "scheduler", version)]
pub struct Options {
    /// How to reach the API server.
    #[command(flatten)]
    pub connection: KubeconfigOptions,
    /// Logs.
    #[command(flatten)]
    pub logs: LogOptions,
    /// Name of the scheduler: the pods whose spec.schedulerName is this are its own
    #[arg(long, value_name = "NAME", default_value = "default-scheduler")]
    pub scheduler_name: String,
    /// Work only while holding the lease, so that several schedulers can run for availability
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// How long a silent leader keeps the lease
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew the lease before it stops leading
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    /// How long to wait between attempts to take or renew the lease
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// Name of the lease
    #[arg(long, value_name = "NAME", default_value = "kube-scheduler")]
    pub leader_elect_resource_name: String,
    /// Namespace of the lease
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
}

impl Options {
    /// The lease to hold, for a candidate of this name.
    pub fn lease(&self, identity: String) -> LeaseConfig {
        LeaseConfig {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
            ..LeaseConfig::new(&self.leader_elect_resource_namespace, &self.leader_elect_resource_name, identity)
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| format!("{text} is negative; give a duration such as 15s"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn parse(flags: &[&str]) -> Options {
        Options::parse_from([&["scheduler", "--kubeconfig", "f"], flags].concat())
    }

    #[test]
    fn defaults_are_upstreams() {
        let options = parse(&[]);
        let lease = options.lease("me".to_owned());
        assert!(options.leader_elect);
        assert_eq!((&*lease.namespace, &*lease.name), ("kube-system", "kube-scheduler"));
        assert_eq!((lease.lease_duration, lease.renew_deadline), (Duration::from_secs(15), Duration::from_secs(10)));
    }

    #[test]
    fn flags_are_written_as_upstreams() {
        let options = parse(&["--leader-elect=false", "--leader-elect-retry-period=500ms", "--v=4"]);
        assert!(!options.leader_elect);
        assert_eq!(options.leader_elect_retry_period, Duration::from_millis(500));
        assert!(parse(&["--leader-elect"]).leader_elect);
        assert!(duration("-1s").is_err() && duration("soon").is_err());
    }
}

//! What scheduling reads of a pod, apart from which pod it is.
//!
//! Pods made from the same template are equal here. They share one copy in memory and one evaluation.

use super::{Labels, Requirement, Resources, Term, Toleration};

/// A port that a pod takes on its node's own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// `0.0.0.0` for all addresses of the node.
    pub address: Box<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// The port's number.
    pub port: i32,
}

impl HostPort {
    /// Whether two pods with these ports cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        let addresses = self.address == other.address || &*self.address == ALL || &*other.address == ALL;
        self.port == other.port && self.protocol == other.protocol && addresses
    }
}

/// What to do where a spreading constraint cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsatisfiable {
    /// Leave the pod unscheduled.
    DoNotSchedule,
    /// Place it where it hurts least.
    ScheduleAnyway,
}

/// An explicit constraint of `spec.topologySpreadConstraints`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// The node label whose values are the domains.
    pub topology_key: Box<str>,
    /// By how many pods domains may differ.
    pub max_skew: i64,
    /// With fewer domains than this, the least count is taken as zero.
    pub min_domains: usize,
    /// What if it cannot be met.
    pub unsatisfiable: Unsatisfiable,
    /// Which pods of the namespace are counted, `matchLabelKeys` included; `None` counts none.
    pub selector: Option<Box<[Requirement]>>,
    /// Whether only nodes that the pod's node affinity admits are counted (`nodeAffinityPolicy: Honor`).
    pub honor_affinity: bool,
    /// Whether only nodes whose taints the pod tolerates are counted (`nodeTaintsPolicy: Honor`).
    pub honor_taints: bool,
}

/// All that decides where a pod can go: two pods with equal templates are interchangeable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodTemplate {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The uid of the controller that owns the pod, empty for none.
    pub controller: Box<str>,
    /// What the pod asks for, init containers, sidecars and overhead included.
    pub requests: Resources,
    /// As `requests.milli_cpu`, with 100 m for each container that asks for none (only for scores).
    pub score_milli_cpu: i64,
    /// As `requests.memory`, with 200 MiB for each container that asks for none (only for scores).
    pub score_memory: i64,
    /// `spec.nodeName` asked for before scheduling, empty for none.
    pub node_name: Box<str>,
    /// `spec.tolerations`.
    pub tolerations: Box<[Toleration]>,
    /// `spec.nodeSelector`.
    pub node_selector: Box<[Requirement]>,
    /// Required node affinity: one of these terms must hold; `None` asks for nothing.
    pub required_terms: Option<Box<[Term]>>,
    /// Preferred node affinity: the weights of the terms that hold add up.
    pub preferred_terms: Box<[(i64, Term)]>,
    /// Ports on the node's address.
    pub host_ports: Box<[HostPort]>,
    /// `spec.topologySpreadConstraints`.
    pub spread: Box<[SpreadConstraint]>,
    /// `spec.priority`.
    pub priority: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_conflict_on_the_same_address_or_on_all() {
        let port =
            |address: &str, protocol: &str, port| HostPort { address: address.into(), protocol: protocol.into(), port };
        let one = port("10.0.0.1", "TCP", 80);
        assert!(one.conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(one.conflicts(&port("0.0.0.0", "TCP", 80)));
        assert!(!one.conflicts(&port("10.0.0.2", "TCP", 80)));
        assert!(!one.conflicts(&port("10.0.0.1", "UDP", 80)));
        assert!(!one.conflicts(&port("10.0.0.1", "TCP", 81)));
    }
}

//! NodePorts: no host port of the pod may be taken on the node.

use crate::cluster::Usage;
use crate::model::PodTemplate;

/// Whether all of the pod's host ports are free.
pub fn admits(pod: &PodTemplate, usage: &Usage) -> bool {
    pod.host_ports.iter().all(|wanted| !usage.host_ports.iter().any(|taken| taken.conflicts(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostPort;

    #[test]
    fn a_taken_port_refuses() {
        let port = |port| HostPort { address: "0.0.0.0".into(), protocol: "TCP".into(), port };
        let usage = Usage { host_ports: vec![port(80)], ..Usage::default() };
        let pod = |number| PodTemplate { host_ports: [port(number)].into(), ..PodTemplate::default() };
        assert!(admits(&pod(81), &usage));
        assert!(!admits(&pod(80), &usage));
        assert!(admits(&PodTemplate::default(), &usage));
    }
}

//! Kernel settings of the node's network namespace that pod traffic needs.

use std::path::{Path, PathBuf};

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {path} to {value}: {source}; {consequence}")]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    consequence: &'static str,
    source: std::io::Error,
}

struct Setting {
    path: &'static str,
    value: &'static str,
    consequence: &'static str,
}

const SETTINGS: [Setting; 3] = [
    Setting { path: "net/ipv4/ip_forward", value: "1", consequence: "pods cannot be reached from other nodes" },
    // Loose: the answer of a Service may come in on another link than the one towards its client.
    Setting {
        path: "net/ipv4/conf/all/rp_filter",
        value: "2",
        consequence: "packets that return by another link may be dropped",
    },
    // Pods of one node answer each other over the bridge; without this the answer would not be translated back.
    Setting {
        path: "net/bridge/bridge-nf-call-iptables",
        value: "1",
        consequence: "a pod cannot reach pods of its own node through a Service (load the kernel module br_netfilter)",
    },
];

/// Lets processes of the node reach host ports on loopback addresses. Rules keep strangers from these addresses.
pub fn route_loopback() -> Result<(), SysctlError> {
    let setting = Setting {
        path: "net/ipv4/conf/all/route_localnet",
        value: "1",
        consequence: "host ports do not answer on 127.0.0.1",
    };
    setting.make(Path::new("/proc/sys"))
}

/// Makes the settings that differ; all are tried.
pub fn apply() -> Vec<SysctlError> {
    apply_below(Path::new("/proc/sys"))
}

fn apply_below(root: &Path) -> Vec<SysctlError> {
    SETTINGS.iter().filter_map(|setting| setting.make(root).err()).collect()
}

impl Setting {
    fn make(&self, root: &Path) -> Result<(), SysctlError> {
        let path = root.join(self.path);
        let set = || {
            if std::fs::read_to_string(&path)?.trim() == self.value {
                return Ok(());
            }
            std::fs::write(&path, self.value)
        };
        set().map_err(|source| SysctlError { path, value: self.value, consequence: self.consequence, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_already_is_left_and_what_fails_says_what_follows() {
        let root = tempfile::tempdir().expect("a folder");
        let forward = root.path().join("net/ipv4/ip_forward");
        std::fs::create_dir_all(forward.parent().expect("has one")).expect("creates");
        std::fs::write(&forward, "0\n").expect("writes");
        let errors = apply_below(root.path());
        assert_eq!(std::fs::read_to_string(&forward).expect("reads"), "1");
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().any(|error| error.to_string().contains("br_netfilter")));
    }
}

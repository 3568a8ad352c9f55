//! The CNI configuration of this node: standard plugins on the node's pod network.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::nft::model::Network;

/// The file's name: first in the order in which runtimes look.
pub const FILE_NAME: &str = "10-reeve.conflist";

/// What the configuration depends on.
#[derive(Clone, Debug)]
pub struct CniOptions {
    /// The folder that the container runtime reads.
    pub directory: PathBuf,
    /// The bridge that pods hang on.
    pub bridge: String,
}

/// Why the configuration could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the CNI configuration {path}: {source}")]
pub struct CniError {
    path: PathBuf,
    source: std::io::Error,
}

/// The configuration list (CNI specification 0.4.0).
///
/// Pods get an address of the node's network and the bridge as gateway. Host ports come with the Services' rules. Traffic that leaves the
/// cluster is masqueraded by the rules of this program, which know the whole pod network, not by the bridge
/// plugin, which knows only the node's part and would hide pods from each other. `mtu` is the largest packet of pods
/// in bytes, where it is not the bridge's own.
pub fn configuration(bridge: &str, network: Network, mtu: Option<u32>) -> String {
    let mut list = json!({
        "cniVersion": "0.4.0",
        "name": "reeve",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": true,
                "isDefaultGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": network.to_string()}]]},
            },
        ],
    });
    if let (Some(mtu), Some(plugin)) = (mtu, list.pointer_mut("/plugins/0").and_then(|plugin| plugin.as_object_mut())) {
        plugin.insert("mtu".into(), mtu.into());
    }
    format!("{list:#}\n")
}

/// Writes the configuration whole or not at all, and only when it differs. Tells whether it did.
pub fn write(options: &CniOptions, network: Network, mtu: Option<u32>) -> Result<bool, CniError> {
    let path = options.directory.join(FILE_NAME);
    write_file(&path, &configuration(&options.bridge, network, mtu)).map_err(|source| CniError { path, source })
}

fn write_file(path: &Path, text: &str) -> std::io::Result<bool> {
    match std::fs::read_to_string(path) {
        Ok(present) if present == text => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // Runtimes read files that end in .conflist; this one does not, until it is whole.
    let temporary = path.with_extension("conflist.new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_written_once_and_again_only_when_it_differs() {
        let directory = tempfile::tempdir().expect("a folder");
        let options = CniOptions { directory: directory.path().join("net.d"), bridge: "cni0".into() };
        let (first, second) = ("10.244.1.0/24".parse().expect("valid"), "10.244.2.0/24".parse().expect("valid"));
        assert!(write(&options, first, None).expect("writes"));
        assert!(!write(&options, first, None).expect("writes"));
        assert!(write(&options, second, Some(1450)).expect("writes"));
        let names: Vec<_> = std::fs::read_dir(&options.directory)
            .expect("exists")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        assert_eq!(names, [FILE_NAME]);
        let text = std::fs::read_to_string(options.directory.join(FILE_NAME)).expect("exists");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value.pointer("/plugins/0/ipam/ranges/0/0/subnet"), Some(&"10.244.2.0/24".into()));
        assert_eq!(value.pointer("/plugins/0/mtu"), Some(&1450.into()));
        assert!(!configuration("cni0", first, None).contains("mtu"));
    }
}

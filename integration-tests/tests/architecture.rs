//! Guards the map and the invariants of ARCHITECTURE.md: what each package must not know.

use std::fs;

use anyhow::Result;
use reeve_integration_tests::workspace::{metadata, normal_dependencies};

/// A dependency and the only packages that may have it.
///
/// `reeve-bench` measures the floors (etcd, CRI and the wire without Reeve), so it is let in there; `reeve-fuzz` reads
/// what parsers wrote.
const ONLY: [(&str, &[&str]); 9] = [
    ("etcd-client", &["reeve-apiserver", "reeve-bench"]),
    ("k8s-cri", &["reeve-kubelet", "reeve-bench"]),
    ("containerd-client", &["reeve-kubelet", "reeve-bench"]),
    ("rtnetlink", &["reeve-proxy"]),
    ("hickory-server", &["reeve-proxy"]),
    ("hickory-proto", &["reeve-proxy", "reeve-demo", "reeve-fuzz"]),
    ("jsonwebtoken", &["reeve-apiserver"]),
    ("rcgen", &["xtask", "reeve-controller-manager", "reeve-apiserver", "reeve-kubelet"]),
    ("xtask", &["reeve-integration-tests", "reeve-bench"]),
];

/// What the object model must not know: a runtime, a wire, a store.
const NOT_IN_API: [&str; 8] =
    ["tokio", "tonic", "prost", "hyper", "tower", "etcd-client", "reeve-client", "reeve-proto"];

/// The components: they share nothing but the API and its client.
const COMPONENTS: [&str; 6] =
    ["reeve-apiserver", "reeve-scheduler", "reeve-controller-manager", "reeve-kubelet", "reeve-proxy", "rctl"];

#[test]
fn only_the_stated_packages_know_etcd_the_runtime_and_the_kernel() -> Result<()> {
    let metadata = metadata()?;
    for package in metadata.workspace_packages() {
        for dependency in normal_dependencies(package) {
            if let Some((_, allowed)) = ONLY.iter().find(|(name, _)| *name == dependency) {
                assert!(
                    allowed.contains(&package.name.as_str()),
                    "{} must not depend on {dependency}; only {allowed:?} may",
                    package.name
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_object_model_knows_no_runtime_wire_or_store() -> Result<()> {
    let metadata = metadata()?;
    for package in metadata.workspace_packages() {
        if package.name.as_str() == "reeve-api" {
            for dependency in normal_dependencies(package) {
                assert!(!NOT_IN_API.contains(&dependency), "reeve-api must not depend on {dependency}");
            }
        }
    }
    Ok(())
}

#[test]
fn components_share_nothing_but_the_api() -> Result<()> {
    let metadata = metadata()?;
    for package in metadata.workspace_packages() {
        let is_component = COMPONENTS.contains(&package.name.as_str());
        for dependency in normal_dependencies(package) {
            if is_component {
                assert!(!COMPONENTS.contains(&dependency), "{} must not depend on {dependency}", package.name);
            }
        }
    }
    Ok(())
}

#[test]
fn the_map_names_every_package() -> Result<()> {
    let metadata = metadata()?;
    let map = fs::read_to_string(metadata.workspace_root.join("ARCHITECTURE.md"))?;
    for package in metadata.workspace_packages() {
        assert!(map.contains(&format!("`{}`", package.name)), "ARCHITECTURE.md has no row for `{}`", package.name);
    }
    Ok(())
}

//! Installs what is missing from the distribution. On a machine that has everything, nothing is
//! asked of the network.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command;

/// How it shows that a package is installed.
enum Evidence {
    Program(&'static str),
    AnyFile(&'static [&'static str]),
    /// A command that succeeds.
    Works(&'static [&'static str]),
}

/// A package of Debian and Ubuntu and what it is needed for.
struct Package {
    name: &'static str,
    evidence: Evidence,
    purpose: &'static str,
}

const RUN: [Package; 8] = [
    Package { name: "etcd-server", evidence: Evidence::Program("etcd"), purpose: "the store" },
    Package { name: "containerd", evidence: Evidence::Program("containerd"), purpose: "runs containers" },
    Package { name: "runc", evidence: Evidence::Program("runc"), purpose: "runs containers" },
    Package {
        name: "containernetworking-plugins",
        evidence: Evidence::AnyFile(&["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"]),
        purpose: "the pods' network",
    },
    Package { name: "nftables", evidence: Evidence::Program("nft"), purpose: "Services" },
    Package { name: "iproute2", evidence: Evidence::Program("ip"), purpose: "the nodes' network" },
    Package { name: "conntrack", evidence: Evidence::Program("conntrack"), purpose: "Services" },
    Package { name: "util-linux", evidence: Evidence::Program("nsenter"), purpose: "the nodes' namespaces" },
];

const BUILD: [Package; 2] = [
    Package { name: "protobuf-compiler", evidence: Evidence::Program("protoc"), purpose: "builds etcd's client" },
    Package {
        name: "libprotobuf-dev",
        evidence: Evidence::AnyFile(&[
            "/usr/include/google/protobuf/descriptor.proto",
            "/usr/local/include/google/protobuf/descriptor.proto",
        ]),
        purpose: "builds etcd's client",
    },
];

const FUZZ: [Package; 1] =
    [Package { name: "g++", evidence: Evidence::Program("c++"), purpose: "builds the engine of the fuzz targets" }];

const MACHINE: [Package; 3] = [
    Package {
        name: "qemu-system-x86",
        evidence: Evidence::Program("qemu-system-x86_64"),
        purpose: "a machine with another kernel",
    },
    Package { name: "debootstrap", evidence: Evidence::Program("debootstrap"), purpose: "what that machine runs" },
    Package { name: "e2fsprogs", evidence: Evidence::Program("mke2fs"), purpose: "that machine's disks" },
];

/// `kubectl` and the clients in Python come from PyPI, into the target folder: the distribution's are years old.
const TEST: [Package; 4] = [
    Package {
        name: "python3-venv",
        evidence: Evidence::Works(&["python3", "-c", "import ensurepip, venv"]),
        purpose: "the clients in Python",
    },
    Package { name: "docker.io", evidence: Evidence::Program("dockerd"), purpose: "the cluster in containers" },
    Package {
        name: "docker-compose",
        evidence: Evidence::Program("docker-compose"),
        purpose: "the cluster in containers",
    },
    Package { name: "debootstrap", evidence: Evidence::Program("debootstrap"), purpose: "images without a registry" },
];

impl Package {
    fn is_installed(&self) -> bool {
        match self.evidence {
            Evidence::Program(program) => command::find(program).is_some(),
            Evidence::AnyFile(paths) => paths.iter().any(|path| Path::new(path).exists()),
            Evidence::Works([program, arguments @ ..]) => {
                command::run(command::system(program).args(arguments)).is_ok()
            }
            Evidence::Works([]) => true,
        }
    }
}

/// Installs what running a testbed needs; only etcd for a control plane without nodes.
///
/// # Errors
/// Something is missing and cannot be installed here: with the list of what to install.
pub fn ensure(with_nodes: bool) -> Result<()> {
    install_missing(if with_nodes { RUN.iter() } else { RUN[..1].iter() })
}

/// Installs what building a testbed's programs needs.
///
/// # Errors
/// As for [`ensure`].
pub fn ensure_for_build() -> Result<()> {
    install_missing(BUILD.iter())
}

/// Installs what the tests need beyond what building and running a testbed needs.
///
/// # Errors
/// As for [`ensure`].
pub fn ensure_for_tests() -> Result<()> {
    install_missing(RUN.iter().chain(&BUILD).chain(&TEST))
}

/// Installs what [`crate::machine`] needs beyond what the tests need.
///
/// # Errors
/// As for [`ensure`].
pub fn ensure_for_machine() -> Result<()> {
    install_missing(MACHINE.iter())
}

/// Installs what the fuzz targets need beyond what the tests need.
///
/// # Errors
/// As for [`ensure`].
pub fn ensure_for_fuzz() -> Result<()> {
    install_missing(BUILD.iter().chain(&FUZZ))
}

fn install_missing<'a>(packages: impl Iterator<Item = &'a Package>) -> Result<()> {
    let missing: Vec<&Package> = packages.filter(|package| !package.is_installed()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if command::find("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        let list: Vec<String> =
            missing.iter().map(|package| format!("  {} ({})", package.name, package.purpose)).collect();
        bail!(
            "please install, under these names on Debian and Ubuntu:\n{}\n(as root on Debian or Ubuntu this is done by itself)",
            list.join("\n")
        );
    }
    // A first try with the package lists as they are saves their download.
    if install(&names).is_err() {
        command::run(command::system("apt-get").args(["update", "--quiet"]))
            .context("cannot read the distribution's package lists")?;
        install(&names)?;
    }
    match missing.iter().find(|package| !package.is_installed()) {
        Some(package) => bail!("{} was installed, but what it should bring is not there", package.name),
        None => Ok(()),
    }
}

fn install(names: &[&str]) -> Result<()> {
    let mut apt = command::system("apt-get");
    apt.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(names);
    // The testbed starts its own etcd and containerd: the distribution's services need not start.
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command::run(&mut apt).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_looked_for_where_the_systems_programs_are() {
        let package = |evidence| Package { name: "x", evidence, purpose: "x" };
        assert!(package(Evidence::Program("sh")).is_installed());
        assert!(!package(Evidence::Program("no-such-program-anywhere")).is_installed());
        assert!(package(Evidence::AnyFile(&["/nowhere", "/proc/self/stat"])).is_installed());
        assert!(package(Evidence::Works(&["true"])).is_installed());
        assert!(!package(Evidence::Works(&["false"])).is_installed());
    }
}

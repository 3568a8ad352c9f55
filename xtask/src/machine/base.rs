//! The machine's own disk and kernel: made once from the distribution's archive, and kept beside the builds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::command;

const SUITE: &str = "bookworm";
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// What a node and a control plane need, a server of NFS, and a kernel that has the disk's driver built in.
const PACKAGES: [&str; 12] = [
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "etcd-server",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "nfs-common",
    "nfs-kernel-server",
    "nftables",
    "procps",
    "runc",
];
/// The first program: all else comes from the other disk, so that this one seldom changes.
const FIRST: &str = "#!/bin/sh\n\
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n\
    mount -t proc proc /proc && mount -t devtmpfs devtmpfs /dev\n\
    mkdir -p /reeve && mount /dev/nvme0n2 /reeve && exec /reeve/init\n";
const DISK_MIB: u32 = 6144;

/// A disk to start from, and its kernel.
pub struct Base {
    /// An ext4 file system.
    pub disk: PathBuf,
    /// The kernel's image.
    pub kernel: PathBuf,
}

impl Base {
    /// Takes the one in `folder`, or makes it, where its recipe was another.
    ///
    /// # Errors
    /// The archive cannot be reached, or a program is missing.
    pub fn open_or_make(folder: &Path) -> Result<Self> {
        let recipe = format!("{SUITE} {ARCHIVE} {PACKAGES:?} {FIRST} {DISK_MIB}");
        let digest = Sha256::digest(recipe.as_bytes());
        let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let home = folder.join(&name);
        let base = Self { disk: home.join("base.img"), kernel: home.join("kernel") };
        if home.exists() {
            return Ok(base);
        }
        // Older recipes, and what a killed run left.
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let partial = folder.join("partial");
        let root = partial.join("root");
        fs::create_dir_all(&root)?;
        let include = format!("--include={}", PACKAGES.join(","));
        command::run(
            command::system("debootstrap").args(["--variant=minbase", &include, SUITE]).arg(&root).arg(ARCHIVE),
        )
        .context("cannot make a Debian system")?;
        fs::write(root.join("init"), FIRST)?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
        let kernel = fs::read_dir(root.join("boot"))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
            .context("the Debian system has no kernel")?;
        fs::copy(&kernel, partial.join("kernel"))?;
        // What was downloaded is installed.
        fs::remove_dir_all(root.join("var/cache/apt"))?;
        write_disk(&root, DISK_MIB, &partial.join("base.img"))?;
        fs::remove_dir_all(&root)?;
        fs::rename(&partial, &home)?;
        Ok(base)
    }
}

/// Writes a folder's files to an ext4 file system of a size; what is not used takes no room.
///
/// # Errors
/// They do not fit, or `mke2fs` is missing.
pub fn write_disk(folder: &Path, mebibytes: u32, disk: &Path) -> Result<()> {
    let mut make = command::system("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(folder).arg(disk).arg(format!("{mebibytes}M"));
    command::run(&mut make).map(drop)
}

//! What the machine has, read once at the start.

use std::path::Path;

/// The machine as the node's status shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The number of CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: i64,
    /// The size of the file system of the root folder in bytes.
    pub ephemeral_storage: i64,
    /// `x86_64` as Kubernetes says it: `amd64`.
    pub architecture: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub os_image: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The machine's firmware id.
    pub system_uuid: String,
    /// The id of this boot.
    pub boot_id: String,
    /// Whether the kernel enforces AppArmor profiles.
    pub app_armor: bool,
}

impl NodeFacts {
    /// Reads them. What a machine does not have is empty.
    pub fn read(root_dir: &Path) -> std::io::Result<Self> {
        let uname = rustix::system::uname();
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<i64>().ok())
            .map_or(0, |kilobytes| kilobytes * 1024);
        let disk = rustix::fs::statvfs(root_dir)?;
        let disk = i64::try_from(disk.f_blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let release = text("/etc/os-release");
        let os_image = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
        Ok(Self {
            cpus: std::thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(1)),
            memory,
            ephemeral_storage: disk,
            architecture: match uname.machine().to_string_lossy().as_ref() {
                "x86_64" => "amd64".into(),
                "aarch64" => "arm64".into(),
                other => other.to_owned(),
            },
            kernel_version: uname.release().to_string_lossy().into_owned(),
            os_image: os_image.trim_matches('"').to_owned(),
            machine_id: text("/etc/machine-id"),
            system_uuid: text("/sys/class/dmi/id/product_uuid"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            app_armor: text("/sys/module/apparmor/parameters/enabled") == "Y",
        })
    }
}

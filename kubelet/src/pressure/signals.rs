//! What is left on the node, measured.

use std::io;
use std::path::Path;

/// Something that can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Bytes of memory.
    Memory,
    /// Bytes on the file system of the kubelet's folders.
    NodeBytes,
    /// Inodes on it.
    NodeInodes,
    /// Bytes on the file system of the images.
    ImageBytes,
    /// Inodes on it.
    ImageInodes,
    /// Process numbers.
    Processes,
}

/// All signals, memory first: it is the most urgent.
pub const SIGNALS: [Signal; 6] =
    [Signal::Memory, Signal::NodeBytes, Signal::ImageBytes, Signal::NodeInodes, Signal::ImageInodes, Signal::Processes];

impl Signal {
    /// The signal's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Memory => "memory.available",
            Signal::NodeBytes => "nodefs.available",
            Signal::NodeInodes => "nodefs.inodesFree",
            Signal::ImageBytes => "imagefs.available",
            Signal::ImageInodes => "imagefs.inodesFree",
            Signal::Processes => "pid.available",
        }
    }

    /// The resource that pods are ranked by and told about.
    pub fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::NodeBytes | Signal::ImageBytes => "ephemeral-storage",
            Signal::NodeInodes | Signal::ImageInodes => "inodes",
            Signal::Processes => "pids",
        }
    }
}

/// How much of something there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// What is left.
    pub available: i64,
    /// What there is altogether.
    pub capacity: i64,
}

/// A file system's bytes and inodes.
pub fn file_system(path: &Path) -> io::Result<(Amount, Amount)> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(found.f_frsize)).unwrap_or(i64::MAX);
    let count = |inodes: u64| i64::try_from(inodes).unwrap_or(i64::MAX);
    let bytes = Amount { available: bytes(found.f_bavail), capacity: bytes(found.f_blocks) };
    Ok((bytes, Amount { available: count(found.f_favail), capacity: count(found.f_files) }))
}

/// Memory that is free or can be had at once: all but upstream's working set.
pub fn memory() -> io::Result<Amount> {
    Ok(parse_memory(&std::fs::read_to_string("/proc/meminfo")?))
}

fn parse_memory(text: &str) -> Amount {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
        kilobytes.unwrap_or_default() * 1024
    };
    Amount { available: bytes("MemFree") + bytes("Inactive(file)"), capacity: bytes("MemTotal") }
}

/// Process numbers that are free.
pub fn processes() -> io::Result<Amount> {
    let number = |path: &str| -> io::Result<i64> {
        let text = std::fs::read_to_string(path)?;
        text.trim().parse().map_err(|error| io::Error::other(format!("{path}: {error}")))
    };
    let capacity = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let all = load.split([' ', '/']).nth(4).and_then(|it| it.parse::<i64>().ok()).unwrap_or_default();
    Ok(Amount { available: capacity - all, capacity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_can_be_had_at_once_counts_as_left() {
        let text = "MemTotal:  1000 kB\nMemFree:  100 kB\nActive(file):  70 kB\nInactive(file):  50 kB\n";
        assert_eq!(parse_memory(text), Amount { available: 150 << 10, capacity: 1000 << 10 });
    }

    #[test]
    fn the_machine_answers() {
        let (bytes, inodes) = file_system(Path::new("/")).unwrap();
        for amount in [bytes, inodes, memory().unwrap(), processes().unwrap()] {
            assert!(amount.available > 0 && amount.available <= amount.capacity, "{amount:?}");
        }
    }
}

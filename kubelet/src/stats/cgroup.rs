//! The kernel's figures of a cgroup, on version 1, version 2 and the hybrid layout.

use std::path::{Path, PathBuf};

use super::Usage;

/// Version 1's word for no limit, and a little less: it is rounded to pages.
const NO_LIMIT: u64 = 1 << 62;
/// A clock tick of `cpuacct.stat` in nanoseconds: user space always sees hundredths of a second.
const TICK: u64 = 10_000_000;

/// Where cgroups are mounted.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mount: PathBuf,
    unified: bool,
}

impl Cgroups {
    /// Those of the machine.
    pub fn of_machine() -> Self {
        Self::at(Path::new("/sys/fs/cgroup"))
    }

    /// Those below a mount.
    pub fn at(mount: &Path) -> Self {
        Self { mount: mount.to_owned(), unified: mount.join("cgroup.controllers").exists() }
    }

    /// What the cgroup at `path` uses, and nothing of what does not exist.
    pub fn usage(&self, path: &str) -> Usage {
        if self.unified { unified(&self.folder("", path)) } else { self.separate(path) }
    }

    /// A process of the cgroup.
    pub fn process(&self, path: &str) -> Option<i32> {
        let controller = if self.unified { "" } else { "memory" };
        let text = std::fs::read_to_string(self.folder(controller, path).join("cgroup.procs")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    fn folder(&self, controller: &str, path: &str) -> PathBuf {
        self.mount.join(controller).join(path.trim_start_matches('/'))
    }

    fn separate(&self, path: &str) -> Usage {
        let accounting = self.folder("cpuacct", path);
        let cpu = self.folder("cpu", path);
        let memory = self.folder("memory", path);
        let ticks = |name| Some(value(&accounting.join("cpuacct.stat"), name)? * TICK);
        let memory_stat = memory.join("memory.stat");
        let used = number(&memory.join("memory.usage_in_bytes"));
        let with_swap = number(&memory.join("memory.memsw.usage_in_bytes"));
        Usage {
            cpu: number(&accounting.join("cpuacct.usage")),
            cpu_user: ticks("user"),
            cpu_system: ticks("system"),
            periods: value(&cpu.join("cpu.stat"), "nr_periods"),
            throttled_periods: value(&cpu.join("cpu.stat"), "nr_throttled"),
            throttled: value(&cpu.join("cpu.stat"), "throttled_time"),
            memory: used,
            inactive_file: value(&memory_stat, "total_inactive_file"),
            rss: value(&memory_stat, "total_rss"),
            cache: value(&memory_stat, "total_cache"),
            swap: with_swap.zip(used).map(|(all, memory)| all.saturating_sub(memory)),
            memory_limit: number(&memory.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT),
            page_faults: value(&memory_stat, "total_pgfault"),
            major_page_faults: value(&memory_stat, "total_pgmajfault"),
            processes: number(&self.folder("pids", path).join("pids.current")),
        }
    }
}

fn unified(folder: &Path) -> Usage {
    let (cpu, memory) = (folder.join("cpu.stat"), folder.join("memory.stat"));
    let nanoseconds = |name| Some(value(&cpu, name)? * 1000);
    Usage {
        cpu: nanoseconds("usage_usec"),
        cpu_user: nanoseconds("user_usec"),
        cpu_system: nanoseconds("system_usec"),
        periods: value(&cpu, "nr_periods"),
        throttled_periods: value(&cpu, "nr_throttled"),
        throttled: nanoseconds("throttled_usec"),
        memory: number(&folder.join("memory.current")),
        inactive_file: value(&memory, "inactive_file"),
        rss: value(&memory, "anon"),
        cache: value(&memory, "file"),
        swap: number(&folder.join("memory.swap.current")),
        // `max` is no number, and no limit.
        memory_limit: number(&folder.join("memory.max")),
        page_faults: value(&memory, "pgfault"),
        major_page_faults: value(&memory, "pgmajfault"),
        processes: number(&folder.join("pids.current")),
    }
}

/// The machine's memory as `/proc/meminfo` tells it: the root cgroup of version 2 does not tell.
pub fn machine(text: &str) -> Usage {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Usage {
        memory: field("MemTotal").zip(field("MemFree")).map(|(total, free)| total.saturating_sub(free)),
        inactive_file: field("Inactive(file)"),
        rss: field("AnonPages"),
        cache: field("Cached"),
        swap: field("SwapTotal").zip(field("SwapFree")).map(|(total, free)| total.saturating_sub(free)),
        ..Usage::default()
    }
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The value of a line `NAME VALUE`.
fn value(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn both_versions_are_read() {
        let one = tempfile::tempdir().unwrap();
        write(
            one.path(),
            &[
                ("cpuacct/kubepods/p/cpuacct.usage", "1500000000\n"),
                ("cpuacct/kubepods/p/cpuacct.stat", "user 100\nsystem 50\n"),
                ("cpu/kubepods/p/cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 70\n"),
                ("memory/kubepods/p/memory.usage_in_bytes", "9000\n"),
                ("memory/kubepods/p/memory.memsw.usage_in_bytes", "9500\n"),
                ("memory/kubepods/p/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/kubepods/p/memory.stat", "inactive_file 1\ntotal_inactive_file 2000\ntotal_rss 5000\n"),
                ("memory/kubepods/p/cgroup.procs", "42\n43\n"),
            ],
        );
        let cgroups = Cgroups::at(one.path());
        let usage = cgroups.usage("/kubepods/p");
        assert_eq!((usage.cpu, usage.cpu_user), (Some(1_500_000_000), Some(1_000_000_000)));
        assert_eq!((usage.working_set(), usage.rss, usage.swap), (Some(7000), Some(5000), Some(500)));
        assert_eq!((usage.memory_limit, usage.throttled), (None, Some(70)));
        assert_eq!(cgroups.process("/kubepods/p"), Some(42));

        let two = tempfile::tempdir().unwrap();
        write(
            two.path(),
            &[
                ("cgroup.controllers", "cpu memory\n"),
                ("kubepods/p/cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
                ("kubepods/p/memory.current", "9000\n"),
                ("kubepods/p/memory.max", "max\n"),
                ("kubepods/p/memory.stat", "anon 5000\ninactive_file 10000\n"),
            ],
        );
        let usage = Cgroups::at(two.path()).usage("kubepods/p");
        assert_eq!((usage.cpu, usage.memory_limit), (Some(1_500_000), None));
        assert_eq!((usage.working_set(), usage.rss), (Some(0), Some(5000)), "never below nothing");
        assert_eq!(Cgroups::at(two.path()).usage("kubepods/gone"), Usage::default());
    }

    #[test]
    fn the_machines_memory_is_told_in_bytes() {
        let usage = machine("MemTotal:  100 kB\nMemFree:   40 kB\nInactive(file):  10 kB\nAnonPages: 30 kB\n");
        assert_eq!((usage.memory, usage.working_set()), (Some(60 * 1024), Some(50 * 1024)));
    }
}

//! Memory and CPU time of processes, from `/proc`.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// A process to measure.
#[derive(Clone, Debug)]
pub struct Process {
    /// What it is called in the table.
    pub name: String,
    /// Its id.
    pub pid: i32,
}

impl Process {
    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The part of it that is data, not pages of files, in bytes.
    pub fn data(&self) -> Result<u64> {
        self.status("RssAnon:")
    }

    /// The most that was resident so far, in bytes.
    pub fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
        let kilobytes = line.trim().trim_end_matches("kB").trim().parse::<u64>();
        Ok(kilobytes.with_context(|| format!("{field} is not a number"))? * 1024)
    }

    /// CPU time used so far by the threads that there are, to the nanosecond: enough for what is idle.
    pub fn fine_cpu_time(&self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.pid);
        let entries = std::fs::read_dir(&tasks).with_context(|| format!("{}: cannot read {tasks}", self.name))?;
        let mut nanoseconds = 0;
        for entry in entries {
            let path = entry?.path().join("schedstat");
            // A thread may end meanwhile.
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let used = text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
            nanoseconds += used.with_context(|| format!("unexpected {}", path.display()))?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// CPU time used so far, also by threads that have ended, to the kernel's tick.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The program's name in parentheses may contain spaces; utime and stime are the 12th and 13th field after it.
        let (_, rest) = stat.rsplit_once(')').context("unexpected stat")?;
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read {path}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let own = Process { name: "own".to_owned(), pid: i32::try_from(std::process::id()).unwrap() };
        assert!(own.resident().unwrap() > 100_000);
        assert!(own.data().unwrap() < own.resident().unwrap());
        assert!(own.peak().unwrap() > 100_000);
        assert!(own.cpu_time().unwrap() < Duration::from_secs(3600));
        assert!(own.fine_cpu_time().unwrap() > Duration::ZERO);
    }
}

//! The process's own use of the machine, read from `/proc` when it is asked for.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Linux counts processor time in hundredths of a second for programs, on all machines.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads on each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(usage) = Usage::read() else { return Ok(()) };
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let metric = encoder.encode_descriptor(
            "process_cpu",
            "Processor time spent",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?;
        cpu.encode(metric)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory", usage.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory", usage.virtual_bytes),
            ("process_open_fds", "Open file descriptors", usage.open_files),
            ("process_start_time_seconds", "Start time since the epoch", usage.start_seconds),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_files: i64,
    start_seconds: i64,
}

impl Usage {
    fn read() -> std::io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The program's name stands in parentheses and may hold anything; numbers follow it.
        let numbers: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/self/status")?;
        let kilobytes = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse::<i64>().ok()).unwrap_or_default()
        };
        let boot = std::fs::read_to_string("/proc/stat")?
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|seconds| seconds.trim().parse::<i64>().ok())
            .unwrap_or_default();
        let open_files = std::fs::read_dir("/proc/self/fd")?.count();
        Ok(Self {
            // Fields 14 and 15 of proc_pid_stat(5), counted after the state, which is the third.
            cpu_seconds: (at(10) + at(11)) / TICKS_PER_SECOND,
            resident_bytes: kilobytes("VmRSS:") * 1024,
            virtual_bytes: kilobytes("VmSize:") * 1024,
            open_files: i64::try_from(open_files).unwrap_or(i64::MAX),
            start_seconds: boot + (at(18) / TICKS_PER_SECOND) as i64,
        })
    }
}

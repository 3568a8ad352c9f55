//! What the processes cost while nothing happens.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::report::Outcome;

const NO_PROCESSES: &str = "the processes are not known: give --dir of the testbed, or --process NAME=PID";
/// How long CPU time is taken.
const SAMPLE: Duration = Duration::from_secs(10);

/// Resident memory, together and one by one.
pub fn memory(bench: &Bench) -> Result<Outcome> {
    if bench.processes.is_empty() {
        return Ok(Outcome::NotMeasured(NO_PROCESSES.to_owned()));
    }
    let mut total = 0;
    let mut parts = Vec::new();
    for process in &bench.processes {
        let resident = process.resident()?;
        total += resident;
        parts.push(format!("{} {:.1} MB", process.name, resident as f64 / 1e6));
    }
    Ok(Outcome::measured(format!("{:.1} MB", total as f64 / 1e6), format!("resident memory: {}", parts.join(", "))))
}

/// CPU time over ten seconds. The sleep is the measurement.
pub async fn cpu(bench: &Bench) -> Result<Outcome> {
    if bench.processes.is_empty() {
        return Ok(Outcome::NotMeasured(NO_PROCESSES.to_owned()));
    }
    let before = bench.processes.iter().map(|process| process.cpu_time()).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(SAMPLE).await;
    let mut shares = Vec::new();
    for (process, before) in bench.processes.iter().zip(before) {
        let used = process.cpu_time()?.saturating_sub(before);
        shares.push(format!("{} {:.1} %", process.name, used.as_secs_f64() / SAMPLE.as_secs_f64() * 100.0));
    }
    Ok(Outcome::measured(shares.join(", "), "lease renewals every 2 s; the clock's tick is 0.1 % of the sample"))
}

//! What the processes cost while nothing happens.

use std::time::Duration;

use anyhow::Result;

use crate::process::Process;
use crate::report::Outcome;

const NO_PROCESSES: &str = "the processes are not known: give --dir of the testbed, or --process NAME=PID";
/// Why a row of nodes is not measured.
pub const NO_NODE: &str = "no node of the testbed runs: give --nodes";
/// Over how long CPU time is taken: several renewals of every lease (2 s and 10 s) fall into it.
pub const SAMPLE: Duration = Duration::from_secs(40);

/// Resident memory, together and one by one.
pub fn memory(processes: &[Process]) -> Result<Outcome> {
    if processes.is_empty() {
        return Ok(Outcome::NotMeasured(NO_PROCESSES.to_owned()));
    }
    let mut total = 0;
    let mut parts = Vec::new();
    for process in processes {
        let resident = process.resident()?;
        total += resident;
        let data = process.data()? as f64 / 1e6;
        parts.push(format!("{} {:.1} MB, data {data:.1} MB of it", process.name, resident as f64 / 1e6));
    }
    Ok(Outcome::measured(format!("{:.1} MB", total as f64 / 1e6), format!("resident: {}", parts.join("; "))))
}

/// The resident memory of kubelet and proxy, of the node where they need most.
pub fn node_memory(nodes: &[[Process; 2]]) -> Result<Outcome> {
    let mut measured = Vec::new();
    for [kubelet, proxy] in nodes {
        measured.push((kubelet.resident()? as f64 / 1e6, proxy.resident()? as f64 / 1e6));
    }
    let Some((kubelet, proxy)) = measured.iter().copied().max_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1))) else {
        return Ok(Outcome::NotMeasured(NO_NODE.to_owned()));
    };
    let mut data = Vec::new();
    for [kubelet, proxy] in nodes {
        data.push(format!("{:.1} + {:.1} MB", kubelet.data()? as f64 / 1e6, proxy.data()? as f64 / 1e6));
    }
    let all: Vec<String> = measured.iter().map(|(kubelet, proxy)| format!("{kubelet:.1} + {proxy:.1} MB")).collect();
    Ok(Outcome::measured(
        format!("kubelet {kubelet:.1} MB, with the proxy {:.1} MB", kubelet + proxy),
        format!("resident, the greatest of {} nodes: {}; data of it: {}", all.len(), all.join(", "), data.join(", ")),
    ))
}

/// CPU time of each process over [`SAMPLE`]. The sleep is the measurement.
pub async fn cpu(processes: &[Process]) -> Result<Outcome> {
    if processes.is_empty() {
        return Ok(Outcome::NotMeasured(NO_PROCESSES.to_owned()));
    }
    let shares = shares(processes).await?;
    let text: Vec<String> =
        processes.iter().zip(shares).map(|(process, share)| format!("{} {share:.2} %", process.name)).collect();
    Ok(Outcome::measured(text.join(", "), format!("over {} s", SAMPLE.as_secs())))
}

/// The same for kubelet and proxy, of the node where they need most.
pub async fn node_cpu(nodes: &[[Process; 2]]) -> Result<Outcome> {
    let shares = shares(nodes.as_flattened()).await?;
    let Some([kubelet, proxy]) =
        shares.as_chunks().0.iter().copied().max_by(|[a, b], [c, d]| (a + b).total_cmp(&(c + d)))
    else {
        return Ok(Outcome::NotMeasured(NO_NODE.to_owned()));
    };
    let all: Vec<String> = shares.as_chunks().0.iter().map(|[a, b]| format!("{a:.2} + {b:.2} %")).collect();
    Ok(Outcome::measured(
        format!("kubelet {kubelet:.2} %, proxy {proxy:.2} %"),
        format!("over {} s, the greatest of {} nodes: {}", SAMPLE.as_secs(), all.len(), all.join(", ")),
    ))
}

/// The share of a core in percent that each process uses.
async fn shares(processes: &[Process]) -> Result<Vec<f64>> {
    let before = processes.iter().map(Process::fine_cpu_time).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(SAMPLE).await;
    let share = |(process, before): (&Process, Duration)| {
        let used = process.fine_cpu_time()?.saturating_sub(before);
        Ok(used.as_secs_f64() / SAMPLE.as_secs_f64() * 100.0)
    };
    processes.iter().zip(before).map(share).collect()
}

//! A node with as many pods as it takes: what kubelet and proxy need then, and whether the pods stay Ready.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, idle, pod_start};
use crate::report::Outcome;

/// A runtime starts eight to ten pods a second on two cores.
const PATIENCE: Duration = Duration::from_secs(300);

/// Fills one node, and looks at it for [`idle::SAMPLE`].
pub async fn full_node(bench: &Bench, pods: usize) -> Result<Outcome> {
    pod_start::start(bench, pods, pods, PATIENCE, async |load, store| {
        let processor = idle::node_cpu(&bench.nodes).await?;
        let memory = idle::node_memory(&bench.nodes)?;
        let ready = store.list().iter().filter(|pod| pod_start::is_ready(pod)).count();
        let took = load.took.as_secs_f64();
        let (Outcome::Measured { figure: processor, beside: each }, Outcome::Measured { figure: memory, .. }) =
            (processor, memory)
        else {
            return Ok(Outcome::NotMeasured(idle::NO_NODE.to_owned()));
        };
        Ok(Outcome::measured(
            format!("{memory}; {processor}; {ready} of {pods} Ready"),
            format!("all Ready after {took:.1} s; the processor {each}"),
        ))
    })
    .await
}

//! Which of the possible nodes is best for a pod: one file per plugin of upstream, with upstream's weights.
//!
//! Each plugin gives a node 0 to [`BEST`], some after comparing all possible nodes; the weighted sum decides.

pub mod balanced_allocation;
pub mod least_allocated;
pub mod node_affinity;
pub mod pod_topology_spread;
pub mod taint_toleration;

/// The score of a perfect node.
pub const BEST: i64 = 100;

/// How much each plugin counts (upstream's default configuration).
pub mod weight {
    /// Taints to avoid count most, because an administrator set them.
    pub const TAINT_TOLERATION: i64 = 3;
    /// What the pod's author prefers.
    pub const NODE_AFFINITY: i64 = 2;
    /// Keep pods of one kind apart.
    pub const POD_TOPOLOGY_SPREAD: i64 = 2;
    /// Fill nodes evenly.
    pub const LEAST_ALLOCATED: i64 = 1;
    /// Use cpu and memory evenly.
    pub const BALANCED_ALLOCATION: i64 = 1;
}

/// Scales `raw` so that the greatest of the possible nodes gets [`BEST`].
pub fn normalize(raw: i64, greatest: i64) -> i64 {
    if greatest == 0 { 0 } else { raw * BEST / greatest }
}

/// As [`normalize`], with [`BEST`] for a `raw` of zero.
pub fn normalize_reversed(raw: i64, greatest: i64) -> i64 {
    BEST - normalize(raw, greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_scale_to_the_greatest() {
        assert_eq!((normalize(3, 4), normalize(0, 0)), (75, 0));
        assert_eq!((normalize_reversed(3, 4), normalize_reversed(0, 0)), (25, 100));
    }
}

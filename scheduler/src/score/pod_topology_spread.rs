//! PodTopologySpread: the fewer matching pods are in the node's domains, the better; a domain of a key with few
//! domains counts less than one of many.

use super::BEST;

/// How much a matching pod in a domain counts, by the number of domains that the possible nodes are in.
pub fn domain_weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}

/// What one constraint adds to a node's cost. Below `max_skew` all differences count.
pub fn cost(matching: u32, max_skew: i64, weight: f64) -> f64 {
    f64::from(matching) * weight + (max_skew - 1) as f64
}

/// A node's score from its cost and the least and greatest cost of the possible nodes.
pub fn normalize(cost: i64, least: i64, greatest: i64) -> i64 {
    if greatest == 0 { BEST } else { BEST * (greatest + least - cost) / greatest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_matching_pods_cost_less_and_score_more() {
        let weight = domain_weight(3);
        let costs: Vec<i64> = [0, 1, 2].map(|matching| cost(matching, 5, weight).round() as i64).into();
        assert_eq!(costs, [4, 6, 7]);
        assert_eq!(costs.iter().map(|cost| normalize(*cost, 4, 7)).collect::<Vec<_>>(), [100, 71, 57]);
        assert_eq!(normalize(0, 0, 0), 100);
    }
}

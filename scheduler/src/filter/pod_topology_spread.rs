//! PodTopologySpread: with the pod on this node, its domain may hold at most `maxSkew` matching pods more than the
//! domain with the fewest.

/// Whether a domain may take one more pod.
///
/// `matching` is the number of matching pods in the domain, `least` that of the domain with the fewest (zero where
/// there are fewer than `minDomains`), `selects_itself` whether the pod matches its own selector.
pub fn admits(matching: u32, least: u32, selects_itself: bool, max_skew: i64) -> bool {
    i64::from(matching) + i64::from(selects_itself) - i64::from(least) <= max_skew
}

/// The fewest matching pods of a domain; zero with no domains or with fewer than `min_domains`.
pub fn least(domains: impl Iterator<Item = u32>, min_domains: usize) -> u32 {
    let (mut count, mut least) = (0, u32::MAX);
    for matching in domains {
        count += 1;
        least = least.min(matching);
    }
    if count == 0 || count < min_domains { 0 } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_domain_is_refused_first() {
        assert!(admits(2, 2, true, 1));
        assert!(!admits(3, 2, true, 1));
        assert!(admits(3, 2, false, 1), "a pod that does not count itself adds nothing");
        assert!(admits(4, 2, true, 3));
    }

    #[test]
    fn too_few_domains_count_as_one_that_is_empty() {
        assert_eq!(least([3, 2, 5].into_iter(), 1), 2);
        assert_eq!(least([3, 2, 5].into_iter(), 4), 0);
        assert_eq!(least([].into_iter(), 1), 0);
    }
}

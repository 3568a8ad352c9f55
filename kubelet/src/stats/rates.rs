//! CPU rates from samples: what was used between two askings.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// Shorter spans tell little; who asks again sooner gets the rate of before. cAdvisor's longest period.
const SPAN: SignedDuration = SignedDuration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    used: u64,
    rate: Option<u64>,
}

/// The last sample of each cgroup.
#[derive(Debug, Default)]
pub struct Rates {
    samples: HashMap<String, Sample>,
}

impl Rates {
    /// Nanoseconds of CPU a second. Without an earlier sample, since the start of the cgroup, whose use was nothing.
    pub fn rate(&mut self, cgroup: &str, started: Timestamp, at: Timestamp, used: u64) -> Option<u64> {
        let last = self.samples.get(cgroup).copied().filter(|last| last.used <= used && last.at <= at);
        if let Some(last) = last
            && at.duration_since(last.at) < SPAN
            && last.rate.is_some()
        {
            return last.rate;
        }
        let (from, before) = last.map_or((started, 0), |last| (last.at, last.used));
        let rate = per_second(at.duration_since(from), used - before);
        self.samples.insert(cgroup.to_owned(), Sample { at, used, rate });
        rate
    }

    /// Forgets the cgroups that were not sampled since.
    pub fn forget_before(&mut self, at: Timestamp, alive: impl Fn(&str) -> bool) {
        self.samples.retain(|cgroup, sample| sample.at >= at || alive(cgroup));
    }
}

fn per_second(span: SignedDuration, used: u64) -> Option<u64> {
    let span = u128::try_from(span.as_nanos()).ok().filter(|span| *span > 0)?;
    u64::try_from(u128::from(used) * 1_000_000_000 / span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_time_between_two_samples() {
        let second = |n| Timestamp::from_second(n).unwrap();
        let mut rates = Rates::default();
        assert_eq!(rates.rate("a", second(100), second(104), 2_000_000_000), Some(500_000_000), "since its start");
        assert_eq!(rates.rate("a", second(100), second(106), 9_000_000_000), Some(500_000_000), "too soon");
        assert_eq!(rates.rate("a", second(100), second(124), 22_000_000_000), Some(1_000_000_000));
        // A new container under the same name has used less.
        assert_eq!(rates.rate("a", second(130), second(140), 1_000_000_000), Some(100_000_000));
        assert_eq!(rates.rate("b", second(5), second(5), 1), None, "no time has passed");
        rates.forget_before(second(200), |cgroup| cgroup == "a");
        assert_eq!(rates.samples.len(), 1);
    }
}

//! Exponential back-off with upstream's rules, as plain values over a given time.
//!
//! Source: `client-go/util/flowcontrol/backoff.go` as the kubelet uses it: the first failure is
//! retried at once and sets the initial delay; each further one doubles the delay to the limit;
//! a key that was quiet for twice the limit starts afresh.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The two ends of a back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The delay after the first try.
    pub initial: Duration,
    /// The longest delay.
    pub max: Duration,
}

/// The back-off of one thing that is tried again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    delay: Duration,
    updated: Option<Timestamp>,
}

impl Backoff {
    /// The back-off of something that was tried again at `tried` after it had failed at `failed_at`: what is seen of
    /// it stands in for what a process that has ended remembered.
    pub fn resumed(failed_at: Timestamp, tried: Timestamp, limits: BackoffLimits) -> Self {
        let waited = Duration::try_from(tried.duration_since(failed_at)).unwrap_or_default();
        let mut delay = limits.initial;
        if waited >= limits.initial {
            // The longest step that was waited for; the next one is twice as long.
            while delay * 2 <= waited && delay < limits.max {
                delay *= 2;
            }
            delay = (delay * 2).min(limits.max);
        }
        Self { delay, updated: Some(tried) }
    }

    /// When the next try may be, after a try that failed at `failed_at`. A time at or before now
    /// means at once.
    pub fn ready_at(&self, failed_at: Timestamp, now: Timestamp, limits: BackoffLimits) -> Timestamp {
        if self.expired(now, limits) {
            return failed_at;
        }
        after(failed_at, self.delay)
    }

    /// The delay that is in force.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Records that a new try begins now, and lengthens the next delay.
    pub fn next(&mut self, now: Timestamp, limits: BackoffLimits) {
        self.delay =
            if self.expired(now, limits) { limits.initial } else { (self.delay * 2).clamp(limits.initial, limits.max) };
        self.updated = Some(now);
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn expired(&self, now: Timestamp, limits: BackoffLimits) -> bool {
        match self.updated {
            None => true,
            Some(updated) => after(updated, limits.max * 2) < now,
        }
    }
}

/// `time + delay`, saturating at the end of time.
pub fn after(time: Timestamp, delay: Duration) -> Timestamp {
    SignedDuration::try_from(delay).ok().and_then(|delay| time.checked_add(delay).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BackoffLimits = BackoffLimits { initial: Duration::from_secs(10), max: Duration::from_secs(300) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn first_restart_is_immediate_then_doubles_to_the_limit() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.ready_at(at(100), at(100), LIMITS), at(100));
        let mut delays = Vec::new();
        let mut now = 100;
        for _ in 0..7 {
            backoff.next(at(now), LIMITS);
            let ready = backoff.ready_at(at(now), at(now), LIMITS).as_second();
            delays.push(ready - now);
            now = ready;
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn another_process_goes_on_where_the_last_one_was() {
        let mut backoff = Backoff::default();
        let mut now = 100;
        for _ in 0..8 {
            let failed_at = now + 1;
            let tried = backoff.ready_at(at(failed_at), at(failed_at), LIMITS).as_second();
            backoff.next(at(tried), LIMITS);
            assert_eq!(Backoff::resumed(at(failed_at), at(tried), LIMITS), backoff, "tried at {tried}");
            now = tried;
        }
    }

    #[test]
    fn a_long_quiet_time_starts_afresh() {
        let mut backoff = Backoff::default();
        backoff.next(at(0), LIMITS);
        backoff.next(at(10), LIMITS);
        assert_eq!(backoff.ready_at(at(611), at(611), LIMITS), at(611));
        backoff.next(at(611), LIMITS);
        assert_eq!(backoff.delay(), LIMITS.initial);
    }
}

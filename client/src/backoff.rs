//! Waiting longer after each failure.

use std::time::Duration;

/// Exponential back-off with a cap. The jitter comes from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub base: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Backoff {
    /// For reconnecting to a server: quick at first, never a storm.
    pub const RECONNECT: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(10) };
    /// For retrying a key: upstream's rate limiter begins at 5 ms and ends at 1000 s; we end at a minute,
    /// so that a cause that is gone is noticed.
    pub const RETRY: Backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_secs(60) };

    /// The delay before attempt number `failures + 1`. `unit` in `[0, 1)` spreads it over the upper half.
    pub fn delay(&self, failures: u32, unit: f64) -> Duration {
        let exponent = failures.saturating_sub(1).min(30);
        let full = self.base.saturating_mul(1_u32 << exponent).min(self.cap);
        full.mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
    }
}

/// Attempts something until it succeeds. Each failure is logged; the first may be part of a normal start.
pub async fn retry<T, E, F>(backoff: Backoff, what: &'static str, mut attempt: impl FnMut() -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let mut failures = 0_u32;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(what, %error, failures, "failed and will be tried again");
                tokio::time::sleep(backoff.delay(failures, rand::random())).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(5) };
        let delays: Vec<u64> = (1..=5).map(|failures| backoff.delay(failures, 1.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_until_it_succeeds() {
        let mut attempts = 0;
        let done = retry(Backoff::RECONNECT, "test", || {
            attempts += 1;
            std::future::ready(if attempts < 3 { Err("not yet") } else { Ok(attempts) })
        });
        assert_eq!(done.await, 3);
    }
}

//! Waiting longer after each failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Tells [`keep`] that an attempt has come up. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Up(Arc<AtomicBool>);

impl Up {
    /// The attempt works: the next failure counts as a first one.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps something going that ends by failing, such as a subscription: attempts it again after each failure, later
/// each time until an attempt has told that it is [`Up`]. Ends with what an attempt returns that ends in good order.
pub async fn keep<T, E, F>(backoff: Backoff, what: &'static str, mut attempt: impl FnMut(Up) -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let mut failures = 0_u32;
    loop {
        let up = Up::default();
        match attempt(up.clone()).await {
            Ok(done) => return done,
            Err(error) => {
                failures = if up.0.load(Ordering::Relaxed) { 1 } else { failures.saturating_add(1) };
                tracing::warn!(what, %error, failures, "ended and will be taken up again");
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

    #[tokio::test(start_paused = true)]
    async fn what_came_up_is_taken_up_again_soon() {
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(64) };
        let started = tokio::time::Instant::now();
        let mut attempts = 0;
        let done = keep(backoff, "test", |up| {
            attempts += 1;
            if attempts > 3 {
                up.tell();
            }
            std::future::ready(if attempts < 6 { Err("lost") } else { Ok(attempts) })
        });
        assert_eq!(done.await, 6);
        // Waits of 1, 2, 4, then 1 and 1 seconds, each spread over its upper half.
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(4_500) && took <= Duration::from_secs(9), "{took:?}");
    }
}

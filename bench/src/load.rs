//! Doing something many times, some of them at once, and how long each took.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// How often, how long, and the latencies in microseconds.
pub struct Load {
    /// Times.
    pub count: usize,
    /// From the first start to the last end.
    pub took: Duration,
    /// Of each time, in microseconds.
    pub latency: Histogram<u64>,
}

impl Load {
    /// Times a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// `1234/s, p50 1.20 ms, p99 9.10 ms`.
    pub fn summary(&self) -> String {
        format!("{:.0}/s, {}", self.rate(), latencies(&self.latency))
    }
}

/// `p50 1.20 ms, p99 9.10 ms`.
pub fn latencies(histogram: &Histogram<u64>) -> String {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99))
}

/// A histogram of microseconds up to ten minutes.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(600_000_000, 3)?)
}

/// Calls `work` with 0 to `count - 1`, at most `at_once` at a time. The first error ends it.
pub async fn run<F, W>(count: usize, at_once: usize, work: F) -> Result<Load>
where
    F: Fn(usize) -> W + Send + Sync + 'static,
    W: Future<Output = Result<()>> + Send,
{
    let (work, next) = (Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (work, next) = (Arc::clone(&work), Arc::clone(&next));
        workers.spawn(async move {
            let mut latency = histogram()?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(latency);
                }
                let begun = Instant::now();
                work(number).await?;
                latency.saturating_record(u64::try_from(begun.elapsed().as_micros())?);
            }
        });
    }
    let mut latency = histogram()?;
    while let Some(worker) = workers.join_next().await {
        latency.add(worker??)?;
    }
    Ok(Load { count, took: start.elapsed(), latency })
}

//! A load loop that counts: how many requests were answered, by whom, and which failed and why.
//! Tests of updates and of failures run it through a Service and demand that nothing failed.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::client::{self, Url};

/// What happened, all workers together.
#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    failed: u64,
    /// Answers by `version=...` of the body.
    versions: BTreeMap<String, u64>,
    /// Failures by text.
    failures: BTreeMap<String, u64>,
    slowest: Duration,
}

impl Tally {
    fn record(&mut self, outcome: Result<String, String>, took: Duration) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(version) => *self.versions.entry(version).or_default() += 1,
            Err(failure) => {
                self.failed += 1;
                *self.failures.entry(failure).or_default() += 1;
            }
        }
    }
}

/// `load URL`: asks until standard input ends or the number of requests is reached.
pub fn main(arguments: &[String]) -> u8 {
    let words = crate::positional(arguments);
    let url = match words.first().map(|url| Url::parse(url)) {
        Some(Ok(url)) => url,
        Some(Err(error)) => {
            eprintln!("load: {error}");
            return 3;
        }
        None => {
            eprintln!("usage: load URL [--workers N] [--rate PER_SECOND] [--requests N]");
            return 2;
        }
    };
    let number = |flag: &str, default: u64| {
        crate::option(arguments, flag).and_then(|text| text.parse().ok()).filter(|n| *n > 0).unwrap_or(default)
    };
    let workers = number("--workers", 2);
    let per_worker = Duration::from_secs_f64(workers as f64 / number("--rate", 100) as f64);
    let quota = crate::option(arguments, "--requests").and_then(|text| text.parse::<u64>().ok());
    let tally = run(&url, workers, per_worker, quota);
    print!("requests={} failed={} slowest_ms={}", tally.requests, tally.failed, tally.slowest.as_millis());
    tally.versions.iter().for_each(|(version, count)| print!(" {version}:{count}"));
    println!();
    tally.failures.iter().for_each(|(failure, count)| eprintln!("load: {count} times: {failure}"));
    u8::from(tally.failed > 0 || tally.requests == 0)
}

fn run(url: &Url, workers: u64, interval: Duration, quota: Option<u64>) -> Tally {
    let stop = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(url, interval, quota, &stop, &tally));
        }
        if quota.is_none() {
            let mut sink = Vec::new();
            if let Err(error) = std::io::stdin().lock().read_to_end(&mut sink) {
                eprintln!("load: standard input: {error}");
            }
            stop.store(true, Ordering::Relaxed);
        }
    });
    tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One worker: a request each `interval`, later only if the one before took longer.
#[expect(clippy::disallowed_methods, reason = "the pause is the rate that was asked for")]
fn work(url: &Url, interval: Duration, quota: Option<u64>, stop: &AtomicBool, tally: &Mutex<Tally>) {
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let outcome = request(url);
        let took = start.elapsed();
        let done = {
            let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            tally.record(outcome, took);
            quota.is_some_and(|quota| tally.requests >= quota)
        };
        if done {
            stop.store(true, Ordering::Relaxed);
        }
        thread::sleep(interval.saturating_sub(took));
    }
}

fn request(url: &Url) -> Result<String, String> {
    let answer = client::get(url, Duration::from_secs(5)).map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("HTTP status {}", answer.status));
    }
    let body = String::from_utf8_lossy(&answer.body);
    Ok(body.split_whitespace().find(|word| word.starts_with("version=")).unwrap_or("version=?").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_reason() {
        let mut tally = Tally::default();
        tally.record(Ok("version=1".to_owned()), Duration::from_millis(3));
        tally.record(Err("HTTP status 503".to_owned()), Duration::from_millis(9));
        tally.record(Err("HTTP status 503".to_owned()), Duration::from_millis(2));
        assert_eq!((tally.requests, tally.failed), (3, 2));
        assert_eq!(tally.failures.get("HTTP status 503"), Some(&2));
        assert_eq!(tally.slowest, Duration::from_millis(9));
    }
}

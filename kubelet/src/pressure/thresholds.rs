//! How much has to be left, and which thresholds are met: upstream's rules for hard and soft thresholds and for the
//! node's conditions (`pkg/kubelet/eviction`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::signals::{Amount, SIGNALS, Signal};
use crate::node::allocatable::Amounts;
use crate::pod::backoff::after;
use crate::quantity;

/// What was measured.
pub type Measured = BTreeMap<Signal, Amount>;

/// How much has to be left of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Least {
    /// A number.
    Absolute(i64),
    /// A part of all there is.
    Part(f64),
}

impl Least {
    /// The number, of so much altogether.
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Least::Absolute(number) => number,
            // A part of a file system is far below what a float holds exactly.
            Least::Part(part) => (capacity as f64 * part) as i64,
        }
    }
}

/// A threshold: pods are evicted when less is left, at once or after a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// How much.
    pub least: Least,
    /// How long less must be left; `None` for a hard threshold.
    pub grace: Option<Duration>,
}

/// The thresholds, and how long a condition stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// All thresholds.
    pub thresholds: Vec<Threshold>,
    /// How long a condition stays after its threshold was met last.
    pub transition: Duration,
    /// The longest that pods evicted for a soft threshold have to end, in seconds.
    pub max_grace_seconds: i64,
}

/// Reads `memory.available<100Mi,nodefs.available<10%` as thresholds.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn parse(texts: &[String], graces: Option<&[String]>) -> Result<Vec<Threshold>, String> {
    let mut thresholds = Vec::new();
    for text in texts.iter().filter(|it| !it.is_empty()) {
        let (name, value) = text.split_once('<').ok_or_else(|| format!("{text}: expected signal<quantity"))?;
        let signal = signal_of(name).ok_or_else(|| format!("{text}: unknown signal {name}"))?;
        let least = match value.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().ok().map(|it| Least::Part(it / 100.0)),
            None => quantity::whole(value).map(Least::Absolute),
        };
        let least = least.ok_or_else(|| format!("{text}: {value} is neither a quantity nor a percentage"))?;
        let grace = match graces {
            None => None,
            Some(graces) => {
                let word = graces.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
                let word = word.ok_or_else(|| format!("{text}: a soft threshold needs a grace period"))?;
                Some(duration(word).ok_or_else(|| format!("{name}={word}: not a duration like 1m30s"))?)
            }
        };
        thresholds.push(Threshold { signal, least, grace });
    }
    Ok(thresholds)
}

fn signal_of(name: &str) -> Option<Signal> {
    SIGNALS.into_iter().find(|it| it.name() == name)
}

/// A duration as Go writes it: `1m30s`, `90s`, `2h`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|it: char| it.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[unit_end..];
    }
    Some(total).filter(|_| !text.is_empty())
}

/// The conditions of a node under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Processes,
}

impl Pressure {
    /// The condition's name.
    pub fn name(self) -> &'static str {
        match self {
            Pressure::Memory => "MemoryPressure",
            Pressure::Disk => "DiskPressure",
            Pressure::Processes => "PIDPressure",
        }
    }

    fn of(signal: Signal) -> Self {
        match signal {
            Signal::Memory => Pressure::Memory,
            Signal::Processes => Pressure::Processes,
            _ => Pressure::Disk,
        }
    }
}

/// Thresholds over time.
#[derive(Clone, Debug, Default)]
pub struct Watchman {
    /// Since when thresholds (by place in the settings) are met.
    since: BTreeMap<usize, Timestamp>,
    /// When each condition was last true.
    last: BTreeMap<Pressure, Timestamp>,
}

/// What the hard thresholds keep free of memory and disk, and so from pods.
pub fn kept_free(thresholds: &[Threshold], capacity: &Amounts) -> Amounts {
    let hard = thresholds.iter().filter(|it| it.grace.is_none());
    let of = |threshold: &Threshold| {
        let name = match threshold.signal {
            Signal::Memory => "memory",
            Signal::NodeBytes => "ephemeral-storage",
            _ => return None,
        };
        Some((name.to_owned(), threshold.least.of(capacity.get(name).copied()?)))
    };
    hard.filter_map(of).collect()
}

/// A threshold that asks for an eviction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Met {
    /// The threshold.
    pub threshold: Threshold,
    /// How much had to be left.
    pub least: i64,
    /// How much is left.
    pub available: i64,
}

impl Watchman {
    /// Takes a measurement in: the conditions that hold, and the threshold to act on first.
    pub fn observe(
        &mut self,
        settings: &Settings,
        measured: &Measured,
        now: Timestamp,
    ) -> (BTreeSet<Pressure>, Option<Met>) {
        let mut due: Vec<Met> = Vec::new();
        for (index, threshold) in settings.thresholds.iter().enumerate() {
            let Some(amount) = measured.get(&threshold.signal) else { continue };
            let least = threshold.least.of(amount.capacity);
            if amount.available >= least {
                self.since.remove(&index);
                continue;
            }
            let since = *self.since.entry(index).or_insert(now);
            self.last.insert(Pressure::of(threshold.signal), now);
            if after(since, threshold.grace.unwrap_or_default()) <= now {
                due.push(Met { threshold: *threshold, least, available: amount.available });
            }
        }
        self.last.retain(|_, last| *last == now || after(*last, settings.transition) > now);
        // Memory first, then what can be lost at once before what can wait.
        due.sort_by_key(|it| (it.threshold.signal != Signal::Memory, it.threshold.grace.is_some()));
        (self.last.keys().copied().collect(), due.into_iter().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn flags_are_read() {
        let hard = parse(&words(&["memory.available<100Mi", "nodefs.inodesFree<5%"]), None).unwrap();
        assert_eq!(hard[0], Threshold { signal: Signal::Memory, least: Least::Absolute(100 << 20), grace: None });
        assert_eq!(hard[1].least.of(1000), 50);
        let disk = parse(&words(&["nodefs.available<10%"]), None).unwrap();
        let capacity =
            [("memory", 1 << 30), ("ephemeral-storage", 1000)].map(|(name, it)| (name.to_owned(), it)).into();
        assert_eq!(kept_free(&hard, &capacity), [("memory".to_owned(), 100 << 20)].into());
        assert_eq!(kept_free(&disk, &capacity), [("ephemeral-storage".to_owned(), 100)].into());
        let soft = parse(&words(&["memory.available<1Gi"]), Some(&words(&["memory.available=1m30s"]))).unwrap();
        assert_eq!(soft[0].grace, Some(Duration::from_secs(90)));
        for (text, error) in [
            ("memory<1", "memory<1: unknown signal memory"),
            ("memory.available=1", "memory.available=1: expected signal<quantity"),
            ("memory.available<x", "memory.available<x: x is neither a quantity nor a percentage"),
        ] {
            assert_eq!(parse(&words(&[text]), None).unwrap_err(), error);
        }
        assert!(parse(&words(&["memory.available<1Gi"]), Some(&[])).unwrap_err().contains("grace period"));
        assert_eq!(
            (duration("5m0s"), duration("1h"), duration("x")),
            (Some(Duration::from_secs(300)), Some(Duration::from_secs(3600)), None)
        );
    }

    #[test]
    fn soft_thresholds_wait_and_conditions_stay_a_while() {
        let mut thresholds = parse(&words(&["nodefs.available<10"]), None).unwrap();
        thresholds.extend(parse(&words(&["memory.available<100"]), Some(&words(&["memory.available=30s"]))).unwrap());
        let settings = Settings { thresholds, transition: Duration::from_secs(300), max_grace_seconds: 0 };
        let mut watchman = Watchman::default();
        let mut look = |second: i64, memory: i64, disk: i64| {
            let amount = |available| Amount { available, capacity: 1000 };
            let measured = [(Signal::Memory, amount(memory)), (Signal::NodeBytes, amount(disk))].into();
            let (pressure, met) = watchman.observe(&settings, &measured, Timestamp::from_second(second).unwrap());
            let names: Vec<&str> = pressure.into_iter().map(Pressure::name).collect();
            format!("{} {}", names.join(","), met.map_or("-", |it| it.threshold.signal.name()))
        };
        assert_eq!(look(0, 500, 500), " -");
        assert_eq!(look(10, 99, 500), "MemoryPressure -");
        assert_eq!(look(40, 99, 5), "MemoryPressure,DiskPressure memory.available");
        assert_eq!(look(50, 500, 5), "MemoryPressure,DiskPressure nodefs.available");
        assert_eq!(look(60, 99, 500), "MemoryPressure,DiskPressure -");
        assert_eq!(look(350, 500, 500), "MemoryPressure -");
        assert_eq!(look(360, 500, 500), " -");
    }
}

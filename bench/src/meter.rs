//! Who used the processor while a row was measured.

use std::time::{Duration, Instant};

use crate::process::Process;

/// Begun before the work, read after it.
pub struct Meter {
    begun: Instant,
    processes: Vec<(Process, Duration)>,
}

impl Meter {
    /// Begins. Processes that cannot be read are left out.
    pub fn start(processes: impl IntoIterator<Item = Process>) -> Self {
        let own = i32::try_from(std::process::id()).map(|pid| Process { name: "this program".to_owned(), pid });
        let all = processes.into_iter().chain(own.ok());
        let processes = all.filter_map(|process| process.cpu_time().ok().map(|used| (process, used))).collect();
        Self { begun: Instant::now(), processes }
    }

    /// `cores used: apiserver 0.95, etcd 0.31, this program 0.62`.
    pub fn text(&self) -> String {
        let took = self.begun.elapsed().as_secs_f64().max(1e-9);
        let share = |(process, before): &(Process, Duration)| {
            let used = process.cpu_time().ok()?.saturating_sub(*before);
            Some(format!("{} {:.2}", process.name, used.as_secs_f64() / took))
        };
        format!("cores used: {}", self.processes.iter().filter_map(share).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_always_among_them() {
        let gone = Process { name: "gone".to_owned(), pid: i32::MAX };
        let text = Meter::start([gone]).text();
        assert!(text.starts_with("cores used: this program "), "{text}");
    }
}

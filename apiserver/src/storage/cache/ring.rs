//! The recent changes of a resource, for watches that begin in the past.

use std::sync::Arc;

use imbl::Vector;

use super::entry::Entry;

/// How much of the past a resource keeps.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// At most so many changes.
    pub changes: usize,
    /// At most so many bytes that only the ring keeps alive: replaced and deleted objects.
    pub bytes: usize,
}

impl Default for RingLimits {
    /// About what upstream keeps of a busy resource, in bounded memory.
    fn default() -> Self {
        Self { changes: 65_536, bytes: 16 << 20 }
    }
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Applied {
    pub revision: i64,
    /// The state before.
    pub previous: Option<Arc<Entry>>,
    /// The state after; none for a deletion.
    pub current: Option<Arc<Entry>>,
}

impl Applied {
    fn weight(&self) -> usize {
        // A current object is in the snapshot anyway; as soon as it is replaced it is the next change's
        // previous one, so each object that only the ring holds is counted once.
        128 + self.previous.as_ref().map_or(0, |entry| entry.object().len())
    }
}

/// A bounded, ordered history.
#[derive(Debug)]
pub(crate) struct Ring {
    changes: Vector<Arc<Applied>>,
    bytes: usize,
    /// All changes after this revision are here.
    start: i64,
    limits: RingLimits,
}

impl Ring {
    pub fn new(limits: RingLimits) -> Self {
        Self { changes: Vector::new(), bytes: 0, start: 0, limits }
    }

    /// Forgets everything; the history begins after `revision`.
    pub fn reset(&mut self, revision: i64) {
        self.changes.clear();
        self.bytes = 0;
        self.start = revision;
    }

    pub fn push(&mut self, change: Arc<Applied>) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.changes.len() > self.limits.changes || self.bytes > self.limits.bytes {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.weight();
            self.start = oldest.revision;
        }
    }

    /// The oldest revision that a watch can begin after.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The revision of the last change, or where the history begins.
    pub fn last(&self) -> i64 {
        self.changes.back().map_or(self.start, |change| change.revision)
    }

    /// The changes after `revision`, as a copy that shares its contents. `None` when some are forgotten.
    pub fn since(&self, revision: i64) -> Option<Vector<Arc<Applied>>> {
        if revision < self.start {
            return None;
        }
        let mut copy = self.changes.clone();
        let known = match copy.binary_search_by(|change| {
            if change.revision <= revision { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
        }) {
            Ok(at) | Err(at) => at,
        };
        Some(copy.split_off(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_knows_where_it_begins() {
        let mut ring = Ring::new(RingLimits { changes: 10, bytes: 1 << 20 });
        ring.reset(100);
        for revision in 101..=130 {
            ring.push(Arc::new(Applied { revision, previous: None, current: None }));
        }
        assert_eq!((ring.start(), ring.last()), (120, 130));
        assert!(ring.since(119).is_none());
        let since = |revision| ring.since(revision).unwrap().iter().map(|change| change.revision).collect::<Vec<_>>();
        assert_eq!(since(120), (121..=130).collect::<Vec<_>>());
        assert_eq!(since(127), [128, 129, 130]);
        assert_eq!(since(130), [0; 0]);
        assert_eq!(since(200), [0; 0]);
    }
}

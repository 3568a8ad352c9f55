//! Leases shared by objects that expire at about the same time: one lease a minute and kind of lifetime
//! instead of one for each object, as upstream does.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Objects that may share a lease, so that its end is not a burst of deletions.
const OBJECTS_PER_LEASE: usize = 1000;

/// The longest time that an object outlives its lifetime for sharing.
const LONGEST_SLACK: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Lease {
    id: i64,
    /// Until when objects may still be attached.
    open_until: Instant,
    objects: usize,
}

/// The leases that may still take objects, by lifetime.
#[derive(Debug, Default)]
pub(super) struct Leases {
    open: HashMap<Duration, Lease>,
}

/// How much longer than asked a lease lives: a twentieth of the lifetime, at most a minute.
fn slack(ttl: Duration) -> Duration {
    (ttl / 20).min(LONGEST_SLACK)
}

/// The lifetime in seconds to grant a lease for objects of this lifetime.
pub(super) fn granted_seconds(ttl: Duration) -> i64 {
    let wanted = ttl + slack(ttl);
    let seconds = wanted.as_secs() + u64::from(wanted.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX).max(1)
}

impl Leases {
    /// A lease that lives at least `ttl` from now, and takes one more object.
    pub fn take(&mut self, ttl: Duration, now: Instant) -> Option<i64> {
        let lease = self.open.get_mut(&ttl)?;
        if now > lease.open_until || lease.objects >= OBJECTS_PER_LEASE {
            self.open.remove(&ttl);
            return None;
        }
        lease.objects += 1;
        Some(lease.id)
    }

    /// A lease was granted, by a request that began at `begun`, and has its first object.
    pub fn granted(&mut self, ttl: Duration, id: i64, begun: Instant) {
        self.open.retain(|_, lease| lease.open_until >= begun);
        self.open.insert(ttl, Lease { id, open_until: begun + slack(ttl), objects: 1 });
    }

    /// The store does not know the lease any more.
    pub fn forget(&mut self, id: i64) {
        self.open.retain(|_, lease| lease.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_while_it_outlives_its_objects() {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut leases = Leases::default();
        assert_eq!(granted_seconds(hour), 3660);
        assert_eq!(granted_seconds(Duration::from_millis(200)), 1);
        assert_eq!(leases.take(hour, start), None);
        leases.granted(hour, 7, start);
        assert_eq!(leases.take(hour, start + Duration::from_secs(60)), Some(7));
        assert_eq!(leases.take(hour, start + Duration::from_secs(61)), None);
        leases.granted(hour, 8, start);
        for _ in 1..OBJECTS_PER_LEASE {
            assert_eq!(leases.take(hour, start), Some(8));
        }
        assert_eq!(leases.take(hour, start), None);
        leases.granted(hour, 9, start);
        leases.forget(9);
        assert_eq!(leases.take(hour, start), None);
    }
}

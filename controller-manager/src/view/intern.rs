//! One copy of equal values.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

/// A value that is stored once however often it occurs.
pub type Interned<T> = Arc<T>;

/// Values that nobody uses any more are dropped when the pool has grown to this size, and then to twice what is left.
const POOL_SWEEP_MIN: usize = 256;

struct Pool<T> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: Eq + Hash> Pool<T> {
    fn intern(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.values.get(&value) {
            return known.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = POOL_SWEEP_MIN.max(self.values.len() * 2);
        }
        let value = Arc::new(value);
        self.values.insert(value.clone());
        value
    }
}

type Pools = HashMap<TypeId, Box<dyn Any + Send>>;

static POOLS: LazyLock<Mutex<Pools>> = LazyLock::new(Mutex::default);

/// The one copy of a value.
pub fn intern<T: Eq + Hash + Send + Sync + 'static>(value: T) -> Interned<T> {
    let mut pools = POOLS.lock();
    let pool = pools
        .entry(TypeId::of::<T>())
        .or_insert_with(|| Box::new(Pool::<T> { values: HashSet::new(), sweep_at: POOL_SWEEP_MIN }));
    match pool.downcast_mut::<Pool<T>>() {
        Some(pool) => pool.intern(value),
        // The pool is filed under its type, so this is not reached; an unshared value is right as well.
        None => Arc::new(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        #[derive(PartialEq, Eq, Hash)]
        struct Number(usize);
        assert!(Arc::ptr_eq(&intern(Number(1)), &intern(Number(1))));
        let mut pool = Pool { values: HashSet::new(), sweep_at: POOL_SWEEP_MIN };
        let kept = pool.intern(0);
        for value in 1..=POOL_SWEEP_MIN {
            pool.intern(value);
        }
        assert_eq!(pool.values.len(), 2);
        assert!(Arc::ptr_eq(&kept, &pool.intern(0)));
    }
}

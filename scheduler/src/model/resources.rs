//! Amounts of resources, in the units that scheduling counts in.

use std::fmt;

/// CPU, memory, local storage, and whatever else nodes offer by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, sorted by name, none of them zero.
    pub named: Vec<(Box<str>, i64)>,
}

impl Resources {
    /// The amount of a resource that is not one of the three built in.
    pub fn named(&self, name: &str) -> i64 {
        let found = self.named.binary_search_by(|(known, _)| (**known).cmp(name));
        found.map_or(0, |at| self.named[at].1)
    }

    /// Sets or adds to one amount by the resource's name. `pods` is not counted here.
    pub fn change(&mut self, name: &str, change: impl FnOnce(i64) -> i64) {
        match name {
            "cpu" => self.milli_cpu = change(self.milli_cpu),
            "memory" => self.memory = change(self.memory),
            "ephemeral-storage" => self.ephemeral_storage = change(self.ephemeral_storage),
            "pods" => {}
            _ => match self.named.binary_search_by(|(known, _)| (**known).cmp(name)) {
                Ok(at) => {
                    let amount = change(self.named[at].1);
                    if amount == 0 {
                        self.named.remove(at);
                    } else {
                        self.named[at].1 = amount;
                    }
                }
                Err(at) => {
                    let amount = change(0);
                    if amount != 0 {
                        self.named.insert(at, (name.into(), amount));
                    }
                }
            },
        }
    }

    /// Adds all amounts of another.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes away all amounts of another.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises each amount to that of another.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.named {
            self.change(name, |present| with(present, *amount));
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu {}m, memory {}, ephemeral-storage {}", self.milli_cpu, self.memory, self.ephemeral_storage)?;
        self.named.iter().try_for_each(|(name, amount)| write!(f, ", {name} {amount}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_by_name_add_up_and_vanish_at_zero() {
        let mut gpu = Resources::default();
        gpu.change("example.com/gpu", |_| 2);
        gpu.change("cpu", |_| 500);
        let mut sum = gpu.clone();
        sum.add(&gpu);
        assert_eq!((sum.named("example.com/gpu"), sum.milli_cpu), (4, 1000));
        sum.subtract(&gpu);
        sum.subtract(&gpu);
        assert_eq!(sum, Resources::default());
    }

    #[test]
    fn raising_takes_the_greater_of_each() {
        let mut left = Resources { milli_cpu: 1, memory: 9, ..Resources::default() };
        left.raise_to(&Resources { milli_cpu: 5, memory: 2, ..Resources::default() });
        assert_eq!((left.milli_cpu, left.memory), (5, 9));
    }
}

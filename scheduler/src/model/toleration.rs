//! Taints of nodes and what tolerates them.

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// No new pod.
    NoSchedule,
    /// New pods rather elsewhere.
    PreferNoSchedule,
    /// No new pod, and present ones go.
    NoExecute,
    /// An effect that this version does not know: it has none.
    Unknown,
}

impl From<&str> for Effect {
    fn from(word: &str) -> Self {
        match word {
            "NoSchedule" => Self::NoSchedule,
            "PreferNoSchedule" => Self::PreferNoSchedule,
            "NoExecute" => Self::NoExecute,
            _ => Self::Unknown,
        }
    }
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Its key.
    pub key: Box<str>,
    /// Its value, empty for none.
    pub value: Box<str>,
    /// What it does.
    pub effect: Effect,
}

/// How a toleration compares values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// The values are equal (the default).
    Equal,
    /// Any value.
    Exists,
    /// The taint's value is a number less than the toleration's.
    Lt,
    /// The taint's value is a number greater than the toleration's.
    Gt,
    /// An operator that this version does not know: it tolerates nothing.
    Unknown,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// The taint's key; empty for all.
    pub key: Box<str>,
    /// How values compare.
    pub comparison: Comparison,
    /// The value to compare with.
    pub value: Box<str>,
    /// The effect that is tolerated; `None` for all.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Whether the taint is tolerated.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if self.effect.is_some_and(|effect| effect != taint.effect) || !(self.key.is_empty() || self.key == taint.key) {
            return false;
        }
        let numbers = || Some((taint.value.parse::<i64>().ok()?, self.value.parse::<i64>().ok()?));
        match self.comparison {
            Comparison::Exists => true,
            Comparison::Equal => self.value == taint.value,
            Comparison::Lt => numbers().is_some_and(|(taint, bound)| taint < bound),
            Comparison::Gt => numbers().is_some_and(|(taint, bound)| taint > bound),
            Comparison::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, comparison: Comparison, value: &str, effect: Option<Effect>) -> Toleration {
        Toleration { key: key.into(), comparison, value: value.into(), effect }
    }

    #[test]
    fn tolerations_compare_key_value_and_effect() {
        let taint = Taint { key: "size".into(), value: "5".into(), effect: Effect::NoSchedule };
        for (tolerated, toleration) in [
            (true, toleration("size", Comparison::Equal, "5", None)),
            (false, toleration("size", Comparison::Equal, "6", None)),
            (true, toleration("size", Comparison::Exists, "", Some(Effect::NoSchedule))),
            (false, toleration("size", Comparison::Exists, "", Some(Effect::NoExecute))),
            (true, toleration("", Comparison::Exists, "", None)),
            (false, toleration("", Comparison::Equal, "", None)),
            (true, toleration("size", Comparison::Lt, "6", None)),
            (false, toleration("size", Comparison::Gt, "6", None)),
            (false, toleration("size", Comparison::Unknown, "5", None)),
        ] {
            assert_eq!(toleration.tolerates(&taint), tolerated, "{toleration:?}");
        }
    }
}

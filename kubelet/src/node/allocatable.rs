//! What the node has and what of it pods may ask for: a pure function of the machine and the settings.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::facts::NodeFacts;
use crate::quantity;

/// Amounts by resource: millicores of `cpu`, units of all else.
pub type Amounts = BTreeMap<String, i64>;

/// Reads `cpu=500m,memory=1Gi`.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn parse(pairs: &[String]) -> Result<Amounts, String> {
    let mut amounts = Amounts::new();
    for pair in pairs.iter().filter(|it| !it.is_empty()) {
        let (name, text) = pair.split_once('=').ok_or_else(|| format!("{pair}: expected resource=quantity"))?;
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage" | "pid") {
            return Err(format!("{pair}: cannot reserve {name}; use cpu, memory, ephemeral-storage or pid"));
        }
        let amount = if name == "cpu" { quantity::milli(text) } else { quantity::whole(text) };
        let amount = amount.filter(|it| *it >= 0).ok_or_else(|| format!("{pair}: {text} is not a quantity"))?;
        amounts.insert(name.to_owned(), amount);
    }
    Ok(amounts)
}

/// Everything that the machine has.
pub fn capacity(facts: &NodeFacts, max_pods: u32) -> Amounts {
    [
        ("cpu", i64::from(facts.cpus) * 1000),
        ("ephemeral-storage", facts.ephemeral_storage),
        ("hugepages-1Gi", 0),
        ("hugepages-2Mi", 0),
        ("memory", facts.memory),
        ("pods", i64::from(max_pods)),
    ]
    .map(|(name, amount)| (name.to_owned(), amount))
    .into()
}

/// What is left for pods when the reservations (for the kubelet, for the system, up to hard eviction) are taken away.
pub fn allocatable(capacity: &Amounts, reserved: &[Amounts]) -> Amounts {
    let left = |(name, amount): (&String, &i64)| {
        let taken: i64 = reserved.iter().filter_map(|it| it.get(name)).sum();
        (name.clone(), (amount - taken).max(0))
    };
    capacity.iter().map(left).collect()
}

/// Amounts as the node's status writes them.
pub fn quantities(amounts: &Amounts) -> BTreeMap<String, Quantity> {
    let text = |name: &str, amount: i64| match name {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" if amount % 1024 == 0 => format!("{}Ki", amount / 1024),
        _ => amount.to_string(),
    };
    amounts.iter().map(|(name, amount)| (name.clone(), Quantity(text(name, *amount)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_taken_away() {
        let facts = NodeFacts { cpus: 2, memory: 4 << 30, ephemeral_storage: 100 << 30, ..NodeFacts::default() };
        let capacity = capacity(&facts, 110);
        let words = |list: &[&str]| parse(&list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let kube = words(&["cpu=250m", "memory=1Gi"]).unwrap();
        let system = words(&["memory=100Mi", "ephemeral-storage=10Gi"]).unwrap();
        let left = quantities(&allocatable(&capacity, &[kube, system]));
        let text = |name: &str| left[name].0.clone();
        assert_eq!((text("cpu"), text("memory"), text("pods")), ("1750m".into(), "3043328Ki".into(), "110".into()));
        assert_eq!(quantities(&capacity)["cpu"].0, "2");
        assert!(words(&["gpu=1"]).unwrap_err().contains("cannot reserve gpu"));
        assert!(words(&["cpu=many"]).unwrap_err().contains("not a quantity"));
        assert!(words(&["cpu"]).unwrap_err().contains("expected resource=quantity"));
    }
}

//! Quantities as the integers that scheduling counts in.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::{Quantity, QuantityError};

use crate::model::Resources;

/// The amounts of a resource list: cpu in thousandths, the rest in whole units, rounded up. The API server has
/// validated them; one that cannot be read all the same becomes `unreadable`, so that callers choose the safe side.
pub fn resources(list: Option<&BTreeMap<String, Text>>, unreadable: i64) -> Resources {
    let mut resources = Resources::default();
    for (name, text) in list.into_iter().flatten() {
        let amount = if name == "cpu" { Quantity::parse(text).map(Quantity::millis) } else { whole(text) };
        resources.change(name, |_| amount.unwrap_or(unreadable));
    }
    resources
}

/// The quantity, rounded up.
pub fn whole(text: &Text) -> Result<i64, QuantityError> {
    Quantity::parse(text).map(Quantity::units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_counts_in_thousandths_and_the_rest_in_units() {
        let list = [("cpu", "1500m"), ("memory", "64Mi"), ("example.com/gpu", "2")];
        let list = list.map(|(name, text)| (name.to_owned(), Text(text.to_owned()))).into();
        let amounts = resources(Some(&list), 0);
        assert_eq!((amounts.milli_cpu, amounts.memory, amounts.named("example.com/gpu")), (1500, 64 << 20, 2));
    }

    #[test]
    fn an_unreadable_amount_takes_the_safe_side() {
        let list = BTreeMap::from([("cpu".to_owned(), Text("lots".to_owned()))]);
        assert_eq!(resources(Some(&list), i64::MAX).milli_cpu, i64::MAX);
    }
}

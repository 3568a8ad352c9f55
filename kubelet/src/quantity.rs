//! Quantities as whole numbers, as cgroups and the downward API need them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;

/// The quantity in thousandths (`500m` and `0.5` are 500), rounded up; `None` where it is no quantity.
pub fn milli(text: &str) -> Option<i64> {
    Quantity::parse(&Text(text.to_owned())).ok().map(Quantity::millis)
}

/// The quantity in whole units (`64Mi` is 67108864), rounded up; `None` where it is no quantity.
pub fn whole(text: &str) -> Option<i64> {
    Quantity::parse(&Text(text.to_owned())).ok().map(Quantity::units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        assert_eq!(milli("500m"), Some(500));
        assert_eq!(milli("0.1"), Some(100));
        assert_eq!(milli("2"), Some(2000));
        assert_eq!(whole("64Mi"), Some(67_108_864));
        assert_eq!(whole("1e3"), Some(1000));
        assert_eq!(whole("x"), None);
    }
}

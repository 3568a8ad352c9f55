//! Quantities as the integers that scheduling counts in.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::model::Resources;

/// The amounts of a resource list. The API server has validated them; one that cannot be read all the same becomes
/// `unreadable`, so that callers choose the safe side.
pub fn resources(list: Option<&BTreeMap<String, Quantity>>, unreadable: i64) -> Resources {
    let mut resources = Resources::default();
    for (name, quantity) in list.into_iter().flatten() {
        let amount = if name == "cpu" { thousandths(&quantity.0) } else { whole(&quantity.0) };
        resources.change(name, |_| amount.unwrap_or(unreadable));
    }
    resources
}

/// The quantity times 1000, rounded up.
pub fn thousandths(text: &str) -> Option<i64> {
    scaled(text, 1000)
}

/// The quantity, rounded up.
pub fn whole(text: &str) -> Option<i64> {
    scaled(text, 1)
}

/// `text` times `scale`, rounded up, as an exact decimal or binary quantity; beyond 64 bits it is the greatest number.
fn scaled(text: &str, scale: i128) -> Option<i64> {
    let digits_end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 12 || integer.len() > 20 {
        return None;
    }
    let mantissa: i128 = format!("{integer}{fraction}").parse().ok()?;
    let decimals = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (times, over): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs().min(18))?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let above = mantissa.saturating_mul(scale).saturating_mul(times);
    let below = decimals.saturating_mul(over);
    let rounded = above.div_euclid(below) + i128::from(above.rem_euclid(below) != 0);
    Some(i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_up() {
        for (text, thousandths_of, whole_of) in [
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("1.5", 1500, 2),
            ("0.1", 100, 1),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("1.5Ki", 1_536_000, 1536),
            ("2k", 2_000_000, 2000),
            ("1e3", 1_000_000, 1000),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("100n", 1, 1),
            ("0", 0, 0),
        ] {
            assert_eq!((thousandths(text), whole(text)), (Some(thousandths_of), Some(whole_of)), "{text}");
        }
        for text in ["", "x", "1x", "1.2.3", "Mi", "--1"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn an_unreadable_amount_takes_the_safe_side() {
        let list = BTreeMap::from([("cpu".to_owned(), Quantity("lots".to_owned()))]);
        assert_eq!(resources(Some(&list), i64::MAX).milli_cpu, i64::MAX);
    }
}

//! Quantities as whole numbers, as far as cgroups need them.

/// The quantity in thousandths (`500m` and `0.5` are 500), rounded up; `None` where it is no quantity.
pub fn milli(text: &str) -> Option<i64> {
    scaled(text, 1000.0)
}

/// The quantity in whole units (`64Mi` is 67108864), rounded up; `None` where it is no quantity.
pub fn whole(text: &str) -> Option<i64> {
    scaled(text, 1.0)
}

fn scaled(text: &str, scale: f64) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => 10.0_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // A millionth of slack: 0.1 * 1000 must not round up to 101.
    Some((number * factor * scale - 1e-6).ceil() as i64)
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

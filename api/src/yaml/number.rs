//! Numbers as Go reads and writes them.

use serde_json::{Number, Value};

/// An integer as `strconv.ParseInt` and `ParseUint` read it with base 0: the prefix tells the base, and `0` alone is
/// that of octal. `None` if it is none of 64 bits.
pub fn integer(text: &str) -> Option<Number> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefix = unsigned.as_bytes().get(..2).unwrap_or_default();
    let (base, digits) = match prefix {
        [b'0', b'x' | b'X'] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O'] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B'] => (2, &unsigned[2..]),
        [b'0', _] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(base)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Number::from);
    }
    // A sign is nothing for what only an unsigned integer holds.
    (unsigned.len() == text.len() || i64::try_from(magnitude).is_ok()).then(|| Number::from(magnitude))
}

/// A decimal fraction with or without an exponent. `None` if it is none, or larger than 64 bits hold.
pub fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && are_digits(exponent));
    if !is_number {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A float as JSON: what has no fraction is written like an integer, and so it is one.
pub fn json(value: f64) -> Option<Value> {
    const WHOLE_MAX: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && (-WHOLE_MAX..WHOLE_MAX).contains(&value) {
        #[allow(clippy::cast_possible_truncation)] // It has no fraction and is in range.
        let whole = value as i64;
        return Some(whole.into());
    }
    Number::from_f64(value).map(Value::Number)
}

/// A number as JSON, without a fraction that is zero.
pub fn tidy(number: Number) -> Value {
    let float = if number.is_f64() { number.as_f64() } else { None };
    float.and_then(json).unwrap_or(Value::Number(number))
}

/// A float as a key: as `strconv.FormatFloat(value, 'g', -1, 32)` writes it.
pub fn key(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation)] // Keys have 32 bits.
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_tell_the_base() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("00", Some(0)),
            ("0400", Some(256)),
            ("-0400", Some(-256)),
            ("+12", Some(12)),
            ("0x1F", Some(31)),
            ("-0X1f", Some(-31)),
            ("0b101", Some(5)),
            ("0o17", Some(15)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("+9223372036854775808", None),
            ("0888", None),
            ("0x", None),
            ("", None),
            ("-", None),
            ("+-1", None),
            ("1a", None),
            ("0b2", None),
        ] {
            assert_eq!(integer(text), expected.map(Number::from), "{text}");
        }
        assert_eq!(integer("18446744073709551615"), Some(u64::MAX.into()));
        assert_eq!(integer("18446744073709551616"), None);
    }

    #[test]
    fn floats_are_decimal() {
        for (text, expected) in [
            ("1.5", Some(1.5)),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("-.5e1", Some(-5.0)),
            ("1e3", Some(1000.0)),
            ("0888", Some(888.0)),
            ("1E-2", Some(0.01)),
            ("1e400", None),
            (".", None),
            ("e5", None),
            ("1e", None),
            ("inf", None),
            ("1.2.3", None),
            ("1:20", None),
        ] {
            assert_eq!(float(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_short() {
        for (value, expected) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (-0.000_012, "-1.2e-05"),
            (1e300, ".inf"),
        ] {
            assert_eq!(key(value), expected);
        }
    }
}

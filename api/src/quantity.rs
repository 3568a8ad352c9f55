//! Amounts of resources: `500m`, `1Gi`, `1e3` (`k8s.io/apimachinery/pkg/api/resource`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// Which suffixes the canonical form has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An amount in units of 10^-9, the finest that upstream keeps.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not have the form of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is none of the known ones.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// It has no digits.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

impl QuantityError {
    /// Whether a text is that of such an error.
    pub fn is_text(text: &str) -> bool {
        [Self::Format, Self::Suffix, Self::Number].iter().any(|error| error.to_string() == text)
    }
}

const NANOS: i128 = 1_000_000_000;
/// Upstream caps at 2^63 - 1.
const MAX: i128 = (i64::MAX as i128) * NANOS;

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::Decimal };

    /// A whole number.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS, format: Format::Decimal }
    }

    /// A number of thousandths, as CPU is counted.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * 1_000_000, format: Format::Decimal }
    }

    /// A number of bytes, shown with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANOS, format: Format::Binary }
    }

    /// Reads the text of an object's field.
    ///
    /// # Errors
    /// When it is not a quantity.
    pub fn parse(text: &Text) -> Result<Self, QuantityError> {
        text.0.parse()
    }

    /// Whole units, rounded up.
    pub fn units(self) -> i64 {
        clamp(divide_up(self.nanos, NANOS))
    }

    /// Thousandths, rounded up.
    pub fn millis(self) -> i64 {
        clamp(divide_up(self.nanos, 1_000_000))
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below 0.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The sum; shown as this one is shown (as the other when this one is zero).
    #[must_use]
    pub fn plus(self, other: Quantity) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos).clamp(-MAX, MAX),
            format: if self.is_zero() { other.format } else { self.format },
        }
    }

    /// The difference; shown as this one is shown.
    #[must_use]
    pub fn minus(self, other: Quantity) -> Self {
        self.plus(Quantity { nanos: -other.nanos, ..other })
    }

    /// The text for an object's field, in canonical form.
    pub fn to_text(self) -> Text {
        Text(self.to_string())
    }

    /// The text that stored objects carry for what a user wrote: canonical, or as it stands when it is
    /// no quantity.
    pub fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|_| text.to_owned(), |quantity| quantity.to_string())
    }
}

fn divide_up(value: i128, by: i128) -> i128 {
    // Upstream rounds away from zero.
    let quotient = value / by;
    match value % by {
        0 => quotient,
        rest if rest > 0 => quotient + 1,
        _ => quotient - 1,
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > 128 {
            return Err(QuantityError::Format);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Format);
        }
        let (factor, exponent, format) = suffix_factor(suffix)?;
        let mut digits: i128 = 0;
        let mut scale: i32 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            digits =
                digits.checked_mul(10).and_then(|digits| digits.checked_add(i128::from(byte - b'0'))).unwrap_or(MAX);
        }
        scale -= i32::try_from(fraction.len()).map_err(|_| QuantityError::Number)?;
        scale += exponent + 9;
        let mut nanos = digits.saturating_mul(factor);
        if scale >= 0 {
            let power = 10_i128.checked_pow(scale.unsigned_abs()).unwrap_or(i128::MAX);
            nanos = nanos.saturating_mul(power);
        } else {
            // Finer than a nano: rounded up, as upstream does.
            nanos = 10_i128
                .checked_pow(scale.unsigned_abs())
                .map_or(i128::from(nanos > 0), |power| divide_up(nanos, power));
        }
        nanos = nanos.min(MAX);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// Factor, decimal exponent and format of a suffix.
fn suffix_factor(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    let decimal = |exponent| Ok((1, exponent, Format::Decimal));
    let binary = |power: u32| Ok((1_i128 << (10 * power), 0, Format::Binary));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix
                .strip_prefix(['e', 'E'])
                .and_then(|digits| digits.parse::<i32>().ok())
                .filter(|exponent| (-100..=100).contains(exponent))
                .ok_or(QuantityError::Suffix)?;
            Ok((1, exponent, Format::Exponent))
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANOS;
        // Below 1024 and for fractions, decimal suffixes say it exactly.
        if self.format == Format::Binary && self.nanos % NANOS == 0 && whole.abs() >= 1024 {
            let (mut value, mut power) = (whole, 0);
            while value % 1024 == 0 && power + 1 < BINARY.len() {
                value /= 1024;
                power += 1;
            }
            return write!(f, "{value}{}", BINARY[power]);
        }
        let (mut value, mut power) = (self.nanos, 0);
        while value % 1000 == 0 && power + 1 < DECIMAL.len() {
            value /= 1000;
            power += 1;
        }
        if self.format == Format::Exponent {
            let exponent = i32::try_from(power).unwrap_or_default() * 3 - 9;
            return if exponent == 0 { write!(f, "{value}") } else { write!(f, "{value}e{exponent}") };
        }
        write!(f, "{value}{}", DECIMAL[power])
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_is_upstreams() {
        for (text, canonical) in [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("1000Ki", "1000Ki"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("12345", "12345"),
            ("512", "512"),
            ("-1", "-1"),
            ("0.0000000001", "1n"),
            ("128974848", "128974848"),
            ("500Mi", "500Mi"),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a", "1x", "1.2.3", ".", "1ki", "--1", "1e", "1 Gi"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_compare_and_add() {
        let parse = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(parse("1"), parse("1000m"));
        assert!(parse("1Ki") > parse("1k"));
        assert_eq!(parse("1Gi").plus(parse("1Gi")).to_string(), "2Gi");
        assert_eq!(parse("1").minus(parse("300m")).to_string(), "700m");
        assert_eq!(parse("100.1m").millis(), 101);
    }
}

//! What a scalar means, by the rules of go-yaml v2: those of YAML 1.1, without numbers of base 60.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::error::Problem;
use super::number;

/// What a scalar is.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Nothing.
    Null,
    /// A truth.
    Bool(bool),
    /// An integer of 64 bits.
    Integer(Number),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Scalar {
    /// The short tag of what it is.
    fn tag(&self) -> &'static str {
        match self {
            Scalar::Null => "!!null",
            Scalar::Bool(_) => "!!bool",
            Scalar::Integer(_) => "!!int",
            Scalar::Float(_) => "!!float",
            Scalar::Text(_) => "!!str",
        }
    }

    /// It as JSON.
    pub fn value(self) -> Result<Value, Problem> {
        match self {
            Scalar::Null => Ok(Value::Null),
            Scalar::Bool(value) => Ok(Value::Bool(value)),
            Scalar::Integer(value) => Ok(Value::Number(value)),
            Scalar::Float(value) => number::json(value).ok_or(Problem::Number(match value {
                f64::INFINITY => ".inf",
                f64::NEG_INFINITY => "-.inf",
                _ => ".nan",
            })),
            Scalar::Text(value) => Ok(Value::String(value)),
        }
    }

    /// It as a key.
    pub fn key(self) -> Result<String, Problem> {
        match self {
            Scalar::Null => Err(Problem::Key("null")),
            Scalar::Bool(value) => Ok(value.to_string()),
            Scalar::Integer(value) if !value.is_i64() => Err(Problem::Key("an integer of more than 63 bits")),
            Scalar::Integer(value) => Ok(value.to_string()),
            Scalar::Float(value) => Ok(number::key(value)),
            Scalar::Text(value) => Ok(value),
        }
    }
}

/// A scalar with neither quotes nor a tag.
pub fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let found = match text.as_bytes()[0] {
        b'.' => number::float(text).map(Scalar::Float),
        b'0'..=b'9' | b'-' | b'+' => {
            let digits = text.replace('_', "");
            number::integer(&digits).map(Scalar::Integer).or_else(|| number::float(&digits).map(Scalar::Float))
        }
        _ => None,
    };
    found.unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

/// A scalar with a tag, quoted or not. Tags that nobody knows leave a text.
pub fn tagged(tag: &str, text: &str) -> Result<Scalar, Problem> {
    let Some(kind) = tag.strip_prefix("tag:yaml.org,2002:") else { return Ok(Scalar::Text(text.to_owned())) };
    let wanted = |scalar: Scalar, fits: bool| {
        let problem = || Problem::Tag { found: scalar.tag(), text: text.to_owned(), tag: format!("!!{kind}") };
        if fits { Ok(scalar) } else { Err(problem()) }
    };
    match (kind, plain(text)) {
        ("null", scalar) => wanted(scalar.clone(), matches!(scalar, Scalar::Null)),
        ("bool", scalar) => wanted(scalar.clone(), matches!(scalar, Scalar::Bool(_))),
        ("int", scalar) => wanted(scalar.clone(), matches!(scalar, Scalar::Integer(_))),
        ("float", Scalar::Integer(value)) => Ok(value.as_f64().map_or(Scalar::Integer(value), Scalar::Float)),
        ("float", scalar) => wanted(scalar.clone(), matches!(scalar, Scalar::Float(_))),
        ("binary", _) => {
            let compact: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
            let bytes = STANDARD.decode(compact).map_err(|_| Problem::Binary)?;
            Ok(Scalar::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Ok(Scalar::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_are_those_of_yaml_1_1() {
        for (texts, expected) in [
            (&["", "~", "null", "Null", "NULL"][..], json!(null)),
            (&["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"], json!(true)),
            (&["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"], json!(false)),
            (
                &["256", "+256", "0400", "0x100", "0X100", "0b100000000", "0o400", "2_5_6", "256.0", "2.56e2"],
                json!(256),
            ),
            (&["-256", "-0400", "-0x100", "-0b100000000"], json!(-256)),
            (&["888", "0888", "8.88e+2"], json!(888)),
            (&["0", "-0", "00", "0x0", "0.0"], json!(0)),
            (&["18446744073709551615", "0xFFFFFFFFFFFFFFFF"], json!(u64::MAX)),
            (&["18446744073709551616"], json!(18_446_744_073_709_551_616.0)),
            (&["1.5", "+1.5", "1_.5", "15e-1", "0.15E1"], json!(1.5)),
            (&[".5", "0.5", "+.5"], json!(0.5)),
        ] {
            for text in texts {
                assert_eq!(plain(text).value(), Ok(expected.clone()), "{text}");
            }
        }
    }

    #[test]
    fn everything_else_is_a_text() {
        for text in [
            "nULL",
            "yEs",
            "oN",
            "tRUE",
            "t",
            "f",
            "none",
            "nil",
            "a",
            "0x",
            "0xg",
            "0b2",
            "0o8",
            "1e",
            "1e400",
            "-",
            "+",
            ".",
            "-.",
            "._5",
            ".5_0",
            "_1",
            "1:20",
            "190:20:30",
            "10.0.0.1",
            "1Gi",
            "500m",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "inf",
            "nan",
            ".infinity",
            "<<",
            "=",
            "--1",
            "+-1",
            "1 2",
            "１",
        ] {
            assert_eq!(plain(text), Scalar::Text(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn json_has_no_infinity() {
        for (text, shown) in [(".inf", ".inf"), ("+.Inf", ".inf"), ("-.INF", "-.inf"), (".NaN", ".nan")] {
            assert_eq!(plain(text).value(), Err(Problem::Number(shown)), "{text}");
        }
    }

    #[test]
    fn keys_are_texts() {
        for (text, expected) in [
            ("a", "a"),
            ("1", "1"),
            ("0400", "256"),
            ("yes", "true"),
            ("Off", "false"),
            ("1.50", "1.5"),
            ("1e6", "1e+06"),
            (".inf", ".inf"),
            ("2026-01-01", "2026-01-01"),
        ] {
            assert_eq!(plain(text).key().as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(plain("~").key(), Err(Problem::Key("null")));
        assert!(plain("18446744073709551615").key().is_err());
    }

    #[test]
    fn tags_say_what_a_scalar_is() {
        let tagged = |tag: &str, text: &str| {
            tagged(&tag.replace("!!", "tag:yaml.org,2002:"), text)
                .and_then(Scalar::value)
                .map_err(|problem| problem.to_string())
        };
        for (tag, text, expected) in [
            ("!!str", "0400", json!("0400")),
            ("!!str", "", json!("")),
            ("!!int", "0400", json!(256)),
            ("!!float", "3", json!(3)),
            ("!!float", "1.5", json!(1.5)),
            ("!!bool", "yes", json!(true)),
            ("!!null", "~", json!(null)),
            ("!!binary", "aGVs\nbG8=", json!("hello")),
            ("!!timestamp", "2026-01-01", json!("2026-01-01")),
            ("!", "12", json!("12")),
            ("!Ref", "12", json!("12")),
            ("!!unknown", "12", json!("12")),
        ] {
            assert_eq!(tagged(tag, text), Ok(expected), "{tag} {text}");
        }
        for (tag, text, expected) in [
            ("!!int", "1.5", "cannot decode !!float `1.5` as a !!int"),
            ("!!bool", "x", "cannot decode !!str `x` as a !!bool"),
            ("!!null", "x", "cannot decode !!str `x` as a !!null"),
            ("!!float", "x", "cannot decode !!str `x` as a !!float"),
            ("!!binary", "?", "!!binary value contains invalid base64 data"),
        ] {
            assert_eq!(tagged(tag, text), Err(expected.to_owned()), "{tag} {text}");
        }
    }
}

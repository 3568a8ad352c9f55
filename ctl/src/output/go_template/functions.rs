//! The functions of templates: Go's own, and kubectl's `base64decode` and `exists`.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::TemplateError;

const NAMES: [&str; 18] = [
    "and",
    "base64decode",
    "eq",
    "exists",
    "ge",
    "gt",
    "html",
    "index",
    "le",
    "len",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "println",
    "slice",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, TemplateError> {
    let failed = |what: String| TemplateError::new(format!("error calling {name}: {what}"));
    let need = |count: usize| {
        let wrong =
            || TemplateError::new(format!("wrong number of args for {name}: want at least {count} got {}", args.len()));
        args.get(..count).map(|_| ()).ok_or_else(wrong)
    };
    match name {
        "and" | "or" => {
            need(1)?;
            let decides = |value: &&Value| is_true(value) == (name == "or");
            Ok(args.iter().find(decides).or(args.last()).cloned().unwrap_or(Value::Null))
        }
        "not" => {
            need(1)?;
            Ok(Value::Bool(!is_true(&args[0])))
        }
        "len" => {
            need(1)?;
            let length = match &args[0] {
                Value::String(text) => text.len(),
                Value::Array(list) => list.len(),
                Value::Object(map) => map.len(),
                other => return Err(failed(format!("len of type {}", kind(other)))),
            };
            Ok(Value::from(length))
        }
        "index" => {
            need(1)?;
            args[1..].iter().try_fold(args[0].clone(), |value, key| index(value, key).map_err(failed))
        }
        "slice" => {
            need(1)?;
            slice(&args[0], &args[1..]).ok_or_else(|| failed("index out of range".to_owned()))
        }
        "exists" => {
            need(1)?;
            let found = args[1..].iter().try_fold(args[0].clone(), |value, key| match (&value, key) {
                (Value::Object(map), Value::String(key)) => map.get(key).cloned(),
                (Value::Array(_), _) => index(value, key).ok(),
                _ => None,
            });
            Ok(Value::Bool(found.is_some()))
        }
        "eq" | "ne" => {
            need(2)?;
            let equal = args[1..].iter().any(|other| compare(&args[0], other) == Some(Ordering::Equal));
            Ok(Value::Bool(equal == (name == "eq")))
        }
        "lt" | "le" | "gt" | "ge" => {
            need(2)?;
            let order =
                compare(&args[0], &args[1]).ok_or_else(|| failed("incompatible types for comparison".to_owned()))?;
            Ok(Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        "print" | "html" => Ok(Value::String(args.iter().map(text).collect())),
        "println" => Ok(Value::String(format!("{}\n", args.iter().map(text).collect::<Vec<_>>().join(" ")))),
        "printf" => {
            need(1)?;
            Ok(Value::String(printf(&text(&args[0]), &args[1..])))
        }
        "base64decode" => {
            need(1)?;
            let bytes = STANDARD.decode(text(&args[0])).map_err(|error| failed(error.to_string()))?;
            Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Err(TemplateError::new(format!("function {name:?} not defined"))),
    }
}

/// Whether a condition holds: what is empty, zero or absent is false.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it with `%v`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(nested).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", nested(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

fn nested(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { text(value) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

fn index(value: Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Array(mut list), Value::Number(number)) => {
            let place = number.as_u64().and_then(|place| usize::try_from(place).ok());
            match place.filter(|place| *place < list.len()) {
                Some(place) => Ok(list.swap_remove(place)),
                None => Err(format!("index out of range: {number}")),
            }
        }
        (Value::Object(mut map), Value::String(key)) => Ok(map.remove(key).unwrap_or(Value::Null)),
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        (value, key) => Err(format!("cannot index {} with {}", kind(&value), kind(key))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Option<Value> {
    let bound = |index: usize, default: usize| match bounds.get(index) {
        Some(bound) => bound.as_u64().and_then(|bound| usize::try_from(bound).ok()),
        None => Some(default),
    };
    match value {
        Value::String(text) => Some(Value::from(text.get(bound(0, 0)?..bound(1, text.len())?)?)),
        Value::Array(list) => Some(Value::from(list.get(bound(0, 0)?..bound(1, list.len())?)?.to_vec())),
        _ => None,
    }
}

/// The widest field that is padded.
const WIDTH_MAX: usize = 1000;

fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = characters.next_if(|c| matches!(c, '-' | '+' | '#' | '0' | ' ')) {
            flags.push(flag);
        }
        let number = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok().map(|number| number.min(WIDTH_MAX))
        };
        let width = number(&mut characters).unwrap_or(0);
        let precision = characters.next_if_eq(&'.').map(|_| number(&mut characters).unwrap_or(0));
        let Some(verb) = characters.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let shown = match (verb, value) {
            ('q', value) => format!("{:?}", text(value)),
            ('d', Value::Number(number)) => number.to_string(),
            ('f', Value::Number(number)) => format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or(0.0)),
            ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or(0)),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('t', Value::Bool(value)) => value.to_string(),
            ('T', value) => kind(value).to_owned(),
            ('s', Value::String(text)) => match precision {
                Some(length) => text.chars().take(length).collect(),
                None => text.clone(),
            },
            ('v' | 's', value) => text(value),
            (verb, value) => format!("%!{verb}({}={})", kind(value), text(value)),
        };
        let missing = width.saturating_sub(shown.chars().count());
        if flags.contains('-') {
            out.push_str(&shown);
            out.extend(std::iter::repeat_n(' ', missing));
        } else {
            let fill = if flags.contains('0') && verb != 's' { '0' } else { ' ' };
            out.extend(std::iter::repeat_n(fill, missing));
            out.push_str(&shown);
        }
    }
    out
}

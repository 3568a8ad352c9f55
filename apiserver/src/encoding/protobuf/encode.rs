//! From JSON to protobuf.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::Error;
use super::schema::{Field, Schema, Shape, Type};
use super::wire::{FIXED64, put_bytes, put_integer, put_nested, put_tag};

/// Writes the fields of a message. Fields that the message does not know are left out, as are nulls.
pub(super) fn message(schema: &Schema, index: u16, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    for field in &schema.message(index).fields {
        if field.shape == Shape::Inline {
            let at = out.len();
            put_nested(out, field.number, |out| single_message(schema, field, value, out))?;
            // An empty one is absent: two bytes, tag and length.
            if out.len() <= at + 2 {
                out.truncate(at);
            }
            continue;
        }
        let Some(value) = value.get(field.name).filter(|value| !value.is_null()) else {
            if field.always {
                put_bytes(out, field.number, b"");
            }
            continue;
        };
        match field.shape {
            Shape::List => {
                for item in value.as_array().ok_or(Error::Mismatch(field.name))? {
                    single(schema, field, field.number, item, out)?;
                }
            }
            Shape::Map => {
                for (key, value) in value.as_object().ok_or(Error::Mismatch(field.name))? {
                    put_nested(out, field.number, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        single(schema, field, 2, value, out)
                    })?;
                }
            }
            Shape::One | Shape::Inline => single(schema, field, field.number, value, out)?,
        }
    }
    Ok(())
}

fn single_message(schema: &Schema, field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match field.of {
        Type::Message(inner) => message(schema, inner, value, out),
        _ => Err(Error::Mismatch(field.name)),
    }
}

/// Writes one value of a field.
fn single(schema: &Schema, field: &Field, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let wrong = || Error::Mismatch(field.name);
    let text = || value.as_str().ok_or_else(wrong);
    match field.of {
        Type::String => put_bytes(out, number, text()?.as_bytes()),
        Type::Bool => put_integer(out, number, i64::from(value.as_bool().ok_or_else(wrong)?)),
        Type::Integer => put_integer(out, number, integer(value).ok_or_else(wrong)?),
        Type::Double => {
            put_tag(out, number, FIXED64);
            out.extend_from_slice(&value.as_f64().ok_or_else(wrong)?.to_le_bytes());
        }
        Type::Bytes => put_bytes(out, number, &STANDARD.decode(text()?).map_err(|_| wrong())?),
        Type::Time | Type::MicroTime => {
            let time: Timestamp = text()?.parse().map_err(|_| wrong())?;
            put_nested(out, number, |out| {
                put_integer(out, 1, time.as_second());
                if field.of == Type::MicroTime {
                    put_integer(out, 2, i64::from(time.subsec_nanosecond()));
                } else {
                    put_integer(out, 2, 0);
                }
                Ok(())
            })?;
        }
        Type::Quantity => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return Err(wrong()),
            };
            put_nested(out, number, |out| {
                put_bytes(out, 1, text.as_bytes());
                Ok(())
            })?;
        }
        Type::IntOrString => put_nested(out, number, |out| {
            let (kind, integer, text) = match value {
                Value::String(text) => (1, 0, text.as_str()),
                _ => (0, integer(value).ok_or_else(wrong)?, ""),
            };
            put_integer(out, 1, kind);
            put_integer(out, 2, integer);
            put_bytes(out, 3, text.as_bytes());
            Ok(())
        })?,
        Type::Raw => put_nested(out, number, |out| {
            put_bytes(out, 1, value.to_string().as_bytes());
            Ok(())
        })?,
        Type::StringList => put_nested(out, number, |out| strings(field, value, 1, out))?,
        Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings => {
            put_nested(out, number, |out| schema_or(schema, field, value, out))?;
        }
        Type::Message(inner) => {
            if !value.is_object() {
                return Err(wrong());
            }
            put_nested(out, number, |out| message(schema, inner, value, out))?;
        }
    }
    Ok(())
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_u64().map(|value| value as i64))
}

fn strings(field: &Field, value: &Value, number: u32, out: &mut Vec<u8>) -> Result<(), Error> {
    for item in value.as_array().ok_or(Error::Mismatch(field.name))? {
        put_bytes(out, number, item.as_str().ok_or(Error::Mismatch(field.name))?.as_bytes());
    }
    Ok(())
}

/// A JSON schema where something else may stand too.
fn schema_or(schema: &Schema, field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let inner = schema.json_schema().ok_or(Error::Mismatch(field.name))?;
    let allows = field.of == Type::SchemaOrBool;
    match value {
        Value::Bool(allowed) if allows => put_integer(out, 1, i64::from(*allowed)),
        Value::Object(_) => {
            if allows {
                put_integer(out, 1, 1);
            }
            put_nested(out, if allows { 2 } else { 1 }, |out| message(schema, inner, value, out))?;
        }
        Value::Array(_) if field.of == Type::SchemaOrStrings => strings(field, value, 2, out)?,
        Value::Array(items) if field.of == Type::SchemaOrArray => {
            for item in items {
                put_nested(out, 2, |out| message(schema, inner, item, out))?;
            }
        }
        _ => return Err(Error::Mismatch(field.name)),
    }
    Ok(())
}

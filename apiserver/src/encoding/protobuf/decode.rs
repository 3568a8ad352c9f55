//! From protobuf to JSON.
//!
//! Go's encoder writes fields that are no pointers also when they are zero, and JSON leaves them out: such zeros are
//! dropped here, unless the field tells absence and zero apart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::schema::{Field, Schema, Shape, Type};
use super::wire::{Reader, Value as Wire};
use super::{DEPTH_MAX, Error, MAGIC};

/// Upstream's `runtime.Unknown`.
#[derive(Default)]
pub(super) struct Unknown<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
    pub content_type: &'a str,
}

pub(super) fn unknown(envelope: &[u8]) -> Result<Unknown<'_>, Error> {
    let mut reader = Reader::new(envelope.strip_prefix(MAGIC).ok_or(Error::NoEnvelope)?);
    let mut unknown = Unknown::default();
    while let Some((number, value)) = reader.field()? {
        let Wire::Bytes(bytes) = value else { continue };
        match number {
            1 => {
                let mut names = Reader::new(bytes);
                while let Some((number, value)) = names.field()? {
                    match (number, value) {
                        (1, Wire::Bytes(bytes)) => unknown.api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => unknown.kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            2 => unknown.raw = bytes,
            4 => unknown.content_type = text(bytes)?,
            _ => {}
        }
    }
    Ok(unknown)
}

/// Reads the fields of a message into an object. Unknown fields are skipped.
pub(super) fn message(
    schema: &Schema,
    index: u16,
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Malformed("it is nested too deeply"));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Some(field) = schema.message(index).field(number) else { continue };
        match field.shape {
            Shape::Inline => {
                let Type::Message(inner) = field.of else { return Err(Error::Mismatch(field.name)) };
                message(schema, inner, content(field, wire)?, into, depth + 1)?;
            }
            Shape::Map => {
                let (key, value) = entry(schema, field, content(field, wire)?, depth)?;
                let map = into.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                map.as_object_mut().ok_or(Error::Mismatch(field.name))?.insert(key, value);
            }
            Shape::List => {
                let list = into.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                let list = list.as_array_mut().ok_or(Error::Mismatch(field.name))?;
                match (field.of, wire) {
                    // Numbers may come packed.
                    (Type::Integer | Type::Bool, Wire::Bytes(packed)) => {
                        let mut packed = Reader::new(packed);
                        while !packed.is_at_end() {
                            let wire = Wire::Varint(packed.varint()?);
                            list.push(single(schema, field, wire, depth)?);
                        }
                    }
                    _ => list.push(single(schema, field, wire, depth)?),
                }
            }
            Shape::One => {
                let value = single(schema, field, wire, depth)?;
                if value.is_null() || (!field.keeps_zero && is_zero(field.of, &value)) {
                    continue;
                }
                into.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn is_zero(of: Type, value: &Value) -> bool {
    match value {
        Value::Bool(value) => of == Type::Bool && !value,
        Value::Number(number) => of == Type::Integer && number.as_i64() == Some(0),
        Value::String(text) => matches!(of, Type::String | Type::Bytes) && text.is_empty(),
        _ => false,
    }
}

fn content<'a>(field: &Field, wire: Wire<'a>) -> Result<&'a [u8], Error> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        _ => Err(Error::Mismatch(field.name)),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Malformed("a text that is not UTF-8"))
}

fn entry(schema: &Schema, field: &Field, bytes: &[u8], depth: usize) -> Result<(String, Value), Error> {
    let mut key = String::new();
    let mut value = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => key = text(content(field, wire)?)?.to_owned(),
            2 => value = Some(single(schema, field, wire, depth)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => single(schema, field, Wire::Bytes(&[]), depth)?,
    };
    Ok((key, value))
}

fn single(schema: &Schema, field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (field.of, wire) {
        (Type::String, Wire::Bytes(bytes)) => text(bytes)?.into(),
        (Type::Bool, Wire::Varint(value)) => (value != 0).into(),
        (Type::Integer, Wire::Varint(value)) => (value as i64).into(),
        (Type::Double, Wire::Fixed64(bits)) => f64::from_bits(bits).into(),
        (Type::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Type::Time | Type::MicroTime, Wire::Bytes(bytes)) => time(bytes, field.of == Type::MicroTime)?,
        (Type::Quantity, Wire::Bytes(bytes)) => {
            let quantity = text(first(bytes)?)?;
            if quantity.is_empty() { "0".into() } else { quantity.into() }
        }
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Raw, Wire::Bytes(bytes)) => raw(first(bytes)?)?,
        (Type::StringList, Wire::Bytes(bytes)) => {
            let mut list = Vec::new();
            let mut reader = Reader::new(bytes);
            while let Some((number, wire)) = reader.field()? {
                if number == 1 {
                    list.push(text(content(field, wire)?)?.into());
                }
            }
            Value::Array(list)
        }
        (Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings, Wire::Bytes(bytes)) => {
            schema_or(schema, field, bytes, depth)?
        }
        (Type::Message(inner), Wire::Bytes(bytes)) => {
            let mut object = Map::new();
            message(schema, inner, bytes, &mut object, depth + 1)?;
            Value::Object(object)
        }
        // The value of a map's entry that was left out because it is zero.
        (Type::Bool, Wire::Bytes([])) => false.into(),
        (Type::Integer, Wire::Bytes([])) => 0.into(),
        _ => return Err(Error::Mismatch(field.name)),
    })
}

/// The content of a message's first field.
fn first(bytes: &[u8]) -> Result<&[u8], Error> {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            found = bytes;
        }
    }
    Ok(found)
}

fn raw(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if bytes.starts_with(MAGIC) {
        return super::decode_value(bytes, None);
    }
    serde_json::from_slice(bytes).map_err(|error| Error::Json(error.to_string()))
}

/// Seconds and nanoseconds; zero is no time.
fn time(bytes: &[u8], micro: bool) -> Result<Value, Error> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value as i64,
            (2, Wire::Varint(value)) => nanoseconds = value as i32,
            _ => {}
        }
    }
    if (seconds, nanoseconds) == (0, 0) {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanoseconds).map_err(|_| Error::Malformed("a time that is out of range"))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(format).to_string().into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut integer, mut string) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => is_text = value == 1,
            (2, Wire::Varint(value)) => integer = value as i32,
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { integer.into() })
}

/// A JSON schema where something else may stand too.
fn schema_or(schema: &Schema, field: &Field, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let inner = schema.json_schema().ok_or(Error::Mismatch(field.name))?;
    let read = |bytes: &[u8]| -> Result<Value, Error> {
        let mut object = Map::new();
        message(schema, inner, bytes, &mut object, depth + 1)?;
        Ok(Value::Object(object))
    };
    let (mut one, mut many, mut allowed) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (field.of, number, wire) {
            (Type::SchemaOrBool, 1, Wire::Varint(value)) => allowed = value != 0,
            (Type::SchemaOrBool, 2, Wire::Bytes(bytes)) => one = Some(read(bytes)?),
            (Type::SchemaOrArray | Type::SchemaOrStrings, 1, Wire::Bytes(bytes)) => one = Some(read(bytes)?),
            (Type::SchemaOrArray, 2, Wire::Bytes(bytes)) => many.push(read(bytes)?),
            (Type::SchemaOrStrings, 2, Wire::Bytes(bytes)) => many.push(text(bytes)?.into()),
            _ => {}
        }
    }
    Ok(match (one, field.of) {
        (Some(one), _) => one,
        (None, Type::SchemaOrBool) => allowed.into(),
        (None, _) => Value::Array(many),
    })
}

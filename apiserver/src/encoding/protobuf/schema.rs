//! What protobuf must know of the kinds: the field numbers, read once from `fields.txt` when the first client asks
//! for protobuf.
//!
//! The letters after a field's number:
//!
//! | | |
//! |---|---|
//! | `s` `b` `i` `d` `y` | string, bool, integer of any width, double, bytes (base64 in JSON) |
//! | `t` `u` | time in seconds, time in microseconds |
//! | `q` `o` | quantity, int-or-string |
//! | `r` | a message that holds raw JSON (`RawExtension`, `FieldsV1`, `JSON`) |
//! | `l` | a message that holds a list of strings, which is the list itself in JSON |
//! | `A` `B` `S` | a JSON schema or: an array of them, a bool, an array of strings |
//! | `@Name` | another message of the package, or with its package |
//!
//! Before it: `*` a list, `%` a map from strings, `+` a message whose fields stand in the outer object in JSON.
//! After it: `!` when JSON tells an absent value from a zero one, or always has the field; `~` when protobuf always has
//! it, though JSON may not.

use std::collections::HashMap;
use std::sync::OnceLock;

const FIELDS: &str = include_str!("fields.txt");

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Bool,
    Integer,
    Double,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Raw,
    StringList,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
    Message(u16),
}

/// How many values a field has, and where they stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
    Inline,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub of: Type,
    /// Whether a zero value is told in JSON.
    pub keeps_zero: bool,
    /// Whether protobuf has the field also when JSON has not.
    pub always: bool,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// By number.
    pub fields: Vec<Field>,
}

impl Message {
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok().map(|index| &self.fields[index])
    }
}

/// All messages.
pub(super) struct Schema {
    messages: Vec<Message>,
    by_name: HashMap<String, u16>,
}

impl Schema {
    /// The schema of this server's kinds.
    pub fn get() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::parse(FIELDS))
    }

    pub fn message(&self, index: u16) -> &Message {
        // Indices come from the parser alone.
        &self.messages[usize::from(index)]
    }

    /// The message of a kind.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<u16> {
        // Every group has the kinds that belong to no group.
        if matches!(kind, "Status" | "DeleteOptions" | "APIVersions" | "APIGroup" | "APIGroupList" | "APIResourceList")
        {
            return self.by_name.get(&format!("meta.v1.{kind}")).copied();
        }
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
        let package = group.split('.').next().unwrap_or_default();
        self.by_name.get(&format!("{package}.{version}.{kind}")).copied()
    }

    pub fn json_schema(&self) -> Option<u16> {
        self.by_name.get("apiextensions.v1.JSONSchemaProps").copied()
    }

    fn parse(text: &'static str) -> Schema {
        let mut by_name = HashMap::new();
        let mut lines = Vec::new();
        let mut package = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix("package ") {
                package = name;
                continue;
            }
            let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
            // The file has some hundred lines.
            by_name.insert(format!("{package}.{name}"), lines.len() as u16);
            lines.push((package, fields));
        }
        let message = |(package, fields): &(&str, &'static str)| {
            let mut fields: Vec<Field> =
                fields.split_whitespace().filter_map(|token| field(token, package, &by_name)).collect();
            fields.sort_by_key(|field| field.number);
            Message { fields }
        };
        let messages = lines.iter().map(message).collect();
        Schema { messages, by_name }
    }
}

/// Reads `name=12*@Message!`. A token that is not one is left out; a test reads them all.
fn field(token: &'static str, package: &str, by_name: &HashMap<String, u16>) -> Option<Field> {
    let (name, rest) = token.split_once('=')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..digits].parse().ok()?;
    let rest = &rest[digits..];
    let (shape, rest) = match rest.as_bytes().first()? {
        b'*' => (Shape::List, &rest[1..]),
        b'%' => (Shape::Map, &rest[1..]),
        b'+' => (Shape::Inline, &rest[1..]),
        _ => (Shape::One, rest),
    };
    let (rest, keeps_zero) = match rest.strip_suffix('!') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (rest, always) = match rest.strip_suffix('~') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let of = match rest {
        "s" => Type::String,
        "b" => Type::Bool,
        "i" => Type::Integer,
        "d" => Type::Double,
        "y" => Type::Bytes,
        "t" => Type::Time,
        "u" => Type::MicroTime,
        "q" => Type::Quantity,
        "o" => Type::IntOrString,
        "r" => Type::Raw,
        "l" => Type::StringList,
        "A" => Type::SchemaOrArray,
        "B" => Type::SchemaOrBool,
        "S" => Type::SchemaOrStrings,
        _ => {
            let name = rest.strip_prefix('@')?;
            let index = by_name.get(&format!("{package}.{name}")).or_else(|| by_name.get(name))?;
            Type::Message(*index)
        }
    };
    Some(Field { name, number, shape, of, keeps_zero, always })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_a_field_and_every_number_is_used_once() {
        let tokens: usize = FIELDS
            .lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("package "))
            .map(|line| line.split_whitespace().count().saturating_sub(1))
            .sum();
        let schema = Schema::get();
        let fields: usize = schema.messages.iter().map(|message| message.fields.len()).sum();
        assert_eq!(fields, tokens);
        for message in &schema.messages {
            assert!(message.fields.windows(2).all(|pair| pair[0].number < pair[1].number), "{message:?}");
        }
    }

    #[test]
    fn kinds_are_found() {
        let schema = Schema::get();
        for (version, kind) in [
            ("v1", "Pod"),
            ("v1", "PodList"),
            ("apps/v1", "Deployment"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
            ("meta.k8s.io/v1", "PartialObjectMetadataList"),
            ("policy/v1", "DeleteOptions"),
            ("v1", "Status"),
        ] {
            assert!(schema.of_kind(version, kind).is_some(), "{version} {kind}");
        }
        assert!(schema.of_kind("example.com/v1", "Widget").is_none());
    }
}

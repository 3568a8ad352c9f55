//! A structural schema, compiled once from a definition's `openAPIV3Schema`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use reeve_api::schema::{self, Field, ListKind, Object, ObjectRef, PatchStrategy, Scalar, Schema};
use regex::Regex;
use serde_json::Value;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `object`.
    Object,
    /// `array`.
    Array,
    /// `string`.
    String,
    /// `integer`.
    Integer,
    /// `number`.
    Number,
    /// `boolean`.
    Boolean,
}

impl Type {
    /// From its word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What keys that are no properties may hold.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything.
    Any,
    /// Values of this schema.
    Node(Box<Node>),
}

/// A bound of a number.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The number.
    pub value: f64,
    /// Whether the number itself is outside.
    pub exclusive: bool,
}

/// A node of a structural schema.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The type; `None` where it is left open.
    pub kind: Option<Type>,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// Named fields.
    pub properties: BTreeMap<String, Node>,
    /// Other fields.
    pub additional: Additional,
    /// Elements of a list.
    pub items: Option<Box<Node>>,
    /// The value of what is left out.
    pub default: Option<Value>,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// The values that there are.
    pub allowed: Vec<Value>,
    /// The expression that a text matches.
    pub pattern: Option<Regex>,
    /// The format of a text.
    pub format: Option<String>,
    /// The largest number.
    pub maximum: Option<Bound>,
    /// The smallest number.
    pub minimum: Option<Bound>,
    /// What divides the number.
    pub multiple_of: Option<f64>,
    /// Bounds of a text's characters, a list's elements and an object's fields: smallest and largest.
    pub length: (Option<i64>, Option<i64>),
    /// See [`Node::length`].
    pub items_count: (Option<i64>, Option<i64>),
    /// See [`Node::length`].
    pub properties_count: (Option<i64>, Option<i64>),
    /// Whether elements differ.
    pub unique: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<String>,
    /// `x-kubernetes-list-map-keys`.
    pub list_keys: Vec<String>,
    /// `x-kubernetes-map-type`.
    pub map_type: Option<String>,
    /// `allOf`.
    pub all_of: Vec<Node>,
    /// `anyOf`.
    pub any_of: Vec<Node>,
    /// `oneOf`.
    pub one_of: Vec<Node>,
    /// `not`.
    pub not: Option<Box<Node>>,
    /// Whether rules (`x-kubernetes-validations`) stand here or below.
    pub has_rules: bool,
}

impl Node {
    /// Compiles a schema. Patterns that are no expressions are left out; validation has refused them.
    pub fn compile(props: &JSONSchemaProps) -> Self {
        let many =
            |list: &Option<Vec<JSONSchemaProps>>| -> Vec<Node> { list.iter().flatten().map(Node::compile).collect() };
        let bound = |value: Option<f64>, exclusive: Option<bool>| {
            value.map(|value| Bound { value, exclusive: exclusive.unwrap_or(false) })
        };
        let properties: BTreeMap<String, Node> =
            props.properties.iter().flatten().map(|(name, props)| (name.clone(), Node::compile(props))).collect();
        let additional = match &props.additional_properties {
            None | Some(JSONSchemaPropsOrBool::Bool(false)) => Additional::None,
            Some(JSONSchemaPropsOrBool::Bool(true)) => Additional::Any,
            Some(JSONSchemaPropsOrBool::Schema(schema)) => Additional::Node(Box::new(Node::compile(schema))),
        };
        let items = match &props.items {
            Some(JSONSchemaPropsOrArray::Schema(schema)) => Some(Box::new(Node::compile(schema))),
            _ => None,
        };
        let below = properties.values().any(|node| node.has_rules)
            || items.as_ref().is_some_and(|node| node.has_rules)
            || matches!(&additional, Additional::Node(node) if node.has_rules);
        Node {
            kind: props.type_.as_deref().and_then(Type::parse),
            nullable: props.nullable.unwrap_or(false),
            preserve: props.x_kubernetes_preserve_unknown_fields.unwrap_or(false),
            embedded: props.x_kubernetes_embedded_resource.unwrap_or(false),
            int_or_string: props.x_kubernetes_int_or_string.unwrap_or(false),
            properties,
            additional,
            items,
            default: props.default.as_ref().map(|default| default.0.clone()),
            required: props.required.clone().unwrap_or_default(),
            allowed: props.enum_.iter().flatten().map(|value| value.0.clone()).collect(),
            pattern: props.pattern.as_deref().and_then(|pattern| Regex::new(pattern).ok()),
            format: props.format.clone(),
            maximum: bound(props.maximum, props.exclusive_maximum),
            minimum: bound(props.minimum, props.exclusive_minimum),
            multiple_of: props.multiple_of,
            length: (props.min_length, props.max_length),
            items_count: (props.min_items, props.max_items),
            properties_count: (props.min_properties, props.max_properties),
            unique: props.unique_items.unwrap_or(false),
            list_type: props.x_kubernetes_list_type.clone(),
            list_keys: props.x_kubernetes_list_map_keys.clone().unwrap_or_default(),
            map_type: props.x_kubernetes_map_type.clone(),
            all_of: many(&props.all_of),
            any_of: many(&props.any_of),
            one_of: many(&props.one_of),
            not: props.not.as_deref().map(|props| Box::new(Node::compile(props))),
            has_rules: below || props.x_kubernetes_validations.as_ref().is_some_and(|rules| !rules.is_empty()),
        }
    }

    /// What patches and server-side apply know of the objects.
    pub fn merge_schema(&self) -> Schema {
        let metadata = schema::builtin("v1", "ConfigMap")
            .and_then(|config_map| config_map.child("metadata").cloned())
            .unwrap_or(Schema::Undeclared);
        if self.preserve && self.properties.is_empty() {
            return Schema::Undeclared;
        }
        let mut fields = vec![
            own_field("apiVersion", Schema::Scalar(Scalar::String), None),
            own_field("kind", Schema::Scalar(Scalar::String), None),
            own_field("metadata", metadata, None),
        ];
        for (name, node) in &self.properties {
            if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                fields.push(own_field(name, node.schema(), node.default.clone()));
            }
        }
        object(fields, false)
    }

    fn schema(&self) -> Schema {
        if self.int_or_string {
            return Schema::Scalar(Scalar::Any);
        }
        if self.preserve || self.embedded {
            return Schema::Undeclared;
        }
        let atomic = self.map_type.as_deref() == Some("atomic");
        match self.kind {
            Some(Type::Object) => match &self.additional {
                Additional::Node(node) => Schema::Map { element: Box::new(node.schema()), atomic },
                Additional::Any => Schema::Map { element: Box::new(Schema::Undeclared), atomic },
                Additional::None => {
                    let fields = self.properties.iter();
                    object(
                        fields.map(|(name, node)| own_field(name, node.schema(), node.default.clone())).collect(),
                        atomic,
                    )
                }
            },
            Some(Type::Array) => {
                let element = self.items.as_ref().map_or(Schema::Undeclared, |node| node.schema());
                let kind = match self.list_type.as_deref() {
                    Some("set") => ListKind::Set,
                    Some("map") => ListKind::Map(self.list_keys.iter().cloned().map(Cow::Owned).collect()),
                    _ => ListKind::Atomic,
                };
                Schema::List { element: Box::new(element), kind }
            }
            Some(Type::String) => Schema::Scalar(Scalar::String),
            Some(Type::Integer | Type::Number) => Schema::Scalar(Scalar::Number),
            Some(Type::Boolean) => Schema::Scalar(Scalar::Boolean),
            None => Schema::Undeclared,
        }
    }
}

fn own_field(name: &str, schema: Schema, default: Option<Value>) -> Field {
    Field {
        name: Cow::Owned(name.to_owned()),
        schema,
        patch: PatchStrategy::default(),
        always: false,
        pointer: false,
        default,
    }
}

fn object(mut fields: Vec<Field>, atomic: bool) -> Schema {
    fields.sort_by(|one, other| one.name.cmp(&other.name));
    let object = Object { name: Cow::Borrowed(""), fields };
    Schema::Object { fields: ObjectRef::Own(Arc::new(object)), atomic }
}

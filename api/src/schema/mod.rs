//! What objects are made of: schemas of built-in kinds and, with the same nodes, of custom ones.
//!
//! A schema says what patches, server-side apply and pruning must know and nothing more: which fields there
//! are, which lists merge by which keys, what is replaced as a whole, and what a new object holds before
//! anyone set it. Descriptions and formats are elsewhere.

mod builtin;
#[cfg(test)]
mod generate;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use builtin::builtin;

/// A node of a schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// A value without parts.
    Scalar(Scalar),
    /// Any value, changed and owned as a whole.
    Opaque,
    /// Any value whose shape nobody declared: maps merge by key, lists are replaced.
    Undeclared,
    /// Named fields.
    Object {
        /// The fields.
        fields: ObjectRef,
        /// Whether it is owned as a whole (`x-kubernetes-map-type: atomic`).
        atomic: bool,
    },
    /// Keys that users choose.
    Map {
        /// What each key holds.
        element: Box<Schema>,
        /// Whether it is owned as a whole.
        atomic: bool,
    },
    /// A list.
    List {
        /// What it holds.
        element: Box<Schema>,
        /// How its elements are told apart.
        kind: ListKind,
    },
}

/// The type of a value without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    String,
    /// An integer or a fraction.
    Number,
    /// True or false.
    Boolean,
    /// Several types: quantities, times, ports by number or name.
    Any,
}

/// How a list's elements are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq)]
pub enum ListKind {
    /// Not at all: the list is one value.
    Atomic,
    /// By their value.
    Set,
    /// By the values of these fields.
    Map(Vec<Cow<'static, str>>),
}

/// The fields of an object: those of a built-in type, or a custom kind's own.
#[derive(Clone, Debug)]
pub enum ObjectRef {
    /// An index into the built-in types.
    Builtin(u16),
    /// Made from a custom kind's structural schema.
    Own(Arc<Object>),
}

impl ObjectRef {
    /// The fields.
    pub fn get(&self) -> &Object {
        match self {
            Self::Builtin(index) => table::object(*index),
            Self::Own(object) => object,
        }
    }
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Builtin(one), Self::Builtin(other)) => one == other,
            _ => self.get() == other.get(),
        }
    }
}

/// The fields of a type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// The type's name; upstream's Go name (`Container`) for built-in types.
    pub name: Cow<'static, str>,
    /// By name, in order of names.
    pub fields: Vec<Field>,
}

impl Object {
    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok().map(|index| &self.fields[index])
    }

    /// What a new object holds before anyone set anything: the fields that are always written.
    pub fn zero(&self) -> Value {
        let mut zero = Map::new();
        for field in self.fields.iter().filter(|field| field.always) {
            let value = match &field.schema {
                Schema::Object { fields, .. } if !field.pointer => fields.get().zero(),
                Schema::Scalar(Scalar::String) if !field.pointer => Value::String(String::new()),
                Schema::Scalar(Scalar::Number) if !field.pointer => Value::from(0),
                Schema::Scalar(Scalar::Boolean) if !field.pointer => Value::Bool(false),
                _ => Value::Null,
            };
            zero.insert(field.name.clone().into_owned(), value);
        }
        Value::Object(zero)
    }
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// As in JSON.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub schema: Schema,
    /// How strategic merge patches treat it.
    pub patch: PatchStrategy,
    /// Whether upstream writes it even when nobody set it.
    pub always: bool,
    /// Whether what upstream writes then is `null`.
    pub pointer: bool,
    /// What it is when it is absent, as far as keys of lists need it.
    pub default: Option<Value>,
}

/// How strategic merge patches treat a field (`x-kubernetes-patch-strategy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// Maps are replaced instead of merging.
    pub replace: bool,
    /// By which field elements are told apart.
    pub merge_key: Option<Cow<'static, str>>,
}

impl Schema {
    /// The schema of what a field or key holds.
    pub fn child(&self, name: &str) -> Option<&Schema> {
        match self {
            Self::Object { fields, .. } => fields.get().field(name).map(|field| &field.schema),
            Self::Map { element, .. } => Some(element),
            Self::Undeclared => Some(self),
            _ => None,
        }
    }

    /// The schema of a list's elements.
    pub fn element(&self) -> Option<&Schema> {
        match self {
            Self::List { element, .. } => Some(element),
            Self::Undeclared => Some(&Self::Opaque),
            _ => None,
        }
    }

    /// The schema at a path of names; elements of lists have no name and are passed through.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Schema> {
        let mut node = self;
        for name in path {
            while let Self::List { element, .. } = node {
                node = element;
            }
            node = node.child(name)?;
        }
        Some(node)
    }

    /// The fields, for an object.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Object { fields, .. } => Some(fields.get()),
            _ => None,
        }
    }

    /// What a new object of the schema holds before anyone set anything.
    pub fn zero(&self) -> Value {
        self.object().map_or_else(|| Value::Object(Map::new()), Object::zero)
    }
}

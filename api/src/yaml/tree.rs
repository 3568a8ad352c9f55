//! What a document says: values that aliases share, and keys that may be there twice.

use std::collections::HashMap;
use std::rc::Rc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::error::{Error, Problem};
use super::number;

/// What a value weighs beside its text.
const VALUE_BYTES: usize = 16;

/// A value, and what it costs to be written out.
#[derive(Debug)]
pub struct Node {
    pub content: Content,
    /// Its bytes when all aliases are written out.
    pub weight: usize,
    /// The levels of lists and mappings.
    pub height: usize,
}

/// What a value is.
#[derive(Debug)]
pub enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Shared(Rc<Node>),
}

impl Node {
    /// A scalar.
    pub fn scalar(value: Value) -> Self {
        let text = value.as_str().map_or(0, str::len);
        Self { content: Content::Scalar(value), weight: VALUE_BYTES + text, height: 0 }
    }

    /// What JSON says.
    pub fn json(value: Value) -> Self {
        match value {
            Value::Array(items) => Node::list(items.into_iter().map(Node::json).collect()),
            Value::Object(entries) => {
                Node::map(entries.into_iter().map(|(key, value)| (key, Node::json(value))).collect())
            }
            Value::Number(number) => Node::scalar(number::tidy(number)),
            other => Node::scalar(other),
        }
    }

    /// A list.
    pub fn list(items: Vec<Node>) -> Self {
        let (weight, height) = measure(items.iter().map(|item| (0, item)));
        Self { content: Content::List(items), weight, height }
    }

    /// A mapping.
    pub fn map(entries: Vec<(String, Node)>) -> Self {
        let (weight, height) = measure(entries.iter().map(|(key, value)| (key.len(), value)));
        Self { content: Content::Map(entries), weight, height }
    }

    /// What an alias stands for.
    pub fn shared(node: &Rc<Node>) -> Self {
        Self { content: Content::Shared(Rc::clone(node)), weight: node.weight, height: node.height }
    }

    /// What it is, whoever else has it too.
    pub fn content(&self) -> &Content {
        match &self.content {
            Content::Shared(node) => node.content(),
            own => own,
        }
    }

    /// Its entries, for a mapping that others may have too.
    fn into_entries(self) -> Option<Vec<(String, Node)>> {
        match self.content {
            Content::Map(entries) => Some(entries),
            Content::Shared(node) => match node.content() {
                Content::Map(entries) => Some(entries.iter().map(|(key, value)| (key.clone(), value.copy())).collect()),
                _ => None,
            },
            _ => None,
        }
    }

    fn copy(&self) -> Node {
        let content = match &self.content {
            Content::Scalar(value) => Content::Scalar(value.clone()),
            Content::List(items) => Content::List(items.iter().map(Node::copy).collect()),
            Content::Map(entries) => {
                Content::Map(entries.iter().map(|(key, value)| (key.clone(), value.copy())).collect())
            }
            Content::Shared(node) => Content::Shared(Rc::clone(node)),
        };
        Node { content, weight: self.weight, height: self.height }
    }

    fn into_value(self) -> Value {
        match self.content {
            Content::Scalar(value) => value,
            Content::List(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
            Content::Map(entries) => {
                Value::Object(entries.into_iter().map(|(key, node)| (key, node.into_value())).collect())
            }
            Content::Shared(node) => node.to_value(),
        }
    }

    fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Content::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.clone(), node.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Content::Shared(node) => node.to_value(),
        }
    }
}

fn measure<'a>(parts: impl Iterator<Item = (usize, &'a Node)>) -> (usize, usize) {
    let start = (VALUE_BYTES, 0);
    let (weight, height) = parts.fold(start, |(weight, height), (key, node)| {
        (weight.saturating_add(key).saturating_add(node.weight), height.max(node.height))
    });
    (weight, height + 1)
}

/// As JSON, with keys that are there twice.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.content {
            Content::Scalar(value) => value.serialize(serializer),
            Content::List(items) => serializer.collect_seq(items),
            Content::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Content::Shared(node) => node.serialize(serializer),
        }
    }
}

/// The entries of a mapping that is being read.
#[derive(Debug, Default)]
pub struct Entries {
    entries: Vec<(String, Node)>,
    /// Where each key is, and its line; those that were merged have none.
    places: HashMap<String, (usize, Option<usize>)>,
}

impl Entries {
    /// Adds an entry. The line of the one that was there already.
    pub fn add(&mut self, key: String, node: Node, line: usize) -> Option<usize> {
        let place = (self.entries.len(), Some(line));
        let before = self.places.get_mut(&key).map(|place_now| std::mem::replace(place_now, place));
        match before {
            // What was merged is replaced, which is what merging is for.
            Some((index, None)) => {
                self.places.insert(key, (index, Some(line)));
                self.entries[index].1 = node;
                return None;
            }
            Some(_) => {}
            None => {
                self.places.insert(key.clone(), place);
            }
        }
        self.entries.push((key, node));
        before.and_then(|(_, line)| line)
    }

    /// Adds what `<<` stands for. As with go-yaml, it replaces what stands before it and not what stands after it.
    pub fn merge(&mut self, node: Node) -> Result<(), Problem> {
        if let Content::List(_) = node.content {
            let Content::List(items) = node.content else { return Err(Problem::Merge) };
            // The first ones come last, since they win.
            return items.into_iter().rev().try_for_each(|item| self.merge_map(item));
        }
        self.merge_map(node)
    }

    fn merge_map(&mut self, node: Node) -> Result<(), Problem> {
        for (key, node) in node.into_entries().ok_or(Problem::Merge)? {
            match self.places.get(&key) {
                Some((index, _)) => self.entries[*index].1 = node,
                None => {
                    self.places.insert(key.clone(), (self.entries.len(), None));
                    self.entries.push((key, node));
                }
            }
        }
        Ok(())
    }

    /// All of them, in their order.
    pub fn into_node(self) -> Node {
        Node::map(self.entries)
    }
}

/// A key that its mapping has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The key.
    pub key: String,
    /// The line of the one before, counted from 1.
    pub first: usize,
    /// Its own line, counted from 1.
    pub line: usize,
    /// Its column in characters, counted from 1.
    pub column: usize,
    /// The line that its value begins at, counted from 1.
    pub value_line: usize,
}

impl Duplicate {
    /// What go-yaml says of it, which names the line of the value.
    pub fn words(&self) -> String {
        format!("line {}: key {:?} already set in map", self.value_line, self.key)
    }
}

/// A document of a stream.
#[derive(Debug)]
pub struct Document {
    pub(super) root: Node,
    /// Its place among those with content, counted from 1.
    pub number: usize,
    /// The line that its content begins at, counted from 1.
    pub line: usize,
    /// The keys that a mapping has already. The last one holds.
    pub duplicates: Vec<Duplicate>,
}

impl Document {
    /// What it says; of equal keys the last one holds.
    pub fn into_value(self) -> Value {
        self.root.into_value()
    }

    /// What it says.
    ///
    /// # Errors
    /// A mapping has a key twice.
    pub fn into_strict_value(self) -> Result<Value, Error> {
        match self.duplicates.first() {
            Some(Duplicate { key, first, line, column, .. }) => Err(Error {
                problem: Problem::Duplicate { key: key.clone(), first: *first },
                document: self.number,
                line: *line,
                column: *column,
            }),
            None => Ok(self.into_value()),
        }
    }

    /// What it says as JSON. Equal keys are all there, in their order.
    ///
    /// # Errors
    /// None that a document can cause.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.root)
    }
}

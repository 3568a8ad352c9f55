//! Sets of field paths, as managedFields hold them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// One step of a path.
///
/// Values are kept as compact JSON text: two are the same when their texts are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A field or a map's key. Names of built-in fields are not copied.
    Field(Cow<'static, str>),
    /// An element of a list, by the values of its key fields: a JSON object with its names in order.
    Key(Box<str>),
    /// An element of a set: a JSON scalar.
    Value(Box<str>),
    /// An element of a list by its place.
    Index(i64),
}

impl Element {
    /// A field.
    pub fn field(name: &str) -> Self {
        Self::Field(Cow::Owned(name.to_owned()))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Key(key) => {
                f.write_str("[")?;
                if let Ok(Value::Object(fields)) = serde_json::from_str(key) {
                    for (index, (name, value)) in fields.iter().enumerate() {
                        let comma = if index == 0 { "" } else { "," };
                        write!(f, "{comma}{name}={value}")?;
                    }
                }
                f.write_str("]")
            }
        }
    }
}

/// A set of field paths: a tree whose nodes may be members themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// In order of their elements.
    pub(super) nodes: Vec<(Element, Node)>,
}

/// A node of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Whether the path that ends here belongs to the set.
    pub member: bool,
    /// The paths that go on.
    pub below: FieldSet,
}

impl Node {
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// The set of some paths of plain fields (`spec`, `metadata.labels`).
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut node = &mut set;
            let mut names = path.split('.').peekable();
            while let Some(name) = names.next() {
                let entry = node.entry(Element::field(name));
                if names.peek().is_none() {
                    entry.member = true;
                }
                node = &mut entry.below;
            }
        }
        set
    }

    /// Whether nothing belongs to it.
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|(_, node)| node.is_empty())
    }

    /// The node of an element, which is made when it is absent.
    pub(super) fn entry(&mut self, element: Element) -> &mut Node {
        let index = match self.nodes.last() {
            // Walks add in order most of the time.
            Some((last, _)) if *last < element => Err(self.nodes.len()),
            _ => self.nodes.binary_search_by(|(own, _)| own.cmp(&element)),
        };
        let index = match index {
            Ok(index) => index,
            Err(index) => {
                self.nodes.insert(index, (element, Node::default()));
                index
            }
        };
        &mut self.nodes[index].1
    }

    /// Adds an element of this level.
    pub(super) fn insert(&mut self, element: Element) {
        self.entry(element).member = true;
    }

    /// Adds paths below an element, if there are any.
    pub(super) fn attach(&mut self, element: Element, below: FieldSet) {
        if !below.nodes.is_empty() {
            let node = self.entry(element);
            if node.below.nodes.is_empty() {
                node.below = below;
            } else {
                node.below = node.below.union(&below);
            }
        }
    }

    pub(super) fn get(&self, element: &Element) -> Option<&Node> {
        let index = self.nodes.binary_search_by(|(own, _)| own.cmp(element)).ok()?;
        Some(&self.nodes[index].1)
    }

    /// What belongs to either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        let (mut own, mut others) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (own.peek(), others.peek()) {
                (None, None) => return Self { nodes: out },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            match order {
                Ordering::Less => out.extend(own.next().cloned()),
                Ordering::Greater => out.extend(others.next().cloned()),
                Ordering::Equal => {
                    if let (Some((element, one)), Some((_, other))) = (own.next(), others.next()) {
                        let below = one.below.union(&other.below);
                        out.push((element.clone(), Node { member: one.member || other.member, below }));
                    }
                }
            }
        }
    }

    /// What belongs to either, for sets that nobody needs any more.
    #[must_use]
    pub fn united(self, other: Self) -> Self {
        match (self.nodes.is_empty(), other.nodes.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => self.union(&other),
        }
    }

    /// Takes out what the other has.
    pub fn subtract(&mut self, other: &Self) {
        if other.nodes.is_empty() {
            return;
        }
        self.nodes.retain_mut(|(element, node)| match other.get(element) {
            None => true,
            Some(other) => {
                node.member &= !other.member;
                node.below.subtract(&other.below);
                node.member || !node.below.nodes.is_empty()
            }
        });
    }

    /// Takes out what belongs to the other or lies below one of its members.
    pub fn subtract_below(&mut self, other: &Self) {
        if other.nodes.is_empty() {
            return;
        }
        self.nodes.retain_mut(|(element, node)| match other.get(element) {
            None => true,
            Some(other) if other.member => false,
            Some(other) => {
                node.below.subtract_below(&other.below);
                node.member || !node.below.nodes.is_empty()
            }
        });
    }

    fn combine(&self, other: &Self, both: fn(&Node, Option<&Node>) -> Node) -> Self {
        let mut nodes = Vec::new();
        for (element, node) in &self.nodes {
            let node = both(node, other.get(element));
            if !node.is_empty() {
                nodes.push((element.clone(), node));
            }
        }
        Self { nodes }
    }

    /// What belongs to both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |own, other| match other {
            None => Node::default(),
            Some(other) => Node { member: own.member && other.member, below: own.below.intersection(&other.below) },
        })
    }

    /// What belongs to this and not to the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if other.nodes.is_empty() {
            return self.clone();
        }
        self.combine(other, |own, other| match other {
            None => own.clone(),
            Some(other) => Node { member: own.member && !other.member, below: own.below.difference(&other.below) },
        })
    }

    /// What neither belongs to the other nor lies below one of its members.
    #[must_use]
    pub fn without_below(&self, other: &Self) -> Self {
        if other.nodes.is_empty() {
            return self.clone();
        }
        self.combine(other, |own, other| match other {
            None => own.clone(),
            Some(other) if other.member => Node::default(),
            Some(other) => Node { member: own.member, below: own.below.without_below(&other.below) },
        })
    }

    /// Calls `visit` with every path: those that end at a level come before those that go on.
    pub fn for_each(&self, visit: &mut impl FnMut(&[&Element])) {
        fn walk<'a>(set: &'a FieldSet, path: &mut Vec<&'a Element>, visit: &mut impl FnMut(&[&Element])) {
            for (element, node) in &set.nodes {
                if node.member {
                    path.push(element);
                    visit(path);
                    path.pop();
                }
            }
            for (element, node) in &set.nodes {
                path.push(element);
                walk(&node.below, path, visit);
                path.pop();
            }
        }
        walk(self, &mut Vec::new(), visit);
    }

    /// The paths as people read them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.for_each(&mut |path| paths.push(path.iter().map(ToString::to_string).collect()));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_combine() {
        let one = FieldSet::of_fields(&["a", "b.c", "b.d"]);
        let other = FieldSet::of_fields(&["b.c", "e", "b"]);
        assert_eq!(one.union(&other).paths(), [".a", ".b", ".e", ".b.c", ".b.d"]);
        assert_eq!(one.intersection(&other).paths(), [".b.c"]);
        assert_eq!(one.difference(&other).paths(), [".a", ".b.d"]);
        assert_eq!(one.without_below(&other).paths(), [".a"]);
        let (mut less, mut none) = (one.clone(), one.clone());
        less.subtract(&other);
        none.subtract_below(&other);
        assert_eq!((less, none), (one.difference(&other), one.without_below(&other)));
        assert_eq!(one.clone().united(other.clone()), one.union(&other));
        assert!(one.difference(&one).is_empty() && FieldSet::default().is_empty());
    }

    #[test]
    fn paths_read_as_upstreams() {
        let mut set = FieldSet::default();
        let key = Element::Key(r#"{"containerPort":80,"protocol":"TCP"}"#.into());
        set.entry(Element::field("ports")).below.insert(key);
        set.insert(Element::Value(r#""x""#.into()));
        assert_eq!(set.paths(), [r#"[="x"]"#, r#".ports[containerPort=80,protocol="TCP"]"#]);
    }
}

//! JSON text as a tree: one reading finds where every value lies, and nothing is copied.
//!
//! Field ownership looks at each object that is written twice, as it was and as it will be. Almost all of both is
//! the same text, which is compared without being decoded.

use std::borrow::Cow;

use serde_json::Value;

/// A JSON value in any form.
pub trait Json<'a>: Copy {
    /// Whether it is `null`.
    fn is_null(self) -> bool;
    /// Whether it is an object.
    fn is_object(self) -> bool;
    /// Whether it is a list.
    fn is_array(self) -> bool;
    /// The members of an object; none of another value.
    fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)>;
    /// The elements of a list; none of another value.
    fn items(self) -> impl Iterator<Item = Self>;
    /// Whether both are surely equal. Equal values in different words may count as different.
    fn is_surely(self, other: Self) -> bool;
    /// The value as compact text.
    fn text(self) -> Cow<'a, str>;
    /// The value on its own.
    fn to_value(self) -> Value;

    /// A member of an object.
    fn member(self, name: &str) -> Option<Self> {
        self.members().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Whether it is an object without members, or a list without elements.
    fn has_no_parts(self) -> bool {
        self.members().next().is_none() && self.items().next().is_none()
    }

    /// Whether both are equal.
    fn equals(self, other: Self) -> bool {
        self.is_surely(other) || self.to_value() == other.to_value()
    }
}

impl<'a> Json<'a> for &'a Value {
    fn is_null(self) -> bool {
        Value::is_null(self)
    }

    fn is_object(self) -> bool {
        Value::is_object(self)
    }

    fn is_array(self) -> bool {
        Value::is_array(self)
    }

    fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        self.as_object().into_iter().flatten().map(|(name, value)| (Cow::Borrowed(name.as_str()), value))
    }

    fn items(self) -> impl Iterator<Item = Self> {
        self.as_array().into_iter().flatten()
    }

    fn is_surely(self, other: Self) -> bool {
        self == other
    }

    fn text(self) -> Cow<'a, str> {
        Cow::Owned(self.to_string())
    }

    fn to_value(self) -> Value {
        self.clone()
    }

    fn member(self, name: &str) -> Option<Self> {
        self.get(name)
    }

    fn equals(self, other: Self) -> bool {
        self == other
    }
}

/// A value of a [`Tree`].
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Where its name lies, without the quotes. Empty for what has none.
    name: (u32, u32),
    /// Where its text lies.
    text: (u32, u32),
    /// The record after all of its parts.
    next: u32,
}

/// A JSON text and where its values lie.
#[derive(Debug)]
pub struct Tree<'a> {
    text: &'a str,
    records: Vec<Record>,
}

impl<'a> Tree<'a> {
    /// Reads a text; `None` when it is not JSON as far as that can be seen without decoding scalars.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| u32::try_from(text.len()).is_ok())?;
        let mut reader =
            Reader { text: text.as_bytes(), at: 0, records: Vec::with_capacity(text.len() / 16), open: Vec::new() };
        reader.read()?;
        Some(Self { text, records: reader.records })
    }

    /// The whole value.
    pub fn root(&self) -> Node<'_> {
        Node { text: self.text, records: &self.records, index: 0 }
    }

    /// All objects, however deep they lie.
    pub fn objects(&self) -> impl Iterator<Item = Node<'_>> {
        let root = self.root();
        (0..self.records.len()).map(move |index| Node { index, ..root }).filter(|node| node.is_object())
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    records: Vec<Record>,
    /// The objects and lists whose ends are to come.
    open: Vec<usize>,
}

impl Reader<'_> {
    fn read(&mut self) -> Option<()> {
        let mut name = (0, 0);
        loop {
            if self.value(name)? {
                // Its first part is next, if it has one.
                if !self.closes()? {
                    name = self.name()?;
                    continue;
                }
            }
            // After a value: the next one of the same level, or the ends of levels.
            loop {
                if self.open.is_empty() {
                    return self.peek().is_none().then_some(());
                }
                if self.peek()? == b',' {
                    self.at += 1;
                    name = self.name()?;
                    break;
                }
                if !self.closes()? {
                    return None;
                }
            }
        }
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Begins a value. Whether it has parts, which then follow.
    #[allow(clippy::cast_possible_truncation)] // The text's length fits.
    fn value(&mut self, name: (u32, u32)) -> Option<bool> {
        let first = self.peek()?;
        let start = self.at;
        let parts = matches!(first, b'{' | b'[');
        match first {
            b'{' | b'[' => {
                self.at += 1;
                self.open.push(self.records.len());
            }
            b'"' => {
                self.string()?;
            }
            _ => {
                while let Some(byte) = self.text.get(self.at) {
                    if matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' | b'"' | b':' | b'{' | b'[') {
                        break;
                    }
                    self.at += 1;
                }
                if self.at == start {
                    return None;
                }
            }
        }
        let next = self.records.len() as u32 + 1;
        self.records.push(Record { name, text: (start as u32, self.at as u32), next });
        Some(parts)
    }

    /// Ends the innermost object or list, if its end is next.
    #[allow(clippy::cast_possible_truncation)]
    fn closes(&mut self) -> Option<bool> {
        let byte = self.peek()?;
        let index = *self.open.last()?;
        let end = if self.text[self.records[index].text.0 as usize] == b'{' { b'}' } else { b']' };
        if byte != end {
            return Some(false);
        }
        self.at += 1;
        self.open.pop();
        let next = self.records.len() as u32;
        let record = &mut self.records[index];
        record.text.1 = self.at as u32;
        record.next = next;
        Some(true)
    }

    /// The name of the next part, with its colon; parts of lists have none.
    fn name(&mut self) -> Option<(u32, u32)> {
        let index = *self.open.last()?;
        if self.text[self.records[index].text.0 as usize] != b'{' {
            return Some((0, 0));
        }
        if self.peek()? != b'"' {
            return None;
        }
        let name = self.string()?;
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        Some(name)
    }

    /// Passes a string.
    #[allow(clippy::cast_possible_truncation)]
    fn string(&mut self) -> Option<(u32, u32)> {
        self.at += 1;
        let start = self.at;
        loop {
            match *self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some((start as u32, self.at as u32 - 1))
    }
}

/// A value in a [`Tree`].
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    text: &'a str,
    records: &'a [Record],
    index: usize,
}

impl<'a> Node<'a> {
    fn record(self) -> &'a Record {
        &self.records[self.index]
    }

    /// Its text as it was read.
    pub fn raw(self) -> &'a str {
        let (start, end) = self.record().text;
        &self.text[start as usize..end as usize]
    }

    fn first(self) -> u8 {
        self.text.as_bytes()[self.record().text.0 as usize]
    }

    fn parts(self) -> impl Iterator<Item = Self> {
        let end = self.record().next as usize;
        let mut index = self.index + 1;
        std::iter::from_fn(move || {
            let part = (index < end).then_some(Node { index, ..self })?;
            index = part.record().next as usize;
            Some(part)
        })
    }

    /// Its name as it was read, without the quotes; empty for what has none.
    pub fn raw_name(self) -> &'a str {
        let (start, end) = self.record().name;
        &self.text[start as usize..end as usize]
    }
}

/// What a string says, from what lies between its quotes.
fn unescaped(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    // What is no string stays as it is.
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

impl<'a> Json<'a> for Node<'a> {
    fn is_null(self) -> bool {
        self.raw() == "null"
    }

    fn is_object(self) -> bool {
        self.first() == b'{'
    }

    fn is_array(self) -> bool {
        self.first() == b'['
    }

    fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        self.parts().filter(move |_| self.is_object()).map(|part| (unescaped(part.raw_name()), part))
    }

    fn items(self) -> impl Iterator<Item = Self> {
        self.parts().filter(move |_| self.is_array())
    }

    fn is_surely(self, other: Self) -> bool {
        self.raw() == other.raw()
    }

    fn text(self) -> Cow<'a, str> {
        Cow::Borrowed(self.raw())
    }

    fn to_value(self) -> Value {
        // What was no JSON after all is nothing.
        serde_json::from_str(self.raw()).unwrap_or(Value::Null)
    }

    fn has_no_parts(self) -> bool {
        self.record().next as usize == self.index + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same<'a>(node: Node<'a>, value: &Value) {
        assert_eq!(node.to_value(), *value);
        assert_eq!((node.is_null(), node.is_object()), (value.is_null(), value.is_object()));
        assert_eq!(node.members().count(), value.as_object().map_or(0, serde_json::Map::len));
        for (name, part) in node.members() {
            same(part, &value[name.as_ref()]);
        }
        for (index, part) in node.items().enumerate() {
            same(part, &value[index]);
        }
    }

    #[test]
    fn a_tree_is_the_value_of_its_text() {
        for text in [
            r#"{"a":{},"b":[],"c":[1,-2.5e3,"x\"},{",null,true,{"d\"\\":{"e":"é"}}],"f":""}"#,
            " [ { \"a\" : [ ] } , \"\\u0041\" ] ",
            "null",
            "\"x\"",
            "12",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            same(Tree::read(text.as_bytes()).unwrap().root(), &value);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_tree() {
        let text = r#"{"a":{"b":[1,{"c":"d\"e"}]},"f":true}"#;
        for end in 0..text.len() {
            assert!(Tree::read(&text.as_bytes()[..end]).is_none(), "{}", &text[..end]);
        }
        for wrong in ["{]", "[}", "{\"a\" 1}", "{1:2}", "[1 2]", "{}x", "[,]", "{\"a\":}", "[\"a\\"] {
            assert!(Tree::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}

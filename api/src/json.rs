//! Work on canonical JSON bytes without decoding them.
//!
//! An object is serialized once per write; what reads need of the bytes (the resource version inside,
//! fewer fields) is done here by scanning. Input is what our own encoder wrote; anything else gives
//! `None`, never a panic.

mod tree;

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

pub use tree::{Json, Node, Tree};

/// Walks over JSON text, value by value.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Skips a string and returns the range between its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        // Most strings are short.
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(start..self.at - 1)
    }

    /// Skips any value and returns its range.
    fn value(&mut self) -> Option<Range<usize>> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match *self.bytes.get(self.at)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                while let Some(byte) = self.bytes.get(self.at) {
                    if matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                        break;
                    }
                    self.at += 1;
                }
            }
        }
        Some(start..self.at)
    }

    /// Enters an object and goes to the value of a member. What follows that one is not looked at.
    fn seek(&mut self, wanted: &str) -> Option<()> {
        self.expect(b'{')?;
        loop {
            self.peek()?;
            let name = self.string()?;
            self.expect(b':')?;
            self.peek()?;
            if &self.bytes[name] == wanted.as_bytes() {
                return Some(());
            }
            self.value()?;
            self.expect(b',')?;
        }
    }

    /// Calls `visit` with each member's name; `visit` must consume the value.
    fn members(&mut self, mut visit: impl FnMut(&mut Self, Range<usize>) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.peek()?;
            let name = self.string()?;
            self.expect(b':')?;
            visit(self, name)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}

/// Where the value of a top-level member lies.
pub fn member(object: &[u8], name: &str) -> Option<Range<usize>> {
    let mut scanner = Scanner::new(object);
    scanner.seek(name)?;
    scanner.value()
}

/// Where the value of a member of `metadata` lies.
pub fn metadata_member(object: &[u8], name: &str) -> Option<Range<usize>> {
    let mut scanner = Scanner::new(object);
    scanner.seek("metadata")?;
    scanner.seek(name)?;
    scanner.value()
}

/// The length of the leading `{"apiVersion":…,"kind":…,`: a list item is `{` and the bytes after it.
/// 1 (the brace alone) when the object does not begin that way; never more than there is.
pub fn header_len(object: &[u8]) -> usize {
    fn scan(object: &[u8]) -> Option<usize> {
        let mut scanner = Scanner::new(object);
        scanner.expect(b'{')?;
        for wanted in [&b"apiVersion"[..], b"kind"] {
            scanner.peek()?;
            let name = scanner.string()?;
            if &object[name] != wanted {
                return None;
            }
            scanner.expect(b':')?;
            scanner.peek()?;
            scanner.string()?;
            scanner.expect(b',')?;
        }
        Some(scanner.at)
    }
    scan(object).unwrap_or(1).min(object.len())
}

/// Sets `metadata.resourceVersion`. The stored form has none; one that is there is replaced.
///
/// Returns the input unchanged when it has no `metadata` object.
pub fn splice_resource_version(object: &[u8], revision: i64) -> Bytes {
    let mut scanner = Scanner::new(object);
    if scanner.seek("metadata").is_none() || scanner.expect(b'{').is_none() {
        return Bytes::copy_from_slice(object);
    }
    let at = scanner.at;
    // The name alone is found quickly, and most of the time it is not there.
    let present = memchr::memmem::find(&object[at..], b"\"resourceVersion\"")
        .and_then(|_| metadata_member(object, "resourceVersion"));
    let digits = revision.to_string();
    let mut out = Vec::with_capacity(object.len() + digits.len() + 21);
    if let Some(version) = present {
        out.extend_from_slice(&object[..version.start]);
        out.push(b'"');
        out.extend_from_slice(digits.as_bytes());
        out.push(b'"');
        out.extend_from_slice(&object[version.end..]);
        return out.into();
    }
    out.extend_from_slice(&object[..at]);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(digits.as_bytes());
    out.push(b'"');
    if scanner.peek() != Some(b'}') {
        out.push(b',');
    }
    out.extend_from_slice(&object[at..]);
    out.into()
}

/// Removes `metadata.resourceVersion`, to give the stored form.
pub fn strip_resource_version(object: &[u8]) -> Vec<u8> {
    strip_metadata(object, "resourceVersion")
}

/// Removes a member of `metadata`.
pub fn strip_metadata(object: &[u8], name: &str) -> Vec<u8> {
    cut_metadata(object, name).map_or_else(|| object.to_vec(), |(rest, _)| rest)
}

/// An object without a member of its `metadata`, and where that member's value lay; `None` when there is none.
pub fn cut_metadata(object: &[u8], name: &str) -> Option<(Vec<u8>, Range<usize>)> {
    let value = metadata_member(object, name)?;
    // The member begins at the quote before its name.
    let mut start = value.start - 1;
    while object[start] != b':' {
        start -= 1;
    }
    let name = format!("\"{name}\"");
    start = start.checked_sub(name.len())?;
    if &object[start..start + name.len()] != name.as_bytes() {
        return None;
    }
    let mut end = value.end;
    if object.get(end) == Some(&b',') {
        end += 1;
    } else if object[start - 1] == b',' {
        start -= 1;
    }
    let mut out = Vec::with_capacity(object.len() - (end - start));
    out.extend_from_slice(&object[..start]);
    out.extend_from_slice(&object[end..]);
    Some((out, value))
}

/// An object with a member more in its `metadata`, whose members are in order of their names; `None` when it has
/// no metadata. The text must be JSON, and the member must not be there.
pub fn paste_metadata(object: &[u8], name: &str, text: &str) -> Option<Vec<u8>> {
    let mut scanner = Scanner::new(object);
    scanner.seek("metadata")?;
    scanner.expect(b'{')?;
    let mut first = true;
    let at = loop {
        if scanner.peek()? == b'}' {
            break scanner.at;
        }
        let start = scanner.at;
        let own = scanner.string()?;
        if &scanner.bytes[own] > name.as_bytes() {
            break start;
        }
        scanner.expect(b':')?;
        scanner.value()?;
        first = false;
        if scanner.peek()? == b',' {
            scanner.at += 1;
        }
    };
    let last = scanner.bytes.get(at) == Some(&b'}');
    let (before, after) = object.split_at(at);
    let mut out = Vec::with_capacity(object.len() + name.len() + text.len() + 4);
    out.extend_from_slice(before);
    if last && !first {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(text.as_bytes());
    if !last {
        out.push(b',');
    }
    out.extend_from_slice(after);
    Some(out)
}

/// A set of field paths to keep of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mask {
    /// Children by name; a mask without children keeps everything below.
    fields: BTreeMap<String, Mask>,
}

impl Mask {
    /// From dotted paths (`spec.nodeName`); `apiVersion` and `kind` are always kept. A label or
    /// annotation whose key has dots cannot be named alone: ask for `metadata.labels`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut root = Mask::default();
        for path in paths {
            root.insert(path);
        }
        if !root.fields.is_empty() {
            root.fields.entry("apiVersion".to_owned()).or_default();
            root.fields.entry("kind".to_owned()).or_default();
        }
        root
    }

    fn insert(&mut self, path: &str) {
        let (part, rest) = match path.split_once('.') {
            Some((part, rest)) => (part, Some(rest)),
            None => (path, None),
        };
        match (self.fields.get_mut(part), rest) {
            // A shorter path keeps everything below it.
            (Some(child), _) if child.is_all() => {}
            (Some(child), Some(rest)) => child.insert(rest),
            (Some(child), None) => child.fields.clear(),
            (None, rest) => {
                let mut child = Mask::default();
                if let Some(rest) = rest {
                    child.insert(rest);
                }
                self.fields.insert(part.to_owned(), child);
            }
        }
    }

    /// Whether everything is kept.
    pub fn is_all(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Keeps only the fields of `mask`. A path through an array applies to each element. Input that is not
/// well-formed comes back whole.
pub fn project(object: &[u8], mask: &Mask) -> Vec<u8> {
    if mask.is_all() {
        return object.to_vec();
    }
    let mut out = Vec::with_capacity(object.len() / 4);
    match project_value(&mut Scanner::new(object), mask, &mut out) {
        Some(()) => out,
        None => object.to_vec(),
    }
}

fn project_value(scanner: &mut Scanner<'_>, mask: &Mask, out: &mut Vec<u8>) -> Option<()> {
    match scanner.peek()? {
        b'{' if !mask.is_all() => {
            out.push(b'{');
            let mut first = true;
            scanner.members(|scanner, name| {
                let child =
                    std::str::from_utf8(&scanner.bytes[name.clone()]).ok().and_then(|name| mask.fields.get(name));
                let Some(child) = child else {
                    return scanner.value().map(drop);
                };
                if !first {
                    out.push(b',');
                }
                first = false;
                out.push(b'"');
                out.extend_from_slice(&scanner.bytes[name]);
                out.extend_from_slice(b"\":");
                project_value(scanner, child, out)
            })?;
            out.push(b'}');
        }
        b'[' if !mask.is_all() => {
            scanner.expect(b'[')?;
            out.push(b'[');
            if scanner.peek()? == b']' {
                scanner.at += 1;
            } else {
                loop {
                    project_value(scanner, mask, out)?;
                    match scanner.peek()? {
                        b',' => {
                            scanner.at += 1;
                            out.push(b',');
                        }
                        b']' => {
                            scanner.at += 1;
                            break;
                        }
                        _ => return None,
                    }
                }
            }
            out.push(b']');
        }
        _ => {
            let value = scanner.value()?;
            out.extend_from_slice(&scanner.bytes[value]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"\"}y"}},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"},{"name":"d"}]},"status":{}}"#;

    #[test]
    fn the_resource_version_is_spliced_replaced_and_stripped() {
        let seven = splice_resource_version(POD, 7);
        let text = std::str::from_utf8(&seven).unwrap();
        assert!(text.contains(r#""metadata":{"resourceVersion":"7","name":"a""#), "{text}");
        let eight = splice_resource_version(&seven, 8);
        assert!(std::str::from_utf8(&eight).unwrap().contains(r#"{"resourceVersion":"8","name""#));
        assert_eq!(strip_resource_version(&eight), POD);
        assert_eq!(
            &splice_resource_version(b"{\"metadata\":{}}", 1)[..],
            b"{\"metadata\":{\"resourceVersion\":\"1\"}}"
        );
        assert_eq!(
            strip_resource_version(br#"{"metadata":{"name":"a","resourceVersion":"1"}}"#),
            br#"{"metadata":{"name":"a"}}"#
        );
    }

    #[test]
    fn what_is_cut_out_of_metadata_is_pasted_back() {
        for object in [
            &br#"{"kind":"P","metadata":{"managedFields":[{"a":"]"}]},"spec":1}"#[..],
            br#"{"metadata":{"labels":{},"managedFields":[1],"name":"a"}}"#,
            br#"{"metadata":{"labels":{},"managedFields":[]}}"#,
            br#"{"metadata":{"managedFields":null,"name":"managedFields"}}"#,
        ] {
            let (rest, value) = cut_metadata(object, "managedFields").unwrap();
            assert!(cut_metadata(&rest, "managedFields").is_none());
            let text = std::str::from_utf8(&object[value]).unwrap();
            assert_eq!(paste_metadata(&rest, "managedFields", text).unwrap(), object);
        }
        assert!(paste_metadata(b"{}", "managedFields", "[]").is_none());
        for end in 0..POD.len() {
            cut_metadata(&POD[..end], "labels");
            paste_metadata(&POD[..end], "managedFields", "[]");
        }
    }

    #[test]
    fn list_items_go_without_their_header() {
        assert!(POD[header_len(POD)..].starts_with(b"\"metadata\""));
        assert_eq!(header_len(b"{\"metadata\":{}}"), 1);
        assert_eq!(header_len(b""), 0, "nothing is not cut beyond its end");
    }

    #[test]
    fn a_mask_keeps_its_paths_also_through_arrays() {
        let mask = Mask::new(["metadata.name", "spec.containers.name"]);
        assert_eq!(
            std::str::from_utf8(&project(POD, &mask)).unwrap(),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c"},{"name":"d"}]}}"#
        );
        assert_eq!(project(POD, &Mask::new([])), POD);
        let wide = Mask::new(["metadata", "metadata.name"]);
        assert!(std::str::from_utf8(&project(POD, &wide)).unwrap().contains("labels"));
        assert_eq!(wide, Mask::new(["metadata.name", "metadata"]));
    }

    #[test]
    fn broken_input_comes_back_whole() {
        for end in 0..POD.len() {
            let broken = &POD[..end];
            splice_resource_version(broken, 1);
            strip_resource_version(broken);
            header_len(broken);
            project(broken, &Mask::new(["metadata.name", "spec.containers.name"]));
        }
    }
}

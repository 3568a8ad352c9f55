//! From the parser's events to documents. Nothing here recurses, and what aliases stand for is bounded.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::Value;

use super::error::{Error, Problem};
use super::layout;
use super::scalar::{self, Scalar};
use super::tree::{Content, Document, Duplicate, Entries, Node};

/// The deepest nesting; `serde_json` reads as much.
const DEPTH_MAX: usize = 127;

/// What all aliases of a document may stand for. More than any object that can be stored.
const ALIAS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The only document of a text; null if there is none.
///
/// # Errors
/// It is no YAML, it says what JSON cannot, or it has several documents with content.
pub fn document(text: &str) -> Result<Document, Error> {
    let mut all = documents(text)?.into_iter();
    let first = all.next().unwrap_or_else(|| Document {
        root: Node::scalar(Value::Null),
        number: 1,
        line: 1,
        duplicates: Vec::new(),
    });
    match all.next() {
        Some(second) => {
            Err(Error { problem: Problem::Documents, document: second.number, line: second.line, column: 1 })
        }
        None => Ok(first),
    }
}

/// What the only document of a text says; of equal keys the last one holds.
///
/// # Errors
/// As those of [`document`].
pub fn from_str(text: &str) -> Result<Value, Error> {
    document(text).map(Document::into_value)
}

/// The only document of a text, from its bytes.
///
/// # Errors
/// As those of [`document`]; it is not UTF-8.
pub fn from_slice(bytes: &[u8]) -> Result<Document, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => document(text),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            Err(at_end_of(&before, Problem::Encoding))
        }
    }
}

/// The documents of a text. Those without content are left out.
///
/// # Errors
/// It is no YAML, or it says what JSON cannot.
pub fn documents(text: &str) -> Result<Vec<Document>, Error> {
    compose(text).or_else(|error| {
        // JSON knows escapes of surrogates, and keys of any length.
        let value = if text.trim_start().starts_with(['{', '[']) { serde_json::from_str(text).ok() } else { None };
        let mended = || layout::mend(text).map_or(Err(error), |text| compose(&text));
        let line = text.split('\n').take_while(|line| line.trim().is_empty()).count() + 1;
        let document = |value| Document { root: Node::json(value), number: 1, line, duplicates: Vec::new() };
        value.map_or_else(mended, |value| Ok(vec![document(value)]))
    })
}

fn compose(text: &str) -> Result<Vec<Document>, Error> {
    if let Some((offset, character)) = text.char_indices().find(|(_, character)| !is_allowed(*character)) {
        return Err(at_end_of(&text[..offset], Problem::Character(character.into())));
    }
    let mut composer = Composer::default();
    let open_end = (!text.ends_with(['\n', '\r'])).then(|| text.chars().count());
    for event in Parser::new_from_str(text) {
        let (mut event, span) = event
            .map_err(|error| composer.error(Problem::Syntax(error.info().to_owned()), Place::of(*error.marker())))?;
        let place = Place::of(span.start);
        if open_end == Some(span.end.index()) {
            // Of a last line of blanks alone the parser makes a line of its own.
            let breaks = if is_blank_line(text) { "\n\n" } else { "\n" };
            end_without_break(&mut event, breaks);
        }
        composer.take(event, place).map_err(|problem| composer.error(problem, place))?;
    }
    Ok(composer.documents)
}

/// Whether the last line has nothing but blanks.
fn is_blank_line(text: &str) -> bool {
    text.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
}

/// A block text that the end of all cuts off has no line break there, as with go-yaml.
fn end_without_break(event: &mut Event<'_>, breaks: &str) {
    if let Event::Scalar(text, ScalarStyle::Literal | ScalarStyle::Folded, ..) = event
        && text.ends_with(breaks)
    {
        *text = text[..text.len() - 1].to_owned().into();
    }
}

/// Whether YAML has a place for a character.
fn is_allowed(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    }
}

fn at_end_of(text: &str, problem: Problem) -> Error {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Error { problem, document: 1, line, column }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn of(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A list or mapping whose end is to come.
#[derive(Debug)]
enum Open {
    List { anchor: usize, place: Place, items: Vec<Node> },
    Map { anchor: usize, place: Place, entries: Entries, next: Next },
}

/// What a mapping waits for.
#[derive(Debug)]
enum Next {
    Key,
    Value(String, Place),
    Merged,
}

#[derive(Debug, Default)]
struct Composer {
    documents: Vec<Document>,
    open: Vec<Open>,
    /// What the anchors of the document stand for.
    anchors: HashMap<usize, Rc<Node>>,
    /// What its aliases stand for, in bytes.
    aliased: usize,
    duplicates: Vec<Duplicate>,
    root: Option<(Node, Place)>,
    /// Where the root of the document began.
    start: Option<Place>,
}

impl Composer {
    fn error(&self, problem: Problem, place: Place) -> Error {
        Error { problem, document: self.documents.len() + 1, line: place.line, column: place.column }
    }

    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.aliased = 0;
                self.start = None;
                Ok(())
            }
            Event::DocumentEnd => {
                self.finish_document();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.start.get_or_insert(place);
                self.scalar(&text, style, anchor, tag.as_deref(), place)
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List { anchor, place, items: Vec::new() }, place),
            Event::MappingStart(anchor, _) => {
                self.begin(Open::Map { anchor, place, entries: Entries::default(), next: Next::Key }, place)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { anchor, place, items }) => self.add(Node::list(items), anchor, place),
                Some(Open::Map { anchor, place, entries, .. }) => self.add(entries.into_node(), anchor, place),
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor, place),
        }
    }

    fn begin(&mut self, open: Open, place: Place) -> Result<(), Problem> {
        self.start.get_or_insert(place);
        if let Some(Open::Map { next: Next::Key, .. }) = self.open.last() {
            return Err(Problem::Key(match open {
                Open::List { .. } => "a list",
                Open::Map { .. } => "a mapping",
            }));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Problem::Depth(DEPTH_MAX));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<(), Problem> {
        let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
        if let Some(Open::Map { next: next @ Next::Key, .. }) = self.open.last_mut()
            && text == "<<"
            && match &tag {
                None => style == ScalarStyle::Plain,
                Some(tag) => tag == "tag:yaml.org,2002:merge",
            }
        {
            *next = Next::Merged;
            return Ok(());
        }
        let scalar = match &tag {
            None if style == ScalarStyle::Plain => scalar::plain(text),
            None => Scalar::Text(text.to_owned()),
            Some(tag) => scalar::tagged(tag, text)?,
        };
        if let Some(Open::Map { next: next @ Next::Key, .. }) = self.open.last_mut() {
            if anchor > 0 {
                // An alias of a key stands for what the key is.
                let value = scalar.clone().value()?;
                self.anchors.insert(anchor, Rc::new(Node::scalar(value)));
            }
            *next = Next::Value(scalar.key()?, place);
            return Ok(());
        }
        self.add(Node::scalar(scalar.value()?), anchor, place)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Problem> {
        self.start.get_or_insert(place);
        let shared = self.anchors.get(&anchor).ok_or(Problem::Cycle)?;
        if self.open.len() + shared.height > DEPTH_MAX {
            return Err(Problem::Depth(DEPTH_MAX));
        }
        self.aliased = self.aliased.saturating_add(shared.weight);
        if self.aliased > ALIAS_BYTES_MAX {
            return Err(Problem::Aliases(ALIAS_BYTES_MAX));
        }
        if let Some(Open::Map { next: next @ Next::Key, .. }) = self.open.last_mut() {
            let key = match shared.content() {
                Content::Scalar(Value::String(text)) => text.clone(),
                Content::Scalar(Value::Null) => return Err(Problem::Key("null")),
                Content::Scalar(Value::Number(number)) => number.to_string(),
                Content::Scalar(other) => other.to_string(),
                Content::List(_) => return Err(Problem::Key("a list")),
                Content::Map(_) | Content::Shared(_) => return Err(Problem::Key("a mapping")),
            };
            *next = Next::Value(key, place);
            return Ok(());
        }
        let node = Node::shared(shared);
        self.add(node, 0, place)
    }

    /// A value is whole; it began at `place`.
    fn add(&mut self, mut node: Node, anchor: usize, place: Place) -> Result<(), Problem> {
        if anchor > 0 {
            let shared = Rc::new(node);
            node = Node::shared(&shared);
            self.anchors.insert(anchor, shared);
        }
        match self.open.last_mut() {
            None => self.root = Some((node, place)),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, next, .. }) => match std::mem::replace(next, Next::Key) {
                Next::Merged => entries.merge(node)?,
                Next::Value(key, Place { line, column }) => {
                    if let Some(first) = entries.add(key.clone(), node, line) {
                        self.duplicates.push(Duplicate { key, first, line, column, value_line: place.line });
                    }
                }
                // The parser gives a key before each value.
                Next::Key => return Err(Problem::Syntax("a value without a key".to_owned())),
            },
        }
        Ok(())
    }

    fn finish_document(&mut self) {
        let duplicates = std::mem::take(&mut self.duplicates);
        let (Some((root, place)), start) = (self.root.take(), self.start.take()) else { return };
        if matches!(root.content(), Content::Scalar(Value::Null)) {
            return;
        }
        let line = start.unwrap_or(place).line;
        self.documents.push(Document { root, number: self.documents.len() + 1, line, duplicates });
    }
}

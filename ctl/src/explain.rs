//! `explain`: what an OpenAPI schema says about a kind and its fields, in kubectl's layout. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::value::{items, text};

/// Texts are as wide as kubectl's.
const WIDTH: usize = 76;
/// Values of an enum that a line of a field lists.
const ENUM_SHOWN_MAX: usize = 4;

/// A document of OpenAPI v3, to follow its references in.
pub struct Document<'a> {
    schemas: &'a Value,
}

impl<'a> Document<'a> {
    /// The schemas of a document.
    pub fn new(document: &'a Value) -> Self {
        Document { schemas: document.pointer("/components/schemas").unwrap_or(&Value::Null) }
    }

    /// The schema of a kind.
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&'a Value> {
        self.schemas.as_object()?.values().find(|schema| {
            items(schema, "x-kubernetes-group-version-kind").iter().any(|known| {
                text(known, "group") == group && text(known, "version") == version && text(known, "kind") == kind
            })
        })
    }

    /// The schema that a reference leads to, or itself.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        match reference(schema) {
            Some(name) => self.schemas.get(name).unwrap_or(schema),
            None => schema,
        }
    }

    /// The schema of the elements of lists and maps, down to a single one.
    fn element(&self, schema: &'a Value) -> &'a Value {
        let mut schema = self.resolved(schema);
        while let Some(inner) = inner(schema) {
            schema = self.resolved(inner);
        }
        schema
    }

    /// The fields that it has, by name.
    fn fields(&self, schema: &'a Value) -> Vec<(&'a str, &'a Value, bool)> {
        let schema = self.element(schema);
        let required = items(schema, "required");
        let mut fields: Vec<_> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, field)| (name.as_str(), field, required.iter().any(|one| one.as_str() == Some(name))))
            .collect();
        fields.sort_by_key(|(name, ..)| *name);
        fields
    }

    /// The descriptions of a field and of what its type is made of.
    fn descriptions(&self, schema: &'a Value, found: &mut Vec<&'a str>) {
        let own = text(schema, "description");
        if !own.is_empty() {
            found.push(own);
        }
        let next = match reference(schema) {
            Some(name) => self.schemas.get(name),
            None => inner(schema),
        };
        if let Some(next) = next {
            self.descriptions(next, found);
        }
    }
}

/// The elements of a list or the values of a map.
fn inner(schema: &Value) -> Option<&Value> {
    schema.get("items").or_else(|| schema.get("additionalProperties").filter(|inner| inner.is_object()))
}

/// The name of the schema that is referred to, by itself or as the only part of `allOf`.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").and_then(Value::as_str);
    let path = direct.or_else(|| match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => one.get("$ref").and_then(Value::as_str),
        _ => None,
    })?;
    path.strip_prefix("#/components/schemas/")
}

/// `[]Container`, `map[string]string`, `integer`.
fn type_name(document: &Document<'_>, schema: &Value) -> String {
    if let Some(inner) = schema.get("items") {
        return format!("[]{}", type_name(document, inner));
    }
    if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
        return format!("map[string]{}", type_name(document, inner));
    }
    if let Some(name) = reference(schema) {
        // A name for a plain type says less than the type.
        return match document.schemas.get(name).map(|referred| text(referred, "type")) {
            Some(plain) if !matches!(plain, "" | "object" | "array") => plain.to_owned(),
            _ => name.rsplit('.').next().unwrap_or(name).to_owned(),
        };
    }
    if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
        return "IntOrString".to_owned();
    }
    match text(schema, "type") {
        "" | "object" => "Object".to_owned(),
        other => other.to_owned(),
    }
}

/// What is asked for.
pub struct Question<'a> {
    /// The group; empty for the core group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The field, step by step; empty for the kind itself.
    pub path: &'a [String],
    /// All fields below, without descriptions.
    pub recursive: bool,
}

/// The lines that every answer begins with.
pub fn heading(question: &Question<'_>) -> String {
    let mut out = String::new();
    if !question.group.is_empty() {
        out.push_str(&format!("GROUP:      {}\n", question.group));
    }
    out.push_str(&format!("KIND:       {}\nVERSION:    {}\n\n", question.kind, question.version));
    out
}

/// The answer below the heading, or the name of the field that does not exist.
pub fn explain(document: &Document<'_>, root: &Value, question: &Question<'_>) -> Result<String, String> {
    // The document outlives the schemas that are taken out of it.
    let document = Document { schemas: document.schemas };
    let mut schema = root;
    for step in question.path {
        let fields = document.fields(schema);
        match fields.into_iter().find(|(name, ..)| name == step) {
            Some((_, field, _)) => schema = field,
            None => return Err(step.clone()),
        }
    }
    let mut out = String::new();
    if let Some(last) = question.path.last() {
        out.push_str(&format!("FIELD: {last} <{}>\n", type_name(&document, schema)));
        let values = enumerated(document.element(schema));
        if !values.is_empty() {
            out.push_str("ENUM:\n");
            values.iter().for_each(|value| out.push_str(&format!("    {value}\n")));
        } else {
            out.push('\n');
        }
        out.push('\n');
    }
    out.push_str("DESCRIPTION:\n");
    let mut descriptions = Vec::new();
    document.descriptions(schema, &mut descriptions);
    for description in &descriptions {
        push_wrapped(&mut out, description, 4);
    }
    out.push_str(if descriptions.is_empty() { "    <empty>\n" } else { "    \n" });
    let fields = document.fields(schema);
    if fields.is_empty() {
        out.push('\n');
        return Ok(out);
    }
    out.push_str("FIELDS:\n");
    let mut ancestors: Vec<&str> = Vec::new();
    push_fields(&mut out, &document, &fields, question.recursive, 1, &mut ancestors);
    out.push('\n');
    Ok(out)
}

fn push_fields<'a>(
    out: &mut String,
    document: &Document<'a>,
    fields: &[(&'a str, &'a Value, bool)],
    recursive: bool,
    level: usize,
    ancestors: &mut Vec<&'a str>,
) {
    let indent = "  ".repeat(level);
    for (name, schema, required) in fields {
        let mark = if *required { " -required-" } else { "" };
        out.push_str(&format!("{indent}{name}\t<{}>{mark}\n", type_name(document, schema)));
        let values = enumerated(schema);
        if !values.is_empty() {
            let shown = values.iter().take(ENUM_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = if values.len() > ENUM_SHOWN_MAX { ", ...." } else { "" };
            out.push_str(&format!("{indent}enum: {shown}{more}\n"));
        }
        if !recursive {
            let description = text(schema, "description");
            let description = if description.is_empty() { "<no description>" } else { description };
            push_wrapped(out, description, (level + 1) * 2);
            out.push('\n');
            continue;
        }
        let (own, depth) = (referred(schema), ancestors.len());
        // A type that contains itself is listed once.
        if own.is_some_and(|own| ancestors.contains(&own)) {
            continue;
        }
        ancestors.extend(own);
        push_fields(out, document, &document.fields(schema), recursive, level + 1, ancestors);
        ancestors.truncate(depth);
    }
}

/// The name of the type of a field's elements.
fn referred(schema: &Value) -> Option<&str> {
    match inner(schema) {
        Some(inner) => referred(inner),
        None => reference(schema),
    }
}

fn enumerated(schema: &Value) -> Vec<String> {
    items(schema, "enum").iter().map(crate::value::plain).collect()
}

fn push_wrapped(out: &mut String, description: &str, indent: usize) {
    for line in wrap(description, WIDTH) {
        // Writing to a text cannot fail.
        if writeln!(out, "{}{line}", " ".repeat(indent)).is_err() {
            return;
        }
    }
}

/// The lines of a text: what belongs together is joined and broken at words; lists, code and paragraphs stay.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line: Vec<&str> = Vec::new();
    let mut last_word = "";
    fn flush<'a>(line: &mut Vec<&'a str>, last_word: &mut &'a str, lines: &mut Vec<String>) {
        if !line.is_empty() {
            lines.push(std::mem::take(line).join(" "));
            *last_word = "";
        }
    }
    for source in text.split('\n') {
        if source.starts_with("    ") {
            flush(&mut line, &mut last_word, &mut lines);
            lines.push(source.to_owned());
            continue;
        }
        if source.trim().is_empty() {
            if !(lines.is_empty() && line.is_empty()) {
                flush(&mut line, &mut last_word, &mut lines);
                lines.push(String::new());
            }
            continue;
        }
        if last_word.ends_with(':') || is_bullet(source.trim()) {
            flush(&mut line, &mut last_word, &mut lines);
        }
        for word in source.split(' ') {
            let length: usize = line.iter().map(|word| word.len() + 1).sum::<usize>() + word.len();
            if !line.is_empty() && length > width {
                flush(&mut line, &mut last_word, &mut lines);
            }
            line.push(word);
            last_word = word;
        }
    }
    flush(&mut line, &mut last_word, &mut lines);
    lines
}

/// Whether a line begins an element of a list: `- `, `* `, `1. `, `1) `.
fn is_bullet(line: &str) -> bool {
    let Some((mark, _)) = line.split_once(char::is_whitespace) else { return false };
    let digits = mark.strip_suffix(['.', ')']).unwrap_or(mark);
    mark == "-" || mark == "*" || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "io.example.v1.Order": {
                "description": "Order is what was ordered.",
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "kind": {"type": "string", "description": "Kind names it."},
                    "spec": {"allOf": [{"$ref": "#/components/schemas/io.example.v1.OrderSpec"}], "description": "What."},
                },
                "x-kubernetes-group-version-kind": [{"group": "example.io", "version": "v1", "kind": "Order"}],
            },
            "io.example.v1.OrderSpec": {
                "description": "OrderSpec says what.",
                "type": "object",
                "properties": {
                    "size": {"type": "string", "enum": ["S", "M"]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/io.example.v1.OrderSpec"}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        }}})
    }

    fn asked(path: &[&str], recursive: bool) -> Result<String, String> {
        let document = document();
        let document = Document::new(&document);
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        let question = Question { group: "example.io", version: "v1", kind: "Order", path: &path, recursive };
        let root = document.of_kind("example.io", "v1", "Order").expect("the kind");
        explain(&document, root, &question)
    }

    #[test]
    fn a_kind_lists_its_fields() {
        assert_eq!(
            asked(&[], false).expect("an answer"),
            "DESCRIPTION:\n    Order is what was ordered.\n    \nFIELDS:\n  kind\t<string>\n    Kind names it.\n\n  \
             spec\t<OrderSpec> -required-\n    What.\n\n\n"
        );
    }

    #[test]
    fn a_field_has_a_type_and_all_descriptions() {
        let text = asked(&["spec"], true).expect("an answer");
        assert_eq!(
            text,
            "FIELD: spec <OrderSpec>\n\n\nDESCRIPTION:\n    What.\n    OrderSpec says what.\n    \nFIELDS:\n  \
             labels\t<map[string]string>\n  parts\t<[]OrderSpec>\n    labels\t<map[string]string>\n    \
             parts\t<[]OrderSpec>\n    size\t<string>\n    enum: S, M\n  size\t<string>\n  enum: S, M\n\n"
        );
        assert_eq!(asked(&["spec", "nope"], false), Err("nope".to_owned()));
        assert_eq!(asked(&["kind", "nope"], false), Err("nope".to_owned()));
        let size = asked(&["spec", "parts", "size"], false).expect("an answer");
        assert!(size.starts_with("FIELD: size <string>\nENUM:\n    S\n    M\n\nDESCRIPTION:\n    <empty>\n"), "{size}");
    }

    #[test]
    fn texts_are_broken_at_words_and_lists_stay() {
        assert_eq!(wrap("a b c d", 3), ["a b", "c d"]);
        assert_eq!(wrap("one:\n- a\n- b", 76), ["one:", "- a", "- b"]);
        assert_eq!(wrap("a\nb\n\nc", 76), ["a b", "", "c"]);
    }
}

//! kubectl's JSONPath templates: `{.items[*].metadata.name}`, `{range .items[*]}{.x}{"\n"}{end}`, filters, slices.
//!
//! Rules from <https://kubernetes.io/docs/reference/kubectl/jsonpath/>. Missing keys print nothing.

use serde_json::Value;

use crate::value::plain;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Node>);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

/// One path: steps from the current or the root object.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Index(i64),
    Union(Vec<Path>),
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A template that cannot be read: what is wrong and where.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("error parsing jsonpath {template}, {problem} (at character {position})")]
pub struct SyntaxError {
    /// The whole template.
    pub template: String,
    /// What is wrong.
    pub problem: String,
    /// Where, counted from 1.
    pub position: usize,
}

impl Template {
    /// Reads a template.
    pub fn parse(template: &str) -> Result<Template, SyntaxError> {
        let mut parser = Parser { text: template, characters: template.char_indices().collect(), position: 0 };
        let nodes = parser.nodes(false)?;
        Ok(Template(nodes))
    }

    /// Reads a path as `--sort-by`, `custom-columns` and `wait` take it: braces and the leading dot may be missing.
    pub fn parse_relaxed(path: &str) -> Result<Template, SyntaxError> {
        let inner = path.trim();
        let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner).trim();
        let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
        Template::parse(&format!("{{{dotted}}}"))
    }

    /// The text that the template makes of an object.
    pub fn render(&self, object: &Value) -> String {
        let mut out = String::new();
        render(&self.0, object, object, &mut out);
        out
    }

    /// The values that the template's paths find.
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        self.0
            .iter()
            .flat_map(|node| match node {
                Node::Path(path) => path.find(object, object),
                Node::Text(_) | Node::Range(..) => Vec::new(),
            })
            .collect()
    }
}

fn render(nodes: &[Node], root: &Value, current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let texts: Vec<String> = path.find(root, current).into_iter().map(plain).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, body) => {
                for value in path.find(root, current) {
                    render(body, root, value, out);
                }
            }
        }
    }
}

impl Path {
    fn find<'a>(&self, root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![if self.from_root { root } else { current }];
        for step in &self.steps {
            found = match step {
                Step::Recursive => {
                    let mut all = Vec::new();
                    for value in found {
                        descend(value, &mut all);
                    }
                    // `..name` looks at every level; a wildcard or nothing after it takes all.
                    all
                }
                step => found.into_iter().flat_map(|value| step.apply(root, value)).collect(),
            };
        }
        found
    }
}

fn descend<'a>(value: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|value| descend(value, all)),
        Value::Object(map) => map.values().for_each(|value| descend(value, all)),
        _ => {}
    }
}

impl Step {
    fn apply<'a>(&self, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name.as_str()).filter(|found| !found.is_null()).into_iter().collect(),
            Step::Wildcard => match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            },
            Step::Recursive => Vec::new(),
            Step::Index(index) => {
                let Some(list) = value.as_array() else { return Vec::new() };
                let index = if *index < 0 { *index + list.len() as i64 } else { *index };
                usize::try_from(index).ok().and_then(|index| list.get(index)).into_iter().collect()
            }
            Step::Slice { start, end, step } => {
                let Some(list) = value.as_array() else { return Vec::new() };
                let length = list.len() as i64;
                let resolve = |bound: i64| (if bound < 0 { bound + length } else { bound }).clamp(0, length) as usize;
                let (start, end) = (resolve(start.unwrap_or(0)), resolve(end.unwrap_or(length)));
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                list.get(start..end).unwrap_or_default().iter().step_by(step).collect()
            }
            Step::Union(paths) => paths.iter().flat_map(|path| path.find(root, value)).collect(),
            Step::Filter(left, comparison) => {
                let candidates: Vec<&Value> = match value {
                    Value::Array(list) => list.iter().collect(),
                    Value::Object(_) => vec![value],
                    _ => Vec::new(),
                };
                candidates.into_iter().filter(|candidate| keeps(root, candidate, left, comparison.as_ref())).collect()
            }
        }
    }
}

fn keeps(root: &Value, candidate: &Value, left: &Operand, comparison: Option<&(Comparison, Operand)>) -> bool {
    let Some(left) = operand(root, candidate, left) else { return false };
    let Some((comparison, right)) = comparison else { return true };
    let Some(right) = operand(root, candidate, right) else { return false };
    let ordering = match (&left, &right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(std::cmp::Ordering::Equal),
    };
    match comparison {
        Comparison::Equal => ordering.is_some_and(|ordering| ordering.is_eq()),
        Comparison::NotEqual => ordering.is_none_or(|ordering| ordering.is_ne()),
        Comparison::Less => ordering.is_some_and(|ordering| ordering.is_lt()),
        Comparison::LessOrEqual => ordering.is_some_and(|ordering| ordering.is_le()),
        Comparison::Greater => ordering.is_some_and(|ordering| ordering.is_gt()),
        Comparison::GreaterOrEqual => ordering.is_some_and(|ordering| ordering.is_ge()),
    }
}

fn operand(root: &Value, candidate: &Value, operand: &Operand) -> Option<Value> {
    match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(path) => path.find(root, candidate).first().map(|value| (*value).clone()),
    }
}

struct Parser<'a> {
    text: &'a str,
    characters: Vec<(usize, char)>,
    position: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.position).map(|(_, character)| *character)
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek();
        self.position += 1;
        character
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += 1;
        }
        found
    }

    fn rest(&self) -> &str {
        self.characters.get(self.position).map_or("", |(offset, _)| &self.text[*offset..])
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.position += 1;
        }
    }

    fn error<T>(&self, problem: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { template: self.text.to_owned(), problem: problem.into(), position: self.position + 1 })
    }

    /// Texts and `{...}` until the end, or until `{end}` inside a range.
    fn nodes(&mut self, in_range: bool) -> Result<Vec<Node>, SyntaxError> {
        let mut nodes = Vec::new();
        loop {
            match self.peek() {
                None if in_range => return self.error("unclosed range: {end} is missing"),
                None => return Ok(nodes),
                Some('{') => {
                    self.position += 1;
                    if self.braces(&mut nodes)? {
                        if in_range {
                            return Ok(nodes);
                        }
                        return self.error("not in range, nothing to end");
                    }
                }
                Some(_) => {
                    let mut text = String::new();
                    while let Some(character) = self.peek().filter(|character| *character != '{') {
                        text.push(character);
                        self.position += 1;
                    }
                    nodes.push(Node::Text(text));
                }
            }
        }
    }

    /// What stands between braces; true for `{end}`.
    fn braces(&mut self, nodes: &mut Vec<Node>) -> Result<bool, SyntaxError> {
        loop {
            self.spaces();
            match self.peek() {
                None => return self.error("unclosed action: '}' is missing"),
                Some('}') => {
                    self.position += 1;
                    return Ok(false);
                }
                Some('"' | '\'') => {
                    let text = self.quoted()?;
                    nodes.push(Node::Text(text));
                }
                Some(_) if self.rest().starts_with("range") => {
                    self.position += "range".len();
                    self.spaces();
                    let path = self.path()?;
                    self.spaces();
                    if !self.eat('}') {
                        return self.error("'}' expected after range");
                    }
                    let body = self.nodes(true)?;
                    nodes.push(Node::Range(path, body));
                    return Ok(false);
                }
                Some(_) if self.rest().starts_with("end") => {
                    self.position += "end".len();
                    self.spaces();
                    if !self.eat('}') {
                        return self.error("'}' expected after end");
                    }
                    return Ok(true);
                }
                Some('.' | '[' | '$' | '@') => {
                    let path = self.path()?;
                    nodes.push(Node::Path(path));
                }
                Some(character) => return self.error(format!("unrecognized character in action: {character:?}")),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let quote = self.next().unwrap_or('"');
        let mut text = String::new();
        loop {
            match self.next() {
                None => return self.error("unterminated quoted string"),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(character) => text.push(character),
                    None => return self.error("unterminated quoted string"),
                },
                Some(character) if character == quote => return Ok(text),
                Some(character) => text.push(character),
            }
        }
    }

    fn path(&mut self) -> Result<Path, SyntaxError> {
        let from_root = self.eat('$');
        if !from_root {
            self.eat('@');
        }
        let mut steps = Vec::new();
        loop {
            match self.peek() {
                Some('.') => {
                    self.position += 1;
                    if self.eat('.') {
                        steps.push(Step::Recursive);
                        if self.peek() == Some('[') {
                            continue;
                        }
                    }
                    if self.eat('*') {
                        steps.push(Step::Wildcard);
                    } else {
                        let name = self.name();
                        if !name.is_empty() {
                            steps.push(Step::Field(name));
                        }
                    }
                }
                Some('[') => {
                    self.position += 1;
                    let step = self.bracket()?;
                    steps.push(step);
                }
                _ => return Ok(Path { from_root, steps }),
            }
        }
    }

    /// A field name; `\.` stands for a dot in it.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self.peek() {
            match character {
                '\\' => {
                    self.position += 1;
                    if let Some(escaped) = self.next() {
                        name.push(escaped);
                    }
                }
                '.' | '[' | ']' | '}' | '{' | ',' | ')' | '(' | '=' | '!' | '<' | '>' | '"' | '\'' | '$' | '@' => break,
                character if character.is_whitespace() => break,
                character => {
                    name.push(character);
                    self.position += 1;
                }
            }
        }
        name
    }

    fn bracket(&mut self) -> Result<Step, SyntaxError> {
        self.spaces();
        if self.rest().starts_with("?(") {
            self.position += 2;
            let step = self.filter()?;
            self.spaces();
            if !self.eat(')') || !self.eat(']') {
                return self.error("unterminated filter");
            }
            return Ok(step);
        }
        let mut parts = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                Some('*') => {
                    self.position += 1;
                    parts.push(Step::Wildcard);
                }
                Some('"' | '\'') => parts.push(Step::Field(self.quoted()?)),
                Some('.' | '@' | '$') => parts.push(Step::Union(vec![self.path()?])),
                Some(character) if character.is_ascii_digit() || matches!(character, '-' | ':') => {
                    parts.push(self.index()?);
                }
                _ => return self.error("invalid array index"),
            }
            self.spaces();
            if self.eat(']') {
                break;
            }
            if !self.eat(',') {
                return self.error("unterminated array");
            }
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        Ok(Step::Union(parts.into_iter().map(|step| Path { from_root: false, steps: vec![step] }).collect()))
    }

    fn index(&mut self) -> Result<Step, SyntaxError> {
        let mut text = String::new();
        while let Some(character) = self.peek().filter(|c| c.is_ascii_digit() || matches!(c, '-' | ':')) {
            text.push(character);
            self.position += 1;
        }
        let numbers: Vec<Option<i64>> = text.split(':').map(|number| number.parse().ok()).collect();
        match numbers.as_slice() {
            [Some(index)] => Ok(Step::Index(*index)),
            [start, end] => Ok(Step::Slice { start: *start, end: *end, step: 1 }),
            [start, end, step] => Ok(Step::Slice { start: *start, end: *end, step: step.unwrap_or(1) }),
            _ => self.error(format!("invalid array index {text}")),
        }
    }

    fn filter(&mut self) -> Result<Step, SyntaxError> {
        let left = self.operand()?;
        self.spaces();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in comparisons {
            if self.rest().starts_with(sign) {
                self.position += sign.len();
                self.spaces();
                let right = self.operand()?;
                return Ok(Step::Filter(left, Some((comparison, right))));
            }
        }
        Ok(Step::Filter(left, None))
    }

    fn operand(&mut self) -> Result<Operand, SyntaxError> {
        self.spaces();
        match self.peek() {
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path()?)),
            Some('"' | '\'') => Ok(Operand::Literal(Value::String(self.quoted()?))),
            _ => {
                let mut word = String::new();
                while let Some(character) =
                    self.peek().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '+' | '.' | '_'))
                {
                    word.push(character);
                    self.position += 1;
                }
                match word.as_str() {
                    "true" => Ok(Operand::Literal(Value::Bool(true))),
                    "false" => Ok(Operand::Literal(Value::Bool(false))),
                    _ => match serde_json::from_str::<Value>(&word) {
                        Ok(number @ Value::Number(_)) => Ok(Operand::Literal(number)),
                        _ => self.error(format!("unrecognized operand {word:?} in filter")),
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, object: &Value) -> String {
        Template::parse(template).map_or_else(|error| error.to_string(), |template| template.render(object))
    }

    fn list() -> Value {
        json!({"items": [
            {"metadata": {"name": "a", "labels": {"app.io/x": "1"}}, "n": 1, "status": {"ready": true, "images": ["i", "j", "k"]}},
            {"metadata": {"name": "b"}, "n": 2, "status": {"ready": false}},
        ]})
    }

    #[test]
    fn documented_forms_work() {
        let list = list();
        for (template, expected) in [
            ("{.items[*].metadata.name}", "a b"),
            ("{$.items[1].metadata.name}", "b"),
            ("{.items[-1].metadata.name}", "b"),
            ("{range .items[*]}{.metadata.name}={.n}{\"\\n\"}{end}", "a=1\nb=2\n"),
            ("{range .items[*]}[{.metadata.name}, {.n}] {end}", "[a, 1] [b, 2] "),
            ("{.items[?(@.metadata.name==\"b\")].n}", "2"),
            ("{.items[?(@.n>1)].metadata.name}", "b"),
            ("{.items[?(@.status.ready==true)].metadata.name}", "a"),
            ("{.items[?(@.metadata.labels)].metadata.name}", "a"),
            ("{..name}", "a b"),
            ("{.items[0].status.images[0:2]}", "i j"),
            ("{.items[0].status.images[::2]}", "i k"),
            ("{.items[*]['metadata.name', 'n']}", "1 2"),
            ("{.items[0].metadata.labels.app\\.io/x}", "1"),
            ("{.items[0].metadata['labels']['app\\.io/x']}", "1"),
            ("{.items[0].status}", r#"{"ready":true,"images":["i","j","k"]}"#),
            ("{.missing.thing}", ""),
            ("names: {.items[0].metadata.name}", "names: a"),
        ] {
            assert_eq!(render(template, &list), expected, "{template}");
        }
    }

    #[test]
    fn relaxed_paths_need_no_braces() {
        for path in ["metadata.name", ".metadata.name", "{.metadata.name}", "{metadata.name}"] {
            let template = Template::parse_relaxed(path).expect(path);
            assert_eq!(template.render(&json!({"metadata": {"name": "x"}})), "x", "{path}");
        }
    }

    #[test]
    fn mistakes_say_where() {
        for template in ["{.items", "{range .items[*]}x", "{end}", "{.a[}", "{.a[?(@.x==)]}", "{\"open}", "{%}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        let error = Template::parse("{.a[x]}").expect_err("an index is a number");
        assert_eq!(error.to_string(), "error parsing jsonpath {.a[x]}, invalid array index (at character 5)");
    }
}

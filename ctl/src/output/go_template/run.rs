//! From a tree and an object to text.

use serde_json::Value;

use super::functions::{call, is_true, text};
use super::{Node, Operand, Pipeline, Start, TemplateError};

/// Renders a template.
pub(super) fn run(nodes: &[Node], object: &Value) -> Result<String, TemplateError> {
    let mut state = State { out: String::new(), variables: vec![(String::new(), object.clone())] };
    state.walk(nodes, object)?;
    Ok(state.out)
}

struct State {
    out: String,
    /// The newest last; the first, without a name, is the whole object.
    variables: Vec<(String, Value)>,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl State {
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&text(&value));
                    }
                }
                Node::If { branches, otherwise } => {
                    let mark = self.variables.len();
                    let mut chosen = otherwise;
                    for (condition, body) in branches {
                        if is_true(&self.pipeline(condition, dot)?) {
                            chosen = body;
                            break;
                        }
                    }
                    let flow = self.walk(chosen, dot)?;
                    self.variables.truncate(mark);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::With { value, body, otherwise } => {
                    let mark = self.variables.len();
                    let value = self.pipeline(value, dot)?;
                    let flow = if is_true(&value) { self.walk(body, &value)? } else { self.walk(otherwise, dot)? };
                    self.variables.truncate(mark);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range { over, body, otherwise } => self.range(over, body, otherwise, dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let elements: Vec<(Value, Value)> = match self.commands(over, dot)? {
            Value::Array(list) => {
                list.into_iter().enumerate().map(|(place, value)| (Value::from(place), value)).collect()
            }
            Value::Object(map) => {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|one, other| one.0.cmp(&other.0));
                pairs.into_iter().map(|(key, value)| (Value::String(key), value)).collect()
            }
            Value::Null => vec![],
            other => return Err(TemplateError::new(format!("range can't iterate over {}", text(&other)))),
        };
        let mark = self.variables.len();
        if elements.is_empty() {
            self.walk(otherwise, dot)?;
        }
        for (key, value) in elements {
            match over.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), value.clone())),
                [place, one, ..] => {
                    self.variables.push((place.clone(), key));
                    self.variables.push((one.clone(), value.clone()));
                }
            }
            let flow = self.walk(body, &value)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(mark);
        Ok(())
    }

    /// The value of a pipeline, after its variables were set.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            if !pipeline.assigns {
                self.variables.push((name.clone(), value.clone()));
                continue;
            }
            match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                Some(known) => known.1 = value.clone(),
                None => return Err(undefined(name)),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(&mut self, words: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, TemplateError> {
        let Some((first, rest)) = words.split_first() else { return Ok(Value::Null) };
        if let Start::Function(name) = &first.start {
            let mut args = rest.iter().map(|word| self.operand(word, dot)).collect::<Result<Vec<_>, _>>()?;
            args.extend(piped);
            return call(name, &args);
        }
        if !rest.is_empty() || piped.is_some() {
            return Err(TemplateError::new("can't give argument to non-function"));
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let value = match &operand.start {
            Start::Dot => fields(dot, &operand.fields)?.clone(),
            Start::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| undefined(name))?;
                fields(value, &operand.fields)?.clone()
            }
            Start::Literal(value) => value.clone(),
            Start::Function(name) => call(name, &[])?,
            Start::Pipeline(pipeline) => {
                let value = self.commands(pipeline, dot)?;
                fields(&value, &operand.fields)?.clone()
            }
        };
        Ok(value)
    }
}

fn undefined(name: &str) -> TemplateError {
    TemplateError::new(format!("undefined variable \"${name}\""))
}

/// The value at fields; what a map has not is null.
fn fields<'a>(value: &'a Value, fields: &[String]) -> Result<&'a Value, TemplateError> {
    fields.iter().try_fold(value, |value, field| match value {
        Value::Object(map) => Ok(map.get(field).unwrap_or(&Value::Null)),
        Value::Null => Ok(&Value::Null),
        _ => Err(TemplateError::new(format!("can't evaluate field {field} in type interface {{}}"))),
    })
}

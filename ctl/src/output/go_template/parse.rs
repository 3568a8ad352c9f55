//! From text to a tree.

use serde_json::Value;

use super::{Node, Operand, Pipeline, Start, TemplateError};

/// How deep pipelines may nest.
const DEPTH_MAX: usize = 100;

/// The parts of a template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = split(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some(end) => Err(TemplateError::new(format!("unexpected {{{{{}}}}}", end.0))),
    }
}

/// Text between actions, or what is inside the braces of one.
#[derive(Debug)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// `.a.b`, `$x.y`, `range`: everything that is no literal and no sign.
    Word(String),
    Literal(Value),
    /// `(`, `)` followed by its fields, `|`, `,`, `:=`, `=`.
    Sign(&'static str),
    /// `).a.b`
    Fields(Vec<String>),
}

fn split(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (mut before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if trim_next {
            before = before.trim_start();
        }
        let Some(mut action) = after else {
            pieces.push(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        if let Some(inside) = action.strip_prefix('-').filter(|inside| inside.starts_with(char::is_whitespace)) {
            before = before.trim_end();
            action = inside;
        }
        pieces.push(Piece::Text(before.to_owned()));
        if let Some(comment) = action.trim_start().strip_prefix("/*") {
            let Some((_, after)) = comment.split_once("*/") else {
                return Err(TemplateError::new("unclosed comment"));
            };
            let after = after.trim_start();
            (trim_next, rest) = match (after.strip_prefix("-}}"), after.strip_prefix("}}")) {
                (Some(rest), _) => (true, rest),
                (_, Some(rest)) => (false, rest),
                _ => return Err(TemplateError::new("comment ends before closing delimiter")),
            };
            continue;
        }
        let (tokens, after, trims) = tokens(action)?;
        pieces.push(Piece::Action(tokens));
        (rest, trim_next) = (after, trims);
    }
}

/// The tokens up to the closing braces, what follows them, and whether they trim it.
fn tokens(text: &str) -> Result<(Vec<Token>, &str, bool), TemplateError> {
    let unclosed = || TemplateError::new("unclosed action");
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let spaced = rest.starts_with(char::is_whitespace);
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        if let Some(after) = rest.strip_prefix("-}}").filter(|_| spaced) {
            return Ok((tokens, after, true));
        }
        let first = rest.chars().next().ok_or_else(unclosed)?;
        let (token, after) = match first {
            '"' => {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                match stream.next() {
                    Some(Ok(value)) => (Token::Literal(value), &rest[stream.byte_offset()..]),
                    _ => return Err(TemplateError::new("unterminated quoted string")),
                }
            }
            '`' => {
                let (inside, after) =
                    rest[1..].split_once('`').ok_or_else(|| TemplateError::new("unterminated raw quoted string"))?;
                (Token::Literal(Value::from(inside)), after)
            }
            '\'' => {
                let mut characters = rest.chars().skip(1);
                match (characters.next(), characters.next()) {
                    (Some(character), Some('\'')) => {
                        let length = 2 + character.len_utf8();
                        (Token::Literal(Value::from(u32::from(character))), &rest[length..])
                    }
                    _ => return Err(TemplateError::new("malformed character constant")),
                }
            }
            '(' => (Token::Sign("("), &rest[1..]),
            ')' => {
                let end = rest[1..].find(|c: char| !is_word(c)).map_or(rest.len(), |end| end + 1);
                match rest[1..end].strip_prefix('.') {
                    Some(fields) if !fields.is_empty() => {
                        (Token::Fields(fields.split('.').map(str::to_owned).collect()), &rest[end..])
                    }
                    _ => (Token::Sign(")"), &rest[1..]),
                }
            }
            '|' => (Token::Sign("|"), &rest[1..]),
            ',' => (Token::Sign(","), &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Sign(":="), &rest[2..]),
            '=' => (Token::Sign("="), &rest[1..]),
            first if is_word(first) || first == '-' || first == '+' => {
                let end = rest[1..].find(|c: char| !is_word(c)).map_or(rest.len(), |end| end + 1);
                let word = &rest[..end];
                let number = word.strip_prefix('+').unwrap_or(word);
                let token = match serde_json::from_str::<Value>(number) {
                    Ok(value @ (Value::Number(_) | Value::Bool(_))) => Token::Literal(value),
                    _ if word == "nil" => Token::Literal(Value::Null),
                    _ => Token::Word(word.to_owned()),
                };
                (token, &rest[end..])
            }
            other => return Err(TemplateError::new(format!("unexpected {other:?} in operand"))),
        };
        tokens.push(token);
        rest = after;
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '$' | '_')
}

/// The word that ended a block, and the tokens after it.
type End = (String, Vec<Token>);

/// The nodes up to `end` or `else`, or to the end of the template.
fn block(pieces: &mut std::vec::IntoIter<Piece>, depth: usize) -> Result<(Vec<Node>, Option<End>), TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::new("the template is nested too deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let mut tokens = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let keyword = match tokens.first() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        match keyword.as_str() {
            "end" | "else" => return Ok((nodes, Some((keyword, tokens.split_off(1))))),
            "break" => nodes.push(Node::Break),
            "continue" => nodes.push(Node::Continue),
            "if" => nodes.push(condition(pieces, &tokens[1..], depth)?),
            "with" | "range" => {
                let value = pipeline(&tokens[1..])?;
                let (body, end) = block(pieces, depth + 1)?;
                let otherwise = match ended(end)? {
                    Some(rest) if rest.is_empty() => {
                        let (otherwise, end) = block(pieces, depth + 1)?;
                        closed(end)?;
                        otherwise
                    }
                    Some(_) => return Err(TemplateError::new(format!("unexpected words after else of {keyword}"))),
                    None => vec![],
                };
                nodes.push(if keyword == "with" {
                    Node::With { value, body, otherwise }
                } else {
                    Node::Range { over: value, body, otherwise }
                });
            }
            "define" | "template" | "block" => {
                return Err(TemplateError::new(format!("{{{{{keyword}}}}} is not supported here")));
            }
            _ if tokens.is_empty() => return Err(TemplateError::new("missing value for command")),
            _ => nodes.push(Node::Print(pipeline(&tokens)?)),
        }
    }
    Ok((nodes, None))
}

/// The tokens after `else`; `None` for `end`.
fn ended(end: Option<End>) -> Result<Option<Vec<Token>>, TemplateError> {
    match end {
        None => Err(TemplateError::new("unexpected EOF")),
        Some((word, rest)) => Ok((word == "else").then_some(rest)),
    }
}

fn closed(end: Option<End>) -> Result<(), TemplateError> {
    match ended(end)? {
        None => Ok(()),
        Some(_) => Err(TemplateError::new("unexpected {{else}}")),
    }
}

fn condition(pieces: &mut std::vec::IntoIter<Piece>, tokens: &[Token], depth: usize) -> Result<Node, TemplateError> {
    let mut branches = Vec::new();
    let mut condition = pipeline(tokens)?;
    loop {
        let (body, end) = block(pieces, depth + 1)?;
        branches.push((condition, body));
        match ended(end)?.as_deref() {
            None => return Ok(Node::If { branches, otherwise: vec![] }),
            Some([]) => {
                let (otherwise, end) = block(pieces, depth + 1)?;
                closed(end)?;
                return Ok(Node::If { branches, otherwise });
            }
            Some([Token::Word(word), rest @ ..]) if word == "if" => condition = pipeline(rest)?,
            Some(_) => return Err(TemplateError::new("unexpected words after else")),
        }
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut rest = tokens;
    let mut made = Pipeline { variables: vec![], assigns: false, commands: vec![] };
    let sign = tokens.iter().position(|token| matches!(token, Token::Sign(":=" | "=")));
    if let Some(sign) = sign {
        for token in &tokens[..sign] {
            match token {
                Token::Word(word) if word.starts_with('$') => made.variables.push(word[1..].to_owned()),
                Token::Sign(",") => {}
                other => return Err(TemplateError::new(format!("unexpected {other:?} in a declaration"))),
            }
        }
        made.assigns = tokens[sign] == Token::Sign("=");
        rest = &tokens[sign + 1..];
    }
    made.commands = commands(&mut rest, 0)?;
    if !rest.is_empty() {
        return Err(TemplateError::new("unexpected right paren"));
    }
    Ok(made)
}

/// The commands up to a closing parenthesis, which stays.
fn commands(rest: &mut &[Token], depth: usize) -> Result<Vec<Vec<Operand>>, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::new("the pipeline is nested too deep"));
    }
    let mut commands = vec![vec![]];
    while let Some((token, after)) = rest.split_first() {
        if matches!(token, Token::Sign(")") | Token::Fields(_)) {
            break;
        }
        *rest = after;
        let operand = match token {
            Token::Sign("|") => {
                commands.push(vec![]);
                continue;
            }
            Token::Sign("(") => {
                let inner = self::commands(rest, depth + 1)?;
                let fields = match rest.split_first() {
                    Some((Token::Sign(")"), after)) => {
                        *rest = after;
                        vec![]
                    }
                    Some((Token::Fields(fields), after)) => {
                        *rest = after;
                        fields.clone()
                    }
                    _ => return Err(TemplateError::new("unclosed left paren")),
                };
                let pipeline = Pipeline { variables: vec![], assigns: false, commands: inner };
                Operand { start: Start::Pipeline(Box::new(pipeline)), fields }
            }
            Token::Literal(value) => Operand { start: Start::Literal(value.clone()), fields: vec![] },
            Token::Word(word) => self::word(word)?,
            other => return Err(TemplateError::new(format!("unexpected {other:?} in command"))),
        };
        if let Some(command) = commands.last_mut() {
            command.push(operand);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(TemplateError::new("missing value for command"));
    }
    Ok(commands)
}

fn word(word: &str) -> Result<Operand, TemplateError> {
    let mut parts = word.split('.');
    let first = parts.next().unwrap_or_default();
    let fields: Vec<String> = parts.filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let start = match first {
        "" => Start::Dot,
        name if name.starts_with('$') => Start::Variable(name[1..].to_owned()),
        name if fields.is_empty() && !word.contains('.') => {
            if !super::functions::is_known(name) {
                return Err(TemplateError::new(format!("function {name:?} not defined")));
            }
            Start::Function(name.to_owned())
        }
        _ => return Err(TemplateError::new(format!("bad number or field syntax: {word:?}"))),
    };
    Ok(Operand { start, fields })
}

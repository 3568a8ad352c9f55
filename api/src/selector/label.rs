//! Label selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::SelectorError;
use super::lexer::{Token, tokens};
use crate::validation::{format, quote};

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `a=b`
    Equals,
    /// `a!=b`
    NotEquals,
    /// `a in (b,c)`
    In,
    /// `a notin (b,c)`
    NotIn,
    /// `a`
    Exists,
    /// `!a`
    DoesNotExist,
    /// `a>1`
    GreaterThan,
    /// `a<1`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// A condition; checks key and values.
    ///
    /// # Errors
    /// When the key or a value cannot be a label's, or the number of values does not fit the operator.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let key = key.into();
        let values: BTreeSet<String> = values.into_iter().collect();
        let mut problems: Vec<String> = format::qualified_name(&key)
            .into_iter()
            .map(|text| format!("<nil>: Invalid value: {}: {text}", quote(&key)))
            .collect();
        let count_problem = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(text) = count_problem {
            let list: Vec<String> = values.iter().map(|value| quote(value)).collect();
            problems.push(format!("values: Invalid value: [{}]: {text}", list.join(",")));
        }
        for (index, value) in values.iter().enumerate() {
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                problems.push(format!(
                    "values[{index}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                    quote(value)
                ));
            }
            for text in format::label_value(value) {
                problems.push(format!("values[{index}][{key}]: Invalid value: {}: {text}", quote(value)));
            }
        }
        match problems.len() {
            0 => Ok(Self { key, operator, values }),
            1 => Err(SelectorError(problems.remove(0))),
            _ => Err(SelectorError(format!("[{}]", problems.join(", ")))),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with, in order.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// The values of the label that can match, when they are few enough to look up in an index.
    pub fn wanted_values(&self) -> Option<&BTreeSet<String>> {
        matches!(self.operator, Operator::Equals | Operator::In).then_some(&self.values)
    }

    /// Whether the label's value (`None`: no such label) fulfils the condition.
    pub fn matches_value(&self, value: Option<&str>) -> bool {
        let is_listed = |value: &str| self.values.contains(value);
        match (self.operator, value) {
            (Operator::Equals | Operator::In, value) => value.is_some_and(is_listed),
            (Operator::NotEquals | Operator::NotIn, value) => !value.is_some_and(is_listed),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::GreaterThan | Operator::LessThan, None) => false,
            (operator, Some(value)) => {
                let limit = self.values.first().and_then(|limit| limit.parse::<i64>().ok());
                match (value.parse::<i64>().ok(), limit) {
                    (Some(value), Some(limit)) if operator == Operator::GreaterThan => value > limit,
                    (Some(value), Some(limit)) => value < limit,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Exists => f.write_str(&self.key),
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::Equals => write!(f, "{}={}", self.key, values()),
            Operator::NotEquals => write!(f, "{}!={}", self.key, values()),
            Operator::In => write!(f, "{} in ({})", self.key, values()),
            Operator::NotIn => write!(f, "{} notin ({})", self.key, values()),
            Operator::GreaterThan => write!(f, "{}>{}", self.key, values()),
            Operator::LessThan => write!(f, "{}<{}", self.key, values()),
        }
    }
}

/// A conjunction of conditions on labels. Without any it selects everything; [`LabelSelector::nothing`]
/// selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// From conditions.
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// From equalities, as `spec.selector` of a Service has them.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: BTreeSet::from([value.clone()]),
            })
            .collect();
        Self::from_requirements(requirements)
    }

    /// From the selector of an object: absent selects nothing, empty selects everything.
    ///
    /// # Errors
    /// When an expression is not a valid condition.
    pub fn from_object(selector: Option<&crate::meta::LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else {
            return Ok(Self::nothing());
        };
        let mut requirements = Self::from_map(&selector.match_labels.clone().unwrap_or_default()).requirements;
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError(format!("{} is not a valid label selector operator", quote(other)))),
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(expression.key.clone(), operator, values)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// Reads the string form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    ///
    /// # Errors
    /// When it does not follow the grammar or names an impossible label; upstream's texts.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        parser.selector().map(Self::from_requirements)
    }

    /// The conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects no object at all.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// The same for labels that may be absent as a whole.
    pub fn matches_opt(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_by(|key| labels?.get(key).map(String::as_str))
    }

    /// The same for labels that are looked up.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches_value(lookup(&requirement.key)))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    /// The token here as it reads where only names and values make sense: `in` may be a key.
    fn peek_value(&self) -> Token {
        match self.peek() {
            word @ (Token::In | Token::NotIn) => Token::Identifier(word.literal().to_owned()),
            token => token.clone(),
        }
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn next_value(&mut self) -> Token {
        let token = self.peek_value();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_value() {
                Token::Identifier(_) | Token::Not => {
                    let requirement = self.requirement()?;
                    requirements.push(requirement);
                    match self.next() {
                        Token::End => return Ok(requirements),
                        Token::Comma => {
                            let after = self.peek_value();
                            if !matches!(after, Token::Identifier(_) | Token::Not) {
                                return Err(SelectorError(format!(
                                    "found '{}', expected: identifier after ','",
                                    after.literal()
                                )));
                            }
                        }
                        other => return Err(found(&other, "',' or 'end of string'")),
                    }
                }
                Token::End => return Ok(requirements),
                other => return Err(found(&other, "!, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        self.requirement_inner().map_err(|error| SelectorError(format!("unable to parse requirement: {}", error.0)))
    }

    fn requirement_inner(&mut self) -> Result<Requirement, SelectorError> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = match self.next_value() {
            Token::Identifier(key) => key,
            other => return Err(found(&other, "identifier")),
        };
        if let Some(text) = format::qualified_name(&key).into_iter().next() {
            return Err(SelectorError(format!("<nil>: Invalid value: {}: {text}", quote(&key))));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = match self.next() {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals | Token::DoubleEquals => Operator::Equals,
            Token::NotEquals => Operator::NotEquals,
            Token::GreaterThan => Operator::GreaterThan,
            Token::LessThan => Operator::LessThan,
            other => return Err(found(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        match self.peek_value() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Identifier(value) => {
                self.next();
                Ok(value)
            }
            other => Err(found(&other, "identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let open = self.next();
        if open != Token::OpenParenthesis {
            return Err(found(&open, "'('"));
        }
        let mut values = BTreeSet::new();
        match self.peek_value() {
            Token::Identifier(_) | Token::Comma => {}
            Token::CloseParenthesis => {
                self.next();
                return Ok(values);
            }
            other => return Err(found(&other, "',', ')' or identifier")),
        }
        loop {
            match self.next_value() {
                Token::Identifier(value) => {
                    values.insert(value);
                    match self.next() {
                        Token::Comma => {
                            if *self.peek() == Token::CloseParenthesis {
                                // A comma before the end stands for an empty value.
                                values.insert(String::new());
                            }
                        }
                        Token::CloseParenthesis => return Ok(values),
                        other => return Err(found(&other, "',' or ')'")),
                    }
                }
                Token::Comma => {
                    values.insert(String::new());
                }
                Token::CloseParenthesis => return Ok(values),
                other => return Err(found(&other, "',', or identifier")),
            }
        }
    }
}

fn found(token: &Token, expected: &str) -> SelectorError {
    SelectorError(format!("found '{}', expected: {expected}", token.literal()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_operator_selects() {
        let object = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
        for text in [
            "",
            "app=web",
            "app==web",
            "app!=db",
            "app in (web,db)",
            "app notin (db)",
            "app",
            "!other",
            "other!=x",
            "n>4",
            "n<6",
            "app=web,tier in (front), !z",
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert!(selector.matches(&object), "{text}");
            assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector, "{text}");
        }
        for text in ["app=db", "!app", "other", "app notin (web)", "n>5", "app=web,tier=back"] {
            assert!(!LabelSelector::parse(text).unwrap().matches(&object), "{text}");
        }
    }

    #[test]
    fn errors_are_upstreams() {
        for (text, error) in [
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("a=has space", "found 'space', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().0, error, "{text}");
        }
    }

    #[test]
    fn an_absent_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!LabelSelector::from_object(None).unwrap().matches(&labels(&[])));
        let empty = crate::meta::LabelSelector::default();
        assert!(LabelSelector::from_object(Some(&empty)).unwrap().matches(&labels(&[])));
    }
}

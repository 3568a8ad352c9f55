//! Field selectors: `a=b,c!=d`.

use std::fmt;

use super::SelectorError;
use crate::validation::quote;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// For instance `spec.nodeName`.
    pub field: String,
    /// What the field is compared with.
    pub value: String,
    /// Whether the field must differ.
    pub negated: bool,
}

impl FieldRequirement {
    /// Whether a field's value fulfils the condition.
    pub fn matches_value(&self, value: &str) -> bool {
        (value == self.value) != self.negated
    }
}

/// A conjunction of conditions on fields. Without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// From conditions.
    pub fn from_requirements(requirements: Vec<FieldRequirement>) -> Self {
        Self { requirements }
    }

    /// Reads the string form: `a=b,c==d,e!=f`; `\\`, `\,` and `\=` stand for themselves in values.
    ///
    /// # Errors
    /// When a term has no operator or an unknown escape; upstream's texts.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, value, negated) = split_term(term)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")))?;
            requirements.push(FieldRequirement { field: field.to_owned(), value: unescape(value)?, negated });
        }
        Ok(Self { requirements })
    }

    /// The conditions in their order.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one value that a field must have, when there is one: for lookups in an index.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| requirement.field == field && !requirement.negated)
            .map(|requirement| requirement.value.as_str())
    }

    /// Whether an object with these fields is selected; a field that `lookup` does not know reads as
    /// the empty string.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches_value(lookup(&requirement.field).unwrap_or_default()))
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if requirement.negated { "!=" } else { "=" };
            let value = requirement.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", requirement.field)?;
        }
        Ok(())
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Field, value and whether the operator is `!=`.
fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    for (index, _) in term.char_indices() {
        let rest = &term[index..];
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..index], value, negated));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => {
                    let sequence = format!("\\{}", other.map(String::from).unwrap_or_default());
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: {}",
                        quote(&sequence)
                    )));
                }
            },
            '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {character}"
                )));
            }
            character => out.push(character),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_and_written() {
        let selector = FieldSelector::parse(r"a=b,c!=d,e==f\,g").unwrap();
        assert_eq!(selector.to_string(), r"a=b,c!=d,e=f\,g");
        assert_eq!(selector.exact("e"), Some("f,g"));
        assert_eq!(selector.exact("c"), None);
        assert!(selector.matches_by(|field| match field {
            "a" => Some("b"),
            "e" => Some("f,g"),
            _ => None,
        }));
        assert_eq!(
            FieldSelector::parse("metadata.name").unwrap_err().0,
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
        );
    }
}

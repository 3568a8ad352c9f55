//! What can be wrong with YAML, and where.

/// A mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line} column {column}")]
pub struct Error {
    /// What is wrong.
    pub problem: Problem,
    /// The document, counted from 1; those without content do not count.
    pub document: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

/// What is wrong with YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is no YAML.
    #[error("{0}")]
    Syntax(String),
    /// Bytes that are no text.
    #[error("not UTF-8")]
    Encoding,
    /// A character that YAML has no place for; only a quoted scalar can name it.
    #[error("control characters are not allowed: U+{0:04X}")]
    Character(u32),
    /// A key that is there already.
    #[error("duplicate key {key:?}: already set in map at line {first}")]
    Duplicate {
        /// The key.
        key: String,
        /// The line of the one before.
        first: usize,
    },
    /// A key that JSON has no text for.
    #[error("a key must be a text, not {0}")]
    Key(&'static str),
    /// `<<` with something else than mappings.
    #[error("map merge requires map or sequence of maps as the value")]
    Merge,
    /// A scalar that is not what its tag says.
    #[error("cannot decode {found} `{text}` as a {tag}")]
    Tag {
        /// What it is.
        found: &'static str,
        /// The scalar.
        text: String,
        /// What it is said to be.
        tag: String,
    },
    /// `!!binary` that is no base64.
    #[error("!!binary value contains invalid base64 data")]
    Binary,
    /// `.inf` or `.nan`.
    #[error("{0} is not a number that JSON can hold")]
    Number(&'static str),
    /// An alias within the value that it stands for.
    #[error("an anchor's value contains itself")]
    Cycle,
    /// Nested too deeply.
    #[error("nested more than {0} levels deep")]
    Depth(usize),
    /// Aliases that stand for too much.
    #[error("document contains excessive aliasing: aliases stand for more than {0} bytes")]
    Aliases(usize),
    /// Several documents where one is expected.
    #[error("more than one document; only one can be read here")]
    Documents,
}

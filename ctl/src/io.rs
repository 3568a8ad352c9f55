//! Where a command reads and writes: injected, so that tests drive the same code as the terminal.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Read, Write};

/// The process's surroundings as a command sees them.
pub struct Io {
    /// Standard input.
    pub input: Box<dyn Read + Send>,
    /// Standard output.
    pub out: Box<dyn Write + Send>,
    /// Standard error.
    pub err: Box<dyn Write + Send>,
    /// Whether standard input is a terminal.
    pub input_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_is_terminal: bool,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// The current time.
    pub now: fn() -> jiff::Timestamp,
}

impl Io {
    /// The surroundings of this process.
    pub fn process() -> Self {
        Self {
            input: Box::new(io::stdin()),
            out: Box::new(BufWriter::with_capacity(64 * 1024, io::stdout())),
            err: Box::new(io::stderr()),
            input_is_terminal: io::stdin().is_terminal(),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            now: jiff::Timestamp::now,
        }
    }

    /// A non-empty environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user's home folder.
    pub fn home(&self) -> Option<&str> {
        self.variable("HOME")
    }

    /// Prints a line to standard output and hands it on at once.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Prints a line to standard error.
    pub fn note(&mut self, line: &str) -> io::Result<()> {
        self.out.flush()?;
        writeln!(self.err, "{line}")?;
        self.err.flush()
    }

    /// Prints `Warning: ...` to standard error, as kubectl does.
    pub fn warn(&mut self, text: &str) -> io::Result<()> {
        self.note(&format!("Warning: {text}"))
    }
}

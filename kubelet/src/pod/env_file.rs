//! Files that environment variables come from (`fileKeyRef`), pure: their format is the part of a POSIX shell's that
//! leaves nothing to interpretation.
//!
//! A line is `NAME='VALUE'`. Blanks before the name, blank lines and lines that begin with `#` do not count; there are
//! no blanks about `=`. The value is what stands between the quotes, as it stands there, over any number of lines;
//! after the closing quote a comment may follow. What comes after the variable that is looked for is not looked at.

/// Why a file cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct Malformed {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The value of a variable in a file; empty where the file does not set it.
///
/// # Errors
/// When a line up to the variable's is not of the format.
pub fn value(text: &str, key: &str) -> Result<String, Malformed> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let malformed = |why: &'static str| Malformed { line: number, why };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once('=').ok_or_else(|| malformed("there is no '='"))?;
        if name.is_empty() {
            return Err(malformed("there is no name before '='"));
        }
        if name.ends_with(char::is_whitespace) {
            return Err(malformed("whitespace before '=' is not allowed"));
        }
        let mut rest = rest.strip_prefix('\'').ok_or_else(|| malformed("value must be enclosed in single quotes"))?;
        let mut found = String::new();
        let after = loop {
            if let Some((end, after)) = rest.split_once('\'') {
                found.push_str(end);
                break after.trim();
            }
            found.push_str(rest);
            found.push('\n');
            rest = lines.next().ok_or_else(|| malformed("the quote is not closed"))?.1;
        };
        if !after.is_empty() && !after.starts_with('#') {
            return Err(malformed("unexpected content after closing quote"));
        }
        if name == key {
            return Ok(found);
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Containers write what they like; what is between quotes comes back.
        #[test]
        fn whatever_is_quoted_comes_back(before in "[^'\\r]*", quoted in "[^'\\r]*", text in any::<String>()) {
            let written = format!("A='{before}'\n# {}\nB='{quoted}' # {}\n", "it's", "a comment");
            prop_assert_eq!(value(&written, "A"), Ok(before));
            prop_assert_eq!(value(&written, "B"), Ok(quoted));
            if let Err(malformed) = value(&text, "B") {
                prop_assert!((1..=text.lines().count()).contains(&malformed.line));
            }
        }
    }

    #[test]
    fn a_value_is_what_stands_between_the_quotes() {
        let text = "# a comment\n\n  A='one'\n\tB='it is $HOME # \"so\" \\n'  # a comment\nC='first\n  # second\n\nlast '\n\
                    D=''\nE='a=b'\n";
        for (key, wanted) in [
            ("A", "one"),
            ("B", "it is $HOME # \"so\" \\n"),
            ("C", "first\n  # second\n\nlast "),
            ("D", ""),
            ("E", "a=b"),
            ("F", ""),
        ] {
            assert_eq!(value(text, key).as_deref(), Ok(wanted), "{key}");
        }
        assert_eq!(value("A='dos'\r\n", "A").as_deref(), Ok("dos"));
    }

    #[test]
    fn what_a_shell_would_have_to_interpret_is_refused() {
        for (text, line, why) in [
            ("A='1'\nB\nC='3'", 2, "there is no '='"),
            ("='1'", 1, "there is no name before '='"),
            ("A ='1'", 1, "whitespace before '=' is not allowed"),
            ("A= '1'", 1, "value must be enclosed in single quotes"),
            ("A=1", 1, "value must be enclosed in single quotes"),
            ("A=\"1\"", 1, "value must be enclosed in single quotes"),
            ("\nA='1''2'", 2, "unexpected content after closing quote"),
            ("A='1\nB='2'", 1, "unexpected content after closing quote"),
            ("A='1", 1, "the quote is not closed"),
        ] {
            assert_eq!(value(text, "C"), Err(Malformed { line, why }), "{text:?}");
        }
        // What comes after it is not looked at.
        assert_eq!(value("A='1'\nB", "A").as_deref(), Ok("1"));
    }
}

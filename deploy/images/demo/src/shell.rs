//! A small line interpreter, enough for `exec -it` and `sh -c`: words with quotes, `$NAME`, `;`,
//! `&&`, `||`, `>` and `>>` to a file, `cd`, `export`, `exit`, the applets, and programs by path.

use std::{
    fs::OpenOptions,
    io,
    io::{BufRead, IsTerminal, Write},
    process::{Command, Stdio},
};

/// A token of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `;`, `&&`, `||`, `>`, `>>`.
    Operator(&'static str),
}

/// The interpreter's state between lines.
struct Shell {
    status: u8,
    exit: bool,
}

/// `sh [-c LINE]`: interprets the line, or standard input line by line.
pub fn main(arguments: &[String]) -> u8 {
    let mut shell = Shell { status: 0, exit: false };
    match arguments.first().map(String::as_str) {
        Some("-c") => match arguments.get(1) {
            Some(script) => script.lines().for_each(|line| shell.line(line)),
            None => {
                eprintln!("sh: -c needs a line");
                return 2;
            }
        },
        _ => shell.interact(),
    }
    shell.status
}

impl Shell {
    fn interact(&mut self) {
        let terminal = io::stdin().is_terminal();
        loop {
            if terminal {
                print!("{} # ", crate::applets::hostname());
                if io::stdout().flush().is_err() {
                    return;
                }
            }
            let mut line = String::new();
            // The lock is not held while a command runs: it may read standard input itself.
            match io::stdin().lock().read_line(&mut line) {
                Ok(0) => return,
                Ok(_) => self.line(&line),
                Err(error) => {
                    eprintln!("sh: {error}");
                    self.status = 1;
                    return;
                }
            }
            if self.exit {
                return;
            }
        }
    }

    fn line(&mut self, line: &str) {
        if self.exit {
            return;
        }
        let status = self.status;
        let tokens = match tokenize(line, |name| variable(name, status)) {
            Ok(tokens) => tokens,
            Err(problem) => {
                eprintln!("sh: {problem}");
                self.status = 2;
                return;
            }
        };
        for (operator, command) in split_commands(&tokens) {
            let wanted = match operator {
                "&&" => self.status == 0,
                "||" => self.status != 0,
                _ => true,
            };
            if wanted && !command.is_empty() {
                self.status = self.command(command);
            }
            if self.exit {
                return;
            }
        }
    }

    fn command(&mut self, tokens: &[Token]) -> u8 {
        let mut words = Vec::new();
        let mut output: Option<(&'static str, String)> = None;
        let mut tokens = tokens.iter();
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(word) => words.push(word.clone()),
                Token::Operator(operator) => match tokens.next() {
                    Some(Token::Word(path)) => output = Some((operator, path.clone())),
                    _ => {
                        eprintln!("sh: {operator} needs a file name");
                        return 2;
                    }
                },
            }
        }
        let Some((name, arguments)) = words.split_first() else {
            return 0;
        };
        match name.as_str() {
            "exit" => {
                self.exit = true;
                arguments.first().and_then(|code| code.parse().ok()).unwrap_or(self.status)
            }
            "cd" => status_of(std::env::set_current_dir(arguments.first().map_or("/", String::as_str)), "cd"),
            ":" => 0,
            _ => run(name, arguments, output),
        }
    }
}

fn status_of(result: io::Result<()>, what: &str) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("sh: {what}: {error}");
            1
        }
    }
}

/// Runs a program, or one of our own commands by way of this same executable.
fn run(name: &str, arguments: &[String], output: Option<(&'static str, String)>) -> u8 {
    let mut command = if name.contains('/') {
        Command::new(name)
    } else {
        let mut command = Command::new("/proc/self/exe");
        command.arg(name);
        command
    };
    command.args(arguments);
    if let Some((operator, path)) = output {
        let append = operator == ">>";
        match OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(&path) {
            Ok(file) => command.stdout(Stdio::from(file)),
            Err(error) => {
                eprintln!("sh: {path}: {error}");
                return 1;
            }
        };
    }
    match command.status() {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            u8::try_from(code).unwrap_or(1)
        }
        Err(error) => {
            eprintln!("sh: {name}: {error}");
            if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
        }
    }
}

fn variable(name: &str, status: u8) -> String {
    match name {
        "?" => status.to_string(),
        "$" => std::process::id().to_string(),
        _ => std::env::var(name).unwrap_or_default(),
    }
}

/// Splits a line at `;`, `&&` and `||`; each command comes with the operator before it.
fn split_commands(tokens: &[Token]) -> Vec<(&'static str, &[Token])> {
    let mut commands = Vec::new();
    let (mut operator, mut start) = (";", 0);
    for (position, token) in tokens.iter().enumerate() {
        if let Token::Operator(next @ (";" | "&&" | "||")) = token {
            commands.push((operator, &tokens[start..position]));
            (operator, start) = (next, position + 1);
        }
    }
    commands.push((operator, &tokens[start..]));
    commands
}

/// Cuts a line into words and operators, with quotes removed and variables put in.
fn tokenize(line: &str, variable: impl Fn(&str) -> String) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.trim_end_matches(['\n', '\r']).chars().peekable();
    while let Some(character) = characters.next() {
        let operator = match character {
            ';' => Some(";"),
            '&' if characters.next_if_eq(&'&').is_some() => Some("&&"),
            '|' if characters.next_if_eq(&'|').is_some() => Some("||"),
            '>' if characters.next_if_eq(&'>').is_some() => Some(">>"),
            '>' => Some(">"),
            '&' | '|' | '<' => return Err(format!("{character:?} is not supported by this small shell")),
            _ => None,
        };
        if let Some(operator) = operator {
            tokens.extend(word.take().map(Token::Word));
            tokens.push(Token::Operator(operator));
            continue;
        }
        match character {
            ' ' | '\t' => tokens.extend(word.take().map(Token::Word)),
            '#' if word.is_none() => break,
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '\'' => loop {
                match characters.next() {
                    Some('\'') => {
                        word.get_or_insert_default();
                        break;
                    }
                    Some(quoted) => word.get_or_insert_default().push(quoted),
                    None => return Err("a ' is not closed".to_owned()),
                }
            },
            '"' => loop {
                match characters.next() {
                    Some('"') => {
                        word.get_or_insert_default();
                        break;
                    }
                    Some('\\') => word.get_or_insert_default().extend(characters.next()),
                    Some('$') => word.get_or_insert_default().push_str(&expand(&mut characters, &variable)),
                    Some(quoted) => word.get_or_insert_default().push(quoted),
                    None => return Err("a \" is not closed".to_owned()),
                }
            },
            '$' => {
                let value = expand(&mut characters, &variable);
                if !value.is_empty() {
                    word.get_or_insert_default().push_str(&value);
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

/// The value of the variable whose name follows a `$`.
fn expand(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, variable: &impl Fn(&str) -> String) -> String {
    if let Some(special) = characters.next_if(|next| matches!(next, '?' | '$')) {
        return variable(&special.to_string());
    }
    let braces = characters.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(part) = characters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
        name.push(part);
    }
    if braces {
        characters.next_if_eq(&'}');
    }
    if name.is_empty() && !braces { "$".to_owned() } else { variable(&name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        tokenize(line, |name| if name == "A" { "a b".to_owned() } else { String::new() })
            .unwrap_or_default()
            .into_iter()
            .map(|token| match token {
                Token::Word(word) => word,
                Token::Operator(operator) => format!("<{operator}>"),
            })
            .collect()
    }

    #[test]
    fn lines_become_words() {
        let check = |line: &str, expected: &[&str]| assert_eq!(words(line), expected, "{line}");
        check("echo  hello world\n", &["echo", "hello", "world"]);
        check("echo 'a  b' \"c $A\" d\\ e", &["echo", "a  b", "c a b", "d e"]);
        check("a;b&&c||d>e>>f", &["a", "<;>", "b", "<&&>", "c", "<||>", "d", "<>>", "e", "<>>>", "f"]);
        check("echo $A ${A}x $NONE '' # gone", &["echo", "a b", "a bx", ""]);
        check("", &[]);
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for line in ["cat a | b", "sleep 1 &", "echo 'open", "echo \"open"] {
            assert!(tokenize(line, |_| String::new()).is_err(), "{line}");
        }
    }

    #[test]
    fn exit_keeps_the_last_status_or_takes_its_own() {
        let check = |script: &str, expected: u8| {
            assert_eq!(main(&["-c".to_owned(), script.to_owned()]), expected, "{script}");
        };
        check("exit 7; exit 8", 7);
        check(":; exit", 0);
        check("cd /nowhere-at-all || exit 3", 3);
        check("cd / && exit 4", 4);
    }
}

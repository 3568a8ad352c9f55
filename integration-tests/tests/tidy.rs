//! Style that a program can check. A failure names the file and what to do.

use std::{fs, path::Path};

use anyhow::Result;
use reeve_integration_tests::workspace::{metadata, rust_files};

/// Lines that a file may have. A ratchet: lower it when the longest file shrinks, never raise it.
const FILE_LINES_MAX: usize = 1000;
/// Lines that a function may have, signature and closing brace included. A ratchet as well.
const FUNCTION_LINES_MAX: usize = 130;

fn check(rule: impl Fn(&Path, &str) -> Vec<String>) -> Result<()> {
    let root = metadata()?.workspace_root.into_std_path_buf();
    let mut problems = Vec::new();
    for path in rust_files(&root)? {
        let text = fs::read_to_string(&path)?;
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        problems.extend(rule(&path, &text).into_iter().map(|problem| format!("{shown}: {problem}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn every_file_begins_with_what_it_is() -> Result<()> {
    check(|_, text| {
        let fine = text.starts_with("//!") || text.starts_with("// @generated");
        if fine { Vec::new() } else { vec!["begin it with a `//!` header that says what it is".to_owned()] }
    })
}

#[test]
fn tests_wait_for_conditions_and_are_never_ignored() -> Result<()> {
    check(|path, text| {
        let in_tests_folder = path.components().any(|part| part.as_os_str() == "tests");
        let tests_from = if in_tests_folder { Some(0) } else { text.find("#[cfg(test)]\nmod tests {") };
        let Some(start) = tests_from else { return Vec::new() };
        let first_line = text[..start].lines().count();
        // Written in two parts, so that this file does not accuse itself.
        let banned = [("sleep", "("), ("#[ign", "ore")].map(|(first, second)| format!("{first}{second}"));
        let mut problems = Vec::new();
        for (number, line) in text[start..].lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let paused_time = code.contains("tokio::time::");
            let own_name = code.contains("fn ") || code.contains(" sleep(&[");
            if !paused_time
                && !own_name
                && (code.contains(&format!("thread::{}", banned[0])) || code.contains(&banned[1]))
            {
                problems.push(format!("line {}: {}", first_line + number + 1, line.trim()));
            }
        }
        problems
    })
}

#[test]
fn files_and_functions_stay_readable() -> Result<()> {
    check(|_, text| {
        let mut problems = Vec::new();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{lines} lines; {FILE_LINES_MAX} is the most: split it along its ideas"));
        }
        problems.extend(long_functions(text));
        problems
    })
}

/// Functions above the limit, found by indentation: rustfmt keeps the closing brace below the `fn`.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut problems = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = code.split_whitespace().take_while(|word| !word.starts_with("fn"));
        let is_function = code.split_whitespace().any(|word| word == "fn")
            && words.into_iter().all(|word| word.starts_with("pub") || matches!(word, "async" | "const" | "unsafe"));
        if !is_function {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing).unwrap_or(0);
        if end > FUNCTION_LINES_MAX {
            problems.push(format!("line {}: a function of {end} lines; {FUNCTION_LINES_MAX} is the most", start + 1));
        }
    }
    problems
}

#[test]
fn no_path_of_this_machine_is_in_the_sources() -> Result<()> {
    let root = metadata()?.workspace_root.to_string();
    check(|_, text| {
        // The checkout's own place, and where cargo unpacks crates: both differ elsewhere.
        let places = [root.as_str(), ".cargo/registry", ".rustup/toolchains"];
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let own_list = line.contains("let places = ");
            if !own_list && places.iter().any(|place| line.contains(place)) {
                problems.push(format!("line {}: {}", number + 1, line.trim()));
            }
        }
        problems
    })
}

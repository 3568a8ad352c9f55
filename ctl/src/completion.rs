//! `rctl __complete WORDS...`: what may stand at the last word. The shells' scripts ask for it at each tab.
//!
//! The answer is one candidate a line, maybe with a tab and its meaning, then `:N`, where the bit 2 asks the shell for no
//! space after the candidate and the bit 4 for no names of files (the protocol of `kubectl __complete`).

mod objects;

use std::collections::BTreeMap;
use std::io::Write as _;

use clap::{Arg, Command};

use crate::cli::{self, Globals};
use crate::errors::Outcome;
use crate::io::Io;
use crate::session::Session;

const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// What to offer, and how the shell is to treat it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The candidates, each maybe with a meaning after a tab.
    candidates: Vec<String>,
    /// Bits for the shell.
    directive: u8,
}

impl Offer {
    /// Words that begin with what was typed, and no files.
    fn words(candidates: impl IntoIterator<Item = String>, typed: &str) -> Offer {
        let candidates = candidates.into_iter().filter(|word| word.starts_with(typed)).collect();
        Offer { candidates, directive: NO_FILES }
    }

    /// The shell's own offer of files.
    fn files() -> Offer {
        Offer::default()
    }
}

/// What was typed before the last word, understood.
#[derive(Debug, Default)]
struct Typed {
    /// Names of sub-commands, from the first.
    path: Vec<String>,
    /// Words that are neither sub-commands nor flags.
    words: Vec<String>,
    /// Flags by their long names.
    flags: BTreeMap<String, String>,
    /// The flag whose value the last word is.
    pending: Option<String>,
}

/// Answers; what cannot be found out is not offered, because nobody reads errors at a tab.
pub fn run(words: &[String], io: Io) -> i32 {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let mut root = cli::command();
    root.build();
    let (command, typed) = understand(&root, before);
    let mut session = Session::new(io, globals(&typed.flags));
    let offer = offer(&session, command, &typed, last).unwrap_or(Offer { candidates: vec![], directive: NO_FILES });
    match print(&mut session.io, &offer) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn print(io: &mut Io, offer: &Offer) -> std::io::Result<()> {
    for candidate in &offer.candidates {
        writeln!(io.out, "{candidate}")?;
    }
    writeln!(io.out, ":{}", offer.directive)?;
    io.out.flush()
}

/// Follows the words into the tree of commands.
fn understand<'a>(root: &'a Command, words: &[String]) -> (&'a Command, Typed) {
    let mut command = root;
    let mut typed = Typed::default();
    for word in words {
        if let Some(flag) = typed.pending.take() {
            typed.flags.insert(flag, word.clone());
        } else if let Some((flag, value)) = flag(command, word) {
            let name = flag.get_long().unwrap_or_default().to_owned();
            match value {
                Some(value) => {
                    typed.flags.insert(name, value.to_owned());
                }
                None if takes_value(flag) => typed.pending = Some(name),
                None => {}
            }
        } else if word.starts_with('-') {
            // An unknown flag is left to the command itself.
        } else if let Some(next) = command.find_subcommand(word).filter(|_| typed.words.is_empty()) {
            typed.path.push(next.get_name().to_owned());
            command = next;
        } else {
            typed.words.push(word.clone());
        }
    }
    (command, typed)
}

/// The flag that a word is, with the value that it holds: `-n`, `-nshop`, `--output=yaml`.
fn flag<'c, 'w>(command: &'c Command, word: &'w str) -> Option<(&'c Arg, Option<&'w str>)> {
    let arguments = || command.get_arguments().filter(|arg| !arg.is_positional());
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        return arguments().find(|arg| arg.get_long() == Some(name)).map(|arg| (arg, value));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let arg = arguments().find(|arg| arg.get_short() == Some(letter))?;
    let rest = letters.as_str().trim_start_matches('=');
    Some((arg, (!rest.is_empty()).then_some(rest)))
}

/// Whether the next word is the flag's value.
fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

/// The global flags that say where to ask and as whom.
fn globals(flags: &BTreeMap<String, String>) -> Globals {
    let get = |name: &str| flags.get(name).cloned();
    Globals {
        kubeconfig: get("kubeconfig"),
        context: get("context"),
        cluster: get("cluster"),
        user: get("user"),
        namespace: get("namespace"),
        server: get("server"),
        token: get("token"),
        client_certificate: get("client-certificate"),
        client_key: get("client-key"),
        certificate_authority: get("certificate-authority"),
        tls_server_name: get("tls-server-name"),
        cache_dir: get("cache-dir"),
        as_user: get("as"),
        // Somebody waits for the answer with a finger on the key.
        request_timeout: "3s".to_owned(),
        ..Globals::default()
    }
}

fn offer(session: &Session, command: &Command, typed: &Typed, last: &str) -> Outcome<Offer> {
    if let Some(flag) = &typed.pending {
        return value_of(session, command, typed, flag, last);
    }
    if last.starts_with('-') {
        if let Some((arg, Some(value))) = flag(command, last) {
            let name = arg.get_long().unwrap_or_default();
            return value_of(session, command, typed, name, value);
        }
        let mut flags: Vec<String> = command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set())
            .filter_map(|arg| {
                let long = arg.get_long().filter(|long| format!("--{long}").starts_with(last))?;
                Some(described(&format!("--{long}"), arg.get_help().map(ToString::to_string)))
            })
            .collect();
        flags.sort();
        return Ok(Offer { candidates: flags, directive: NO_FILES });
    }
    if command.has_subcommands() && typed.words.is_empty() {
        let mut names: Vec<String> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name().starts_with(last))
            .map(|sub| described(sub.get_name(), sub.get_about().map(ToString::to_string)))
            .collect();
        names.sort();
        return Ok(Offer { candidates: names, directive: NO_FILES });
    }
    objects::positional(session, typed, last)
}

fn described(word: &str, meaning: Option<String>) -> String {
    match meaning.as_deref().and_then(|meaning| meaning.lines().next()) {
        Some(meaning) if !meaning.is_empty() => format!("{word}\t{meaning}"),
        _ => word.to_owned(),
    }
}

/// The values of a flag.
fn value_of(session: &Session, command: &Command, typed: &Typed, name: &str, last: &str) -> Outcome<Offer> {
    const FORMATS: [&str; 13] = [
        "custom-columns",
        "custom-columns-file",
        "go-template",
        "go-template-file",
        "json",
        "jsonpath",
        "jsonpath-as-json",
        "jsonpath-file",
        "name",
        "template",
        "templatefile",
        "wide",
        "yaml",
    ];
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let possible: Vec<String> = arg
        .map(|arg| arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect())
        .unwrap_or_default();
    if !possible.is_empty() {
        return Ok(Offer::words(possible, last));
    }
    match name {
        "output" => Ok(Offer::words(FORMATS.map(str::to_owned), last)),
        "filename"
        | "kubeconfig"
        | "patch-file"
        | "kustomize"
        | "cert"
        | "key"
        | "from-file"
        | "from-env-file"
        | "certificate-authority"
        | "client-certificate"
        | "client-key"
        | "cache-dir" => Ok(Offer::files()),
        name => objects::flag_value(session, typed, name, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> (String, Typed) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut root = cli::command();
        root.build();
        let (command, typed) = understand(&root, &words);
        (command.get_name().to_owned(), typed)
    }

    #[test]
    fn commands_flags_and_words_are_told_apart() {
        let (command, found) = typed("-n shop get pods -o yaml web --watch");
        assert_eq!(command, "get");
        assert_eq!(found.words, ["pods", "web"]);
        assert_eq!(found.flags.get("namespace").map(String::as_str), Some("shop"));
        assert_eq!(found.flags.get("output").map(String::as_str), Some("yaml"));
        let (command, found) = typed("rollout status deploy --context=a -n");
        assert_eq!((command.as_str(), found.pending.as_deref()), ("status", Some("namespace")));
        assert_eq!(found.path, ["rollout", "status"]);
        assert_eq!(found.flags.get("context").map(String::as_str), Some("a"));
    }

    #[test]
    fn flags_and_sub_commands_have_meanings() {
        let mut root = cli::command();
        root.build();
        let session = Session::new(Io::process(), Globals::default());
        let (command, typed) = understand(&root, &["rollout".to_owned()]);
        let found = offer(&session, command, &typed, "re").expect("an offer");
        let names: Vec<&str> =
            found.candidates.iter().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        assert_eq!(names, ["restart", "resume"]);
        assert!(found.candidates[0].contains('\t'));
        let (command, typed) = understand(&root, &["get".to_owned()]);
        let found = offer(&session, command, &typed, "--show-l").expect("an offer");
        assert_eq!(found.candidates.len(), 1, "{found:?}");
        let found = offer(&session, command, &typed, "--output=ya").expect("an offer");
        assert_eq!(found, Offer { candidates: vec!["yaml".to_owned()], directive: NO_FILES });
    }
}

//! Command lines against a small API server in this process, over mutual TLS: what they print and how they exit.
//!
//! A scenario is a text file in `testdata`. `@file NAME` to `@end` writes a file, `$ rctl ...` runs a command, and
//! the lines below are its output: standard output as it is, standard error after `! `, and `= N` for an exit code
//! other than 0. `& rctl ...` runs beside the following ones; `$ join` prints its output when it has ended. `{dir}`
//! stands for the scenario's folder. `RCTL_REWRITE=1 cargo test -p rctl` writes what the commands really print.

mod fake;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rctl::io::Io;

/// Bytes that a command writes.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panics")).into_owned()
    }
}

/// 2026-01-01T00:10:00Z; the fake server's objects are ten minutes old.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_767_226_200).expect("a time")
}

fn run(line: &str, directory: &Path) -> String {
    let text = line.replace("{dir}", &directory.display().to_string());
    let args = words(&text);
    let (out, err) = (Sink::default(), Sink::default());
    let io = Io {
        input: Box::new(std::io::empty()),
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input_is_terminal: false,
        out_is_terminal: false,
        err_is_terminal: false,
        environment: BTreeMap::from([
            ("HOME".to_owned(), directory.display().to_string()),
            ("KUBECONFIG".to_owned(), directory.join("kubeconfig").display().to_string()),
        ]),
        now,
    };
    let code = rctl::run(&args, io);
    let mut shown = out.text();
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push_str("\\\n");
    }
    for line in err.text().lines() {
        shown.push_str(&format!("! {line}\n"));
    }
    if code != 0 {
        shown.push_str(&format!("= {code}\n"));
    }
    shown.replace(&directory.display().to_string(), "{dir}")
}

/// Splits a command line; single and double quotes group.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), character) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ') => words.push(String::new()),
            (_, character) => words.last_mut().expect("there is one").push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn scenario(path: &Path) {
    let directory = tempfile::tempdir().expect("a folder");
    let server = fake::start(directory.path());
    let text = std::fs::read_to_string(path).expect("the scenario is read");
    let mut actual = String::new();
    let mut beside: Option<JoinHandle<String>> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("@file ") {
            let mut content = String::new();
            for line in lines.by_ref().take_while(|line| *line != "@end") {
                content.push_str(&format!("{line}\n"));
            }
            let file = directory.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            std::fs::write(&file, &content).expect("written");
            actual.push_str(&format!("@file {name}\n{content}@end\n"));
            continue;
        }
        let output = if line == "$ join" {
            beside.take().expect("a command runs beside").join().expect("it ends")
        } else if let Some(command) = line.strip_prefix("$ ") {
            run(command, directory.path())
        } else if let Some(command) = line.strip_prefix("& ") {
            let (command, directory) = (command.to_owned(), directory.path().to_owned());
            beside = Some(std::thread::spawn(move || run(&command, &directory)));
            String::new()
        } else {
            actual.push_str(&format!("{line}\n"));
            continue;
        };
        // The expected output goes up to the next command, comment or empty line.
        while lines.peek().is_some_and(|line| {
            !["$ ", "& ", "@file ", "# "].iter().any(|start| line.starts_with(start)) && !line.is_empty()
        }) {
            lines.next();
        }
        // An empty line of output would end it.
        let output: String =
            output.lines().map(|line| format!("{}\n", if line.is_empty() { "." } else { line })).collect();
        actual.push_str(&format!("{line}\n{}", output.replace(&server.address, "{server}")));
    }
    if std::env::var_os("RCTL_REWRITE").is_some() {
        std::fs::write(path, &actual).expect("rewritten");
    } else {
        similar(path, &text, &actual);
    }
}

fn similar(path: &Path, expected: &str, actual: &str) {
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(actual, expected, "{}:{}: what is printed differs", path.display(), number + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{}: lines are missing", path.display());
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/", stringify!($name), ".txt");
                scenario(Path::new(file));
            }
        )*
    };
}

scenarios! { objects tables rollout waiting config streams errors applying nodes making creating }

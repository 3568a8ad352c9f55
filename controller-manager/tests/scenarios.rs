//! Text scenarios: a command a line, the expected writes of the controllers below it.
//!
//! The world is a map of objects in memory that performs actions as the API server would. Run with `REWRITE=1` to
//! write the observed output into `testdata/`; commit only what you understand.

mod world;

use std::path::Path;

use world::World;

fn run(text: &str) -> String {
    let mut world = World::new();
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with("  ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        for told in world.command(line) {
            out.push_str("  ");
            out.push_str(&told);
            out.push('\n');
        }
    }
    out
}

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    let mut different = Vec::new();
    for path in files {
        let expected = std::fs::read_to_string(&path).unwrap();
        let observed = run(&expected);
        if observed == expected {
            continue;
        }
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, observed).unwrap();
            continue;
        }
        let line = expected.lines().zip(observed.lines()).position(|(expected, observed)| expected != observed);
        let line = line.unwrap_or_else(|| expected.lines().count().min(observed.lines().count()));
        different.push(format!(
            "{}:{}:\n  expected {:?}\n  observed {:?}",
            path.display(),
            line + 1,
            expected.lines().nth(line),
            observed.lines().nth(line)
        ));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

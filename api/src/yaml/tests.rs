//! Whole documents: what they mean, what is refused, and that what is written is read back.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn read(text: &str) -> Value {
    from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> String {
    match from_str(text) {
        Ok(value) => panic!("{text:?} was read as {value}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn quotes_make_texts() {
    let text = "a: 0400\nb: '0400'\nc: \"yes\"\nd: |\n  12\ne: >-\n  null\nf: yes\ng:\nh: ''\n";
    let expected = json!({"a": 256, "b": "0400", "c": "yes", "d": "12\n", "e": "null", "f": true, "g": null, "h": ""});
    assert_eq!(read(text), expected);
}

#[test]
fn a_block_text_that_is_cut_off_has_no_break() {
    for (text, expected) in [
        ("a: |\n  b\n  c", "b\nc"),
        ("a: >\n  b\n  c", "b c"),
        ("a: |+\n  b", "b"),
        ("a: |-\n  b", "b"),
        ("a: |\n  b\n  ", "b\n"),
        ("a: |\n  b\n ", "b\n"),
        ("a: |\n  b\n# end", "b\n"),
        ("a: |\n  b\n", "b\n"),
        ("a: |\n  é", "é"),
    ] {
        assert_eq!(read(text), json!({"a": expected}), "{text:?}");
    }
    assert_eq!(read("a:\n- |\n  b\n- c"), json!({"a": ["b\n", "c"]}));
}

#[test]
fn keys_become_texts_in_their_order() {
    let value = read("z: 1\n1: a\n0x10: b\nyes: c\n1.5: d\n\"2\": e\n'on': f\n");
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["z", "1", "16", "true", "1.5", "2", "on"]);
    assert_eq!(refused("a:\n  ~: 1\n"), "a key must be a text, not null at line 2 column 3");
    assert_eq!(refused("? {a: b}\n: 1\n"), "a key must be a text, not a mapping at line 1 column 3");
    assert_eq!(refused("? [a]\n: 1\n"), "a key must be a text, not a list at line 1 column 3");
    assert_eq!(refused(": 1\n"), "a key must be a text, not null at line 1 column 1");
}

#[test]
fn tags_hold_for_quoted_scalars_too() {
    let text = "a: !!int \"5\"\nb: !!str 5\nc: !Ref x\nd: !!binary aGk=\ne: !<tag:yaml.org,2002:int> '7'\nf: ! '12'\ng: !!map {x: 1}\nh: !!str\n";
    let expected = json!({"a": 5, "b": "5", "c": "x", "d": "hi", "e": 7, "f": "12", "g": {"x": 1}, "h": ""});
    assert_eq!(read(text), expected);
    assert_eq!(refused("a:\n- !!int x\n"), "cannot decode !!str `x` as a !!int at line 2 column 3");
    assert_eq!(refused("a: .inf\n"), ".inf is not a number that JSON can hold at line 1 column 4");
}

#[test]
fn anchors_are_shared_and_merged() {
    let base = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\n";
    for (text, expected) in [
        ("z: *x", json!({"a": 1, "b": 2})),
        ("z: {<<: *x, b: 5}", json!({"a": 1, "b": 5})),
        // As go-yaml has it: what is merged replaces what stands before it.
        ("z: {b: 5, <<: *x}", json!({"a": 1, "b": 2})),
        ("z: {<<: [*x, *y]}", json!({"a": 1, "b": 2, "c": 4})),
        ("z: {<<: [*y, {d: 6}, *x]}", json!({"a": 1, "b": 3, "c": 4, "d": 6})),
        ("z: {<<: {d: 6}}", json!({"d": 6})),
        ("z: {\"<<\": 1}", json!({"<<": 1})),
        ("z: <<", json!("<<")),
        ("k: &k name\nz: {*k : 1}", json!({"name": 1})),
        ("&k name: 1\nz: *k", json!("name")),
    ] {
        assert_eq!(read(&format!("{base}{text}\n"))["z"], expected, "{text}");
    }
    let problem = "map merge requires map or sequence of maps as the value";
    for text in ["a: {<<: 1}", "a: {<<: [1]}", "x: &x [{a: 1}]\ny: {<<: *x}", "a: {<<: [[{}]]}"] {
        assert!(refused(text).starts_with(problem), "{text}");
    }
    assert!(refused("a: &a [*a]\n").starts_with("an anchor's value contains itself"));
    assert!(refused("a: *nobody\n").contains("unknown anchor"));
    let stream = documents("&a x\n---\n*a\n");
    assert!(stream.is_err(), "anchors end with their document");
}

#[test]
fn bombs_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", ")));
    }
    assert!(refused(&bomb).starts_with("document contains excessive aliasing"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 100].join(","));
    assert!(refused(&long).starts_with("document contains excessive aliasing"));
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        assert!(from_str(&deep).is_err());
    }
    let chain: String = (1..200).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1)).collect();
    assert!(refused(&format!("a0: &a0 []\n{chain}")).starts_with("nested more than 127 levels deep"));
    let deepest = format!("{}{}", "[".repeat(127), "]".repeat(127));
    assert!(serde_json::from_str::<Value>(&read(&deepest).to_string()).is_ok());
}

#[test]
fn documents_know_their_lines() {
    let text =
        "# top\na: 1\n---\n\n# nothing\n---\n# c\nb: 2\n--- # d\n\nc: 3\n...\n%YAML 1.1\n---\n- d\n--- {e: 5}\n---\n";
    let read: Vec<(usize, usize, Value)> =
        documents(text).unwrap().into_iter().map(|it| (it.number, it.line, it.into_value())).collect();
    let expected = [
        (1, 2, json!({"a": 1})),
        (2, 8, json!({"b": 2})),
        (3, 11, json!({"c": 3})),
        (4, 15, json!(["d"])),
        (5, 16, json!({"e": 5})),
    ];
    assert_eq!(read, expected);
    for empty in ["", "\n", "# only\n", "---\n", "---\n---\n", "~\n", "\u{feff}"] {
        assert_eq!(documents(empty).unwrap().len(), 0, "{empty:?}");
        assert_eq!(from_str(empty), Ok(Value::Null), "{empty:?}");
    }
    assert_eq!(from_str("---\na: 1\n---\n# end\n"), Ok(json!({"a": 1})));
    assert_eq!(refused("a: 1\n---\nb: 2\n"), "more than one document; only one can be read here at line 3 column 1");
}

#[test]
fn mistakes_have_a_place() {
    let error = documents("a: 1\n---\nb: 2\nc: [d\n").unwrap_err();
    assert_eq!((error.document, error.line), (2, 5), "{error}");
    let error = documents("a:\n  b: c: d\n").unwrap_err();
    assert_eq!((error.document, error.line), (1, 2), "{error}");
    assert!(error.to_string().contains("mapping values are not allowed in this context"), "{error}");
    assert_eq!(refused("a: b\nc: \u{0}\n"), "control characters are not allowed: U+0000 at line 2 column 4");
    let error = from_slice(b"a: b\nc: \xff").unwrap_err();
    assert_eq!(error.to_string(), "not UTF-8 at line 2 column 4");
}

#[test]
fn keys_that_are_there_twice_are_told() {
    let read = document("a: 1\nb: {x: 1, \"x\": 2}\na: 3\n").unwrap();
    assert_eq!(read.duplicates.len(), 2);
    assert_eq!(std::str::from_utf8(&read.to_json().unwrap()), Ok(r#"{"a":1,"b":{"x":1,"x":2},"a":3}"#));
    assert_eq!(
        document("a: 1\n\na:\n  b: 2\n").unwrap().into_strict_value().unwrap_err().to_string(),
        "duplicate key \"a\": already set in map at line 1 at line 3 column 1"
    );
    assert_eq!(read.into_value(), json!({"a": 3, "b": {"x": 2}}));
    assert!(document("x: &x {a: 1}\ny: {<<: *x, a: 2}\n").unwrap().into_strict_value().is_ok());
}

#[test]
fn json_is_yaml() {
    for text in [
        "{\n\t\"a\": [\n\t\t1,\n\t\t-2.5e3\n\t],\n\t\"b\": {}\n}\n",
        r#"{"a":"\u00e9\ud83d\ude00\n\/\\\"","b":[],"c":null,"d":true,"e":"x: y # z"}"#,
        r#"{"a":123456789012345678901234567890,"b":0.1,"c":-0.5E-7,"d":9223372036854775807,"e":18446744073709551615}"#,
        "[{\"a\":1},\n{\"b\"\n:2}]",
        r#"{"a":"","":"b","~":"null"}"#,
    ] {
        let expected: Value = serde_json::from_str(text).unwrap();
        let sorted = |mut value: Value| {
            value.sort_all_objects();
            value.to_string().replace(".0", "")
        };
        assert_eq!(sorted(read(text)), sorted(expected), "{text}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "yes",
        "No",
        "ON",
        "off",
        "y",
        "n",
        "~",
        "null",
        "true",
        "0400",
        "1_000",
        "012",
        "1e3",
        "0x1f",
        "0b11",
        "0o7",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "<<",
        "=",
        "1:20",
        "2026-01-01",
        "-",
        "?",
        ":",
        "- a",
        "? a",
        ": a",
        "a:",
        "a: b",
        "#",
        "a #b",
        "&a",
        "*a",
        "!a",
        "!!int 1",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "---",
        "...",
        "--- a",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"",
        "\\",
        " a",
        "a ",
        "\ta",
        "a\t",
        "a\nb",
        "a\n",
        "\na",
        "a\n\n",
        "a\n b",
        " a\nb",
        "a \nb",
        "a\n\nb\n",
        "\u{85}",
        "\u{2028}",
        "a\u{feff}",
        "\u{feff}a",
        "\u{a0}",
        "\u{7f}",
        "\u{0}",
        "é",
        "😀",
        "\r",
        "a\r\nb",
        "-1",
        "+1",
        "a\n---\nb",
        "a\n...\n",
        "a\n#b",
        "a\u{2028}\nb",
        "\u{fffe}",
        "a\n\tb",
    ];
    prop_oneof![
        prop::sample::select(WORDS).prop_map(ToOwned::to_owned),
        "[ -~]{0,12}",
        "[-+0-9._exbo:]{0,8}",
        "[-a:# \n\t'\"|>&*!%?,\\[\\]{}]{0,10}",
        any::<String>(),
        "[a-z]{120,140}",
        "[a-z: ]{1020,1040}",
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|halves| json!(f64::from(halves * 2 + 1) / 4.0)),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((texts(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_back(value in values()) {
        let text = to_string(&value);
        let read = document(&text);
        prop_assert!(read.is_ok(), "{:?}\n{text}", read);
        let read = read.unwrap();
        prop_assert_eq!(&read.duplicates, &[]);
        prop_assert_eq!(read.into_value(), value, "{}", text);
    }

    #[test]
    fn json_means_the_same_as_yaml(value in values()) {
        // What YAML has no place for outside of quotes is escaped in them.
        let text = value.to_string();
        prop_assume!(!text.contains(['\u{7f}', '\u{fffe}', '\u{ffff}']) && !text.chars().any(|it| ('\u{80}'..'\u{a0}').contains(&it)));
        prop_assume!(!text.contains('\u{feff}') && text.len() < 1000);
        prop_assert_eq!(from_str(&text), Ok(value), "{}", text);
    }

    #[test]
    fn nothing_panics(text in "[-a1:# \n\t'\"|>&*!%?,\\[\\]{}<~]{0,40}") {
        if let Ok(all) = documents(&text) {
            for document in all {
                let json = document.to_json().unwrap();
                prop_assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), document.into_value());
            }
        }
    }
}

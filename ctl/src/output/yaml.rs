//! Objects as YAML and JSON, with the layout of kubectl.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::errors::{Failure, Outcome};
use crate::value::sorted;

/// YAML with sorted keys, ending in a line break.
pub fn yaml(value: &Value) -> Outcome<String> {
    Ok(reeve_api::yaml::to_string(value))
}

/// JSON with sorted keys, indented by four spaces, ending in a line break.
pub fn json(value: &Value) -> Outcome<String> {
    let mut bytes = Vec::with_capacity(4096);
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    sorted(value)
        .serialize(&mut serializer)
        .map_err(|error| Failure::Message(format!("cannot print as JSON: {error}")))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| Failure::Message(format!("cannot print as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_layout_is_kubectls() {
        let value = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"annotations": {"a": "{\"x\":1}\n", "b": "two\nlines"}, "name": "web", "labels": {}},
            "spec": {"containers": [{"name": "a", "args": [], "env": [{"name": "A", "value": "80"}]}], "list": ["x", "-y"], "nested": [[1, 2], []]},
            "time": "2026-01-01T00:00:00Z", "n": null, "t": true,
        });
        let expected = "\
apiVersion: v1
kind: Pod
metadata:
  annotations:
    a: |
      {\"x\":1}
    b: |-
      two
      lines
  labels: {}
  name: web
\"n\": null
spec:
  containers:
  - args: []
    env:
    - name: A
      value: \"80\"
    name: a
  list:
  - x
  - -y
  nested:
  - - 1
    - 2
  - []
t: true
time: \"2026-01-01T00:00:00Z\"
";
        assert_eq!(yaml(&value).expect("prints"), expected);
        assert_eq!(
            json(&json!({"b": [1], "a": {}})).expect("prints"),
            "{\n    \"a\": {},\n    \"b\": [\n        1\n    ]\n}\n"
        );
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let texts = [
            "x",
            "",
            " lead",
            "trail ",
            "a\n",
            "a\n\n",
            "\na",
            " a\nb",
            "a \nb",
            "tab\tin\n",
            "#x",
            "a #b",
            "'",
            "\"",
            "\\",
            "- a",
            "? b",
            ": c",
            "null",
            "~",
            "12",
            "é",
            "a:\n  b: |\n",
            "!tag",
            "&a",
            "*a",
            "%",
            "@",
            "`",
            "---",
            "...",
            "2026-01-01",
            "yes",
            "0400",
            "1_000",
            "012",
            "1e3",
        ];
        let value = json!({"list": texts.to_vec(), "map": texts.iter().enumerate().map(|(index, text)| (format!("k{index}"), json!(text))).collect::<serde_json::Map<_, _>>(),
            "deep": [{"a": [{"b": "x\ny\n"}]}]});
        let printed = yaml(&value).expect("prints");
        let read = reeve_api::yaml::from_str(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(read, value, "{printed}");
    }
}

//! Objects as YAML and JSON, with the layout of kubectl.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::errors::{Failure, Outcome};
use crate::value::sorted;

/// YAML with sorted keys, ending in a line break.
pub fn yaml(value: &Value) -> Outcome<String> {
    serde_yaml::to_string(&sorted(value)).map_err(|error| Failure::Message(format!("cannot print as YAML: {error}")))
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
    fn layouts_are_kubectls() {
        let value = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"name": "a", "args": []}], "on": "yes"}});
        assert_eq!(
            yaml(&value).expect("prints"),
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - args: []\n    name: a\n  on: 'yes'\n"
        );
        assert_eq!(
            json(&json!({"b": [1], "a": {}})).expect("prints"),
            "{\n    \"a\": {},\n    \"b\": [\n        1\n    ]\n}\n"
        );
    }
}

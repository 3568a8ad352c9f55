//! Names that rctl makes: hashes of content, random endings.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::value::{name, sorted, text};

/// The hash that kustomize and kubectl append to the name of a config map or secret: the first ten characters of the
/// SHA-256 of its data, kind, name and type, with digits and vowels that could form words replaced.
pub fn content_hash(object: &Value) -> String {
    let kind = text(object, "kind");
    let mut content = Map::new();
    if let Some(binary) = object.get("binaryData").filter(|map| map.as_object().is_some_and(|map| !map.is_empty())) {
        content.insert("binaryData".to_owned(), sorted(binary));
    }
    content.insert("data".to_owned(), object.get("data").map_or_else(|| Value::String(String::new()), sorted));
    content.insert("kind".to_owned(), Value::String(kind.to_owned()));
    content.insert("name".to_owned(), Value::String(name(object).to_owned()));
    if kind == "Secret" {
        content.insert("type".to_owned(), Value::String(text(object, "type").to_owned()));
    }
    let digest = Sha256::digest(Value::Object(content).to_string());
    let hexadecimal: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let replaced = hexadecimal.chars().map(|character| match character {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    });
    replaced.collect()
}

/// Five random characters of those that upstream makes names of.
pub fn random_suffix() -> String {
    const CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // The hash keys of the standard library are random, which is random enough for a name that may be refused.
    let mut bits = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    let mut suffix = String::new();
    for _ in 0..5 {
        let count = CHARACTERS.len() as u64;
        let index = usize::try_from(bits % count).unwrap_or_default();
        suffix.push(CHARACTERS.get(index).map_or('x', |byte| char::from(*byte)));
        bits /= count;
    }
    suffix
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What kubectl 1.32 printed for `create ... --append-hash`.
    #[test]
    fn hashes_are_kubectls() {
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}});
        assert_eq!(content_hash(&map), "64686gkt6c");
        let secret = json!({"kind": "Secret", "metadata": {"name": "x"}, "type": "foo", "data": {"a": "Yg=="}});
        assert_eq!(content_hash(&secret), "cgkmm9287h");
    }

    #[test]
    fn random_endings_have_five_characters() {
        assert_eq!(random_suffix().len(), 5);
    }
}

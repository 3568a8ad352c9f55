//! Fields that an object names twice, and those that its kind does not have, in the order of the text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use reeve_api::json::{Json as _, Node, Tree};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// More members than this are looked up by their hash.
const MEMBERS_COMPARED: usize = 16;

/// What is wrong with the fields, in words; nothing for text that is not JSON. `unknown` are the paths of those that the
/// kind does not have, as the decoder met them: they are told once, and not what is in them.
pub(super) fn problems(json: &[u8], unknown: &[String]) -> Vec<String> {
    // Almost no text repeats a name, which is seen without decoding anything.
    if Tree::read(json).is_some_and(|tree| !tree.objects().any(repeats)) {
        return unknown_fields(unknown);
    }
    let names: HashSet<&str> = unknown.iter().map(String::as_str).collect();
    walked(json, &|path| names.contains(path))
}

/// Those fields alone that the kind does not have.
pub(super) fn unknown_fields(unknown: &[String]) -> Vec<String> {
    unknown.iter().map(|path| words(UNKNOWN, path)).collect()
}

/// The same of the operations of a JSON patch.
pub(super) fn of_json_patch(json: &[u8]) -> Vec<String> {
    let is_unknown = |path: &str| {
        let field = path.strip_prefix('[').and_then(|path| path.split_once("].")).map(|(_, field)| field);
        field.is_some_and(|field| {
            !["op", "path", "from", "value"].contains(&field)
                && !field.starts_with("value.")
                && !field.starts_with("value[")
        })
    };
    walked(json, &is_unknown).into_iter().map(|problem| format!("json patch {problem}")).collect()
}

const UNKNOWN: &str = "unknown";
const DUPLICATE: &str = "duplicate";

fn words(what: &str, path: &str) -> String {
    format!("{what} field {path:?}")
}

fn walked(json: &[u8], is_unknown: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let walk = Walk { path: &mut String::new(), found: &mut found, is_unknown };
    match walk.deserialize(&mut serde_json::Deserializer::from_slice(json)) {
        Ok(()) => found,
        Err(_) => Vec::new(),
    }
}

/// Whether an object names a member twice.
fn repeats(object: Node<'_>) -> bool {
    let mut names: Vec<Cow<'_, str>> = Vec::with_capacity(MEMBERS_COMPARED);
    let mut more: HashSet<Cow<'_, str>> = HashSet::new();
    for (name, _) in object.members() {
        if names.contains(&name) || (!more.is_empty() && more.contains(&name)) {
            return true;
        }
        if names.len() < MEMBERS_COMPARED {
            names.push(name);
        } else {
            more.insert(name);
        }
    }
    false
}

struct Walk<'a> {
    path: &'a mut String,
    found: &'a mut Vec<String>,
    is_unknown: &'a dyn Fn(&str) -> bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut names: HashSet<String> = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            let is_first = names.insert(name);
            if (self.is_unknown)(self.path) {
                if is_first {
                    self.found.push(words(UNKNOWN, self.path));
                }
                map.next_value::<IgnoredAny>()?;
            } else {
                if !is_first {
                    self.found.push(words(DUPLICATE, self.path));
                }
                map.next_value_seed(Walk { path: self.path, found: self.found, is_unknown: self.is_unknown })?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut index = 0;
        loop {
            self.path.push_str(&format!("[{index}]"));
            let walk = Walk { path: self.path, found: self.found, is_unknown: self.is_unknown };
            let element = list.next_element_seed(walk)?;
            self.path.truncate(length);
            if element.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &[u8]) -> Vec<String> {
        let told = problems(json, &[]);
        told.iter().map(|words| words.trim_start_matches("duplicate field ").trim_matches('"').to_owned()).collect()
    }

    #[test]
    fn problems_come_in_the_order_of_the_text() {
        let json = br#"{"m":{"n":1,"n":2,"u":3},"s":{"u":{"x":1,"x":2},"u":4,"p":5,"p":6}}"#;
        let unknown = ["m.u", "s.u", "s.u"].map(str::to_owned);
        assert_eq!(
            problems(json, &unknown),
            [
                r#"duplicate field "m.n""#,
                r#"unknown field "m.u""#,
                r#"unknown field "s.u""#,
                r#"duplicate field "s.p""#
            ]
        );
        assert_eq!(problems(br#"{"u":1}"#, &["u".to_owned()]), [r#"unknown field "u""#]);
    }

    #[test]
    fn operations_of_a_patch_have_four_fields() {
        let json =
            br#"[{"op":"add","path":"/a","value":{"b":1,"b":2},"foo":"bar"},{"op":"add","path":"/b","path":"/c"}]"#;
        assert_eq!(
            of_json_patch(json),
            [
                r#"json patch duplicate field "[0].value.b""#,
                r#"json patch unknown field "[0].foo""#,
                r#"json patch duplicate field "[1].path""#
            ]
        );
        assert!(of_json_patch(br#"[{"op":"test","path":"","from":"","value":[{"foo":1}]}]"#).is_empty());
    }

    #[test]
    fn each_repetition_is_found_with_its_path() {
        let json = br#"{"a":1,"b":[{"c":1,"c":2}],"a":{"d":null,"d":true}}"#;
        assert_eq!(find(json), ["b[0].c", "a", "a.d"]);
        assert!(find(b"{\"a\":1,\"a\":").is_empty());
        let many: String = (0..40).map(|number| format!("\"n{number}\":{number},")).collect();
        assert!(find(format!("{{{many}\"x\":{{}}}}").as_bytes()).is_empty());
        assert_eq!(find(format!("{{{many}\"n\\u0033\":{{}}}}").as_bytes()), ["n3"]);
        assert_eq!(find(format!("{{{many}\"n30\":{{}}}}").as_bytes()), ["n30"]);
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(find(deep.as_bytes()).is_empty());
    }
}

//! Fields that an object names twice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use reeve_api::json::{Json as _, Node, Tree};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// More members than this are looked up by their hash.
const MEMBERS_COMPARED: usize = 16;

/// The paths of fields that are named twice, in order; none for text that is not JSON.
pub(super) fn find(json: &[u8]) -> Vec<String> {
    // Almost no text repeats a name, which is seen without decoding anything.
    if Tree::read(json).is_some_and(|tree| !tree.objects().any(repeats)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut path = String::new();
    let walk = Walk { path: &mut path, found: &mut found };
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
            if !names.insert(name) {
                self.found.push(self.path.clone());
            }
            map.next_value_seed(Walk { path: self.path, found: self.found })?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut index = 0;
        loop {
            self.path.push_str(&format!("[{index}]"));
            let element = list.next_element_seed(Walk { path: self.path, found: self.found })?;
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

//! The paths into objects that definitions name: columns, scale and selectable fields.
//!
//! Fields, indexes, `[*]` and filters of equality; upstream's columns use no more.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// `[?(@.type=="Ready")]`.
    Filter(Vec<String>, Value),
}

impl JsonPath {
    /// Parses a path such as `.spec.replicas`; `None` for what is no path.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('$').unwrap_or(text);
        let mut rest = text;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let end = closing(after)?;
                steps.push(bracket(&after[..end])?);
                rest = &after[end + 1..];
                continue;
            }
            let after = rest.strip_prefix('.')?;
            let mut name = String::new();
            let mut characters = after.char_indices();
            let mut end = after.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '.' | '[' => {
                        end = at;
                        break;
                    }
                    '\\' => name.push(characters.next()?.1),
                    other => name.push(other),
                }
            }
            if name.is_empty() {
                return None;
            }
            steps.push(if name == "*" { Step::All } else { Step::Field(name) });
            rest = &after[end..];
        }
        Some(Self(steps))
    }

    /// Whether the path names fields only.
    pub fn is_plain(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|step| matches!(step, Step::Field(_)))
    }

    /// What the path leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| next(value, step)).collect();
        }
        found
    }

    /// The value at a path of plain fields.
    pub fn get<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.find(root).into_iter().next()
    }

    /// Sets the value at a path of plain fields; what is on the way is made.
    pub fn set(&self, root: &mut Value, value: Value) {
        let mut place = root;
        for step in &self.0 {
            let Step::Field(name) = step else { return };
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            place = &mut place[name.as_str()];
        }
        *place = value;
    }
}

fn next<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::Index(index), Value::Array(list)) => {
            let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
            let at = if *index < 0 { length + index } else { *index };
            usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(list)) => list.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Filter(path, wanted), Value::Array(list)) => list
            .iter()
            .filter(|element| {
                let held = path.iter().try_fold(*element, |value, name| value.get(name));
                held == Some(wanted)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The end of a bracket, outside quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquoted(text) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, value) = filter.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let value = match unquoted(value) {
            Some(text) => Value::String(text.to_owned()),
            None => serde_json::from_str(value.trim()).ok()?,
        };
        return Some(Step::Filter(path, value));
    }
    text.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::JsonPath;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"spec": {"list": [{"a": 1}, {"a": 2}], "k.8": "x"}, "conditions": [
            {"type": "A", "status": "no"}, {"type": "Ready", "status": "yes"}]});
        for (path, found) in [
            (".spec.list[0].a", json!([1])),
            (".spec.list[-1].a", json!([2])),
            (".spec.list[*].a", json!([1, 2])),
            (".spec['k.8']", json!(["x"])),
            (".spec.k\\.8", json!(["x"])),
            (".conditions[?(@.type==\"Ready\")].status", json!(["yes"])),
            (".nothing", json!([])),
        ] {
            assert_eq!(json!(JsonPath::parse(path).expect(path).find(&object)), found, "{path}");
        }
        for path in ["spec", ".", ".a[", ".a[?(x)]"] {
            assert_eq!(JsonPath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn setting_makes_the_way() {
        let mut object = json!({});
        JsonPath::parse(".spec.replicas").expect("path").set(&mut object, json!(3));
        assert_eq!(object, json!({"spec": {"replicas": 3}}));
    }
}

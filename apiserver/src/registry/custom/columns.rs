//! The columns that a definition gives its kind's tables (`additionalPrinterColumns`).

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;
use reeve_api::age;
use serde_json::{Value, json};

use super::json_path::JsonPath;

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i32,
    path: Option<JsonPath>,
}

impl Column {
    /// The columns of a version; `Age` where it names none.
    pub fn of(version: &CustomResourceDefinitionVersion) -> Vec<Self> {
        let Some(columns) = version.additional_printer_columns.as_ref().filter(|columns| !columns.is_empty()) else {
            return vec![Self {
                name: "Age".to_owned(),
                kind: "date".to_owned(),
                format: String::new(),
                description: AGE.to_owned(),
                priority: 0,
                path: JsonPath::parse(".metadata.creationTimestamp"),
            }];
        };
        let described = |path: &str| format!("Custom resource definition column (in JSONPath format): {path}");
        columns
            .iter()
            .map(|column| Self {
                name: column.name.clone(),
                kind: column.type_.clone(),
                format: column.format.clone().unwrap_or_default(),
                description: column.description.clone().unwrap_or_else(|| described(&column.json_path)),
                priority: column.priority.unwrap_or(0),
                path: JsonPath::parse(&column.json_path),
            })
            .collect()
    }

    /// The column's row in a table's head.
    pub fn head(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }

    /// The cell of an object; `null` for what is not there or is of another type, as upstream.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(path) = &self.path else { return Value::Null };
        let found = path.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match self.kind.as_str() {
            "integer" => first.as_i64().map_or(Value::Null, Value::from),
            "number" => first.as_f64().map_or(Value::Null, |_| (*first).clone()),
            "boolean" => first.as_bool().map_or(Value::Null, Value::from),
            "date" => {
                let moment = first.as_str().and_then(|text| text.parse::<Timestamp>().ok());
                if moment.is_some() { age::since(moment, now).into() } else { "<invalid>".into() }
            }
            _ if found.len() == 1 => match first {
                Value::Null => Value::Null,
                Value::String(text) => text.clone().into(),
                other => other.to_string().into(),
            },
            _ => {
                let texts = found.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                texts.collect::<Vec<_>>().join(" ").into()
            }
        }
    }
}

const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

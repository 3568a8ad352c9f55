//! managedFields: who set which fields, as the object carries it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use serde_json::{Map, Value};

use super::set::FieldSet;

/// How a manager set its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It declared them; what it no longer declares goes away.
    Apply,
    /// It wrote them.
    Update,
}

impl Operation {
    /// The word in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The manager's name.
    pub manager: String,
    /// How it set them.
    pub operation: Operation,
    /// The version of the object that it wrote.
    pub api_version: String,
    /// The subresource that it wrote; empty for the object itself.
    pub subresource: String,
    /// When it last changed something, as in the object.
    pub time: Option<String>,
    /// What it set.
    pub fields: FieldSet,
}

impl Entry {
    /// Whether two entries are the same manager's: an applier keeps its entry when it changes versions.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The manager in words, for conflicts.
    pub(super) fn words(&self) -> String {
        let mut words = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            words += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            words += &format!(" using {}", self.api_version);
        }
        words
    }

    fn to_value(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("manager".into(), self.manager.as_str().into());
        entry.insert("operation".into(), self.operation.as_str().into());
        entry.insert("apiVersion".into(), self.api_version.as_str().into());
        if let Some(time) = &self.time {
            entry.insert("time".into(), time.as_str().into());
        }
        entry.insert("fieldsType".into(), "FieldsV1".into());
        entry.insert("fieldsV1".into(), self.fields.to_fields_v1());
        if !self.subresource.is_empty() {
            entry.insert("subresource".into(), self.subresource.as_str().into());
        }
        Value::Object(entry)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let operation = match value.get("operation")?.as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("fieldsType") != "FieldsV1" {
            return None;
        }
        let fields = match value.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::from_fields_v1(fields).ok()?,
        };
        Some(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value.get("time").and_then(Value::as_str).map(str::to_owned),
            fields,
        })
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers {
    /// In no particular order.
    pub entries: Vec<Entry>,
}

impl Managers {
    /// From `metadata.managedFields`; `None` when an entry cannot be read.
    pub fn read(managed_fields: &Value) -> Option<Self> {
        let entries = managed_fields.as_array()?.iter().map(Entry::from_value).collect::<Option<Vec<_>>>()?;
        Some(Self { entries })
    }

    /// From an object's metadata; `None` when an entry cannot be read.
    pub fn from_entries(entries: &[ManagedFieldsEntry]) -> Option<Self> {
        let read = |entry: &ManagedFieldsEntry| -> Option<Entry> {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            Some(Entry {
                manager: text(&entry.manager),
                operation: match entry.operation.as_deref()? {
                    "Apply" => Operation::Apply,
                    "Update" => Operation::Update,
                    _ => return None,
                },
                api_version: text(&entry.api_version),
                subresource: text(&entry.subresource),
                time: entry.time.as_ref().map(|Time(time)| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
                fields: match (entry.fields_type.as_deref()?, &entry.fields_v1) {
                    ("FieldsV1", Some(FieldsV1(fields))) if !fields.is_null() => {
                        FieldSet::from_fields_v1(fields).ok()?
                    }
                    ("FieldsV1", _) => FieldSet::default(),
                    _ => return None,
                },
            })
        };
        Some(Self { entries: entries.iter().map(read).collect::<Option<Vec<_>>>()? })
    }

    /// For an object's metadata, in upstream's order; `None` when there are none.
    pub fn to_entries(&self) -> Option<Vec<ManagedFieldsEntry>> {
        let text = |text: &str| Some(text.to_owned());
        let entries: Vec<ManagedFieldsEntry> = self
            .sorted()
            .into_iter()
            .map(|entry| ManagedFieldsEntry {
                manager: text(&entry.manager),
                operation: text(entry.operation.as_str()),
                api_version: text(&entry.api_version),
                time: entry.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok()).map(Time),
                fields_type: text("FieldsV1"),
                fields_v1: Some(FieldsV1(entry.fields.to_fields_v1())),
                subresource: text(&entry.subresource).filter(|name| !name.is_empty()),
            })
            .collect();
        (!entries.is_empty()).then_some(entries)
    }

    /// As `metadata.managedFields`, in upstream's order; `None` when there are none.
    pub fn write(&self) -> Option<Value> {
        let entries = self.sorted();
        (!entries.is_empty()).then(|| Value::Array(entries.into_iter().map(Entry::to_value).collect()))
    }

    fn sorted(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.operation, entry.time.clone());
            key(one).cmp(&key(other)).then_with(|| {
                (&one.manager, &one.api_version, &one.subresource).cmp(&(
                    &other.manager,
                    &other.api_version,
                    &other.subresource,
                ))
            })
        });
        entries
    }

    pub(super) fn drop_empty(&mut self) {
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    pub(super) fn position(&self, entry: &Entry) -> Option<usize> {
        self.entries.iter().position(|own| own.is_of(entry))
    }

    /// Merges the oldest writers' entries until at most `most` of them are left.
    pub(super) fn cap_updates(&mut self, most: usize, bucket_name: &str) {
        let mut updates: Vec<Entry> = Vec::new();
        let mut kept: Vec<Entry> = Vec::new();
        for entry in self.entries.drain(..) {
            if entry.operation == Operation::Update { updates.push(entry) } else { kept.push(entry) }
        }
        updates.sort_by(|one, other| {
            (&one.time, &one.manager, &one.api_version, &one.subresource).cmp(&(
                &other.time,
                &other.manager,
                &other.api_version,
                &other.subresource,
            ))
        });
        let mut length = updates.len();
        // Of each version the oldest becomes the bucket as soon as a second one is to be merged.
        let mut index = 0;
        while index < updates.len() && length > most {
            let version = updates[index].api_version.clone();
            if let Some(first) = updates[..index].iter().position(|entry| entry.api_version == version) {
                let entry = updates.remove(index);
                let bucket = &mut updates[first];
                bucket.manager = bucket_name.to_owned();
                bucket.subresource = String::new();
                bucket.fields = bucket.fields.union(&entry.fields);
                bucket.time = entry.time;
                length -= 1;
            } else {
                index += 1;
            }
        }
        kept.append(&mut updates);
        self.entries = kept;
    }
}

//! managedFields: who set which fields, as the object carries it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::encoding::escape;
use super::fields::Fields;
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
    /// From the word in the object.
    fn of(word: &str) -> Option<Self> {
        match word {
            "Apply" => Some(Self::Apply),
            "Update" => Some(Self::Update),
            _ => None,
        }
    }

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
    pub fields: Fields,
}

/// An entry as text has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    fields_type: Cow<'a, str>,
    #[serde(borrow, default, rename = "fieldsV1")]
    fields: Option<&'a RawValue>,
    #[serde(borrow, default)]
    manager: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    subresource: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
}

impl Entry {
    /// Whether two entries are the same manager's: an applier keeps its entry when it changes versions.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// What entries of the same time are told apart by.
    fn names(&self) -> [&str; 3] {
        [&self.manager, &self.api_version, &self.subresource]
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

    fn of_form(form: &Form<'_>) -> Option<Self> {
        if form.fields_type != FIELDS_TYPE {
            return None;
        }
        Some(Self {
            manager: form.manager.clone().into_owned(),
            operation: Operation::of(&form.operation)?,
            api_version: form.api_version.clone().into_owned(),
            subresource: form.subresource.clone().into_owned(),
            time: form.time.clone().map(Cow::into_owned),
            fields: form.fields.map_or_else(Fields::default, |fields| Fields::of_text(fields.get())),
        })
    }

    fn of_typed(entry: &ManagedFieldsEntry) -> Option<Self> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let fields = match (entry.fields_type.as_deref()?, &entry.fields_v1) {
            (FIELDS_TYPE, Some(FieldsV1(fields))) if !fields.is_null() => FieldSet::from_fields_v1(fields).ok()?,
            (FIELDS_TYPE, _) => FieldSet::default(),
            _ => return None,
        };
        Some(Self {
            manager: text(&entry.manager),
            operation: Operation::of(entry.operation.as_deref()?)?,
            api_version: text(&entry.api_version),
            subresource: text(&entry.subresource),
            time: entry.time.as_ref().map(|Time(time)| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            fields: fields.into(),
        })
    }

    /// Writes the entry with its time or without, its members in order of their names.
    fn write(&self, text: &mut String, timed: bool) {
        let member = |name: &str, value: &str, text: &mut String| {
            text.push_str(name);
            text.push_str("\":\"");
            escape(value, text);
            text.push('"');
        };
        member("{\"apiVersion", &self.api_version, text);
        member(",\"fieldsType", FIELDS_TYPE, text);
        text.push_str(",\"fieldsV1\":");
        text.push_str(self.fields.text());
        member(",\"manager", &self.manager, text);
        member(",\"operation", self.operation.as_str(), text);
        if !self.subresource.is_empty() {
            member(",\"subresource", &self.subresource, text);
        }
        if let Some(time) = self.time.as_deref().filter(|_| timed) {
            member(",\"time", time, text);
        }
        text.push('}');
    }
}

const FIELDS_TYPE: &str = "FieldsV1";

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers {
    /// In no particular order.
    pub entries: Vec<Entry>,
}

impl Managers {
    /// From the text of `metadata.managedFields`; `None` when an entry cannot be read. What the entries hold is
    /// read when it is needed.
    pub fn read(managed_fields: &str) -> Option<Self> {
        let forms: Vec<Form<'_>> = serde_json::from_str(managed_fields).ok()?;
        Some(Self { entries: forms.iter().map(Entry::of_form).collect::<Option<Vec<_>>>()? })
    }

    /// From what a client sent; `None` when an entry cannot be read.
    pub fn from_entries(entries: &[ManagedFieldsEntry]) -> Option<Self> {
        Some(Self { entries: entries.iter().map(Entry::of_typed).collect::<Option<Vec<_>>>()? })
    }

    /// The canonical text of `metadata.managedFields`, in upstream's order; `None` when there are none.
    pub fn write(&self) -> Option<String> {
        (!self.entries.is_empty()).then(|| self.text(true))
    }

    /// Whether two texts say the same but for times.
    pub fn differ_in_times_only(one: &str, other: &str) -> bool {
        let untimed = |text: &str| Some(Self::read(text)?.text(false));
        untimed(one).is_some_and(|text| untimed(other) == Some(text))
    }

    fn text(&self, timed: bool) -> String {
        let mut text = String::from("[");
        for entry in self.sorted() {
            if text.len() > 1 {
                text.push(',');
            }
            entry.write(&mut text, timed);
        }
        text.push(']');
        text
    }

    fn sorted(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by(|one, other| {
            let when = (one.operation, &one.time).cmp(&(other.operation, &other.time));
            when.then_with(|| one.names().cmp(&other.names()))
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
        if self.entries.len() <= most {
            return;
        }
        let mut updates: Vec<Entry> = Vec::new();
        let mut kept: Vec<Entry> = Vec::new();
        for entry in self.entries.drain(..) {
            if entry.operation == Operation::Update { updates.push(entry) } else { kept.push(entry) }
        }
        updates.sort_by(|one, other| one.time.cmp(&other.time).then_with(|| one.names().cmp(&other.names())));
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
                bucket.fields.unite(entry.fields.set());
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

//! Field ownership: what an update leaves in managedFields, and server-side apply.
//!
//! Rules from `sigs.k8s.io/structured-merge-diff` and `k8s.io/apimachinery/pkg/util/managedfields`.

mod compare;
mod encoding;
mod fields;
mod managed;
mod merge;
#[cfg(test)]
mod properties;
mod set;
#[cfg(test)]
mod tests;
mod typed;

use std::sync::LazyLock;

use serde_json::Value;

pub use compare::{Comparison, compare};
pub use encoding::FieldsError;
pub use fields::Fields;
pub use managed::{Entry, Managers, Operation};
pub use merge::{merge, remove};
pub use set::{Element, FieldSet};
pub use typed::{field_set, mistakes, mistakes_text};

use crate::json::Json;
use crate::schema::Schema;
use crate::status::{Reason, StatusCause, StatusDetails, StatusError};

/// So many writers keep an entry of their own; older ones share one.
const UPDATE_MANAGERS_MAX: usize = 10;

/// Whose entry older writers share.
const OLD_UPDATES: &str = "ancient-changes";

/// Who is said to have written an object before its first apply, when nobody was recorded.
pub const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What nobody owns: identity and what the server keeps.
const STRIPPED: [&str; 11] = [
    "apiVersion",
    "kind",
    "metadata",
    "metadata.creationTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.name",
    "metadata.namespace",
    "metadata.resourceVersion",
    "metadata.selfLink",
    "metadata.uid",
];

/// The other versions of an object's kind, in which some managers may have written.
pub trait Versions {
    /// The schema of a version; `None` for one that is not served.
    fn schema(&self, api_version: &str) -> Option<Schema>;
    /// The object in a version.
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;
}

/// A kind with one version.
pub struct OneVersion;

impl Versions for OneVersion {
    fn schema(&self, _: &str) -> Option<Schema> {
        None
    }

    fn convert(&self, _: &Value, _: &str) -> Option<Value> {
        None
    }
}

/// Who writes, where and when.
pub struct Writer<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// The version of the objects that are compared.
    pub api_version: &'a str,
    /// The subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// The time, as an entry holds it.
    pub now: &'a str,
    /// What this write cannot change; nobody comes to own it.
    pub reset: &'a FieldSet,
    /// The schema of the version.
    pub schema: &'a Schema,
    /// The kind's other versions.
    pub versions: &'a dyn Versions,
}

/// What an apply did.
pub struct Applied {
    /// The new object, without managedFields; `None` when nothing changed but perhaps ownership.
    pub object: Option<Value>,
    /// The new managers.
    pub managers: Managers,
}

impl Writer<'_> {
    fn entry(&self, operation: Operation) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            operation,
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields: Fields::default(),
        }
    }

    /// The managers after an update from `live` to `new`. Neither holds managedFields.
    pub fn update<'a, J: Json<'a>>(&self, live: J, new: J, managers: Managers) -> Managers {
        let comparison = compare(live, new, self.schema).without_below(self.reset);
        if comparison.is_empty() {
            return managers;
        }
        let writer = self.entry(Operation::Update);
        let present = managers.position(&writer);
        let mut managers = self.take_away(live, new, &comparison, managers, present);
        let index = managers.position(&writer).unwrap_or_else(|| {
            managers.entries.push(writer);
            managers.entries.len() - 1
        });
        let entry = &mut managers.entries[index];
        entry.fields.subtract(&comparison.removed);
        let fields = strip(comparison.into_set());
        if !fields.is_empty() {
            entry.fields.unite(fields);
            entry.time = Some(self.now.to_owned());
        }
        if entry.fields.is_empty() {
            managers.entries.remove(index);
        }
        managers.cap_updates(UPDATE_MANAGERS_MAX, OLD_UPDATES);
        managers
    }

    /// The managers without what a change takes from them. `own` keeps what it has.
    fn take_away<'a, J: Json<'a>>(
        &self,
        live: J,
        new: J,
        comparison: &Comparison,
        mut managers: Managers,
        own: Option<usize>,
    ) -> Managers {
        let changed_here = if managers.entries.is_empty() { FieldSet::default() } else { comparison.set() };
        for (index, entry) in managers.entries.iter_mut().enumerate() {
            if Some(index) == own {
                continue;
            }
            let other = self.compare_in(&entry.api_version, live, new);
            let Some(comparison) = other.as_ref().map_or(Some(comparison), Option::as_ref) else {
                entry.fields = Fields::default();
                continue;
            };
            if other.is_some() {
                entry.fields.subtract(&comparison.set());
            } else {
                entry.fields.subtract(&changed_here);
            }
            entry.fields.subtract(&comparison.removed);
        }
        let own = own.map(|index| managers.entries[index].clone());
        managers.drop_empty();
        if let Some(own) = own
            && own.fields.is_empty()
            && let Some(index) = managers.position(&own)
        {
            managers.entries.remove(index);
        }
        managers
    }

    /// The difference as another version sees it: `None` for the version of this write, `Some(None)` when that
    /// version is not served.
    #[allow(clippy::option_option)]
    fn compare_in<'a, J: Json<'a>>(&self, api_version: &str, live: J, new: J) -> Option<Option<Comparison>> {
        if api_version == self.api_version {
            return None;
        }
        let compare_there = || {
            let schema = self.versions.schema(api_version)?;
            let live = self.versions.convert(&live.to_value(), api_version)?;
            let new = self.versions.convert(&new.to_value(), api_version)?;
            Some(compare(&live, &new, &schema).without_below(self.reset))
        };
        Some(compare_there())
    }

    /// Applies a configuration to the live object. Neither holds managedFields.
    ///
    /// # Errors
    /// `Conflict` when others own what the configuration would change, unless `force` is set or all of it is
    /// `allowed`.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        mut managers: Managers,
        force: bool,
        allowed: Option<&FieldSet>,
    ) -> Result<Applied, StatusError> {
        let merged = merge(live, config, self.schema);
        let declared = field_set(config, self.schema).without_below(self.reset);
        let mut own = self.entry(Operation::Apply);
        own.fields = declared.into();
        let (index, last) = match managers.position(&own) {
            Some(index) => {
                let last = std::mem::replace(&mut managers.entries[index], own);
                managers.entries[index].time.clone_from(&last.time);
                (index, Some(last))
            }
            None => {
                managers.entries.push(own);
                (managers.entries.len() - 1, None)
            }
        };
        let object = match last {
            Some(last) if !last.fields.is_empty() => self.prune(merged, &last, &managers),
            _ => merged,
        };
        let comparison = compare(live, &object, self.schema).without_below(self.reset);
        if !force {
            self.check_conflicts(live, &object, &comparison, &managers, index, allowed)?;
        }
        let changed = *live != object;
        if changed {
            managers.entries[index].time = Some(self.now.to_owned());
        }
        // What nobody owns was needed until here, to see what the last configuration alone held.
        let entry = &mut managers.entries[index];
        entry.fields = strip(entry.fields.set()).into();
        let managers = self.take_away(live, &object, &comparison, managers, Some(index));
        Ok(Applied { object: changed.then_some(object), managers })
    }

    fn check_conflicts(
        &self,
        live: &Value,
        new: &Value,
        comparison: &Comparison,
        managers: &Managers,
        own: usize,
        allowed: Option<&FieldSet>,
    ) -> Result<(), StatusError> {
        let mut conflicts: Vec<(String, Vec<String>)> = Vec::new();
        for (index, entry) in managers.entries.iter().enumerate() {
            if index == own {
                continue;
            }
            let other = self.compare_in(&entry.api_version, live, new);
            let Some(comparison) = other.as_ref().map_or(Some(comparison), Option::as_ref) else { continue };
            let conflict = entry.fields.set().intersection(&comparison.set());
            let paths = allowed.map_or_else(|| conflict.paths(), |allowed| conflict.difference(allowed).paths());
            if !paths.is_empty() {
                conflicts.push((entry.words(), paths));
            }
        }
        if conflicts.is_empty() { Ok(()) } else { Err(conflict_error(conflicts)) }
    }

    /// Takes out what the last configuration declared and neither the new one nor anybody else holds.
    fn prune(&self, merged: Value, last: &Entry, managers: &Managers) -> Value {
        let prune_in = |version: &str, merged: &Value, schema: &Schema| -> FieldSet {
            let named = |set: &FieldSet| merge::with_named_fields(set, schema);
            let last = named(&last.fields.set());
            let pruned = remove(merged, &last, schema);
            let all = named(&field_set(merged, schema));
            let owned = managers
                .entries
                .iter()
                .filter(|entry| entry.api_version == version)
                .fold(FieldSet::default(), |set, entry| set.union(&entry.fields.set()));
            let kept = named(&field_set(&pruned, schema)).union(&named(&owned));
            let pruned = remove(merged, &all.difference(&kept), schema);
            let left = named(&field_set(&pruned, schema));
            all.difference(&left).intersection(&last)
        };
        if last.api_version == self.api_version {
            let gone = prune_in(self.api_version, &merged, self.schema);
            return if gone.is_empty() { merged } else { remove(&merged, &gone, self.schema) };
        }
        // The last configuration was of another version: what it alone held is taken out there.
        let elsewhere = || {
            let schema = self.versions.schema(&last.api_version)?;
            let there = self.versions.convert(&merged, &last.api_version)?;
            let gone = prune_in(&last.api_version, &there, &schema);
            if gone.is_empty() {
                return None;
            }
            self.versions.convert(&remove(&there, &gone, &schema), self.api_version)
        };
        elsewhere().unwrap_or(merged)
    }
}

/// The set without what nobody owns.
fn strip(mut fields: FieldSet) -> FieldSet {
    static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&STRIPPED));
    fields.subtract(&NOBODYS);
    fields
}

/// Upstream's words about fields that others own.
fn conflict_error(mut conflicts: Vec<(String, Vec<String>)>) -> StatusError {
    conflicts.sort();
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let message = match conflicts.as_slice() {
        [(manager, paths)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.join(""))
        }
        many => {
            let mut lines = Vec::new();
            for (manager, paths) in many {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let causes = conflicts.into_iter().flat_map(|(manager, paths)| {
        paths.into_iter().map(move |path| StatusCause {
            reason: Some("FieldManagerConflict".to_owned()),
            message: Some(format!("conflict with {manager}")),
            field: Some(path),
        })
    });
    let details = StatusDetails { causes: Some(causes.collect()), ..StatusDetails::default() };
    StatusError { details: Some(Box::new(details)), ..StatusError::new(Reason::Conflict, message) }
}

//! Who set which fields: what each write leaves in `metadata.managedFields`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use reeve_api::StatusError;
use reeve_api::json::Tree;
use reeve_api::patch::apply::{self, FieldSet, Managers, Versions, Writer};
use reeve_api::schema::{Schema, builtin};
use serde_json::Value;

use super::WriteOptions;
use crate::registry::{AnyObject, MANAGED_FIELDS, Registry, Row, split_managers};
use crate::request::User;

/// The longest name of a manager.
const MANAGER_CHARACTERS_MAX: usize = 128;

/// How a write changes ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The writer owns what it changes.
    Updates,
    /// The object carries its new managers.
    Given,
    /// Nobody owns what changes.
    Kept,
}

/// The parts of an object that a write through a subresource cannot change, so that nobody comes to own them.
/// Upstream's `GetResetFields`.
fn reset_fields(row: &Row, subresource: &str) -> FieldSet {
    if let Some(custom) = row.kind.custom() {
        return FieldSet::of_fields(match subresource {
            "status" => &["spec", "metadata"],
            _ if custom.has_status => &["status"],
            _ => &[],
        });
    }
    FieldSet::of_fields(match (row.info.resource.resource.as_str(), subresource) {
        ("pods", "status") => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
        ("deployments", "status") => &["spec", "metadata.labels"],
        (
            "customresourcedefinitions" | "flowschemas" | "prioritylevelconfigurations" | "volumeattachments",
            "status",
        ) => &["spec", "metadata"],
        ("certificatesigningrequests", "approval") => &["spec", "status.certificate"],
        ("certificatesigningrequests", "status") => &["spec", "status.conditions"],
        (_, "status") => &["spec"],
        _ => &["status"],
    })
}

/// The manager's name: as the request says, else the user's own without its prefix.
fn manager_name(user: &User, options: &WriteOptions) -> String {
    if !options.field_manager.is_empty() {
        return options.field_manager.clone();
    }
    let name = if user.name.starts_with("system:node:") {
        "kubelet"
    } else {
        user.name.rsplit(':').next().unwrap_or_default()
    };
    name.chars().take(MANAGER_CHARACTERS_MAX).collect()
}

/// The schema of a row's objects.
pub(super) fn schema_of(row: &Row) -> Schema {
    if let Some(custom) = row.kind.custom() {
        return custom.merge_schema().clone();
    }
    let kind = row.info.kind();
    builtin(&kind.api_version(), &kind.kind).unwrap_or(Schema::Undeclared)
}

/// The other versions in which a row's objects are served.
struct RowVersions<'a> {
    registry: &'a Registry,
    row: &'a Row,
}

impl RowVersions<'_> {
    fn other(&self, api_version: &str) -> Option<&Row> {
        let same = |other: &&Arc<Row>| {
            other.storage_prefix == self.row.storage_prefix && other.info.kind().api_version() == api_version
        };
        self.registry.rows().iter().find(same).map(AsRef::as_ref)
    }
}

impl Versions for RowVersions<'_> {
    fn schema(&self, api_version: &str) -> Option<Schema> {
        self.other(api_version).map(schema_of)
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let other = self.other(api_version)?;
        let mut bytes = serde_json::to_vec(object).ok()?;
        if let Some(conversion) = &self.row.conversion {
            bytes = conversion.to_stored(&bytes).ok()?;
        }
        if let Some(conversion) = &other.conversion {
            bytes = conversion.to_served(&bytes).ok()?;
        }
        serde_json::from_slice(&bytes).ok()
    }
}

/// One write, as ownership sees it.
pub(super) struct Tracker<'a> {
    registry: &'a Registry,
    row: &'a Row,
    subresource: &'a str,
    manager: String,
    now: String,
    api_version: String,
    reset: FieldSet,
    schema: Schema,
}

impl<'a> Tracker<'a> {
    pub fn new(
        registry: &'a Registry,
        row: &'a Row,
        subresource: &'a str,
        user: &User,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Self {
        Self {
            registry,
            row,
            subresource,
            manager: manager_name(user, options),
            now: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            api_version: row.info.kind().api_version(),
            reset: reset_fields(row, subresource),
            schema: schema_of(row),
        }
    }

    /// Calls `write` with the writer. A second name writes instead of the manager.
    fn writer<T>(&self, manager: Option<&str>, write: impl FnOnce(&Writer<'_>) -> T) -> T {
        write(&Writer {
            manager: manager.unwrap_or(&self.manager),
            api_version: &self.api_version,
            subresource: self.subresource,
            now: &self.now,
            reset: &self.reset,
            schema: &self.schema,
            versions: &RowVersions { registry: self.registry, row: self.row },
        })
    }

    /// The managers that a new object starts with. `object` carries those that its creator claims.
    pub fn create(&self, object: &mut dyn AnyObject) -> Result<(), StatusError> {
        let asked = object.metadata_mut().managed_fields.take();
        let managers = asked.as_deref().and_then(Managers::from_entries).unwrap_or_default();
        let (zero, new) = (self.schema.zero().to_string(), self.served(encode_unmanaged(object)?)?);
        let (zero, new) = (tree(zero.as_bytes())?, tree(&new)?);
        let managers = self.writer(None, |writer| writer.update(zero.root(), new.root(), managers));
        object.set_managers(managers.write().map(Into::into));
        Ok(())
    }

    /// The managers after a change of the stored object `live`, which is without them, to `object`. `before` is the
    /// text of those that it has, `asked` are those that the writer wants.
    pub fn update(
        &self,
        live: &[u8],
        before: Option<&str>,
        asked: Option<Vec<ManagedFieldsEntry>>,
        object: &mut dyn AnyObject,
    ) -> Result<(), StatusError> {
        object.set_managers(None);
        let new = encode_unmanaged(object)?;
        if asked.is_none() && new == live {
            object.set_managers(before.map(Into::into));
            return Ok(());
        }
        // What cannot be read counts as not there.
        let present = || before.and_then(Managers::read).unwrap_or_default();
        // Through a subresource the object's managers cannot be set.
        let managers = match asked.filter(|_| self.subresource.is_empty()).as_deref() {
            Some([one]) if *one == ManagedFieldsEntry::default() => Managers::default(),
            Some(asked) => {
                Managers::from_entries(asked).filter(|asked| !asked.entries.is_empty()).unwrap_or_else(present)
            }
            None => present(),
        };
        if managers.entries.is_empty() {
            // Who gave up tracking has it back with the first apply.
            return Ok(());
        }
        let (live, new) = (self.served(live.to_vec())?, self.served(new)?);
        let (live, new) = (tree(&live)?, tree(&new)?);
        let mut managers = self.writer(None, |writer| writer.update(live.root(), new.root(), managers));
        self.drop_scale_times(&mut managers);
        object.set_managers(managers.write().map(Into::into));
        Ok(())
    }

    /// The stored object after an apply, with its new managers; nothing is stored yet. `live` is `None` for an
    /// object that is not there.
    pub fn apply(&self, live: Option<&[u8]>, config: &Value, force: bool) -> Result<Value, StatusError> {
        let (live, mut managers) = match live {
            Some(bytes) => self.live(bytes)?,
            None => (self.schema.zero(), Managers::default()),
        };
        let is_new = live.pointer("/metadata/uid").is_none();
        if managers.entries.is_empty() && !is_new {
            let zero = self.schema.zero();
            managers = self.writer(Some(apply::BEFORE_FIRST_APPLY), |writer| writer.update(&zero, &live, managers));
        }
        let allowed = self.allowed_conflicts(&live);
        let mut applied = self.writer(None, |writer| writer.apply(&live, config, managers, force, allowed.as_ref()))?;
        self.drop_scale_times(&mut applied.managers);
        let mut object = applied.object.unwrap_or(live);
        self.sync_last_applied(&mut object, config);
        if let (Some(metadata), Some(managers)) =
            (object.get_mut("metadata").and_then(Value::as_object_mut), applied.managers.write())
        {
            let managers = serde_json::from_str(&managers).map_err(StatusError::internal)?;
            metadata.insert(MANAGED_FIELDS.to_owned(), managers);
        }
        Ok(object)
    }

    /// Upstream keeps no times of those who scaled.
    fn drop_scale_times(&self, managers: &mut Managers) {
        if self.subresource == "scale" {
            for entry in managers.entries.iter_mut().filter(|entry| entry.subresource == "scale") {
                entry.time = None;
            }
        }
    }

    /// What client-side apply has declared and nobody has changed since: server-side apply by the same tool takes
    /// it over.
    fn allowed_conflicts(&self, live: &Value) -> Option<FieldSet> {
        if self.manager != KUBECTL {
            return None;
        }
        let last = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
        let last: Value = serde_json::from_str(last).ok()?;
        let comparison = apply::compare(&last, live, &self.schema);
        let changed = comparison.set().union(&comparison.removed);
        Some(apply::field_set(&last, &self.schema).difference(&changed))
    }

    /// Keeps client-side apply's memory in step with what was applied.
    fn sync_last_applied(&self, object: &mut Value, config: &Value) {
        if self.manager != KUBECTL {
            return;
        }
        let Some(last) = object.pointer_mut("/metadata/annotations").and_then(|own| own.get_mut(LAST_APPLIED)) else {
            return;
        };
        if last.as_str().is_none_or(str::is_empty) {
            return;
        }
        let mut config = config.clone();
        if let Some(own) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            own.shift_remove(LAST_APPLIED);
        }
        config.sort_all_objects();
        *last = Value::String(format!("{config}\n"));
    }

    /// The stored object as the row serves it, without its managers, and those.
    fn live(&self, stored: &[u8]) -> Result<(Value, Managers), StatusError> {
        let (live, managers) = split_managers(stored);
        let live = serde_json::from_slice(&self.served(live.into_owned())?).map_err(StatusError::internal)?;
        // What cannot be read counts as not there.
        Ok((live, managers.as_deref().and_then(Managers::read).unwrap_or_default()))
    }

    /// Stored bytes as the row serves them.
    fn served(&self, stored: Vec<u8>) -> Result<Vec<u8>, StatusError> {
        match &self.row.conversion {
            None => Ok(stored),
            Some(conversion) => conversion.to_served(&stored),
        }
    }
}

fn encode_unmanaged(object: &dyn AnyObject) -> Result<Vec<u8>, StatusError> {
    object.encode_unmanaged().map_err(StatusError::internal)
}

fn tree(bytes: &[u8]) -> Result<Tree<'_>, StatusError> {
    Tree::read(bytes).ok_or_else(|| StatusError::internal("an object was not written as JSON"))
}

/// The manager that kubectl is.
const KUBECTL: &str = "kubectl";
/// Where client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Makes the managers that an object names those that it has.
pub(super) fn adopt_given(object: &mut dyn AnyObject) {
    let given = object.metadata_mut().managed_fields.take();
    let managers = given.as_deref().and_then(Managers::from_entries);
    object.set_managers(managers.and_then(|managers| managers.write()).map(Into::into));
}

/// Whether the managers of two states of an object are the same but for times.
pub(super) fn same_managers(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || Managers::differ_in_times_only(one, other),
        (one, other) => one == other,
    }
}

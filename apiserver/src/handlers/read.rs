//! get and list.

use std::sync::Arc;

use bytes::Bytes;
use reeve_api::StatusError;
use reeve_api::json::{self, Mask};
use reeve_api::selector::{FieldSelector, LabelSelector, Operator, Requirement};

use super::{Handlers, ListOptions, ObjectAnswer, Selection};
use crate::registry::{Conversion, Row, SubresourceAction};
use crate::request::{Target, User, Verb};
use crate::storage::cache::{Entry, FieldRequirement, LabelOperator, LabelRequirement, ListQuery, Selector, Version};

/// An object of a list, in the form that clients of the row see.
#[derive(Clone)]
pub struct Listed {
    entry: Arc<Entry>,
    conversion: Option<Arc<dyn Conversion>>,
}

impl Listed {
    /// One that is made for this answer.
    pub(super) fn made(entry: Entry) -> Self {
        Self { entry: Arc::new(entry), conversion: None }
    }

    /// The whole object with apiVersion and kind.
    pub fn object(&self) -> Bytes {
        match &self.conversion {
            None => self.entry.object().clone(),
            Some(conversion) => converted(conversion.as_ref(), self.entry.object()),
        }
    }

    /// The object as it lies in the store, whatever version is served.
    pub fn stored(&self) -> &Bytes {
        self.entry.object()
    }

    /// Only the fields of a mask.
    pub fn project(&self, mask: &Mask) -> Bytes {
        if mask.is_all() { self.object() } else { json::project(&self.object(), mask).into() }
    }

    /// The object's version.
    pub fn revision(&self) -> i64 {
        self.entry.revision()
    }
}

/// A stored object that cannot be converted is a defect of the converter; it must not end the list.
pub(super) fn converted(conversion: &dyn Conversion, object: &Bytes) -> Bytes {
    match conversion.to_served(object) {
        Ok(bytes) => bytes.into(),
        Err(error) => {
            tracing::error!(%error, "a stored object cannot be converted");
            object.clone()
        }
    }
}

/// A list at one version. Its entries come from a snapshot, so memory does not grow with the list.
pub struct Listing {
    /// The version.
    pub revision: i64,
    /// Where a limited list goes on; empty at its end.
    pub continue_token: String,
    /// How many are left, where it is known.
    pub remaining_item_count: Option<i64>,
    /// The objects.
    pub entries: Box<dyn Iterator<Item = Listed> + Send>,
    /// The row, for the list's kind.
    pub row: Arc<Row>,
}

impl Listing {
    /// The same objects as they lie in the store: metadata is told without what a conversion adds to it.
    #[must_use]
    pub fn as_stored(mut self) -> Self {
        self.entries = Box::new(self.entries.map(|listed| Listed { conversion: None, ..listed }));
        self
    }
}

impl Handlers {
    /// Reads one object, or a part of it.
    pub async fn get(&self, user: &User, target: &Target, version: &str) -> Result<ObjectAnswer, StatusError> {
        let found = self.row(user, Verb::Get, target)?;
        let (row, subresource) = found.parts();
        if row.is_measured() {
            return self.measured(row, target).await;
        }
        let namespace = if row.info.namespaced { target.namespace.as_str() } else { "" };
        let entry = self
            .resource(row)?
            .get(namespace, &target.name, Version::of_get(version)?)
            .await?
            .ok_or_else(|| absent(row, target))?;
        if let Some(subresource) = subresource
            && subresource.action == SubresourceAction::Scale
        {
            return self.scale_answer(row, entry.object());
        }
        let bytes = super::served(row, entry.object().clone())?;
        Ok(ObjectAnswer { bytes, revision: entry.revision(), warnings: vec![], created: false })
    }

    /// Reads many objects.
    pub async fn list(&self, user: &User, target: &Target, options: ListOptions) -> Result<Listing, StatusError> {
        let found = self.row_selecting(user, Verb::List, target, &options.selection.fields)?;
        let row = &found.row;
        if row.is_measured() {
            return self.list_measured(row, target, options).await;
        }
        self.list_row(row, target, options).await
    }

    pub(super) async fn list_row(
        &self,
        row: &Arc<Row>,
        target: &Target,
        options: ListOptions,
    ) -> Result<Listing, StatusError> {
        let limit = usize::try_from(options.limit).unwrap_or(0);
        let query = ListQuery {
            selector: selector(row, target, &options.selection)?,
            version: Version::of_list(&options.resource_version, &options.resource_version_match, limit)?,
            limit,
            continue_token: Some(options.continue_token).filter(|token| !token.is_empty()),
        };
        let list = self.resource(row)?.list(query).await?;
        let conversion = row.conversion.clone();
        Ok(Listing {
            revision: list.revision,
            continue_token: list.continue_token.unwrap_or_default(),
            remaining_item_count: list.remaining,
            entries: Box::new(list.items.map(move |entry| Listed { entry, conversion: conversion.clone() })),
            row: row.clone(),
        })
    }
}

/// No such object. Upstream names the kind of old that it keeps nothing of by its singular.
fn absent(row: &Row, target: &Target) -> StatusError {
    let mut resource = target.resource.clone();
    if resource.resource == "componentstatuses" {
        resource.resource.clone_from(&row.info.singular);
    }
    StatusError::not_found(&resource, &target.name)
}

/// What a selection matches.
pub(super) fn selector(row: &Row, target: &Target, selection: &Selection) -> Result<Selector, StatusError> {
    let labels =
        LabelSelector::parse(&selection.labels).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let fields =
        FieldSelector::parse(&selection.fields).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let fields = fields
        .requirements()
        .iter()
        .map(|requirement| {
            Ok(FieldRequirement {
                path: stored_field(row, &requirement.field)?,
                value: requirement.value.clone(),
                equal: !requirement.negated,
            })
        })
        .collect::<Result<Vec<_>, StatusError>>()?;
    let mut selector = Selector::namespace(if row.info.namespaced { &target.namespace } else { "" });
    selector.name = Some(target.name.clone()).filter(|name| !name.is_empty());
    selector.labels = labels.requirements().iter().map(label_requirement).collect();
    selector.fields = fields;
    Ok(selector)
}

/// The form that the cache's indexes know.
fn label_requirement(requirement: &Requirement) -> LabelRequirement {
    let values = || requirement.values().map(str::to_owned).collect::<Vec<_>>();
    // The grammar admits only one integer here.
    let bound = || requirement.values().next().and_then(|value| value.parse().ok()).unwrap_or(0);
    let operator = match requirement.operator() {
        Operator::Equals | Operator::In => LabelOperator::In(values()),
        Operator::NotEquals | Operator::NotIn => LabelOperator::NotIn(values()),
        Operator::Exists => LabelOperator::Exists,
        Operator::DoesNotExist => LabelOperator::DoesNotExist,
        Operator::GreaterThan => LabelOperator::GreaterThan(bound()),
        Operator::LessThan => LabelOperator::LessThan(bound()),
    };
    LabelRequirement { key: requirement.key().to_owned(), operator }
}

/// The stored name of a field: events of the newer group name some of theirs in another way.
fn stored_field(row: &Row, field: &str) -> Result<String, StatusError> {
    let name = if row.info.resource.group != "events.k8s.io" {
        field.to_owned()
    } else if let Some(rest) = field.strip_prefix("regarding.") {
        format!("involvedObject.{rest}")
    } else if field == "reportingController" {
        "reportingComponent".to_owned()
    } else if field.starts_with("involvedObject.") || matches!(field, "reportingComponent" | "source") {
        return Err(StatusError::bad_request(format!("field label not supported: {field}")));
    } else {
        field.to_owned()
    };
    known_field(row, &name)?;
    Ok(name)
}

fn known_field(row: &Row, field: &str) -> Result<(), StatusError> {
    if matches!(field, "metadata.name" | "metadata.namespace") || row.kind.field_names().contains(&field) {
        return Ok(());
    }
    // Kinds without fields of their own answer with those that all kinds have.
    let text = if row.kind.field_names().is_empty() && row.kind.custom().is_none() {
        let known = if row.info.namespaced { "\"metadata.name\", \"metadata.namespace\"" } else { "\"metadata.name\"" };
        format!("{field:?} is not a known field selector: only {known}")
    } else {
        format!("field label not supported: {field}")
    };
    Err(StatusError::bad_request(text))
}

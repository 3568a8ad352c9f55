//! update: the one way in which a stored object changes, for PUT, patches and subresources alike.

use bytes::Bytes;
use reeve_api::validation::ErrorList;
use reeve_api::{ObjectMeta, StatusError};

use super::admission::{label_namespace, wrong_body};
use super::decoding::{decode_body, with_warnings};
use super::ownership::{Ownership, Tracker, adopt_given, same_managers};
use super::webhooks::Subject;
use super::{Handlers, ObjectAnswer, WriteOptions, check, decode_stored, encode, owners, service_claims, store_error};
use crate::admission;
use crate::admission::webhooks::Operation;
use crate::registry::{AnyObject, RequestContext, Row, Subresource, SubresourceAction, join_managers, split_managers};
use crate::request::{Target, User, Verb};
use crate::storage::{Outcome, StoreError, Stored, Write};

/// What a change may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status.
    Main,
    /// Only the status.
    Status,
    /// What holds a namespace.
    Finalize,
    /// The conditions of a certificate request.
    Approval,
    /// What the kind's strategy says of a subresource.
    Named(&'static str),
    /// The caller has checked what may change: a pod's node.
    Binding,
}

/// A new object made from the present one. May run several times.
pub(super) type Make<'a> = dyn FnMut(&Stored, &dyn AnyObject) -> Result<Box<dyn AnyObject>, StatusError> + Send + 'a;

impl Handlers {
    /// Replaces an object or a part of it.
    pub async fn update(
        &self,
        user: &User,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let found = self.row(user, Verb::Update, target)?;
        let (row, subresource) = found.parts();
        let part = match subresource.map(|subresource| subresource.action) {
            None => Part::Main,
            Some(SubresourceAction::Status) => Part::Status,
            Some(SubresourceAction::Finalize) => Part::Finalize,
            Some(SubresourceAction::Approval) => Part::Approval,
            Some(SubresourceAction::Part(name)) => Part::Named(name),
            Some(SubresourceAction::Scale) => return self.update_scale(user, row, target, &body, options).await,
            Some(_) => return Err(super::method_not_allowed()),
        };
        let body = match &row.conversion {
            None => body,
            Some(conversion) => conversion.to_stored(&body)?.into(),
        };
        let decoded = decode_body(row, &body, options)?;
        let (mut object, mut warnings) = (decoded.object, decoded.warnings);
        self.adopt_namespace(row, target, object.metadata_mut())?;
        warnings.extend(owners::keep_first(object.metadata_mut(), owners::SENT));
        match object.metadata().name.as_deref() {
            None | Some("") => object.metadata_mut().name = Some(target.name.clone()),
            Some(name) if name == target.name => {}
            Some(name) => {
                return Err(wrong_body(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
        }
        let unversioned = object.metadata().resource_version.as_deref().unwrap_or_default().is_empty();
        let conditional = !row.kind.allows_unconditional_update() && part == Part::Main;
        let result = {
            let mut make = |_: &Stored, _: &dyn AnyObject| {
                if unversioned && conditional {
                    return Err(needs_version(target));
                }
                Ok(object.clone_object())
            };
            self.change(user, row, target, part, options, &mut make).await
        };
        let result = match result {
            Err(error)
                if error.reason == reeve_api::Reason::NotFound
                    && part == Part::Main
                    && row.kind.allows_create_on_update() =>
            {
                object.metadata_mut().resource_version = None;
                let bytes = encode(object.as_ref())?;
                let collection = Target { name: String::new(), ..target.clone() };
                let options = WriteOptions { repeated: Vec::new(), ..options.clone() };
                Box::pin(self.create(user, &collection, bytes, &options)).await
            }
            result => result,
        };
        with_warnings(result, warnings)
    }

    /// Changes a stored object by `make`, with all rules of its kind. A version in the made object is a
    /// precondition; without one the change is made on whatever is newest.
    pub(super) async fn change(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        part: Part,
        options: &WriteOptions,
        make: &mut Make<'_>,
    ) -> Result<ObjectAnswer, StatusError> {
        // Upstream's binding leaves no trace of its own.
        let ownership = if part == Part::Binding { Ownership::Kept } else { Ownership::Updates };
        self.change_owned(user, row, target, part, ownership, options, make).await
    }

    /// The same, with a say in who owns what changes.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn change_owned(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        part: Part,
        ownership: Ownership,
        options: &WriteOptions,
        make: &mut Make<'_>,
    ) -> Result<ObjectAnswer, StatusError> {
        let key = row.storage_key(&target.namespace, &target.name);
        let context = self.context(user);
        let registry = self.registry();
        let tracker = Tracker::new(&registry, row, &target.subresource, user, options, context.now);
        let request = self.admission(user, Verb::Update, row, target);
        let ttl = row.time_to_live.map(|_| self.options.event_ttl);
        let mut lost = service_claims::Lost::default();
        let hooked = part != Part::Binding && self.has_webhooks();
        let mut approved: Option<(i64, Box<dyn AnyObject>)> = None;
        let mut told = Vec::new();
        loop {
            let mut claims = service_claims::Claims::default();
            let mut warnings = Vec::new();
            let mut dry = None;
            let mut end = None;
            let mut asking = None;
            let hint = self.hint(row, target);
            let result = {
                let (claims, warnings, lost, dry, end) = (&mut claims, &mut warnings, &lost, &mut dry, &mut end);
                let (asking, approved, told) = (&mut asking, &approved, &told);
                let mut decide = |present: Option<&Stored>| {
                    let present = present.ok_or_else(|| StatusError::not_found(&target.resource, &target.name))?;
                    let (live, managers) = split_managers(&present.value);
                    let mut old = decode_stored(row, &live)?;
                    old.set_managers(managers);
                    let mut object = make(present, old.as_ref())?;
                    check_versions(target, present, old.metadata(), object.metadata())?;
                    carry_over(object.metadata_mut(), old.metadata());
                    object.default();
                    match ownership {
                        Ownership::Updates => {
                            let asked = object.metadata_mut().managed_fields.take();
                            tracker.update(&live, old.managers(), asked, object.as_mut())?;
                        }
                        Ownership::Given => adopt_given(object.as_mut()),
                        Ownership::Kept => {
                            object.metadata_mut().managed_fields = None;
                            object.set_managers(old.managers().map(Into::into));
                        }
                    }
                    if part != Part::Binding {
                        admission::mutate(&request, object.as_mut(), Some(old.as_ref()))?;
                    }
                    if hooked {
                        match approved {
                            Some((revision, object_then)) if *revision == present.revision => {
                                object = object_then.clone_object();
                            }
                            // Webhooks take their time: what they say is used when nothing changed meanwhile.
                            _ => {
                                *asking = Some((present.revision, object, old));
                                return Ok(Write::keep());
                            }
                        }
                    }
                    adjust(row, &context, part, object.as_mut(), old.as_ref());
                    if part == Part::Main {
                        *claims = self.plan_claims(object.as_mut(), Some(old.as_ref()), lost)?;
                    }
                    check(row, &target.name, validate(part, object.as_ref(), old.as_ref()))?;
                    *warnings = object.warnings(Some(old.as_ref()));
                    warnings.extend(told.iter().cloned());
                    if part != Part::Binding {
                        admission::validate(&request, object.as_ref(), Some(old.as_ref()), warnings)?;
                    }
                    // New times alone are no change.
                    let plain = object.encode_unmanaged().map_err(StatusError::internal)?;
                    let unchanged = plain == *live && same_managers(object.managers(), old.managers());
                    let value =
                        if unchanged { present.value.clone() } else { join_managers(plain, object.managers()).into() };
                    if options.dry_run {
                        *dry = Some(Stored { value, revision: present.revision });
                        return Ok(Write::keep());
                    }
                    if is_finished(object.as_ref()) {
                        *end = Some(value);
                        return Ok(Write::delete().releasing(service_claims::held(object.as_ref())));
                    }
                    if value == present.value {
                        return Ok(Write::keep());
                    }
                    let write = match ttl {
                        Some(ttl) => Write::put_for(value, ttl),
                        None => Write::put(value),
                    };
                    Ok(write.claiming(claims.claims(&key)).releasing(claims.releases()))
                };
                self.store.update(&key, hint, &mut decide).await
            };
            if let Some((revision, object, old)) = asking {
                result.map_err(store_error)?;
                let subject = Subject::of(&request, Operation::Update, options);
                told.clear();
                let object = self.mutate_by_webhooks(&subject, object, Some(old.as_ref()), &mut told).await?;
                self.judge_by_webhooks(&subject, Some(object.as_ref()), Some(old.as_ref()), &mut told).await?;
                approved = Some((revision, object));
                continue;
            }
            if let Some(stored) = dry {
                return ObjectAnswer::stored(row, &stored, warnings);
            }
            return match result {
                Ok(Outcome::Put { stored, .. }) => ObjectAnswer::stored(row, &stored, warnings),
                Ok(Outcome::Kept(Some(stored))) => ObjectAnswer::stored(row, &stored, warnings),
                Ok(Outcome::Deleted { last, revision }) => {
                    let value = end.unwrap_or(last.value);
                    ObjectAnswer::stored(row, &Stored { revision, value }, warnings)
                }
                Ok(Outcome::Kept(None)) => Err(StatusError::not_found(&target.resource, &target.name)),
                Err(StoreError::Claimed(claim)) => {
                    claims.lost(&claim, &mut lost, row, &target.name)?;
                    continue;
                }
                Err(error) => Err(store_error(error).warned(warnings)),
            };
        }
    }
}

/// An object whose deletion was asked for and that nothing holds any more.
fn is_finished(object: &dyn AnyObject) -> bool {
    let metadata = object.metadata();
    metadata.deletion_timestamp.is_some()
        && metadata.deletion_grace_period_seconds.unwrap_or(0) == 0
        && metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
        && !object.is_held()
}

/// The kind takes no update that does not say which version it was made from.
fn needs_version(target: &Target) -> StatusError {
    let mut errors = reeve_api::validation::ErrorList::new();
    let path = reeve_api::validation::Path::new("metadata");
    errors.invalid(&path.child("resourceVersion"), 0, "must be specified for an update");
    StatusError::invalid(&target.resource.group, &target.resource.resource, &target.name, errors.into_causes())
}

fn check_versions(target: &Target, present: &Stored, old: &ObjectMeta, new: &ObjectMeta) -> Result<(), StatusError> {
    if let Some(version) = new.resource_version.as_deref().filter(|version| !version.is_empty())
        && version != "0"
        && version != present.revision.to_string()
    {
        version.parse::<u64>().map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            StatusError::new(reeve_api::Reason::Unknown, why)
        })?;
        return Err(StatusError::modified(&target.resource, &target.name));
    }
    if let (Some(new), Some(old)) = (new.uid.as_deref().filter(|uid| !uid.is_empty()), old.uid.as_deref())
        && new != old
    {
        let why = format!("Precondition failed: UID in precondition: {new}, UID in object meta: {old}");
        return Err(StatusError::conflict(&target.resource, &target.name, why));
    }
    Ok(())
}

/// What no client may change.
fn carry_over(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.resource_version = None;
    new.self_link = None;
    new.uid.clone_from(&old.uid);
    new.creation_timestamp.clone_from(&old.creation_timestamp);
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    new.generation = old.generation;
    new.generate_name.clone_from(&old.generate_name);
}

/// What a change of a part must satisfy.
fn validate(part: Part, object: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList {
    match part {
        Part::Main | Part::Finalize => object.validate_update(old),
        Part::Status | Part::Approval => object.validate_status_update(old),
        Part::Named(name) => object.validate_subresource_update(name, old),
        Part::Binding => ErrorList::new(),
    }
}

fn adjust(row: &Row, context: &RequestContext, part: Part, object: &mut dyn AnyObject, old: &dyn AnyObject) {
    match part {
        Part::Main => object.prepare_for_update(context, old),
        Part::Status => object.prepare_for_status_update(context, old),
        Part::Finalize => object.prepare_for_subresource_update("finalize", context, old),
        Part::Approval => object.prepare_for_subresource_update("approval", context, old),
        Part::Named(name) => object.prepare_for_subresource_update(name, context, old),
        Part::Binding => {}
    }
    label_namespace(row, object);
}

/// The part that a subresource is, for verbs that treat it like the object.
pub(super) fn part_of(subresource: Option<&Subresource>) -> Option<Part> {
    match subresource.map(|subresource| subresource.action) {
        None => Some(Part::Main),
        Some(SubresourceAction::Status) => Some(Part::Status),
        Some(SubresourceAction::Finalize) => Some(Part::Finalize),
        Some(SubresourceAction::Approval) => Some(Part::Approval),
        Some(SubresourceAction::Part(name)) => Some(Part::Named(name)),
        Some(_) => None,
    }
}

//! create.

use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::{ObjectMeta, StatusError, names};
use uuid::Uuid;

use super::admission::{label_namespace, wrong_body};
use super::decoding::{decode_body, with_warnings};
use super::ownership::{Ownership, Tracker, adopt_given};
use super::webhooks::Subject;
use super::{Handlers, ObjectAnswer, WriteOptions, check, encode, owners, service_claims, store_error};
use crate::admission;
use crate::admission::webhooks::Operation;
use crate::registry::{AnyObject, RequestContext, Row};
use crate::request::{Target, User, Verb};
use crate::storage::{Hint, Outcome, StoreError, Write};

/// How many generated names are tried before the client hears of a collision; upstream's number.
const GENERATED_NAMES_MAX: u32 = 8;

impl Handlers {
    /// Stores a new object, or an object of a subresource.
    pub async fn create(
        &self,
        user: &User,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        self.create_owned(user, target, body, Ownership::Updates, options).await
    }

    /// The same, with a say in who owns the object's fields.
    pub(super) async fn create_owned(
        &self,
        user: &User,
        target: &Target,
        body: Bytes,
        ownership: Ownership,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let found = self.row(user, Verb::Create, target)?;
        let (row, subresource) = found.parts();
        if let Some(subresource) = subresource {
            let action = subresource.action;
            return self.create_subresource(user, row, action, target, &body, options).await;
        }
        if row.info.kind == "Binding" && row.info.resource.group.is_empty() {
            return self.bind_named(user, target, &body, options).await;
        }
        if let Some(review) = row.review {
            return self.review(user, row, review, target, &body, options);
        }
        let body = match &row.conversion {
            None => body,
            Some(conversion) => conversion.to_stored(&body)?.into(),
        };
        let decoded = decode_body(row, &body, options)?;
        let mut warnings = decoded.warnings;
        let result = self.create_decoded(user, row, target, decoded.object, ownership, options, &mut warnings).await;
        with_warnings(result, warnings)
    }

    #[allow(clippy::too_many_arguments)]
    async fn create_decoded(
        &self,
        user: &User,
        row: &Arc<Row>,
        target: &Target,
        mut object: Box<dyn AnyObject>,
        ownership: Ownership,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<ObjectAnswer, StatusError> {
        self.adopt_namespace(row, target, object.metadata_mut())?;
        warnings.extend(owners::keep_first(object.metadata_mut(), owners::SENT));
        let context = self.context(user);
        prepare(row, &context, object.as_mut())?;
        match ownership {
            Ownership::Updates => {
                Tracker::new(&self.registry(), row, "", user, options, context.now).create(object.as_mut())?;
            }
            Ownership::Given | Ownership::Kept => adopt_given(object.as_mut()),
        }
        let name = object.metadata().name.clone().unwrap_or_default();
        self.admit_place(row, target, object.as_ref()).await?;
        let request = self.admission(user, Verb::Create, row, target);
        admission::mutate(&request, object.as_mut(), None)?;
        if self.has_webhooks() {
            let subject = Subject::of(&request, Operation::Create, options);
            object = self.mutate_by_webhooks(&subject, object, None, warnings).await?;
        }

        let generated = object.metadata().generate_name.clone().filter(|_| name.is_empty());
        // What a kind makes of the object's name it makes anew of the next one.
        let spare = generated.is_some().then(|| object.clone_object());
        let mut attempt = 0;
        loop {
            attempt += 1;
            if let Some(spare) = spare.as_ref().filter(|_| attempt > 1) {
                object = spare.clone_object();
            }
            if let Some(prefix) = &generated {
                object.metadata_mut().name = Some(names::generate(prefix, rand::random()));
            }
            object.prepare_for_create(&context);
            object.admit_create(&context);
            label_namespace(row, object.as_mut());
            let told = warnings.len();
            if attempt == 1 {
                warnings.extend(object.warnings(None));
            }
            let result = self.store_new(&request, object.as_mut(), options, warnings).await;
            match result {
                Err(error)
                    if generated.is_some()
                        && error.reason == reeve_api::Reason::AlreadyExists
                        && attempt < GENERATED_NAMES_MAX => {}
                Err(error) => {
                    if error.reason == reeve_api::Reason::Invalid {
                        // What breaks its kind's rules is not looked at any further.
                        warnings.truncate(told);
                    }
                    return Err(error);
                }
                Ok(answer) => return Ok(ObjectAnswer { created: true, ..answer }),
            }
        }
    }

    /// Validates and writes. Claims that lose a race are chosen anew.
    pub(super) async fn store_new(
        &self,
        request: &admission::Request<'_>,
        object: &mut dyn AnyObject,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<ObjectAnswer, StatusError> {
        let (row, target) = (request.row, request.target);
        let name = object.metadata().name.clone().unwrap_or_default();
        let mut lost = service_claims::Lost::default();
        check(row, &name, object.validate())?;
        let told = warnings.len();
        admission::validate(request, object, None, warnings)?;
        if self.has_webhooks() {
            let subject = Subject::of(request, Operation::Create, options);
            self.judge_by_webhooks(&subject, Some(&*object), None, warnings).await?;
        }
        let charged = self.charge(row, target, object, options.dry_run).await?;
        let result = self.write_new(row, target, object, options, &mut lost).await;
        if result.is_err() {
            // Another name may be tried.
            warnings.truncate(told);
            self.refund(charged).await;
        }
        result
    }

    async fn write_new(
        &self,
        row: &Row,
        target: &Target,
        object: &dyn AnyObject,
        options: &WriteOptions,
        lost: &mut service_claims::Lost,
    ) -> Result<ObjectAnswer, StatusError> {
        let name = object.metadata().name.clone().unwrap_or_default();
        let key = row.storage_key(&target.namespace, &name);
        let ttl = row.time_to_live.map(|_| self.options.event_ttl);
        loop {
            let (value, claims) = if service_claims::claims(object) {
                let mut object = object.clone_object();
                let claims = self.plan_claims(object.as_mut(), None, lost)?;
                check(row, &name, object.validate())?;
                (encode(object.as_ref())?, claims)
            } else {
                (encode(object)?, service_claims::Claims::default())
            };
            if options.dry_run {
                let mut decide = |present: Option<&crate::storage::Stored>| match present {
                    Some(_) => Err(StatusError::already_exists(&target.resource, &name)),
                    None => Ok(Write::keep()),
                };
                self.store.update(&key, Hint::Absent, &mut decide).await.map_err(store_error)?;
                return Ok(ObjectAnswer::unstored(super::served(row, value)?));
            }
            let mut decide = |present: Option<&crate::storage::Stored>| {
                if present.is_some() {
                    return Err(StatusError::already_exists(&target.resource, &name));
                }
                let write = match ttl {
                    Some(ttl) => Write::put_for(value.clone(), ttl),
                    None => Write::put(value.clone()),
                };
                Ok(write.claiming(claims.claims(&key)))
            };
            match self.store.update(&key, Hint::Absent, &mut decide).await {
                Ok(Outcome::Put { stored, .. }) => return ObjectAnswer::stored(row, &stored, vec![]),
                Ok(other) => return Err(StatusError::internal(format_args!("a create ended as {other:?}"))),
                Err(StoreError::Claimed(claim)) => claims.lost(&claim, lost, row, &name)?,
                Err(error) => return Err(store_error(error)),
            }
        }
    }

    /// The namespace of the path goes into the object; another one in the object is an error.
    pub(super) fn adopt_namespace(
        &self,
        row: &Row,
        target: &Target,
        metadata: &mut ObjectMeta,
    ) -> Result<(), StatusError> {
        if !row.info.namespaced {
            return Ok(());
        }
        match metadata.namespace.as_deref() {
            None | Some("") => metadata.namespace = Some(target.namespace.clone()),
            Some(namespace) if namespace == target.namespace => {}
            Some(_) => {
                return Err(wrong_body(
                    "the namespace of the provided object does not match the namespace sent on the request".into(),
                ));
            }
        }
        Ok(())
    }
}

/// System fields of a new object, then its defaults.
pub(super) fn prepare(row: &Row, context: &RequestContext, object: &mut dyn AnyObject) -> Result<(), StatusError> {
    let metadata = object.metadata_mut();
    let named = metadata.name.as_deref().is_some_and(|name| !name.is_empty());
    let generated = metadata.generate_name.as_deref().is_some_and(|name| !name.is_empty());
    if !named && !generated {
        metadata.name = None;
        let gvk = row.info.kind();
        let mut errors = reeve_api::validation::ErrorList::new();
        let path = reeve_api::validation::Path::new("metadata");
        errors.required(&path.child("name"), "name or generateName is required");
        return Err(StatusError::invalid(&gvk.group, &gvk.kind, "", errors.into_causes()));
    }
    if metadata.resource_version.as_deref().is_some_and(|version| !version.is_empty()) {
        return Err(StatusError::new(
            reeve_api::Reason::Unknown,
            "resourceVersion should not be set on objects to be created",
        ));
    }
    metadata.resource_version = None;
    metadata.uid = Some(Uuid::new_v4().to_string());
    metadata.creation_timestamp = Some(Time(context.now));
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.self_link = None;
    metadata.generation = None;
    object.default();
    Ok(())
}

//! Kinds and objects without their types, so that handlers exist once.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::{Metadata, Resource};
use reeve_api::validation::{ErrorList, Path, metadata};
use reeve_api::{GroupVersionKind, ObjectMeta, json};

use super::custom::CustomKind;
use super::decode::{self, DecodeError, FieldValidation};
use super::encode;
use super::strategy::{RequestContext, Strategy};

/// Who set which fields, in an object's metadata.
pub const MANAGED_FIELDS: &str = "managedFields";

/// A stored object without its managers, and their text.
pub fn split_managers(stored: &[u8]) -> (Cow<'_, [u8]>, Option<Box<str>>) {
    match json::cut_metadata(stored, MANAGED_FIELDS) {
        None => (Cow::Borrowed(stored), None),
        Some((rest, text)) => (Cow::Owned(rest), std::str::from_utf8(&stored[text]).ok().map(Box::from)),
    }
}

/// The stored form of an object that was encoded without its managers.
pub fn join_managers(bytes: Vec<u8>, managers: Option<&str>) -> Vec<u8> {
    managers.and_then(|text| json::paste_metadata(&bytes, MANAGED_FIELDS, text)).unwrap_or(bytes)
}

/// A decoded object and what was odd about its text.
pub struct Decoded {
    /// The object, not yet defaulted.
    pub object: Box<dyn AnyObject>,
    /// Unknown and duplicate fields, to be sent as warnings. Empty unless warnings were asked for.
    pub warnings: Vec<String>,
}

/// A kind: decodes objects. The kind's rules come with each object.
pub trait Kind: Send + Sync + fmt::Debug {
    /// Group, version and kind.
    fn group_version_kind(&self) -> GroupVersionKind;

    /// Decodes an object that a user sent.
    ///
    /// # Errors
    /// When the text is not such an object, or, under strict validation, has fields that the kind does
    /// not know or names a field twice.
    fn decode(&self, json: &[u8], validation: FieldValidation) -> Result<Decoded, DecodeError>;

    /// The fields that selectors may name, beside `metadata.name` and `metadata.namespace`.
    fn field_names(&self) -> Vec<&str>;

    /// Whether a PUT of an absent object creates it.
    fn allows_create_on_update(&self) -> bool;

    /// Whether an update without a resource version is taken.
    fn allows_unconditional_update(&self) -> bool;

    /// Decodes an object that lies in the store.
    ///
    /// # Errors
    /// When the bytes are not such an object.
    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, DecodeError>;

    /// The version of a custom kind; `None` for built-in kinds.
    fn custom(&self) -> Option<&CustomKind> {
        None
    }
}

/// An object of any kind, with the rules of its kind.
///
/// Methods that take a second object need one of the same kind; one of another kind counts as a defect
/// and is reported by the error list or left alone.
pub trait AnyObject: Any + Send + Sync {
    /// The metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// The metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// The text of the object's `metadata.managedFields`, which it carries beside its metadata: all that a write
    /// does not touch of it stays text.
    fn managers(&self) -> Option<&str>;
    /// Sets that text, which must be canonical.
    fn set_managers(&mut self, managers: Option<Box<str>>);
    /// Canonical bytes ([`encode::canonical`]), which begin with `apiVersion` and `kind`, without the managers.
    ///
    /// # Errors
    /// When a value has no JSON form; the kinds of `k8s-openapi` all have one.
    fn encode_unmanaged(&self) -> Result<Vec<u8>, serde_json::Error>;
    /// The same with the managers: what is stored.
    ///
    /// # Errors
    /// As [`AnyObject::encode_unmanaged`].
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(join_managers(self.encode_unmanaged()?, self.managers()))
    }
    /// A copy.
    fn clone_object(&self) -> Box<dyn AnyObject>;
    /// For downcasts to the kind's own type, [`Object`].
    fn as_any(&self) -> &dyn Any;
    /// For downcasts to the kind's own type, [`Object`].
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// For downcasts to the `k8s-openapi` type, whatever the strategy.
    fn inner(&self) -> &dyn Any;
    /// For downcasts to the `k8s-openapi` type, whatever the strategy.
    fn inner_mut(&mut self) -> &mut dyn Any;

    /// See [`Strategy::default`].
    fn default(&mut self);
    /// See [`Strategy::prepare_for_create`].
    fn prepare_for_create(&mut self, context: &RequestContext);
    /// See [`Strategy::admit_create`].
    fn admit_create(&mut self, context: &RequestContext);
    /// Rules of metadata and of the kind.
    fn validate(&self) -> ErrorList;
    /// See [`Strategy::prepare_for_update`].
    fn prepare_for_update(&mut self, context: &RequestContext, old: &dyn AnyObject);
    /// Rules of metadata and of the kind for a change.
    fn validate_update(&self, old: &dyn AnyObject) -> ErrorList;
    /// See [`Strategy::prepare_for_status_update`].
    fn prepare_for_status_update(&mut self, context: &RequestContext, old: &dyn AnyObject);
    /// Rules of metadata and of the kind for a change of the status.
    fn validate_status_update(&self, old: &dyn AnyObject) -> ErrorList;
    /// See [`Strategy::prepare_for_subresource_update`].
    fn prepare_for_subresource_update(&mut self, subresource: &str, context: &RequestContext, old: &dyn AnyObject);
    /// Rules of metadata and of the kind for a change through a subresource of its own shape.
    fn validate_subresource_update(&self, subresource: &str, old: &dyn AnyObject) -> ErrorList;
    /// See [`Strategy::grace_period_seconds`].
    fn grace_period_seconds(&self, requested: Option<i64>) -> Option<i64>;
    /// See [`Strategy::begin_deletion`].
    fn begin_deletion(&mut self);
    /// See [`Strategy::is_held`].
    fn is_held(&self) -> bool;
    /// See [`Strategy::fields`].
    fn fields(&self) -> Vec<(Cow<'static, str>, String)>;
    /// See [`Strategy::warnings`].
    fn warnings(&self, old: Option<&dyn AnyObject>) -> Vec<String>;
    /// See [`Strategy::scale`].
    fn scale(&self) -> Option<Scale>;
    /// See [`Strategy::set_replicas`].
    fn set_replicas(&mut self, replicas: i32);
}

/// An object of a kind beside its strategy.
pub struct Object<S: Strategy> {
    /// The object.
    pub value: S::Object,
    managers: Option<Box<str>>,
    strategy: &'static S,
    namespaced: bool,
}

impl<S: Strategy> Object<S> {
    /// The other object, when it is of the same kind.
    fn same(other: &dyn AnyObject) -> Option<&S::Object> {
        other.as_any().downcast_ref::<Self>().map(|object| &object.value)
    }
}

impl<S: Strategy> AnyObject for Object<S> {
    fn metadata(&self) -> &ObjectMeta {
        self.value.metadata()
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        self.value.metadata_mut()
    }

    fn managers(&self) -> Option<&str> {
        self.managers.as_deref()
    }

    fn set_managers(&mut self, managers: Option<Box<str>>) {
        self.managers = managers;
    }

    fn encode_unmanaged(&self) -> Result<Vec<u8>, serde_json::Error> {
        encode::canonical(&self.value)
    }

    fn clone_object(&self) -> Box<dyn AnyObject> {
        Box::new(Self {
            value: self.value.clone(),
            managers: self.managers.clone(),
            strategy: self.strategy,
            namespaced: self.namespaced,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn inner(&self) -> &dyn Any {
        &self.value
    }

    fn inner_mut(&mut self) -> &mut dyn Any {
        &mut self.value
    }

    fn default(&mut self) {
        self.strategy.default(&mut self.value);
    }

    fn prepare_for_create(&mut self, context: &RequestContext) {
        self.strategy.prepare_for_create(context, &mut self.value);
    }

    fn admit_create(&mut self, context: &RequestContext) {
        self.strategy.admit_create(context, &mut self.value);
    }

    fn validate(&self) -> ErrorList {
        let rule = self.strategy.name_rule();
        let mut errors = metadata::validate(self.metadata(), self.namespaced, rule, &Path::new("metadata"));
        errors.extend(self.strategy.validate(&self.value));
        errors
    }

    fn prepare_for_update(&mut self, context: &RequestContext, old: &dyn AnyObject) {
        if let Some(old) = Self::same(old) {
            self.strategy.prepare_for_update(context, &mut self.value, old);
        }
    }

    fn validate_update(&self, old: &dyn AnyObject) -> ErrorList {
        let Some(old) = Self::same(old) else {
            return mixed_kinds();
        };
        let mut errors = self.validate_metadata_update(old);
        errors.extend(self.strategy.validate_update(&self.value, old));
        errors
    }

    fn prepare_for_status_update(&mut self, context: &RequestContext, old: &dyn AnyObject) {
        if let Some(old) = Self::same(old) {
            self.strategy.prepare_for_status_update(context, &mut self.value, old);
        }
    }

    fn validate_status_update(&self, old: &dyn AnyObject) -> ErrorList {
        let Some(old) = Self::same(old) else {
            return mixed_kinds();
        };
        let mut errors = self.validate_metadata_update(old);
        errors.extend(self.strategy.validate_status_update(&self.value, old));
        errors
    }

    fn prepare_for_subresource_update(&mut self, subresource: &str, context: &RequestContext, old: &dyn AnyObject) {
        if let Some(old) = Self::same(old) {
            self.strategy.prepare_for_subresource_update(subresource, context, &mut self.value, old);
        }
    }

    fn validate_subresource_update(&self, subresource: &str, old: &dyn AnyObject) -> ErrorList {
        let Some(old) = Self::same(old) else {
            return mixed_kinds();
        };
        let mut errors = self.validate_metadata_update(old);
        errors.extend(self.strategy.validate_subresource_update(subresource, &self.value, old));
        errors
    }

    fn grace_period_seconds(&self, requested: Option<i64>) -> Option<i64> {
        self.strategy.grace_period_seconds(&self.value, requested)
    }

    fn begin_deletion(&mut self) {
        self.strategy.begin_deletion(&mut self.value);
    }

    fn is_held(&self) -> bool {
        self.strategy.is_held(&self.value)
    }

    fn fields(&self) -> Vec<(Cow<'static, str>, String)> {
        let fields = self.strategy.fields(&self.value);
        fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect()
    }

    fn warnings(&self, old: Option<&dyn AnyObject>) -> Vec<String> {
        self.strategy.warnings(&self.value, old.and_then(Self::same))
    }

    fn scale(&self) -> Option<Scale> {
        self.strategy.scale(&self.value)
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.strategy.set_replicas(&mut self.value, replicas);
    }
}

impl<S: Strategy> Object<S> {
    fn validate_metadata_update(&self, old: &S::Object) -> ErrorList {
        let path = Path::new("metadata");
        let rule = self.strategy.name_rule();
        // Upstream checks what all kinds share, and then each kind checks it again: clients see both.
        let whole = || metadata::validate(self.metadata(), self.namespaced, rule, &path);
        let change = || metadata::validate_update(self.metadata(), old.metadata(), &path);
        let mut errors = whole();
        if !errors.is_empty() || !change().is_empty() {
            errors.extend(change());
            errors.extend(change());
            errors.extend(whole());
        }
        errors
    }
}

fn mixed_kinds() -> ErrorList {
    let mut errors = ErrorList::new();
    errors.internal(&Path::new("kind"), "an object was compared with one of another kind");
    errors
}

/// The [`Kind`] of a strategy.
pub struct StrategyKind<S: Strategy> {
    strategy: &'static S,
    namespaced: bool,
    object: PhantomData<fn() -> S>,
}

impl<S: Strategy> StrategyKind<S> {
    /// A kind with these rules.
    pub fn new(strategy: &'static S, namespaced: bool) -> Self {
        Self { strategy, namespaced, object: PhantomData }
    }
}

impl<S: Strategy> fmt::Debug for StrategyKind<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.group_version_kind())
    }
}

impl<S: Strategy> Kind for StrategyKind<S> {
    fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: S::Object::GROUP.to_owned(),
            version: S::Object::VERSION.to_owned(),
            kind: S::Object::KIND.to_owned(),
        }
    }

    fn decode(&self, json: &[u8], validation: FieldValidation) -> Result<Decoded, DecodeError> {
        let (mut value, warnings) = decode::decode::<S::Object>(json, validation, &self.group_version_kind())?;
        self.strategy.read(&mut value, json);
        let object = Object { value, managers: None, strategy: self.strategy, namespaced: self.namespaced };
        Ok(Decoded { object: Box::new(object), warnings })
    }

    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, DecodeError> {
        let (json, managers) = split_managers(json);
        let mut object = self.decode(&json, FieldValidation::Ignore)?.object;
        object.set_managers(managers);
        Ok(object)
    }

    fn field_names(&self) -> Vec<&str> {
        self.strategy.field_names().to_vec()
    }

    fn allows_create_on_update(&self) -> bool {
        self.strategy.allows_create_on_update()
    }

    fn allows_unconditional_update(&self) -> bool {
        self.strategy.allows_unconditional_update()
    }
}

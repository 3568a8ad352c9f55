//! What goes into the store and what comes out: states, writes, changes, errors.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use reeve_api::{Reason, StatusError};

/// The state of a key that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Canonical JSON without `metadata.resourceVersion`.
    pub value: Bytes,
    /// The revision of the last write of the key; the object's resource version.
    pub revision: i64,
}

/// What the caller of an update believes of the key's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing: the store reads first.
    #[default]
    Unknown,
    /// That there is no such key; right for creates.
    Absent,
    /// That this is the state.
    Present(Stored),
}

impl From<Option<Stored>> for Hint {
    fn from(stored: Option<Stored>) -> Self {
        stored.map_or(Hint::Absent, Hint::Present)
    }
}

/// A key that must be absent and is put in the same transaction: an allocated address or port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key.
    pub key: String,
    /// Its value, by convention the key of the object that holds the claim.
    pub value: Bytes,
}

impl Claim {
    /// A claim of `key` for the holder named by `value`.
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// A key that is put in the same transaction, whatever it holds: a word to those who watch the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
}

/// What becomes of the updated key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It gets a value, that lives at least as long as `ttl` says (for ever without).
    Put {
        /// Canonical JSON without `metadata.resourceVersion`.
        value: Bytes,
        /// Time to live.
        ttl: Option<Duration>,
    },
    /// It is removed.
    Delete,
    /// It stays as it is.
    Keep,
}

/// The answer of a `decide` closure: an action and what goes with it, all in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What becomes of the key.
    pub action: Action,
    /// Keys that must be absent and are put.
    pub claims: Vec<Claim>,
    /// Keys that are deleted: claims that the object held according to the state that was decided on.
    pub releases: Vec<String>,
    /// What is told beside; it comes before the action in the changes of the revision.
    pub note: Option<Note>,
}

impl Write {
    /// Puts `value`.
    pub fn put(value: impl Into<Bytes>) -> Self {
        Self::of(Action::Put { value: value.into(), ttl: None })
    }

    /// Puts `value` for a limited time.
    pub fn put_for(value: impl Into<Bytes>, ttl: Duration) -> Self {
        Self::of(Action::Put { value: value.into(), ttl: Some(ttl) })
    }

    /// Removes the key.
    pub fn delete() -> Self {
        Self::of(Action::Delete)
    }

    /// Changes nothing.
    pub fn keep() -> Self {
        Self::of(Action::Keep)
    }

    fn of(action: Action) -> Self {
        Self { action, claims: Vec::new(), releases: Vec::new(), note: None }
    }

    /// Adds claims.
    pub fn claiming(mut self, claims: impl IntoIterator<Item = Claim>) -> Self {
        self.claims.extend(claims);
        self
    }

    /// Adds a note.
    pub fn noting(mut self, note: Note) -> Self {
        self.note = Some(note);
        self
    }

    /// Adds releases.
    pub fn releasing(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.releases.extend(keys);
        self
    }
}

/// The closure of an update: the present state in, what becomes of it out.
pub type Decide<'a> = dyn FnMut(Option<&Stored>) -> Result<Write, StatusError> + Send + 'a;

/// What an update did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key has a new value.
    Put {
        /// The new state.
        stored: Stored,
        /// The state before; `None` when the key was created.
        previous: Option<Stored>,
    },
    /// The key is gone.
    Deleted {
        /// The last state.
        last: Stored,
        /// The revision of the deletion.
        revision: i64,
    },
    /// Nothing was changed (but claims may have been made or released).
    Kept(Option<Stored>),
}

/// Part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Keys and their states, in the order of the keys.
    pub items: Vec<(String, Stored)>,
    /// The revision that was read.
    pub revision: i64,
    /// Whether there are keys after the last one.
    pub more: bool,
    /// How many keys there are from where the page began.
    pub count: i64,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The new value; `None` when the key was deleted.
    pub value: Option<Bytes>,
    /// The revision of the change.
    pub revision: i64,
}

/// Changes that arrived together. No revision is spread over two batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeBatch {
    /// In the order of their revisions.
    pub changes: Vec<Change>,
}

/// A stream of changes; it ends after an error.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<ChangeBatch, StoreError>> + Send>>;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The `decide` closure refused.
    #[error("{0}")]
    Rejected(StatusError),
    /// A claimed key is taken.
    #[error("{0} is already allocated")]
    Claimed(String),
    /// The write may or may not have happened: read before trying again.
    #[error("the outcome of the write is not known: {0}")]
    Uncertain(String),
    /// The store cannot be reached or refuses work; nothing was written.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The asked revision is older than what is kept.
    #[error("the revision has been compacted; the oldest kept one is {oldest}")]
    Compacted {
        /// The oldest revision that is kept; 0 when not known.
        oldest: i64,
    },
    /// The asked revision does not exist yet.
    #[error("the revision does not exist yet")]
    Future,
    /// The value is larger than the store takes.
    #[error("the object is too large for the store: {0}")]
    TooLarge(String),
    /// A defect: the store answered what it never should.
    #[error("the store answered unexpectedly: {0}")]
    Internal(String),
}

/// Seconds after which a client may try again what failed because the store was away.
const RETRY_AFTER_SECONDS: i32 = 1;

impl From<StoreError> for StatusError {
    /// What the client of a request is told.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected(status) => status,
            StoreError::Claimed(_) | StoreError::Internal(_) => StatusError::internal(error),
            StoreError::Uncertain(_) => {
                let mut status = StatusError::unavailable(error.to_string(), RETRY_AFTER_SECONDS);
                status.reason = Reason::Timeout;
                status
            }
            StoreError::Unavailable(_) => StatusError::unavailable(error.to_string(), RETRY_AFTER_SECONDS),
            StoreError::Compacted { .. } => StatusError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a \
                 new list without the continue parameter.",
            ),
            StoreError::Future => StatusError::new(Reason::Timeout, "Too large resource version"),
            StoreError::TooLarge(_) => StatusError::new(Reason::RequestEntityTooLarge, error.to_string()),
        }
    }
}
